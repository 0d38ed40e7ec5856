#include "sync_situation.hpp"

namespace stripe_sync::testing {
namespace {

using Next = Effect::Next;
using stripe::Verdict;

TEST(Adopt, ActiveCodeOfTheTextIsAdoptedIfEqual) {
  Situation s = code_refused();
  EXPECT_EQ(step(s, ok(list_of({code_json(foreign())}))).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_theirs");
  EXPECT_EQ(s.observed.coupon->id, "THEIRS");
  const Plan plan = plan_promo(s);
  EXPECT_EQ(kinds(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::synced);
}

TEST(Adopt, ActiveCodeOfTheTextWithOtherTermsIsAConflict) {
  Situation s = code_refused();
  const Effect effect = step(s, ok(list_of({code_json(foreign("40"))})));
  EXPECT_EQ(effect.next, Next::conflict);
  EXPECT_EQ(effect.reason.sqlstate, errcode::invalid_promo_code);
  for (const char* part : {"SUMMER", "promo_theirs", "discount: database 50 %, Stripe 40 %"})
    EXPECT_TRUE(contains(effect.reason.message, part)) << effect.reason.message;
  EXPECT_TRUE(contains(effect.reason.hint, "promo_theirs"));
  EXPECT_FALSE(s.unsettled);
  EXPECT_FALSE(s.observed.code);
  // The next try asks Stripe anew.
  EXPECT_EQ(first_kind(s), "create_code");
}

TEST(Adopt, WhatIsMadeInactiveIsInNobodysWay) {
  Situation s = situation(percentage({{"is_active", "false"}}));
  step(s, ok(coupon_json()));
  step(s, failed(Verdict::refused, 400));  // for another reason, then
  const Effect effect = step(s, ok(list_of({code_json(foreign("40"))})));
  EXPECT_EQ(effect.next, Next::parked);
  EXPECT_EQ(effect.reason.message, "Stripe refused");
}

TEST(Adopt, OneOfSeveralActiveCodesWillDo) {
  Situation s = code_refused();
  CodeShape customers = foreign();
  customers.id = "promo_customer";
  customers.more = R"(,"customer":"cus_7")";
  EXPECT_EQ(step(s, ok(list_of({code_json(customers), code_json(foreign())}))).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_theirs");
  s = code_refused();
  EXPECT_EQ(step(s, ok(list_of({code_json(customers)}))).next, Next::conflict);
}

TEST(Adopt, OfSeveralCodesThatDifferTheFirstIsTheConflict) {
  CodeShape other = foreign("30");
  other.id = "promo_other";
  Situation s = code_refused();
  const Effect effect = step(s, ok(list_of({code_json(foreign("40")), code_json(other)})));
  EXPECT_TRUE(contains(effect.reason.message, "promo_theirs")) << effect.reason.message;
  EXPECT_EQ(s.observed.rival->id, "promo_theirs");
  EXPECT_EQ(s.observed.rival_coupon->terms.percent_hundredths, 4000);
  // Whose they are, their marks need not say.
  EXPECT_EQ(effect.held_by, (std::vector<std::string>{"promo_theirs", "promo_other"}));
}

TEST(Adopt, AnotherRowsCodeIsNeverTaken) {
  Situation s = code_refused();
  const Effect effect = step(
      s,
      ok(list_of({code_json(foreign(
          "50", R"("stripe_sync_row":"public.promo/2","stripe_sync_installation":"inst_1")"))})));
  EXPECT_EQ(effect.next, Next::conflict);
  EXPECT_TRUE(contains(effect.reason.message, "another row")) << effect.reason.message;
  // Another installation's is somebody's like any other.
  s = code_refused();
  EXPECT_EQ(
      step(s, ok(list_of({code_json(foreign(
                  "50",
                  R"("stripe_sync_row":"public.promo/1","stripe_sync_installation":"inst_2")"))})))
          .next,
      Next::go_on);
}

Situation carrying(const Values& changes = {}) {
  PromoRow row = percentage(changes);
  row.values["stripe_promotion_code_id"] = "promo_theirs";
  Situation s = situation(row);
  EXPECT_EQ(first_kind(s), "read_code");
  return s;
}

TEST(Adopt, CarriedCodeIsAdoptedIfEqual) {
  Situation s = carrying();
  EXPECT_EQ(step(s, ok(code_json(foreign()))).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_theirs");
  EXPECT_EQ(kinds(plan_promo(s)), "");
}

TEST(Adopt, WhatSomebodyElseMadeIsLeftAsItIsUntilTheRowChanges) {
  Situation s = carrying({{"description", "Winter"}});
  EXPECT_EQ(step(s, ok(code_json(foreign()))).next, Next::go_on);
  EXPECT_EQ(kinds(plan_promo(s)), "") << "neither marks nor name are worth a write";
  s.observed = Observed::parse(s.observed.dump());
  EXPECT_EQ(kinds(plan_promo(s)), "") << "nor are they later";

  s.row = row_of(s.row.values, {{"description", "Spring"}});
  s.mapped = map(s.row);
  const Plan renamed = plan_promo(s);
  ASSERT_EQ(kinds(renamed), "update_coupon");
  EXPECT_TRUE(contains(params_text(renamed.operations[0]),
                       "name=Spring&metadata[description]=Spring&metadata[stripe_sync_row]="));

  s.row = row_of(s.row.values, {{"description", "Winter"}, {"is_active", "false"}});
  s.mapped = map(s.row);
  EXPECT_EQ(params_text(plan_promo(s).operations.at(0)), "active=false");
  s.observed.code->active = false;
  s.row = row_of(s.row.values, {{"is_active", "true"}});
  s.mapped = map(s.row);
  const Plan on = plan_promo(s);
  ASSERT_EQ(kinds(on), "update_code");
  EXPECT_EQ(params_text(on.operations[0]),
            "active=true&metadata[stripe_sync_row]=public.promo/1"
            "&metadata[stripe_sync_installation]=inst_1");
}

// Its marks are two writes: the key may change again between them.
TEST(Adopt, ARowThatGoesOnUnderOtherKeysKeepsItsCoupon) {
  Situation s = in_step(percentage());
  for (const char* key : {"public.promo/2", "public.promo/3"}) {
    s.identity.row = key;
    s.observed = Observed::parse(s.observed.dump());
    const Plan plan = plan_promo(s);
    ASSERT_EQ(kinds(plan), "update_code update_coupon") << key;
    const bool code_first = s.identity.row == "public.promo/2";
    const Operation& sent = plan.operations[code_first ? 0 : 1];
    const std::string marks =
        R"("stripe_sync_installation":"inst_1","stripe_sync_row":")" + s.identity.row + '"';
    CodeShape code;
    code.metadata = marks;
    absorb(s, sent, ok(code_first ? code_json(code) : coupon_json(marks)));
  }
  s.identity.row = "public.promo/4";
  EXPECT_EQ(kinds(plan_promo(s)), "update_code update_coupon") << "three rows' marks, one row";
}

TEST(Adopt, AReadingOfTheCouponForgetsNotWhatItWasAdoptedFor) {
  Situation s = carrying({{"description", "Winter"}});
  step(s, ok(code_json(foreign())));
  s.observed.coupon->products_known = false;
  ASSERT_EQ(first_kind(s), "read_coupon");
  EXPECT_EQ(step(s, ok(coupon_json("", "THEIRS"))).next, Next::go_on);
  EXPECT_EQ(kinds(plan_promo(s)), "");
}

/// Somebody else's code, adopted and switched off, that is not switched on again.
Situation refused_again() {
  Situation s = carrying({{"description", "Winter"}});
  step(s, ok(code_json(foreign())));
  s.observed.code->active = false;
  EXPECT_EQ(first_kind(s), "update_code");
  step(s, failed(Verdict::refused, 400));
  EXPECT_EQ(first_kind(s), "find_code");
  return s;
}

TEST(Adopt, ACodeThatCannotReturnLeavesItsCouponAsItIs) {
  Situation s = refused_again();
  CodeShape off = foreign();
  off.active = false;
  EXPECT_EQ(step(s, ok(list_of({code_json(off)}))).next, Next::go_on);
  EXPECT_EQ(kinds(plan_promo(s)), "create_code") << "with the coupon that was adopted";
}

TEST(Adopt, ACodeThatIsFoundAgainLeavesItsCouponAsItIs) {
  // In step, otherwise, or for a row that has another description by now: as it was adopted.
  for (const Values& changes :
       {Values{}, Values{{"max_uses", "5"}}, Values{{"description", "May"}}}) {
    Situation s = refused_again();
    s.row = row_of(s.row.values, changes);
    s.mapped = map(s.row);
    EXPECT_EQ(step(s, ok(list_of({code_json(foreign("50.0", our_marks))}))).next, Next::go_on);
    EXPECT_EQ(s.observed.coupon->adopted_for, "Winter");
  }
}

TEST(Adopt, TheCodesOfATextReadBeforeAnythingIsMade) {
  const auto find = [](Situation& s, const std::vector<std::string>& codes) {
    return absorb(s, plan_promo(code_refused()).operations.at(0), ok(list_of(codes)));
  };
  Situation s = situation(percentage());
  EXPECT_EQ(find(s, {code_json(foreign())}).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_theirs");
  EXPECT_EQ(kinds(plan_promo(s)), "");

  s = situation(percentage());
  EXPECT_EQ(find(s, {code_json(foreign("40"))}).next, Next::conflict);
  EXPECT_EQ(s.observed.rival->id, "promo_theirs");

  CodeShape own;
  own.coupon = coupon_json(our_marks, "SUMMER-old", "40");
  s = situation(percentage());
  EXPECT_EQ(find(s, {code_json(own)}).next, Next::go_on);
  EXPECT_EQ(kinds(plan_promo(s)), "create_coupon update_code create_code");

  CodeShape off = foreign();
  off.active = false;
  for (const std::vector<std::string>& none :
       {std::vector<std::string>(), std::vector<std::string>{code_json(off)}}) {
    s = situation(percentage());
    EXPECT_EQ(find(s, none).next, Next::go_on);
    EXPECT_EQ(kinds(plan_promo(s)), "create_coupon create_code");
  }
}

TEST(Adopt, CarriedCodeOfTheOldShape) {
  Situation s = carrying();
  std::string old = code_json(foreign());
  const std::string begin = R"("promotion":{"type":"coupon","coupon":)";
  const auto at = old.find(begin);
  const auto end = old.find("},\"times_redeemed\"");
  old = old.substr(0, at) + R"("coupon":)" + coupon_json("", "THEIRS") + old.substr(end + 1);
  EXPECT_EQ(step(s, ok(old)).next, Next::go_on);
  EXPECT_EQ(s.observed.coupon->id, "THEIRS");
}

TEST(Adopt, CarriedCodeThatDiffersIsAConflict) {
  CodeShape renamed = foreign();
  renamed.code = "OTHER";
  CodeShape off = foreign();
  off.active = false;
  const std::pair<std::string, const char*> rows[] = {
      {code_json(foreign("40")), "discount: database 50 %, Stripe 40 %"},
      {code_json(renamed), "code: database SUMMER, Stripe OTHER"},
      {code_json(off), "active: database true, Stripe false"},
      {code_json(foreign(
           "50", R"("stripe_sync_row":"public.promo/2","stripe_sync_installation":"inst_1")")),
       "another row"},
  };
  for (const auto& [code, says] : rows) {
    Situation s = carrying();
    const Effect effect = step(s, ok(code));
    EXPECT_EQ(effect.next, Next::conflict);
    EXPECT_TRUE(contains(effect.reason.message, says)) << effect.reason.message;
    EXPECT_FALSE(s.observed.code);
    EXPECT_EQ(first_kind(s), "read_code");
  }
}

TEST(Adopt, CarriedCodeThatStripeDoesNotKnow) {
  Situation s = carrying();
  EXPECT_EQ(step(s, failed(Verdict::missing, 404)).next, Next::go_on);
  EXPECT_EQ(s.observed.unknown_code, "promo_theirs");
  EXPECT_EQ(first_kind(s), "create_coupon");
}

TEST(Adopt, CarriedCodeOfOurOwnIsTaken) {
  Situation s = carrying({{"discount_value", "40"}});
  CodeShape own;
  own.id = "promo_theirs";
  own.coupon = coupon_json();
  EXPECT_EQ(step(s, ok(code_json(own))).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_theirs");
  s.identity.coupon_id = "SUMMER-bbbbbb";
  EXPECT_EQ(kinds(plan_promo(s)), "create_coupon update_code create_code");
}

TEST(Adopt, CarriedCodeOfAnOffRowIsSwitchedOffWhateverItsTerms) {
  for (const bool deleted : {false, true}) {
    Situation s = carrying({{"is_active", "false"}});
    s.deleted = deleted;
    if (deleted) s.mapped = Parked{};
    EXPECT_EQ(step(s, ok(code_json(foreign("40")))).next, Next::go_on);
    EXPECT_EQ(params_text(plan_promo(s).operations.at(0)), "active=false");
  }
  // But not another row's, nor one of another text.
  CodeShape renamed = foreign();
  renamed.code = "OTHER";
  for (const std::string& code :
       {code_json(renamed),
        code_json(foreign(
            "50", R"("stripe_sync_row":"public.promo/2","stripe_sync_installation":"inst_1")"))}) {
    Situation s = carrying({{"is_active", "false"}});
    s.deleted = true;
    EXPECT_EQ(step(s, ok(code)).next, Next::go_on);
    EXPECT_FALSE(s.observed.code);
    EXPECT_EQ(kinds(plan_promo(s)), "");
  }
}

TEST(Adopt, CarriedCodeOfAnOffRowThatIsSoldUnderAnotherText) {
  CodeShape renamed = foreign();
  renamed.code = "OTHER";
  Situation s = carrying({{"is_active", "false"}});
  const Effect effect = step(s, ok(code_json(renamed)));
  EXPECT_EQ(effect.next, Next::parked);
  EXPECT_TRUE(
      contains(effect.reason.message,
               "promotion code promo_theirs, which the row names, is active in Stripe as OTHER"))
      << effect.reason.message;
  EXPECT_EQ(first_kind(s), "read_code") << "looked at again by the next push";
  // Switched off there: nothing is left to be said.
  renamed.active = false;
  EXPECT_EQ(step(s, ok(code_json(renamed))).next, Next::go_on);
  EXPECT_EQ(plan_promo(s).end.state, PromoState::synced);
}

TEST(Adopt, WhatTheOriginalAdoptedIsNotItsCopys) {
  const auto copied = [](Situation s) {
    s.identity.copy_of = "inst_0";
    s.identity.originals = std::make_shared<std::set<std::string>>(std::set{foreign().id});
    return s;
  };
  for (const bool take_over : {false, true}) {
    Situation s = copied(carrying());
    s.take_over = take_over;
    const Effect effect = step(s, ok(code_json(foreign())));
    EXPECT_EQ(effect.next, Next::conflict);
    EXPECT_TRUE(contains(effect.reason.message, "copied from")) << effect.reason.message;
    s = copied(code_refused());
    s.take_over = take_over;
    EXPECT_EQ(step(s, ok(list_of({code_json(foreign())}))).next, Next::conflict);
    EXPECT_FALSE(s.observed.code);
  }
  Situation s = copied(carrying({{"is_active", "false"}}));
  EXPECT_EQ(step(s, ok(code_json(foreign()))).next, Next::go_on);
  EXPECT_FALSE(s.observed.code);
  EXPECT_EQ(kinds(plan_promo(s)), "create_coupon create_code") << "nor is it switched off";
  // The copy's own mark, given by hand, says that it is.
  s = copied(carrying());
  EXPECT_EQ(step(s, ok(code_json(foreign("50.0", our_marks)))).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_theirs");
}

TEST(Adopt, EqualCodeThatTheRowWantsOffIsAdoptedAndSwitchedOff) {
  Situation s = carrying({{"starts_at", std::to_string(now + day)}});
  EXPECT_EQ(step(s, ok(code_json(foreign()))).next, Next::go_on);
  EXPECT_EQ(params_text(plan_promo(s).operations.at(0)), "active=false");
}

TEST(Adopt, UsesThatTheAdoptedCodeHasCountedAreNotCountedTwice) {
  const auto adopt = [](std::int64_t used_before, const char* more) {
    Situation s = carrying({{"max_uses", "50"}});
    s.used_before = used_before;
    s.mapped = map_promo(s.row, settings(), catalog(), used_before, now);
    CodeShape shape = foreign();
    shape.more = more;
    std::string code = code_json(shape);
    const std::string none = R"("times_redeemed":0,)";
    code.erase(code.find(none), none.size());
    EXPECT_EQ(step(s, ok(code)).next, Next::go_on) << used_before;
    EXPECT_EQ(plan_promo(s).end.state, PromoState::synced);
    return s.used_before;
  };
  const char* same = R"(,"max_redemptions":50,"times_redeemed":12)";
  EXPECT_EQ(adopt(0, same), 0);
  EXPECT_EQ(adopt(12, same), 0);
  EXPECT_EQ(adopt(5, same), 0);
  EXPECT_EQ(adopt(10, R"(,"max_redemptions":40,"times_redeemed":3)"), 10);
  EXPECT_EQ(adopt(15, R"(,"max_redemptions":40,"times_redeemed":5)"), 10);
  // All used: adopted, and exhausted.
  Situation s = carrying({{"max_uses", "50"}});
  s.used_before = 50;
  s.mapped = map_promo(s.row, settings(), catalog(), 50, now);
  CodeShape shape = foreign();
  shape.active = false;
  shape.more = R"(,"max_redemptions":50)";
  std::string code = code_json(shape);
  code.replace(code.find(R"("times_redeemed":0)"), 18, R"("times_redeemed":50)");
  EXPECT_EQ(step(s, ok(code)).next, Next::go_on);
  EXPECT_EQ(plan_promo(s).end.state, PromoState::exhausted);
}

}  // namespace
}  // namespace stripe_sync::testing
