#pragma once

#include <optional>

#include "sync/promo_plan.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// The promotion code is the row's from now on. One that it takes the place of becomes a
/// predecessor, whose redemptions are no longer left for the row.
void take(Situation& situation, PromotionCode code, std::optional<Coupon> coupon);

/// Takes a code that is the row's, whatever its terms, into observed.
void take_own(Situation& situation, const PromotionCode& code, const std::optional<Coupon>& coupon);

/// Takes somebody's code if all its terms are what the row asks for (`mapped` is Desired); else the
/// conflict, with both sides.
std::optional<Error> adopt(Situation& situation, const PromotionCode& code, const Coupon& coupon);

}  // namespace stripe_sync
