#include "sync_diff_fixture.hpp"

// What stands in the way of a push, as a diff shows it.

namespace stripe_sync::testing {
namespace {

using stripe::Verdict;

TEST(DiffConflict, ConflictOfACarriedCode) {
  PromoRow row = percentage();
  row.values["stripe_promotion_code_id"] = "promo_theirs";
  Held held;
  held.objects["/v1/promotion_codes/promo_theirs"] = code_json(foreign("40"));
  held.list = list_of({code_json(foreign("40"))});
  const auto compared = compare(subject_of(row), held);
  const std::string suppose = " if resolved with 'db': ";
  const std::string why = suppose +
                          "replaces promotion code promo_theirs, in which Stripe can't "
                          "change it\n";
  expect_lines(
      compared, "read_code read_coupon find_code ",
      "conflict [discount: 50 % | 40 %] promotion code promo_theirs (coupon THEIRS) is not "
      "this row's\n"
      "1 create coupon SUMMER-aaaaaa [discount: 50 % | 40 %]" +
          why + "2 switch off promotion code SUMMER (promo_theirs) [active: false | true]" +
          suppose + "gives way to another\n" +
          "3 create promotion code SUMMER [coupon: SUMMER-aaaaaa | THEIRS]" + why);
  EXPECT_EQ(compared.lines[0].next, "SELECT * FROM stripe_sync_resolve('SUMMER', 'db');");
  EXPECT_EQ(compared.lines[1].next, "");
}

TEST(DiffConflict, ConflictOfTheTextIsMetOnTheWay) {
  Held held;
  held.list = list_of({code_json(foreign("40"))});
  const auto compared = compare(subject_of(percentage()), held);
  EXPECT_EQ(compared.reads, "read_coupon find_code ");
  ASSERT_EQ(compared.lines.size(), 7u) << compared.text();
  // Stripe refuses the code only when its coupon has been made.
  EXPECT_EQ(compared.lines[3].why, "not in Stripe");
  EXPECT_EQ(compared.lines[4].action, "conflict");
  EXPECT_EQ(compared.lines[4].database, "50 %");
  EXPECT_EQ(compared.lines[4].stripe, "40 %");
  EXPECT_EQ(compared.lines[5].step, 2);
  EXPECT_EQ(compared.lines[5].action, "switch off promotion code SUMMER (promo_theirs)");
  EXPECT_EQ(compared.lines[6].step, 3);
  EXPECT_EQ(compared.lines[6].action, "create promotion code SUMMER");
}

TEST(DiffConflict, UsesOfTheRivalCountOnce) {
  PromoRow row = percentage({{"max_uses", "10"}, {"used_count", "2"}});
  Held held;
  std::string theirs = code_json(foreign("40"));
  theirs.replace(theirs.find("\"times_redeemed\":0"), 18, "\"times_redeemed\":2");
  held.list = list_of({theirs});
  const auto compared = compare(subject_of(row), held);
  EXPECT_TRUE(contains(compared.text(), "create promotion code SUMMER [max_redemptions: 8 |"))
      << compared.text();
}

TEST(DiffConflict, ACouponThatIsThereIsNotMadeAnew) {
  Held held = unchanged();
  CodeShape off = expanded();
  off.active = false;
  held.objects[code_path] = code_json(off);
  held.objects["/v1/coupons/SUMMER-bbbbbb"] = coupon_json(our_marks, "SUMMER-bbbbbb", "40");
  held.list = list_of({code_json(foreign("30"))});
  const auto compared = compare(subject_of(percentage({{"discount_value", "40"}}), seen()), held);
  EXPECT_TRUE(contains(compared.text(), "conflict [discount: 40 % | 30 %]")) << compared.text();
  EXPECT_TRUE(contains(compared.text(), "create promotion code SUMMER")) << compared.text();
  EXPECT_FALSE(contains(compared.text(), "create coupon")) << compared.text();
}

TEST(DiffConflict, WhatIsSoldBeforeItsStart) {
  Held held;
  held.list = list_of({code_json(foreign())});
  const auto compared =
      compare(subject_of(percentage({{"starts_at", std::to_string(now + day)}})), held);
  ASSERT_FALSE(compared.lines.empty());
  EXPECT_EQ(compared.lines[0].action, "conflict");
  EXPECT_EQ(compared.lines[0].field, "starts_at");
  EXPECT_EQ(compared.lines[0].stripe, "at once");
}

TEST(DiffConflict, EqualCodeIsAdopted) {
  Held held;
  held.list = list_of({code_json(foreign())});
  const auto compared = compare(subject_of(percentage()), held);
  EXPECT_EQ(compared.reads, "read_coupon find_code ");
  ASSERT_EQ(compared.lines.size(), 5u) << compared.text();
  EXPECT_EQ(compared.lines[3].action, "create coupon SUMMER-aaaaaa");
  EXPECT_EQ(compared.lines[4].why, "in step with Stripe: sold as promotion code promo_theirs");
}

TEST(DiffConflict, CodeOfAnotherRow) {
  const std::string marks =
      R"("stripe_sync_row":"public.promo/2","stripe_sync_installation":"inst_1")";
  Held held;
  held.list = list_of({code_json(foreign("50", marks))});
  const auto unmarked = list_of({code_json(foreign("40"))});
  const auto stays = compare(subject_of(percentage()), held);
  ASSERT_EQ(stays.lines.size(), 5u) << stays.text();
  EXPECT_EQ(stays.lines[4].action, "conflict");
  EXPECT_TRUE(contains(stays.lines[4].why, "another row")) << stays.lines[4].why;
  // Its row is about to let go of it.
  OtherRows others = alone();
  others.give_up = [](const auto& id, const auto& text) {
    return id == "promo_theirs" && text == "SUMMER";
  };
  const auto leaves = compare(subject_of(percentage()), held, others);
  ASSERT_EQ(leaves.lines.size(), 6u);
  EXPECT_EQ(leaves.lines[0].action, "create coupon SUMMER-aaaaaa");
  EXPECT_EQ(leaves.lines[0].why,
            "once promotion code promo_theirs of another row has let go of it: not in Stripe");
  held.list = unmarked;
  EXPECT_EQ(compare(subject_of(percentage()), held, others).text(), leaves.text());
}

TEST(DiffConflict, AdoptedByAnotherRow) {
  PromoRow row = percentage();
  row.values["stripe_promotion_code_id"] = "promo_theirs";
  Held held;
  held.objects["/v1/promotion_codes/promo_theirs"] = code_json(foreign());
  OtherRows others = alone();
  others.hold = [](const PromoJob& job) {
    return Error(errcode::invalid_promo_code, job.observed.code->id + " is another's", "",
                 "Give the row another code");
  };
  const auto compared = compare(subject_of(row), held, others);
  expect_lines(compared, "read_code ", "conflict promo_theirs is another's\n");
  EXPECT_EQ(compared.lines[0].next, "SELECT * FROM stripe_sync_inspect('SUMMER');");
}

TEST(DiffConflict, SwitchingOnMeetsARival) {
  DiffSubject subject = subject_of(percentage(), seen());
  Held held = unchanged();
  CodeShape off = expanded();
  off.active = false;
  held.objects[code_path] = code_json(off);
  held.list = list_of({code_json(off), code_json(foreign("40"))});
  const auto compared = compare(subject, held);
  EXPECT_EQ(compared.lines[0].action, "conflict");
  EXPECT_TRUE(contains(compared.text(), "switch off promotion code SUMMER (promo_theirs)"))
      << compared.text();
}

TEST(DiffConflict, InvalidRowTellsWhatSwitchingOffWouldDo) {
  const PromoRow row = percentage({{"discount_value", "NULL"}});
  const auto compared = compare(subject_of(row, seen()), unchanged());
  EXPECT_EQ(compared.reads, "read_code ");
  ASSERT_EQ(compared.lines.size(), 2u);
  EXPECT_EQ(compared.lines[0].action, "parked");
  EXPECT_TRUE(contains(compared.lines[0].why, "discount_value is empty")) << compared.text();
  EXPECT_TRUE(contains(compared.lines[0].why, "goes on as it was")) << compared.text();
  EXPECT_EQ(compared.lines[0].next, "SELECT * FROM stripe_sync_inspect('SUMMER');");
  EXPECT_EQ(compared.lines[1].action, "switch off promotion code SUMMER (promo_1)");
  EXPECT_EQ(compared.lines[1].why, "if is_active were false: is_active is false");
}

TEST(DiffConflict, InvalidRowWithTheIdOfAnOlderCode) {
  PromoRow row = percentage({{"discount_value", "NULL"}, {"is_active", "NULL"}});
  row.values["stripe_promotion_code_id"] = "promo_theirs";
  Held held;
  held.objects["/v1/promotion_codes/promo_theirs"] = code_json(foreign("40"));
  const auto compared = compare(subject_of(row), held);
  EXPECT_EQ(compared.lines[0].action, "parked");
  // Nothing is known as the row's: deleting it leaves that code alone.
  EXPECT_EQ(compared.lines.size(), 1u) << compared.text();
}

TEST(DiffConflict, WhatStripeRefusedIsSaid) {
  DiffSubject subject = subject_of(percentage());
  subject.state = PromoState::parked;
  subject.reason = Error(errcode::refused, "No such product: 'prod_plan'");
  const auto compared = compare(subject, {});
  EXPECT_EQ(compared.lines[0].action, "parked");
  EXPECT_EQ(compared.lines[0].why, "No such product: 'prod_plan'");
  EXPECT_EQ(compared.lines[1].action, "create coupon SUMMER-aaaaaa");
  EXPECT_EQ(compared.lines[1].next, "SELECT stripe_sync_retry('SUMMER');");
}

TEST(DiffConflict, RowsThatAreNotPushed) {
  struct Case {
    const char* name;
    std::function<void(DiffSubject&)> make;
    std::string reads;
    std::string lines;
  };
  const std::string off = "1 switch off promotion code SUMMER (promo_1) [active: false | true] ";
  const Case cases[] = {
      {"manual", [](DiffSubject& s) { s.job.row.values["sync_status"] = "manual"; }, "",
       "manual the row is left alone: its sync_status is manual\n"},
      {"missing",
       [](DiffSubject& s) {
         s.state = PromoState::missing;
         s.job.deleted = true;
       },
       "read_code ",
       "missing the row vanished in a way that may be a mistake: its code is left as it is\n" +
           off + "if resolved with 'db': the row is deleted\n"},
      {"deleted", [](DiffSubject& s) { s.job.deleted = true; }, "read_code ",
       off + "the row is deleted\n"},
      {"let go",
       [](DiffSubject& s) {
         s.state = PromoState::excluded;
         s.job.deleted = true;
       },
       "", "manual the row is deleted and its code was left as it was in Stripe\n"},
      {"unread", [](DiffSubject& s) { s.unread = Error(errcode::usage, "gone", "for good"); }, "",
       "none gone. for good\n"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    DiffSubject subject = subject_of(percentage(), seen());
    one.make(subject);
    expect_lines(compare(subject, unchanged()), one.reads, one.lines);
  }
}

TEST(DiffConflict, WriteWithoutAnAnswerIsLookedForFirst) {
  DiffSubject subject = subject_of(percentage());
  const Plan plan = plan_promo(situation(percentage()));
  subject.job.unsettled = Unsettled{plan.operations.front(), std::nullopt, false, false};
  Held held;
  held.objects[coupon_path] = coupon_json();
  const auto compared = compare(subject, held);
  EXPECT_EQ(compared.reads, "read_coupon read_coupon find_code ");
  EXPECT_EQ(compared.lines[0].action, "create promotion code SUMMER");
}

TEST(DiffConflict, NothingIsSaidWithoutAnAnswer) {
  Held held = unchanged();
  for (const Verdict verdict : {Verdict::unknown, Verdict::unavailable, Verdict::rate_limited,
                                Verdict::unauthorized, Verdict::forbidden}) {
    held.broken = failed(verdict, 0);
    const auto compared = compare(subject_of(percentage(), seen()), held);
    EXPECT_EQ(compared.error, "Stripe refused");
    EXPECT_TRUE(compared.lines.empty());
  }
  held.broken = ok(R"({"object":"proxy"})");
  EXPECT_TRUE(contains(compare(subject_of(percentage(), seen()), held).error, "does not show"));
  EXPECT_TRUE(contains(compare(subject_of(percentage()), held).error, "does not show"));
}

}  // namespace
}  // namespace stripe_sync::testing
