#include "sync/promo_plan.hpp"

#include "sync/promo_compare.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

Plan settled(PromoState state) {
  Plan plan;
  plan.end.state = state;
  return plan;
}

/// One read, after which everything is planned anew.
Plan read_first(Operation read) {
  Plan plan = settled(PromoState::pending);
  plan.operations.push_back(std::move(read));
  return plan;
}

/// Where a row ends that may not be redeemed now.
void rest(const Situation& s, const Desired& desired, Settled& end) {
  if (desired.expired) {
    end.state = PromoState::expired;
  } else if (desired.exhausted) {
    end.state = PromoState::exhausted;
  } else if (is_scheduled(s, desired)) {
    end.state = PromoState::scheduled;
    end.wake_at = desired.starts_at;
  } else {
    end.state = PromoState::synced;
  }
}

/// Where a row ends that holds in Stripe what it asks for.
void arrive(const Situation& s, const Desired& desired, Settled& end) {
  if (!desired.active) return rest(s, desired, end);
  end.state = PromoState::synced;
  end.wake_at = desired.expires_at;  // Stripe expires it by itself; only the state changes then
}

bool holds_coupon(const Observed& observed, const std::string& id) {
  return (observed.coupon && observed.coupon->id == id) ||
         (observed.next_coupon && observed.next_coupon->id == id);
}

/// A coupon in Stripe that a new promotion code can have.
const Coupon* usable_coupon(const Situation& s, const Desired& desired) {
  for (const std::optional<Coupon>* coupon : {&s.observed.coupon, &s.observed.next_coupon})
    if (*coupon && (*coupon)->valid && differing_coupon_terms(desired, **coupon).empty())
      return &**coupon;
  return nullptr;
}

/// A new promotion code, with its coupon if there is none yet. The coupon comes first: Stripe tells
/// by it whether it takes product, currency and amount. Then `before` gives way, whose answer says
/// how often it was used.
void plan_code(const Situation& s, const Desired& desired, const PromotionCode* before,
               Plan& plan) {
  const Coupon* coupon = usable_coupon(s, desired);
  if (!coupon && holds_coupon(s.observed, s.identity.coupon_id)) {
    plan.needs_new_coupon_id = plan.operations.empty();
    plan.end.state = PromoState::pending;
    return;
  }
  const std::string coupon_id = coupon ? coupon->id : s.identity.coupon_id;
  const Operation create = create_code(desired, s.identity, coupon_id);
  if (s.refused && s.refused->operation.same_request(create)) {
    plan.end.state = PromoState::parked;
    plan.end.reason = still_sold(s.refused->reason, s.observed);
    plan.end.wake_at = over_at(s);
    // With another coupon, or under another text, it would sell again what was just corrected.
    const bool same =
        before && before->coupon == coupon_id && same_code(before->code, desired.code);
    if (before && before->active && before->dead) plan.operations.push_back(switch_off(*before));
    if (same && before->making_room && !before->dead)
      plan.operations.push_back(*update_code(*before, s.identity, true));
    return;
  }
  const bool off_first = !plan.operations.empty();
  if (!coupon) plan.operations.push_back(create_coupon(desired, s.identity));
  if (before && before->active && !off_first) plan.operations.push_back(switch_off(*before));
  plan.operations.push_back(create);
  if (coupon)
    if (auto update = update_coupon(desired, s.identity, *coupon))
      plan.operations.push_back(std::move(*update));
  arrive(s, desired, plan.end);
}

void plan_new(const Situation& s, const Desired& desired, Plan& plan) {
  if (desired.expired || desired.exhausted) return rest(s, desired, plan.end);
  // Stripe makes an inactive code whoever sells its text, and would refuse it only at its start.
  // For a text that is taken a coupon would be made in vain.
  if ((is_scheduled(s, desired) || s.text_taken) && !s.text_looked) {
    plan = read_first(find_code(desired.code));
    return;
  }
  const std::optional<Coupon>& coupon = s.observed.coupon;
  if (coupon && coupon->valid && !coupon->products_known) {
    plan.operations.push_back(read_coupon(coupon->id));
    plan.end.state = PromoState::pending;
    return;
  }
  plan_code(s, desired, nullptr, plan);
}

/// Stripe changes no terms of a promotion code: it is switched off, and another takes its place
/// with the uses that are left. Not before the row is to be redeemed.
void plan_replacement(const Situation& s, const Desired& desired,
                      const std::vector<Difference>& differences, Plan& plan) {
  const PromotionCode& code = *s.observed.code;
  if (ordered_off(s) || desired.expired || desired.exhausted) {
    rest(s, desired, plan.end);
    if (s.observed.coupon->valid)
      plan.end.warnings.push_back(
          "promotion code " + code.id +
          ", switched off in Stripe, holds older terms: " + side_by_side(differences));
    return;
  }
  Desired left = desired;
  if (left.max_redemptions) *left.max_redemptions -= code.times_redeemed;
  if (!left.max_redemptions || *left.max_redemptions > 0) return plan_code(s, left, &code, plan);
  if (code.active && plan.operations.empty()) plan.operations.push_back(switch_off(code));
  plan.end.state = PromoState::exhausted;
}

void plan_existing(const Situation& s, const Desired& desired, Plan& plan) {
  const PromotionCode& code = *s.observed.code;
  const std::optional<Coupon>& coupon = s.observed.coupon;
  if (!coupon || (coupon->valid && !coupon->products_known)) {
    plan.operations.push_back(read_coupon(code.coupon));
    plan.end.state = PromoState::pending;
    return;
  }
  const auto differences = reasons_to_replace(desired, *coupon, code);
  if (!differences.empty()) return plan_replacement(s, desired, differences, plan);

  arrive(s, desired, plan.end);
  const bool exhausted = desired.active && used_up(code);
  if (exhausted) {
    plan.end.state = PromoState::exhausted;
    plan.end.wake_at.reset();
  }
  const bool activate = desired.active && !code.active && !exhausted;
  if (auto update = update_code(code, s.identity, activate))
    plan.operations.push_back(std::move(*update));
  if (auto update = update_coupon(desired, s.identity, *coupon))
    plan.operations.push_back(std::move(*update));
}

/// Terms that can't be told: invalid, or not before prices are read.
void plan_without_terms(const Situation& s, Plan& plan) {
  const Parked* parked = std::get_if<Parked>(&s.mapped);
  plan.end.state = PromoState::pending;
  if (!parked) return;
  if (!parked->reason.message.empty()) {
    plan.end.state = PromoState::parked;
    plan.end.reason = still_sold(parked->reason, s.observed);
    if (!wants_off(s)) plan.end.wake_at = over_at(s);
  } else if (wants_off(s)) {
    plan.end.state = PromoState::synced;
  }
}

Plan plan_manual(const Situation& s) {
  Plan plan = settled(PromoState::excluded);
  if (s.deleted && s.observed.code && s.observed.code->active)
    plan.end.warnings.push_back("the row is deleted, its promotion code " + s.observed.code->id +
                                " is still active in Stripe: sync_status was manual");
  return plan;
}

}  // namespace

Plan plan_promo(const Situation& s) {
  if (lowered(text_of(s.row, item::sync_status)) == "manual") return plan_manual(s);
  const Desired* desired = std::get_if<Desired>(&s.mapped);
  const bool off = wants_off(s);
  // A look is judged by the terms, and these need the prices.
  if (std::holds_alternative<NeedPrices>(s.mapped) && !off) return settled(PromoState::pending);
  if (s.unsettled && !s.unsettled->looked) return read_first(look_for(*s.unsettled, s.observed));
  const std::string carried = carried_code(s);
  if (!carried.empty() && (desired || off)) return read_first(read_code(carried));

  Plan plan;
  const std::optional<PromotionCode>& code = s.observed.code;
  // What has expired in Stripe is off already.
  const bool over = code && code->expires_at && *code->expires_at <= s.now;
  if (code && code->active && off && !over) plan.operations.push_back(switch_off(*code));
  if (s.deleted) return plan;
  if (!desired) {
    plan_without_terms(s, plan);
    return plan;
  }
  for (const Warning& warning : desired->warnings) plan.end.warnings.push_back(warning.sentence());
  if (code) {
    plan_existing(s, *desired, plan);
  } else {
    plan_new(s, *desired, plan);
  }
  return plan;
}

}  // namespace stripe_sync
