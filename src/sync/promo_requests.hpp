#pragma once

#include <optional>
#include <string>

#include "sync/promo_plan.hpp"

#include "core/no_postgres.hpp"

// The requests that plans are made of (stripe.md sections 6 and 7).

namespace stripe_sync {

/// The metadata that says which installation made an object.
inline constexpr const char* installation_mark = "stripe_sync_installation";
/// And for which row.
inline constexpr const char* row_mark = "stripe_sync_row";

Operation create_coupon(const Desired& desired, const Identity& identity);
/// Only what differs; nothing when nothing does, and for what is adopted as it is.
std::optional<Operation> update_coupon(const Desired& desired, const Identity& identity,
                                       const Coupon& coupon);
Operation create_code(const Desired& desired, const Identity& identity, const std::string& coupon);
Operation switch_off(const PromotionCode& code);
/// Marks, and switching on with `activate`; nothing when there is nothing to change.
std::optional<Operation> update_code(const PromotionCode& code, const Identity& identity,
                                     bool activate);

Operation read_coupon(const std::string& id);
Operation read_code(const std::string& id);
Operation find_code(const std::string& text);
/// A page of all codes: they look as to find_code().
stripe::Call list_codes(const std::string& after);
/// Whether a write makes a promotion code active again.
bool switches_on(const Operation& operation);
/// As if a write to it had been lost: it is read before anything else is planned.
Unsettled unseen(const PromotionCode& code);
/// The look that tells what became of a write.
Operation look_for(const Unsettled& unsettled, const Observed& observed);

/// Value of a parameter that was sent; empty = none.
std::string parameter(const Operation& operation, std::string_view name);

/// Whose mark a coupon bears.
enum class Owner { this_row, other_row, original, nobody };
Owner owner_of(const Coupon& coupon, const Identity& identity);
/// Whose mark a promotion code bears; without one of ours, it may still be known as the original's.
Owner owner_of(const PromotionCode& code, const Identity& identity);
/// Whether both bear the mark of one row.
bool marked_alike(const Coupon& coupon, const PromotionCode& code);

}  // namespace stripe_sync
