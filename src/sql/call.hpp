#pragma once
// Arguments and results of the functions that SQL calls.

#include "pg/boundary.hpp"
#include "pg/spi.hpp"

namespace stripe_sync::sql {

/// An argument of any type in its text form.
pg::Text argument_text(FunctionCallInfo fcinfo, int n);

/// All rows of a result, as the calling function's: as many columns as it has, in their text form.
void return_rows(FunctionCallInfo fcinfo, const pg::Rows& rows);

}  // namespace stripe_sync::sql
