#pragma once

#include <string>

namespace stripe_sync::sql {

/// Writes what Stripe holds under a code into the rows that are in conflict with it, as the caller
/// and with their rights. Raises if the columns can't say it exactly.
void write_from_stripe(const std::string& code);

}  // namespace stripe_sync::sql
