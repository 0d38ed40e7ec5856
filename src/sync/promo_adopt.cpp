// A promotion code found in Stripe: the row's, or somebody else's.

#include "sync/promo_adopt.hpp"

#include <algorithm>

#include "sync/promo_absorb.hpp"
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

/// More or fewer uses are left for the row than `mapped` was made with.
void leave_uses(Situation& s, std::int64_t more) {
  Desired* desired = std::get_if<Desired>(&s.mapped);
  if (!desired || !desired->max_redemptions) return;
  *desired->max_redemptions += more;
  desired->exhausted = *desired->max_redemptions <= 0;
  desired->active =
      !says_off(s.row) && !desired->expired && !desired->exhausted && !desired->starts_at;
}

/// The row's code gives way to another.
void retire(Situation& s) {
  const PromotionCode& code = *s.observed.code;
  const auto revision = static_cast<std::int64_t>(s.observed.predecessors.size()) + 1;
  Replaced replaced{code, s.observed.coupon, "", revision};
  if (const Desired* desired = std::get_if<Desired>(&s.mapped); desired && s.observed.coupon)
    replaced.why = side_by_side(reasons_to_replace(*desired, *s.observed.coupon, code));
  s.observed.replaced.push_back(std::move(replaced));
  s.observed.predecessors.push_back({code.id, code.times_redeemed});
  leave_uses(s, -code.times_redeemed);
  s.observed.code.reset();
}

/// Somebody has switched it on again.
void recall(Situation& s, const std::string& id) {
  auto& earlier = s.observed.predecessors;
  const auto found = std::find_if(earlier.begin(), earlier.end(),
                                  [&](const Predecessor& one) { return one.id == id; });
  if (found == earlier.end()) return;
  leave_uses(s, found->redeemed);
  earlier.erase(found);
  std::erase_if(s.observed.replaced, [&](const Replaced& one) { return one.code.id == id; });
}

/// Takes a code if it is what the row asks for; otherwise says what differs. Where our state was
/// lost or never was, the table's used_count (and so used_before) contains the code's own
/// redemptions, which must not be counted twice: tried both ways.
std::vector<Difference> take_equal(Situation& s, const PromotionCode& code, const Coupon& coupon) {
  std::vector<Difference> differences;
  const std::int64_t own = std::max<std::int64_t>(0, std::min(s.used_before, code.times_redeemed));
  for (const std::int64_t counted : {std::int64_t{0}, own}) {
    Situation taken = s;
    leave_uses(taken, counted);
    taken.used_before -= counted;
    take(taken, code, coupon);
    const Desired& desired = std::get<Desired>(taken.mapped);
    differences = differing_terms(desired, coupon, code);
    // Somebody switched it off: to switch it on again is not ours to decide.
    if (desired.active && !code.active && !used_up(code) &&
        owner_of(code, s.identity) == Owner::nobody)
      differences.push_back({"active", "true", "false"});
    if (!differences.empty()) continue;
    Coupon& made = *taken.observed.coupon;
    if (owner_of(made, s.identity) == Owner::nobody && !made.adopted_for)
      made.adopted_for = desired.description;
    s = std::move(taken);
    break;
  }
  return differences;
}

/// A code that sells at once is not what a row with a start asks for, unless the row carries it.
std::vector<Difference> sold_too_early(const Situation& s, const PromotionCode& code,
                                       const Coupon& coupon) {
  const Desired& desired = std::get<Desired>(s.mapped);
  if (!is_scheduled(s, desired) || !code.active || carried_code(s) == code.id) return {};
  auto differences = differing_terms(desired, coupon, code);
  differences.push_back({"starts_at", time_text(*desired.starts_at), "at once"});
  return differences;
}

/// The row is right, whatever its terms are: the code gives way to another. Its uses are counted by
/// itself from now on, and no longer among those before it.
void take_over(Situation& s, const PromotionCode& code, const Coupon& coupon) {
  const std::int64_t own = std::max<std::int64_t>(0, std::min(s.used_before, code.times_redeemed));
  s.used_before -= own;
  leave_uses(s, own);
  take(s, code, coupon);
}

}  // namespace

void take(Situation& s, PromotionCode code, std::optional<Coupon> coupon) {
  Observed& o = s.observed;
  if (o.code && o.code->id != code.id) retire(s);
  recall(s, code.id);
  for (std::optional<Coupon>* made : {&o.coupon, &o.next_coupon})
    if (*made && (*made)->id == code.coupon)
      coupon = coupon ? reread(std::move(*coupon), *made) : *made;
  // What was made earlier can serve again.
  if (!o.code && o.coupon && o.coupon->id != code.coupon) o.next_coupon = std::move(o.coupon);
  if (o.next_coupon && o.next_coupon->id == code.coupon) o.next_coupon.reset();
  o.coupon = std::move(coupon);
  o.code = std::move(code);
  o.rival.reset();
  o.rival_coupon.reset();
}

void take_own(Situation& s, const PromotionCode& code, const std::optional<Coupon>& coupon) {
  const bool comparable = coupon && std::holds_alternative<Desired>(s.mapped);
  if (!comparable || !take_equal(s, code, *coupon).empty()) take(s, code, coupon);
}

std::optional<Error> adopt(Situation& s, const PromotionCode& code, const Coupon& coupon) {
  if (owner_of(code, s.identity) == Owner::other_row)
    return conflict(s, code, "which belongs to another row of this database",
                    "Give the row another code");
  if (owner_of(code, s.identity) == Owner::original)
    return conflict(s, code, "which belongs to the database that this one was copied from",
                    "SELECT stripe_sync_rebind('keep') if the original is gone");
  auto differences = sold_too_early(s, code, coupon);
  if (differences.empty()) differences = take_equal(s, code, coupon);
  if (differences.empty()) return std::nullopt;
  if (s.take_over) {
    take_over(s, code, coupon);
    return std::nullopt;
  }
  const std::string text = text_of(s.row, item::code);
  return conflict(s, code, "which is not ours and has other terms: " + side_by_side(differences),
                  "SELECT * FROM stripe_sync_resolve('" + text +
                      "', 'db') to replace it in Stripe by what the row says, or 'stripe' to write "
                      "its terms into the row");
}

}  // namespace stripe_sync
