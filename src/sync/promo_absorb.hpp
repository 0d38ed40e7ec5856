#pragma once

#include <optional>
#include <string>

#include "sync/promo_plan.hpp"

#include "core/no_postgres.hpp"

// What the answers to writes (promo_absorb.cpp) and to reads (promo_absorb_reads.cpp) both do.

namespace stripe_sync {

/// The answer to a read, which shows what was asked for.
Effect absorb_read(Situation& situation, const Operation& operation, const stripe::Answer& answer);
/// The object that a read named does not exist.
Effect absorb_absence(Situation& situation, const Operation& operation,
                      const stripe::Answer& answer);

/// The answer does not show what it should.
Effect unreadable(Situation& situation, const Operation& operation, const stripe::Answer& answer);
/// Refused for good. The code that was to give way may come back: the plan decides.
Effect give_up(Situation& situation, const Operation& operation, const Error& reason);

/// What an answer leaves out stays as it was known `before`.
PromotionCode merged(PromotionCode code, const std::optional<PromotionCode>& before);
/// A coupon that was read anew, with what only we know of it.
Coupon reread(Coupon coupon, const std::optional<Coupon>& before);
/// Where a coupon is kept: with the row's promotion code, or for the next one.
std::optional<Coupon>& place_of(Situation& situation, const std::string& coupon);
/// Its promotion codes go with it, for good (stripe.md section 6).
void coupon_gone(Situation& situation, const std::string& id);
/// The coupon that a request's path names.
std::string named(const Situation& situation, const Operation& operation);
/// The row's promotion code does not exist any more.
Effect code_gone(Situation& situation, const stripe::Answer& answer);

bool begins_with(const Plan& plan, const Operation& operation);

}  // namespace stripe_sync
