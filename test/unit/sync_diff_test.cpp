#include "sync_diff_fixture.hpp"

// Rows compared with Stripe by reading alone: what is asked, and what comes of it.

namespace stripe_sync::testing {
namespace {

TEST(Diff, NewRowIsAskedForByItsText) {
  const auto compared = compare(subject_of(percentage()), {});
  expect_lines(compared, "read_coupon find_code ",
               "1 create coupon SUMMER-aaaaaa [discount: 50 % | -] not in Stripe\n"
               "1 create coupon SUMMER-aaaaaa [duration: once | -] not in Stripe\n"
               "1 create coupon SUMMER-aaaaaa [products: prod_plan | -] not in Stripe\n"
               "1 create coupon SUMMER-aaaaaa [name: Summer sale | -] not in Stripe\n"
               "2 create promotion code SUMMER [coupon: SUMMER-aaaaaa | -] not in Stripe\n"
               "2 create promotion code SUMMER [code: SUMMER | -] not in Stripe\n");
  EXPECT_EQ(compared.lines[0].next, "SELECT * FROM stripe_sync_promo('SUMMER');");
}

TEST(Diff, InStepIsOneLine) {
  expect_lines(compare(subject_of(percentage(), seen()), unchanged()), "read_code ",
               "none in step with Stripe: sold as promotion code promo_1\n");
}

TEST(Diff, SwitchingOffNeedsNoPrices) {
  const PromoRow row = percentage({{"is_active", "false"},
                                   {"discount_type", "custom_price"},
                                   {"discount_value", "NULL"},
                                   {"custom_monthly_price", "99"}});
  expect_lines(compare(subject_of(row, seen()), unchanged()), "read_code ",
               "1 switch off promotion code SUMMER (promo_1) [active: false | true] "
               "is_active is false\n");
}

TEST(Diff, PricesAreReadFirst) {
  const PromoRow row = percentage({{"discount_type", "custom_price"},
                                   {"discount_value", "NULL"},
                                   {"custom_monthly_price", "99.50"}});
  const auto compared = compare(subject_of(row), {});
  EXPECT_EQ(compared.reads, "prices read_coupon find_code ");
  EXPECT_TRUE(contains(compared.text(), "[discount: 50 % | -]")) << compared.text();
}

TEST(Diff, ReplacementIsShownFieldByField) {
  const auto compared = compare(
      subject_of(percentage({{"discount_value", "60"}, {"max_uses", "9"}}), seen()), unchanged());
  const std::string why = " replaces promotion code promo_1, in which Stripe can't change it\n";
  expect_lines(compared, "read_code read_coupon find_code ",
               "1 create coupon SUMMER-bbbbbb [discount: 60 % | 50 %]" + why +
                   "2 switch off promotion code SUMMER (promo_1) [active: false | true] "
                   "gives way to another\n"
                   "3 create promotion code SUMMER [coupon: SUMMER-bbbbbb | SUMMER-aaaaaa]" +
                   why + "3 create promotion code SUMMER [max_redemptions: 9 | unlimited]" + why);
}

TEST(Diff, UsesAreThoseThatStripeHasCountedByNow) {
  DiffSubject subject =
      subject_of(percentage({{"discount_value", "60"}, {"max_uses", "9"}}), seen());
  subject.job.used_before = 1;
  Held held = unchanged();
  std::string used = code_json(expanded());
  used.replace(used.find("\"times_redeemed\":0"), 18, "\"times_redeemed\":3");
  held.objects[code_path] = used;
  const auto compared = compare(subject, held);
  EXPECT_TRUE(contains(compared.text(), "[max_redemptions: 5 | unlimited]")) << compared.text();
}

TEST(Diff, WhatChangedInStripeIsSeen) {
  Held held = unchanged();
  CodeShape off = expanded();
  off.active = false;
  held.objects[code_path] = code_json(off);
  expect_lines(compare(subject_of(percentage(), seen()), held), "read_code find_code ",
               "1 switch on promotion code SUMMER (promo_1) [active: true | false] "
               "changed in Stripe: the row is active\n");
  EXPECT_EQ(compare(subject_of(percentage(), seen()), held).lines[0].next,
            "SELECT stripe_sync_retry('SUMMER');");
}

TEST(Diff, CodeThatIsGoneIsMadeAnew) {
  Held held = unchanged();
  held.objects.erase(code_path);
  const std::string why = " changed in Stripe: not in Stripe\n";
  expect_lines(compare(subject_of(percentage(), seen()), held), "read_code read_coupon find_code ",
               "1 create promotion code SUMMER [coupon: SUMMER-aaaaaa | -]" + why +
                   "1 create promotion code SUMMER [code: SUMMER | -]" + why);
}

TEST(Diff, CouponIdsThatAreTakenAreLeftOut) {
  // By somebody else's, or by one of the row's own with other terms.
  for (const char* taken : {"", our_marks}) {
    Held held;
    held.objects[coupon_path] = coupon_json(taken, "SUMMER-aaaaaa", "40");
    const auto compared = compare(subject_of(percentage()), held);
    EXPECT_EQ(compared.reads, "read_coupon read_coupon find_code ");
    EXPECT_EQ(compared.lines[0].action, "create coupon SUMMER-bbbbbb");
  }
}

TEST(Diff, DeletedCouponIsReplaced) {
  Held held = unchanged();
  CodeShape shape = expanded();
  shape.coupon = R"({"id":"SUMMER-aaaaaa","object":"coupon","valid":false,"percent_off":50.0,)"
                 R"("duration":"once","metadata":{}})";
  held.objects[code_path] = code_json(shape);
  const auto compared = compare(subject_of(percentage(), seen()), held);
  EXPECT_TRUE(
      contains(compared.text(),
               "1 create coupon SUMMER-bbbbbb [discount: 50 % | -] changed in Stripe: coupon "
               "SUMMER-aaaaaa was deleted in Stripe, or is no longer valid\n"))
      << compared.text();
}

TEST(Diff, NameAndMarksAreChangedInPlace) {
  Held held = unchanged();
  CodeShape shape;
  shape.coupon = coupon_json("");
  shape.metadata = R"("stripe_sync_installation":"inst_1")";
  held.objects[code_path] = code_json(shape);
  const auto compared =
      compare(subject_of(percentage({{"description", "Autumn sale"}}), seen()), held);
  expect_lines(
      compared, "read_code ",
      "1 update promotion code SUMMER (promo_1) [metadata[stripe_sync_row]: public.promo/1 | -] "
      "marks it as this row's\n"
      "2 update coupon SUMMER-aaaaaa [name: Autumn sale | Summer sale] differs\n"
      "2 update coupon SUMMER-aaaaaa [metadata[description]: Autumn sale | Summer sale] differs\n"
      "2 update coupon SUMMER-aaaaaa [metadata[stripe_sync_row]: public.promo/1 | -] "
      "marks it as this row's\n"
      "2 update coupon SUMMER-aaaaaa [metadata[stripe_sync_installation]: inst_1 | -] "
      "marks it as this row's\n");
}

TEST(Diff, TimesAndUses) {
  struct Case {
    Values row;
    std::string lines;
  };
  const std::string later = std::to_string(now + day), earlier = std::to_string(now - day);
  const Case cases[] = {
      {{{"expires_at", earlier}},
       "none in step with Stripe: nothing is sold, expires_at has passed\n"},
      {{{"max_uses", "5"}, {"used_count", "5"}},
       "none in step with Stripe: nothing is sold, all uses are used up\n"},
  };
  for (const Case& one : cases)
    expect_lines(compare(subject_of(percentage(one.row)), {}), "", one.lines);

  const auto scheduled = compare(subject_of(percentage({{"starts_at", later}})), {});
  EXPECT_TRUE(contains(scheduled.text(),
                       "2 create promotion code SUMMER [active: false | -] "
                       "it starts at 2027-01-16 08:00:00+00\n"))
      << scheduled.text();
  Held held = unchanged();
  CodeShape off = expanded();
  off.active = false;
  held.objects[code_path] = code_json(off);
  expect_lines(compare(subject_of(percentage({{"starts_at", later}}), seen()), held), "read_code ",
               "none in step with Stripe: inactive until 2027-01-16 08:00:00+00\n");
}

TEST(Diff, OtherTermsOfACodeThatIsOffWait) {
  Held held = unchanged();
  CodeShape off = expanded();
  off.active = false;
  held.objects[code_path] = code_json(off);
  const PromoRow row = percentage({{"is_active", "false"}, {"discount_value", "60"}});
  expect_lines(compare(subject_of(row, seen()), held), "read_code ",
               "none in step with Stripe: nothing is sold, is_active is false\n"
               "none [discount: 60 % | 50 %] waits until the code is to be sold: promotion code "
               "promo_1, switched off, is then replaced\n");
}

}  // namespace
}  // namespace stripe_sync::testing
