#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// The ISO code in lower case, trimmed; SY005 when it is none that Stripe takes.
Result<std::string> normalise_currency(std::string_view currency);

/// An exact decimal text of major units ("12.50") in the currency's minor units (stripe.md
/// section 8.1). SY005 when it is not a number, finer than the currency, too large for Stripe
/// (99999999) or in a currency whose unit is unconfirmed (ugx). Sign is kept; never rounds.
Result<std::int64_t> minor_units(std::string_view major, std::string_view currency);

/// Minor units as a decimal text of major units with the currency: "129.00 usd".
std::string money_text(std::int64_t minor, std::string_view currency);

/// A percentage ("12.5") in hundredths of a percent; SY005 unless 0 < v <= 100 and it has at most
/// two decimals (trailing zeros do not count).
Result<std::int64_t> percent_hundredths(std::string_view percent);

/// 1250 -> "12.5", 10000 -> "100".
std::string percent_text(std::int64_t hundredths);

}  // namespace stripe_sync
