#include "sync_situation.hpp"

// A replacement that Stripe refuses for good, at each of its steps: what is sold then, and that the
// row says so.

namespace stripe_sync::testing {
namespace {

using Next = Effect::Next;
using stripe::Verdict;

const std::string later = std::to_string(now + day);

TEST(Refusals, ARefusedCouponLeavesTheOldCodeAsItIs) {
  Situation s = changed({{"discount_value", "40"}});
  const Effect effect = step(s, failed(Verdict::refused, 400, "", "applies_to[products][0]"));
  EXPECT_EQ(effect.next, Next::parked);
  EXPECT_TRUE(s.observed.code->active);
}

/// The successor is refused, and nobody else holds the text.
Situation refused_successor(const Values& changes) {
  Situation s = changed(changes);
  if (first_kind(s) == "create_coupon") step(s, ok(coupon_json(our_marks, "SUMMER-bbbbbb", "40")));
  step(s, ok(off_answer(0)));
  EXPECT_EQ(first_kind(s), "create_code");
  EXPECT_EQ(step(s, failed(Verdict::refused, 400)).next, Next::go_on);
  EXPECT_EQ(first_kind(s), "find_code");
  EXPECT_EQ(step(s, ok(list_of({off_answer(0)}))).next, Next::go_on);
  return s;
}

TEST(Refusals, ARefusedSuccessorBringsTheOldCodeBackIfTheCouponIsTheSame) {
  Situation s = refused_successor({{"expires_at", later}});
  EXPECT_EQ(steps(plan_promo(s)), "on");
  EXPECT_EQ(step(s, ok(code_json())).next, Next::go_on);
  const Plan plan = plan_promo(s);
  EXPECT_EQ(steps(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::parked);
  EXPECT_TRUE(contains(plan.end.reason.detail, "promo_1 (SUMMER) goes on as it was: 50 %, once"))
      << plan.end.reason.detail;
  // The next push tries again.
  s.refused.reset();
  EXPECT_EQ(steps(plan_promo(s)), "off, create_code");
}

TEST(Refusals, ARefusedSuccessorOfOtherTermsLeavesNothingOnSale) {
  for (const Values& changes : {Values{{"discount_value", "40"}}, Values{{"code", "WINTER"}}}) {
    Situation s = refused_successor(changes);
    const Plan plan = plan_promo(s);
    EXPECT_EQ(steps(plan), "");
    EXPECT_EQ(plan.end.state, PromoState::parked);
    EXPECT_TRUE(contains(plan.end.reason.detail, "promo_1 (SUMMER) is switched off"))
        << plan.end.reason.detail;
  }
}

TEST(Refusals, WhatWasOffBeforeIsNotBroughtBack) {
  Situation s = changed({{"expires_at", later}});
  s.observed.code->active = false;
  step(s, failed(Verdict::refused, 400));
  step(s, ok(list_of({off_answer(0)})));
  const Plan plan = plan_promo(s);
  EXPECT_EQ(steps(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::parked);
}

TEST(Refusals, ARefusedSwitchingOffLeavesTheOldCodeOnSale) {
  Situation s = changed({{"discount_value", "40"}});
  step(s, ok(coupon_json(our_marks, "SUMMER-bbbbbb", "40")));
  EXPECT_EQ(steps(plan_promo(s)), "off, create_code");
  const Effect effect = step(s, failed(Verdict::refused, 400));
  EXPECT_EQ(effect.next, Next::parked);
  EXPECT_FALSE(s.unsettled);
  EXPECT_TRUE(s.observed.code->active);
  // The next push goes on with the coupon that is there.
  EXPECT_EQ(steps(plan_promo(s)), "off, create_code");
}

TEST(Refusals, ARefusedReturnIsNotTriedForEver) {
  Situation s = refused_successor({{"expires_at", later}});
  EXPECT_EQ(steps(plan_promo(s)), "on");
  step(s, failed(Verdict::refused, 400));
  EXPECT_EQ(first_kind(s), "find_code");
  step(s, ok(list_of({off_answer(0)})));
  step(s, ok(coupon_json()));  // whether its coupon is still there
  const Plan plan = plan_promo(s);
  EXPECT_EQ(steps(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::parked);
  EXPECT_TRUE(contains(plan.end.reason.detail, "promo_1 (SUMMER) is switched off"))
      << plan.end.reason.detail;
}

TEST(Refusals, ARefusedNameLeavesTheSuccessorOnSale) {
  Situation s = changed({{"expires_at", later}, {"description", "Winter"}});
  step(s, ok(off_answer(0)));
  CodeShape made;
  made.id = "promo_2";
  made.more = R"(,"expires_at":)" + later;
  step(s, ok(code_json(made)));
  EXPECT_EQ(first_kind(s), "update_coupon");
  EXPECT_EQ(step(s, failed(Verdict::refused, 400)).next, Next::parked);
  EXPECT_EQ(s.observed.code->id, "promo_2");
  EXPECT_TRUE(s.observed.code->active);
}

}  // namespace
}  // namespace stripe_sync::testing
