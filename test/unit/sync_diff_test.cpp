#include "sync/promo_diff.hpp"
#include "sync_situation.hpp"

// Rows compared with Stripe by reading alone: what is asked, and what comes of it.

namespace stripe_sync::testing {
namespace {

using stripe::Verdict;

/// Stripe as a diff finds it: what each read is answered with.
struct Held {
  std::map<std::string, std::string> objects;  ///< by path; absent = 404
  std::string list = list_of({});              ///< of every text
  std::optional<stripe::Answer> broken;        ///< to every read
};

struct Compared {
  std::string reads;
  std::string error;
  std::vector<DiffLine> lines;

  std::string text() const {
    std::string text;
    for (const DiffLine& line : lines) {
      text += (line.step > 0 ? std::to_string(line.step) + " " : "") + line.action;
      if (!line.field.empty())
        text += " [" + line.field + ": " + line.database.value_or("-") + " | " +
                line.stripe.value_or("-") + "]";
      text += " " + line.why + "\n";
    }
    return text;
  }
};

DiffSubject subject_of(const PromoRow& row, const Observed& seen = {}) {
  DiffSubject subject;
  subject.job.row = row;
  subject.job.code = "SUMMER";
  subject.job.settings = std::make_shared<const AttachSettings>(settings());
  subject.job.observed = seen;
  subject.job.identity = identity();
  subject.coupon_ids = {"SUMMER-bbbbbb", "SUMMER-cccccc"};
  return subject;
}

Compared compare(
    const DiffSubject& subject, const Held& held,
    const PromoDiff::GivesUp& gives_up = [](auto&, auto&) { return false; }) {
  PromoDiff diff(subject, gives_up);
  Compared compared;
  Catalog known;
  for (int i = 0; i < 50; ++i) {
    const auto wants = diff.next(known, now);
    if (wants.prices) {
      compared.reads += "prices ";
      known = catalog();
      continue;
    }
    if (!wants.look) {
      compared.lines = diff.lines();
      return compared;
    }
    EXPECT_FALSE(wants.look->writes()) << wants.look->what;
    EXPECT_EQ(wants.look->call.method, "GET");
    compared.reads += std::string(kind_name(wants.look->kind)) + " ";
    stripe::Answer answer = failed(Verdict::missing, 404, "resource_missing");
    const auto found = held.objects.find(wants.look->call.path);
    if (found != held.objects.end()) answer = ok(found->second);
    if (wants.look->kind == Kind::find_code) answer = ok(held.list);
    if (held.broken) answer = *held.broken;
    if (const auto error = diff.take(answer)) {
      compared.error = error->message;
      return compared;
    }
  }
  ADD_FAILURE() << "no end: " << compared.reads;
  return compared;
}

const char* const coupon_path = "/v1/coupons/SUMMER-aaaaaa";
const char* const code_path = "/v1/promotion_codes/promo_1";

CodeShape expanded(CodeShape shape = {}) {
  shape.coupon = coupon_json();
  return shape;
}

/// Both objects as in_step() remembers them.
Held unchanged() {
  return {{{code_path, code_json(expanded())}, {coupon_path, coupon_json()}}, list_of({}), {}};
}

Observed seen() {
  return in_step().observed;
}

void expect_lines(const Compared& compared, const std::string& reads, const std::string& lines) {
  EXPECT_EQ(compared.error, "");
  EXPECT_EQ(compared.reads, reads);
  EXPECT_EQ(compared.text(), lines);
}

TEST(Diff, NewRowIsAskedForByItsText) {
  const auto compared = compare(subject_of(percentage()), {});
  expect_lines(compared, "find_code ",
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
  EXPECT_EQ(compared.reads, "prices find_code ");
  EXPECT_TRUE(contains(compared.text(), "[discount: 50 % | -]")) << compared.text();
}

TEST(Diff, ReplacementIsShownFieldByField) {
  const auto compared = compare(
      subject_of(percentage({{"discount_value", "60"}, {"max_uses", "9"}}), seen()), unchanged());
  const std::string why = " replaces promotion code promo_1, in which Stripe can't change it\n";
  expect_lines(compared, "read_code find_code ",
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
  // A command that would carry it out there is none: a push goes by what was last seen.
  EXPECT_EQ(compare(subject_of(percentage(), seen()), held).lines[0].next, "");
}

TEST(Diff, CodeThatIsGoneIsMadeAnew) {
  Held held = unchanged();
  held.objects.erase(code_path);
  const auto compared = compare(subject_of(percentage(), seen()), held);
  EXPECT_EQ(compared.reads, "read_code find_code ");
  EXPECT_TRUE(contains(compared.text(),
                       "1 create coupon SUMMER-aaaaaa [discount: 50 % | -] "
                       "changed in Stripe: not in Stripe\n"))
      << compared.text();
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

// --- what stands in the way ---------------------------------------------------------------------

TEST(Diff, ConflictOfACarriedCode) {
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
      compared, "read_code find_code ",
      "conflict [discount: 50 % | 40 %] promotion code promo_theirs (coupon THEIRS) is not "
      "this row's\n"
      "1 create coupon SUMMER-aaaaaa [discount: 50 % | 40 %]" +
          why + "2 switch off promotion code SUMMER (promo_theirs) [active: false | true]" +
          suppose + "gives way to another\n" +
          "3 create promotion code SUMMER [coupon: SUMMER-aaaaaa | THEIRS]" + why);
  EXPECT_EQ(compared.lines[0].next, "SELECT * FROM stripe_sync_resolve('SUMMER', 'db');");
  EXPECT_EQ(compared.lines[1].next, "");
}

TEST(Diff, ConflictOfTheTextIsFoundBeforeAnythingIsMade) {
  Held held;
  held.list = list_of({code_json(foreign("40"))});
  const auto compared = compare(subject_of(percentage()), held);
  EXPECT_EQ(compared.reads, "find_code ");
  EXPECT_EQ(compared.lines[0].action, "conflict");
  EXPECT_EQ(compared.lines[0].database, "50 %");
  EXPECT_EQ(compared.lines[0].stripe, "40 %");
  EXPECT_EQ(compared.lines.back().action, "create promotion code SUMMER");
}

TEST(Diff, UsesOfTheRivalCountOnce) {
  PromoRow row = percentage({{"max_uses", "10"}, {"used_count", "2"}});
  Held held;
  std::string theirs = code_json(foreign("40"));
  theirs.replace(theirs.find("\"times_redeemed\":0"), 18, "\"times_redeemed\":2");
  held.list = list_of({theirs});
  const auto compared = compare(subject_of(row), held);
  EXPECT_TRUE(contains(compared.text(), "create promotion code SUMMER [max_redemptions: 8 |"))
      << compared.text();
}

TEST(Diff, EqualCodeIsAdopted) {
  Held held;
  held.list = list_of({code_json(foreign())});
  const auto compared = compare(subject_of(percentage()), held);
  EXPECT_EQ(compared.reads, "find_code ");
  EXPECT_EQ(compared.text(), "none in step with Stripe: sold as promotion code promo_theirs\n");
}

TEST(Diff, CodeOfAnotherRow) {
  const std::string marks =
      R"("stripe_sync_row":"public.promo/2","stripe_sync_installation":"inst_1")";
  Held held;
  held.list = list_of({code_json(foreign("50", marks))});
  const auto stays = compare(subject_of(percentage()), held);
  ASSERT_EQ(stays.lines.size(), 1u);
  EXPECT_EQ(stays.lines[0].action, "conflict");
  EXPECT_TRUE(contains(stays.lines[0].why, "another row")) << stays.lines[0].why;
  // Its row is about to let go of it.
  const auto leaves = compare(subject_of(percentage()), held, [](const auto& id, const auto& text) {
    return id == "promo_theirs" && text == "SUMMER";
  });
  ASSERT_EQ(leaves.lines.size(), 6u);
  EXPECT_EQ(leaves.lines[0].action, "create coupon SUMMER-aaaaaa");
  EXPECT_EQ(leaves.lines[0].why,
            "once promotion code promo_theirs of another row has let go of it: not in Stripe");
}

TEST(Diff, SwitchingOnMeetsARival) {
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

TEST(Diff, InvalidRowTellsWhatSwitchingOffWouldDo) {
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

TEST(Diff, InvalidRowWithTheIdOfAnOlderCode) {
  PromoRow row = percentage({{"discount_value", "NULL"}, {"is_active", "NULL"}});
  row.values["stripe_promotion_code_id"] = "promo_theirs";
  Held held;
  held.objects["/v1/promotion_codes/promo_theirs"] = code_json(foreign("40"));
  const auto compared = compare(subject_of(row), held);
  EXPECT_EQ(compared.lines[0].action, "parked");
  // Nothing is known as the row's: deleting it leaves that code alone.
  EXPECT_EQ(compared.lines.size(), 1u) << compared.text();
}

TEST(Diff, WhatStripeRefusedIsSaid) {
  DiffSubject subject = subject_of(percentage());
  subject.state = PromoState::parked;
  subject.reason = Error(errcode::refused, "No such product: 'prod_plan'");
  const auto compared = compare(subject, {});
  EXPECT_EQ(compared.lines[0].action, "parked");
  EXPECT_EQ(compared.lines[0].why, "No such product: 'prod_plan'");
  EXPECT_EQ(compared.lines[1].action, "create coupon SUMMER-aaaaaa");
  EXPECT_EQ(compared.lines[1].next, "SELECT stripe_sync_retry('SUMMER');");
}

TEST(Diff, RowsThatAreNotPushed) {
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

TEST(Diff, WriteWithoutAnAnswerIsLookedForFirst) {
  DiffSubject subject = subject_of(percentage());
  const Plan plan = plan_promo(situation(percentage()));
  subject.job.unsettled = Unsettled{plan.operations.front(), std::nullopt, false, false};
  Held held;
  held.objects[coupon_path] = coupon_json();
  const auto compared = compare(subject, held);
  EXPECT_EQ(compared.reads, "read_coupon read_coupon find_code ");
  EXPECT_EQ(compared.lines[0].action, "create promotion code SUMMER");
}

TEST(Diff, NothingIsSaidWithoutAnAnswer) {
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
