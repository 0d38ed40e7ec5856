#pragma once

#include <string>

namespace stripe_sync::sql {

/// Writes what Stripe holds under a code into the rows that are in conflict with it, each as its
/// table's owner. Raises if the caller may not update the table, and if the columns can't say it
/// exactly.
void write_from_stripe(const std::string& code);

}  // namespace stripe_sync::sql
