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

void park(Settled& end, Error reason) {
  end.state = PromoState::parked;
  end.reason = std::move(reason);
}

Error changed_terms(const PromotionCode& code, const std::vector<std::string>& differences) {
  return invalid("promotion code " + code.id +
                     " in Stripe has other terms than the row: " + joined(differences, "; "),
                 "Stripe can't change these terms of an existing promotion code.",
                 "Put the old values back, or set is_active to false and give the new terms to a "
                 "row with another code.");
}

Error dead_coupon(const PromotionCode& code) {
  return invalid("coupon " + code.coupon + " of promotion code " + code.id +
                     " was deleted or is no longer valid in Stripe, so the code can't be used",
                 "A coupon that is no longer valid makes its promotion codes inactive for good.",
                 "Delete the row and insert it again: it gets a new coupon and promotion code.");
}

/// Where a row ends that may not be redeemed now.
void rest(const Situation& s, const Desired& desired, Settled& end) {
  if (desired.expired) {
    end.state = PromoState::expired;
  } else if (desired.exhausted) {
    end.state = PromoState::exhausted;
  } else if (desired.starts_at && !says_off(s.row)) {
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

void plan_new(const Situation& s, const Desired& desired, Plan& plan) {
  if (desired.expired || desired.exhausted) return rest(s, desired, plan.end);
  const std::optional<Coupon>& coupon = s.observed.coupon;
  if (coupon && coupon->valid && !coupon->products_known) {
    plan.operations.push_back(read_coupon(coupon->id));
    plan.end.state = PromoState::pending;
    return;
  }
  const bool usable = coupon && coupon->valid && differing_coupon_terms(desired, *coupon).empty();
  if (coupon && !usable && coupon->id == s.identity.coupon_id) {
    plan.needs_new_coupon_id = true;
    plan.end.state = PromoState::pending;
    return;
  }
  if (!usable) plan.operations.push_back(create_coupon(desired, s.identity));
  plan.operations.push_back(
      create_code(desired, s.identity, usable ? coupon->id : s.identity.coupon_id));
  if (usable)
    if (auto update = update_coupon(desired, s.identity, *coupon, s.observed.code))
      plan.operations.push_back(std::move(*update));
  arrive(s, desired, plan.end);
}

void keep_other_terms(const Situation& s, const Desired& desired,
                      const std::vector<std::string>& differences, Plan& plan) {
  const PromotionCode& code = *s.observed.code;
  const bool off = ordered_off(s) || desired.expired || desired.exhausted;
  if (!off) return park(plan.end, changed_terms(code, differences));
  rest(s, desired, plan.end);
  plan.end.warnings.push_back(
      "promotion code " + code.id +
      ", switched off in Stripe, holds older terms: " + joined(differences, "; "));
}

void plan_existing(const Situation& s, const Desired& desired, Plan& plan) {
  const PromotionCode& code = *s.observed.code;
  const std::optional<Coupon>& coupon = s.observed.coupon;
  if (!coupon || (coupon->valid && !coupon->products_known)) {
    plan.operations.push_back(read_coupon(code.coupon));
    plan.end.state = PromoState::pending;
    return;
  }
  if (!coupon->valid) {
    if (desired.active) return park(plan.end, dead_coupon(code));
    return rest(s, desired, plan.end);
  }
  const auto differences = differing_terms(desired, *coupon, code);
  if (!differences.empty()) return keep_other_terms(s, desired, differences, plan);

  arrive(s, desired, plan.end);
  const bool exhausted = desired.active && used_up(code);
  if (exhausted) {
    plan.end.state = PromoState::exhausted;
    plan.end.wake_at.reset();
  }
  const bool activate = desired.active && !code.active && !exhausted;
  const auto coupon_update = update_coupon(desired, s.identity, *coupon, s.observed.code);
  const auto code_update = update_code(code, s.identity, activate);
  // Of a row that goes on under another key the coupon comes first: that it is this row's is told
  // by the former mark, which the code still has.
  const bool moved = owner_of(coupon->metadata, s.identity) == Owner::other_row;
  if (coupon_update && moved) plan.operations.push_back(*coupon_update);
  if (code_update) plan.operations.push_back(*code_update);
  if (coupon_update && !moved) plan.operations.push_back(*coupon_update);
}

/// Terms that can't be told: invalid, or not before prices are read.
void plan_without_terms(const Situation& s, Plan& plan) {
  const Parked* parked = std::get_if<Parked>(&s.mapped);
  plan.end.state = PromoState::pending;
  if (!parked) return;
  if (!parked->reason.message.empty()) {
    park(plan.end, parked->reason);
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
