#include "sync_situation.hpp"

namespace stripe_sync::testing {
namespace {

using Next = Effect::Next;
using stripe::Verdict;

TEST(Absorb, CreateFromBeginningToEnd) {
  Situation s = situation(percentage());
  EXPECT_EQ(step(s, ok(coupon_json())).next, Next::go_on);
  EXPECT_EQ(first_kind(s), "create_code");
  EXPECT_EQ(step(s, ok(code_json())).next, Next::go_on);
  EXPECT_FALSE(s.unsettled);
  const Plan plan = plan_promo(s);
  EXPECT_EQ(kinds(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::synced);
}

TEST(Absorb, AnswersWithoutProductsKeepWhatWasSent) {
  Situation s = situation(percentage());
  std::string hidden = coupon_json();
  const std::string products = R"("applies_to":{"products":["prod_plan"]},)";
  hidden.erase(hidden.find(products), products.size());
  EXPECT_EQ(step(s, ok(hidden)).next, Next::go_on);
  EXPECT_TRUE(s.observed.coupon->products_known);
  EXPECT_EQ(first_kind(s), "create_code");

  s = in_step(percentage({{"description", "Winter"}}));
  std::string renamed = hidden;
  for (auto at = renamed.find("Summer sale"); at != std::string::npos;
       at = renamed.find("Summer sale"))
    renamed.replace(at, 11, "Winter");
  EXPECT_EQ(step(s, ok(renamed)).next, Next::go_on);
  EXPECT_EQ(kinds(plan_promo(s)), "");
  EXPECT_EQ(s.observed.coupon->terms.products, std::vector<std::string>{"prod_plan"});
}

TEST(Absorb, InPlaceAndOff) {
  Situation s = in_step(percentage({{"is_active", "false"}}));
  CodeShape off;
  off.active = false;
  EXPECT_EQ(step(s, ok(code_json(off))).next, Next::go_on);
  EXPECT_EQ(plan_promo(s).end.state, PromoState::synced);
  EXPECT_EQ(kinds(plan_promo(s)), "");
}

TEST(Absorb, AnAnswerThatChangesNothingIsParkedNotRepeated) {
  Situation s = in_step(percentage({{"is_active", "false"}}));
  Effect effect = step(s, ok(code_json()));
  EXPECT_EQ(effect.next, Next::parked);
  EXPECT_TRUE(contains(effect.reason.message, "did not change")) << effect.reason.message;
  EXPECT_FALSE(s.unsettled);

  s = in_step(percentage({{"description", "Winter"}}));
  EXPECT_EQ(step(s, ok(coupon_json())).next, Next::parked);

  // A coupon that came out with other terms would be made again and again.
  s = situation(percentage());
  effect = step(s, ok(coupon_json(our_marks, "SUMMER-aaaaaa", "49.9")));
  EXPECT_EQ(effect.next, Next::parked);
  EXPECT_TRUE(contains(effect.reason.message, "database 50 %, Stripe 49.9 %"));

  // So would a promotion code: what it sells nobody has asked for.
  s = situation(percentage({{"stripe_customer_id", "cus_1"}}));
  step(s, ok(coupon_json()));
  EXPECT_EQ(step(s, ok(code_json())).next, Next::go_on);
  EXPECT_EQ(steps(plan_promo(s)), "off");
  CodeShape off;
  off.active = false;
  EXPECT_EQ(step(s, ok(code_json(off))).next, Next::go_on);
  const Plan plan = plan_promo(s);
  EXPECT_EQ(steps(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::parked);
  EXPECT_TRUE(contains(plan.end.reason.message, "customer: database cus_1, Stripe none"))
      << plan.end.reason.message;
  EXPECT_TRUE(contains(plan.end.reason.detail, "promo_1 (SUMMER) is switched off"))
      << plan.end.reason.detail;

  // ... unless it is the row that changed meanwhile.
  s = situation(percentage());
  const Operation create = plan_promo(s).operations[0];
  s.row = percentage({{"discount_value", "40"}});
  s.mapped = map(s.row);
  EXPECT_EQ(absorb(s, create, ok(coupon_json())).next, Next::go_on);
  EXPECT_TRUE(plan_promo(s).needs_new_coupon_id);
}

struct Passing {
  Verdict verdict;
  long status;
  Next next;
  bool unsettled;
  bool keep_number;
};

TEST(Absorb, EveryVerdictOfAWrite) {
  const Passing rows[] = {
      {Verdict::unauthorized, 401, Next::blocked, false, false},
      {Verdict::forbidden, 403, Next::blocked, false, false},
      {Verdict::rate_limited, 429, Next::retry, false, true},
      {Verdict::unavailable, 0, Next::retry, false, true},
      {Verdict::in_flight, 409, Next::retry, true, false},
      {Verdict::unknown, 500, Next::retry, true, false},
      {Verdict::unknown, 0, Next::retry, true, false},
      {Verdict::refused, 402, Next::parked, false, false},
  };
  Situation coupon_made = in_step();
  coupon_made.observed.code.reset();
  const Situation starts[] = {situation(percentage()), coupon_made,
                              in_step(percentage({{"is_active", "false"}})),
                              in_step(percentage({{"description", "X"}}))};
  for (const Situation& start : starts) {
    for (const Passing& row : rows) {
      SCOPED_TRACE(first_kind(start) + " " + std::to_string(row.status));
      Situation s = start;
      stripe::Answer answer = failed(row.verdict, row.status);
      answer.retry_after = Millis(7000);
      const Effect effect = step(s, answer);
      EXPECT_EQ(effect.next, row.next);
      EXPECT_EQ(effect.keep_number, row.keep_number);
      EXPECT_EQ(s.unsettled.has_value(), row.unsettled);
      EXPECT_EQ(effect.reason.message, "Stripe refused");
      EXPECT_EQ(effect.retry_after, Millis(row.next == Next::retry ? 7000 : 0));
      EXPECT_EQ(plan_promo(s).operations.at(0).writes(), !row.unsettled);
    }
  }
}

// A cache or proxy may mix answers up: nothing is learnt from somebody else's.
TEST(Absorb, AnswersAboutAnotherObjectAreLookedFor) {
  CodeShape other_id, other_text, off;
  other_id.id = "promo_2";
  other_text.code = "WINTER";
  off.active = false;
  const std::string other_coupon = coupon_json(our_marks, "WINTER-bbbbbb");
  const std::string customer = R"({"id":"SUMMER-aaaaaa","object":"customer"})";

  Situation coupon_made = in_step();
  coupon_made.observed.code.reset();
  const Situation renamed = in_step(percentage({{"description", "Winter"}}));
  const Situation switched_off = in_step(percentage({{"is_active", "false"}}));
  const std::pair<Situation, std::vector<std::string>> cases[] = {
      {situation(percentage()), {other_coupon, customer, code_json(), list_of({})}},
      {coupon_made, {code_json(other_text), coupon_json(), list_of({code_json()})}},
      {renamed, {other_coupon, customer, code_json()}},
      {switched_off, {code_json(other_id), coupon_json(), list_of({code_json(off)})}}};
  for (const auto& [start, bodies] : cases) {
    for (const std::string& body : bodies) {
      SCOPED_TRACE(first_kind(start) + " " + body);
      Situation s = start;
      EXPECT_EQ(step(s, ok(body)).next, Next::retry);
      EXPECT_EQ(s.observed.dump(), start.observed.dump());
      ASSERT_TRUE(s.unsettled);
      const std::string look = first_kind(s);
      for (const std::string& wrong : {customer, body}) {
        if (look == "find_code" && wrong == list_of({code_json()})) continue;
        EXPECT_EQ(step(s, ok(wrong)).next, Next::retry) << wrong;
        EXPECT_EQ(s.observed.dump(), start.observed.dump());
        EXPECT_EQ(first_kind(s), look);
      }
    }
  }
}

TEST(Absorb, AnswersThatShowNoObjectAreLookedFor) {
  Situation s = situation(percentage());
  EXPECT_EQ(step(s, ok("{}")).next, Next::retry);
  EXPECT_EQ(first_kind(s), "read_coupon");
  EXPECT_EQ(step(s, ok("{}")).next, Next::retry);
  EXPECT_EQ(first_kind(s), "read_coupon");
}

TEST(Absorb, LostCouponFound) {
  Situation s = situation(percentage());
  step(s, failed(Verdict::unknown, 500));
  EXPECT_EQ(step(s, ok(coupon_json())).next, Next::go_on);
  EXPECT_FALSE(s.unsettled);
  EXPECT_EQ(first_kind(s), "create_code");
}

TEST(Absorb, LostCouponNotMadeIsSentAgain) {
  Situation s = situation(percentage());
  const Operation create = plan_promo(s).operations[0];
  step(s, failed(Verdict::unknown, 500));
  EXPECT_EQ(step(s, failed(Verdict::missing, 404)).next, Next::go_on);
  ASSERT_TRUE(s.unsettled);
  EXPECT_TRUE(s.unsettled->looked);
  EXPECT_TRUE(plan_promo(s).operations.at(0).same_request(create));
  EXPECT_EQ(step(s, ok(coupon_json())).next, Next::go_on);
  EXPECT_FALSE(s.unsettled);
}

TEST(Absorb, TakenCouponIds) {
  const auto taken = failed(Verdict::refused, 400, "resource_already_exists");
  // Our own, made by an answer that was lost long ago.
  Situation s = situation(percentage());
  EXPECT_EQ(step(s, taken).next, Next::go_on);
  EXPECT_EQ(first_kind(s), "read_coupon");
  EXPECT_EQ(step(s, ok(coupon_json())).next, Next::go_on);
  EXPECT_EQ(first_kind(s), "create_code");

  // Somebody else's, or another row's.
  for (const char* marks :
       {"", R"("stripe_sync_row":"public.promo/2","stripe_sync_installation":"inst_1")",
        R"("stripe_sync_row":"public.promo/1","stripe_sync_installation":"inst_2")"}) {
    s = situation(percentage());
    step(s, taken);
    EXPECT_EQ(step(s, ok(coupon_json(marks))).next, Next::salt);
    EXPECT_FALSE(s.unsettled);
    EXPECT_FALSE(s.observed.coupon);
  }
  // A deleted one's.
  s = situation(percentage());
  step(s, taken);
  EXPECT_EQ(step(s, failed(Verdict::missing, 404)).next, Next::salt);
  // Ours, of earlier terms.
  s = situation(percentage());
  step(s, taken);
  EXPECT_EQ(step(s, ok(coupon_json(our_marks, "SUMMER-aaaaaa", "10"))).next, Next::go_on);
  EXPECT_TRUE(plan_promo(s).needs_new_coupon_id);
  EXPECT_FALSE(s.unsettled);
}

TEST(Absorb, RefusedCouponIsParkedWithStripesWords) {
  Situation s = situation(percentage());
  const Effect effect = step(s, failed(Verdict::refused, 400, "resource_missing"));
  EXPECT_EQ(effect.next, Next::parked);
  EXPECT_EQ(effect.reason.message, "Stripe refused");
  EXPECT_FALSE(s.unsettled);
}

TEST(Absorb, LostCodeFound) {
  for (const bool refused : {true, false}) {
    Situation s = situation(percentage());
    step(s, ok(coupon_json()));
    step(s, refused ? failed(Verdict::refused, 400) : failed(Verdict::unknown, 0));
    CodeShape older;  // of an earlier coupon: not the lost answer
    older.id = "promo_0";
    older.active = false;
    older.coupon = coupon_json(our_marks, "SUMMER-000000", "10");
    CodeShape made;
    made.coupon = coupon_json();
    EXPECT_EQ(step(s, ok(list_of({code_json(older), code_json(made)}))).next, Next::go_on);
    EXPECT_FALSE(s.unsettled);
    EXPECT_EQ(s.observed.code->id, "promo_1");
    EXPECT_EQ(kinds(plan_promo(s)), "");
  }
}

TEST(Absorb, LostCodeOfATableThatWasRenamed) {
  for (const bool refused : {true, false}) {
    Situation s = situation(percentage());
    step(s, ok(coupon_json()));
    step(s, refused ? failed(Verdict::refused, 400) : failed(Verdict::unknown, 0));
    s.identity.row = "public.renamed/1";
    Situation another = s;
    CodeShape made;
    made.coupon = coupon_json();
    EXPECT_EQ(step(s, ok(list_of({code_json(made)}))).next, Next::go_on);
    EXPECT_EQ(s.observed.code->id, "promo_1");
    EXPECT_EQ(kinds(plan_promo(s)), "update_code update_coupon");  // the marks

    // What bears neither name is another row's.
    made.metadata = R"("stripe_sync_row":"public.promo/2","stripe_sync_installation":"inst_1")";
    step(another, ok(list_of({code_json(made)})));
    EXPECT_FALSE(another.observed.code);
  }
}

TEST(Absorb, LostCodeNotMadeIsSentAgain) {
  Situation s = situation(percentage());
  step(s, ok(coupon_json()));
  const Operation create = plan_promo(s).operations[0];
  step(s, failed(Verdict::in_flight, 409));
  EXPECT_EQ(step(s, ok(list_of({}))).next, Next::go_on);
  EXPECT_TRUE(s.unsettled->looked);
  EXPECT_TRUE(plan_promo(s).operations.at(0).same_request(create));
}

TEST(Absorb, RefusedCodeThatNobodyHoldsIsParked) {
  CodeShape other;
  other.code = "SUMMER2";
  CodeShape inactive = foreign();
  inactive.active = false;
  for (const auto& list :
       {list_of({}), list_of({code_json(other)}), list_of({code_json(inactive)})}) {
    Situation s = code_refused();
    const Effect effect = step(s, ok(list));
    EXPECT_EQ(effect.next, Next::parked);
    EXPECT_EQ(effect.reason.message, "Stripe refused");
    EXPECT_FALSE(s.unsettled);
  }
}

TEST(Absorb, RefusedCodeWhoseCouponIsGone) {
  Situation s = situation(percentage());
  step(s, ok(coupon_json()));
  const Effect effect =
      step(s, failed(Verdict::refused, 400, "resource_missing", "promotion[coupon]"));
  EXPECT_EQ(effect.next, Next::retry);
  EXPECT_FALSE(s.unsettled);
  EXPECT_TRUE(plan_promo(s).needs_new_coupon_id);  // when it is tried again
}

TEST(Absorb, ACouponThatWasToServeNextAndIsGoneIsNotTriedForEver) {
  Situation s = situation(percentage());
  s.observed.next_coupon = Coupon::from(parsed(coupon_json()));
  EXPECT_EQ(first_kind(s), "create_code");
  step(s, failed(Verdict::refused, 400, "resource_missing", "promotion[coupon]"));
  s.observed = Observed::parse(s.observed.dump());
  EXPECT_TRUE(plan_promo(s).needs_new_coupon_id);
}

TEST(Absorb, LostUpdates) {
  Situation s = in_step(percentage({{"is_active", "false"}}));
  const Operation off = plan_promo(s).operations[0];
  step(s, failed(Verdict::unknown, 0));
  EXPECT_EQ(first_kind(s), "read_code");
  // Not done.
  Situation undone = s;
  CodeShape shape;
  shape.coupon = coupon_json();
  EXPECT_EQ(step(undone, ok(code_json(shape))).next, Next::go_on);
  ASSERT_TRUE(undone.unsettled && undone.unsettled->looked);
  EXPECT_TRUE(plan_promo(undone).operations.at(0).same_request(off));
  // Done.
  shape.active = false;
  EXPECT_EQ(step(s, ok(code_json(shape))).next, Next::go_on);
  EXPECT_FALSE(s.unsettled);
  EXPECT_EQ(kinds(plan_promo(s)), "");

  s = in_step(percentage({{"description", "Winter"}}));
  step(s, failed(Verdict::unknown, 0));
  EXPECT_EQ(first_kind(s), "read_coupon");
  EXPECT_EQ(step(s, ok(coupon_json())).next, Next::go_on);
  EXPECT_TRUE(s.unsettled && s.unsettled->looked);
}

TEST(Absorb, SpentNumbersAreNotUsedAgain) {
  Situation s = in_step(percentage({{"is_active", "false"}}));
  const Effect effect = step(s, failed(Verdict::refused, 400, "idempotency_error"));
  EXPECT_EQ(effect.next, Next::go_on);
  EXPECT_FALSE(effect.keep_number);
  ASSERT_TRUE(s.unsettled && s.unsettled->spent);
  CodeShape shape;
  shape.coupon = coupon_json();
  EXPECT_EQ(step(s, ok(code_json(shape))).next, Next::go_on);
  EXPECT_FALSE(s.unsettled);
  EXPECT_EQ(first_kind(s), "update_code");
}

TEST(Absorb, ReadsThatFailLeaveTheLookOpen) {
  const std::pair<Verdict, Next> rows[] = {
      {Verdict::rate_limited, Next::retry}, {Verdict::unavailable, Next::retry},
      {Verdict::unknown, Next::retry},      {Verdict::unauthorized, Next::blocked},
      {Verdict::forbidden, Next::blocked},  {Verdict::refused, Next::parked},
  };
  for (const auto& [verdict, next] : rows) {
    Situation s = situation(percentage());
    step(s, failed(Verdict::unknown, 500));
    EXPECT_EQ(step(s, failed(verdict, 0)).next, next);
    ASSERT_TRUE(s.unsettled);
    EXPECT_FALSE(s.unsettled->looked);
  }
}

TEST(Absorb, GoneObjects) {
  // A deleted coupon takes its codes along: another of each.
  Situation s = in_step(percentage({{"description", "X"}}));
  EXPECT_EQ(step(s, failed(Verdict::missing, 404)).next, Next::go_on);
  s.observed = Observed::parse(s.observed.dump());
  EXPECT_TRUE(plan_promo(s).needs_new_coupon_id);
  s.identity.coupon_id = "SUMMER-bbbbbb";
  EXPECT_EQ(kinds(plan_promo(s)), "create_coupon update_code create_code");

  // A vanished code: made anew, after a pause; the row's stale id is not asked for again.
  s = in_step(percentage({{"is_active", "false"}, {"stripe_promotion_code_id", "promo_1"}}));
  EXPECT_EQ(step(s, failed(Verdict::missing, 404)).next, Next::retry);
  EXPECT_EQ(kinds(plan_promo(s)), "create_coupon create_code");
  s.deleted = true;
  EXPECT_EQ(kinds(plan_promo(s)), "");

  s = in_step();
  s.observed.coupon.reset();
  EXPECT_EQ(step(s, failed(Verdict::missing, 404)).next, Next::go_on);
  EXPECT_TRUE(plan_promo(s).needs_new_coupon_id);
}

TEST(Absorb, DeletedWhileTheCreateWasUnknown) {
  Situation s = situation(percentage());
  step(s, ok(coupon_json()));
  step(s, failed(Verdict::unknown, 0));
  s.deleted = true;
  s.mapped = Parked{};
  EXPECT_EQ(first_kind(s), "find_code");
  CodeShape made;
  made.coupon = coupon_json();
  EXPECT_EQ(step(s, ok(list_of({code_json(made)}))).next, Next::go_on);
  EXPECT_EQ(params_text(plan_promo(s).operations.at(0)), "active=false");
}

}  // namespace
}  // namespace stripe_sync::testing
