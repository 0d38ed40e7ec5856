// A promotion code found in Stripe: the row's, or somebody else's.

#include "sync/promo_adopt.hpp"

#include <algorithm>

#include "sync/promo_compare.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

Error conflict(const Situation& s, const PromotionCode& code, const std::string& why,
               const std::string& other_way) {
  const std::string text = text_of(s.row, item::code);
  const bool carried = text_of(s.row, item::stripe_promotion_code_id) == code.id;
  return invalid("code " + text + " is already in Stripe as promotion code " + code.id +
                     " (coupon " + code.coupon + "), " + why,
                 "A promotion code that is not this row's is taken only if all its terms are the "
                 "row's and no other row has it.",
                 other_way + ", or deactivate " + code.id + " in Stripe" +
                     (carried ? ", clear stripe_promotion_code_id" : "") +
                     " and then SELECT stripe_sync_retry('" + text + "');");
}

void take(Situation& s, PromotionCode code, std::optional<Coupon> coupon) {
  s.observed.code = std::move(code);
  s.observed.coupon = std::move(coupon);
}

/// Takes a code if it is what the row asks for; otherwise says what differs. Where our state was
/// lost or never was, the table's used_count (and so used_before) contains the code's own
/// redemptions, which must not be counted twice: tried both ways.
std::vector<std::string> take_equal(Situation& s, const PromotionCode& code, const Coupon& coupon) {
  std::vector<std::string> differences;
  const std::int64_t own = std::max<std::int64_t>(0, std::min(s.used_before, code.times_redeemed));
  for (const std::int64_t counted : {std::int64_t{0}, own}) {
    Desired desired = std::get<Desired>(s.mapped);
    if (desired.max_redemptions) {
      *desired.max_redemptions += counted;
      desired.exhausted = *desired.max_redemptions <= 0;
    }
    desired.active =
        !says_off(s.row) && !desired.expired && !desired.exhausted && !desired.starts_at;
    differences = differing_terms(desired, coupon, code);
    // Somebody switched it off: to switch it on again is not ours to decide.
    if (desired.active && !code.active && !used_up(code) &&
        owner_of(code.metadata, s.identity) == Owner::nobody)
      differences.push_back("active: database true, Stripe false");
    if (!differences.empty()) continue;
    s.used_before -= counted;
    s.mapped = std::move(desired);
    take(s, code, coupon);
    break;
  }
  return differences;
}

}  // namespace

void take_own(Situation& s, const PromotionCode& code, const std::optional<Coupon>& coupon) {
  const bool comparable = coupon && std::holds_alternative<Desired>(s.mapped);
  if (!comparable || !take_equal(s, code, *coupon).empty()) take(s, code, coupon);
}

std::optional<Error> adopt(Situation& s, const PromotionCode& code, const Coupon& coupon) {
  if (owner_of(code.metadata, s.identity) == Owner::other_row)
    return conflict(s, code, "which belongs to another row of this database",
                    "Give the row another code");
  if (owner_of(code.metadata, s.identity) == Owner::original)
    return conflict(s, code, "which belongs to the database that this one was copied from",
                    "SELECT stripe_sync_rebind('keep') if the original is gone");
  const auto differences = take_equal(s, code, coupon);
  if (differences.empty()) return std::nullopt;
  return conflict(s, code, "which is not ours and has other terms: " + joined(differences, "; "),
                  "Make the row's terms equal to adopt it");
}

}  // namespace stripe_sync
