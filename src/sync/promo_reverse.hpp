#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "sync/promo_plan.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Values of a row's items; nothing = NULL.
using Items = std::map<std::string, std::optional<std::string>>;

/// What must be written into a row so that it asks for exactly what Stripe holds. SY005 if the
/// columns that it has can't say it: which terms, and which columns would be needed.
Result<Items> items_from_stripe(const PromoRow& row, const AttachSettings& settings,
                                const std::set<std::string>& columns, const Coupon& coupon,
                                const PromotionCode& code, std::int64_t used_before,
                                std::int64_t now);

/// What still differs between a row and Stripe; empty = nothing.
std::string unlike_stripe(const PromoRow& row, const AttachSettings& settings, const Coupon& coupon,
                          const PromotionCode& code, std::int64_t used_before, std::int64_t now);

}  // namespace stripe_sync
