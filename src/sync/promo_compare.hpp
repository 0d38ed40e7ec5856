#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sync/promo_plan.hpp"

#include "core/no_postgres.hpp"

// What planning and absorbing both ask of a situation.

namespace stripe_sync {

/// The coupon's part of differing_terms().
std::vector<Difference> differing_coupon_terms(const Desired& desired, const Coupon& coupon);

/// Why the row's promotion code can't serve as it is: a coupon no longer valid, or other terms.
std::vector<Difference> reasons_to_replace(const Desired& desired, const Coupon& coupon,
                                           const PromotionCode& code);

/// The error of a row that is not pushed any further, with what Stripe sells under its code.
Error still_sold(Error reason, const Observed& observed);
/// When a row that Stripe does not hold as it says is over by its own word: what is sold all the
/// same must be switched off then.
std::optional<std::int64_t> over_at(const Situation& situation);
/// When a conflict may be over: the row is, or the code that stands in its way expires.
std::optional<std::int64_t> conflict_until(const Situation& situation);

/// It is to be redeemable later, and not before.
bool is_scheduled(const Situation& situation, const Desired& desired);

/// Nothing is left of what max_redemptions allows.
bool used_up(const PromotionCode& code);

/// The row is gone or switched off by its own word.
bool ordered_off(const Situation& situation);
/// The code must not be redeemable, whatever its terms.
bool wants_off(const Situation& situation);

/// The promotion code id that the row carries, as long as nothing else is known of the row in
/// Stripe; empty = none.
std::string carried_code(const Situation& situation);

}  // namespace stripe_sync
