#include "sync_situation.hpp"

// A row's promotion code gives way to another: what is planned from each standing, and what each
// answer leads to.

namespace stripe_sync::testing {
namespace {

using Next = Effect::Next;
using stripe::Verdict;

const std::string later = std::to_string(now + day);
const std::string much_later = std::to_string(now + 2 * day);

/// In step, but for what `stand` changes; a new coupon would get the id of revision 2.
struct Case {
  const char* name;
  Values row;
  std::function<void(Situation&)> stand;
  const char* plan;
  PromoState end;
};

Situation situation_of(const Case& one) {
  Situation s = in_step(percentage(one.row));
  s.identity.coupon_id = "SUMMER-bbbbbb";
  if (one.stand) one.stand(s);
  s.mapped =
      map_promo(s.row, settings(), catalog(), s.used_before + s.observed.redeemed_before(), now);
  s.observed = Observed::parse(s.observed.dump());
  return s;
}

void off(Situation& s) {
  s.observed.code->active = false;
}
void limited(Situation& s, std::int64_t most, std::int64_t redeemed) {
  s.observed.code->max_redemptions = most;
  s.observed.code->times_redeemed = redeemed;
}

const Case cases[] = {
    // changed terms: of the coupon, or of the promotion code alone
    {"percent",
     {{"discount_value", "40"}},
     {},
     "create_coupon, off, create_code",
     PromoState::synced},
    {"product",
     {{"stripe_product_id", "prod_b"}},
     {},
     "create_coupon, off, create_code",
     PromoState::synced},
    {"duration",
     {{"duration", "forever"}},
     {},
     "create_coupon, off, create_code",
     PromoState::synced},
    {"expiry", {{"expires_at", later}}, {}, "off, create_code", PromoState::synced},
    {"expiry moved",
     {{"expires_at", much_later}},
     [](Situation& s) { s.observed.code->expires_at = now + day; },
     "off, create_code",
     PromoState::synced},
    {"expired in Stripe, moved forward",
     {{"expires_at", later}},
     [](Situation& s) { s.observed.code->expires_at = now - day; },
     "off, create_code",
     PromoState::synced},
    {"customer", {{"stripe_customer_id", "cus_1"}}, {}, "off, create_code", PromoState::synced},
    {"another text", {{"code", "WINTER"}}, {}, "off, create_code", PromoState::synced},
    {"the text's case only", {{"code", "summer"}}, {}, "", PromoState::synced},
    {"the same terms said otherwise",
     {{"discount_value", "50.000"}, {"duration", "once"}},
     {},
     "",
     PromoState::synced},
    {"terms and description",
     {{"expires_at", later}, {"description", "Winter"}},
     {},
     "off, create_code, update_coupon",
     PromoState::synced},
    // what is left
    {"a limit",
     {{"max_uses", "9"}},
     [](Situation& s) { s.observed.code->times_redeemed = 2; },
     "off, create_code 7",
     PromoState::synced},
    {"a higher limit",
     {{"max_uses", "9"}},
     [](Situation& s) { limited(s, 5, 5); },
     "off, create_code 4",
     PromoState::synced},
    {"less what predecessors and others used",
     {{"max_uses", "20"}},
     [](Situation& s) {
       limited(s, 5, 2);
       s.used_before = 3;
       s.observed.predecessors = {{"promo_a", 4}, {"promo_b", 1}};
     },
     "off, create_code 10",
     PromoState::synced},
    {"as it was made, after predecessors",
     {{"max_uses", "20"}},
     [](Situation& s) {
       limited(s, 12, 7);
       s.used_before = 3;
       s.observed.predecessors = {{"promo_a", 5}};
     },
     "",
     PromoState::synced},
    {"a limit below its own uses",
     {{"max_uses", "3"}},
     [](Situation& s) { limited(s, 5, 4); },
     "off",
     PromoState::exhausted},
    {"the same, off already",
     {{"max_uses", "3"}},
     [](Situation& s) {
       limited(s, 5, 4);
       off(s);
     },
     "",
     PromoState::exhausted},
    {"a limit below earlier uses",
     {{"max_uses", "3"}},
     [](Situation& s) {
       s.observed.predecessors = {{"promo_a", 3}};
     },
     "off",
     PromoState::exhausted},
    // half done
    {"the coupon is there",
     {{"discount_value", "40"}},
     [](Situation& s) {
       s.observed.next_coupon = Coupon::from(parsed(coupon_json(our_marks, "SUMMER-bbbbbb", "40")));
     },
     "off, create_code",
     PromoState::synced},
    {"and the code is off",
     {{"discount_value", "40"}},
     [](Situation& s) {
       s.observed.next_coupon = Coupon::from(parsed(coupon_json(our_marks, "SUMMER-bbbbbb", "40")));
       off(s);
     },
     "create_code",
     PromoState::synced},
    {"the old terms again, in the middle",
     {},
     [](Situation& s) {
       s.observed.next_coupon = Coupon::from(parsed(coupon_json(our_marks, "SUMMER-bbbbbb", "40")));
       off(s);
     },
     "on",
     PromoState::synced},
    {"still other terms, in the middle",
     {{"discount_value", "30"}},
     [](Situation& s) {
       s.observed.next_coupon = Coupon::from(parsed(coupon_json(our_marks, "SUMMER-bbbbbb", "40")));
       s.identity.coupon_id = "SUMMER-cccccc";
       off(s);
     },
     "create_coupon, create_code",
     PromoState::synced},
    {"an earlier coupon serves again",
     {{"discount_value", "40"}},
     [](Situation& s) {
       s.observed.next_coupon = Coupon::from(parsed(coupon_json(our_marks, "EARLIER", "40")));
     },
     "off, create_code",
     PromoState::synced},
    // switched off, switched on
    {"off: terms wait",
     {{"discount_value", "40"}, {"is_active", "false"}},
     {},
     "off",
     PromoState::synced},
    {"off already",
     {{"discount_value", "40"}, {"is_active", "false"}},
     off,
     "",
     PromoState::synced},
    {"on again with other terms",
     {{"discount_value", "40"}},
     off,
     "create_coupon, create_code",
     PromoState::synced},
    {"expired row with other terms",
     {{"discount_value", "40"}, {"expires_at", "-Infinity"}},
     {},
     "off",
     PromoState::expired},
    {"scheduled with other terms",
     {{"discount_value", "40"}, {"starts_at", later}},
     {},
     "off, create_coupon, create_code",
     PromoState::scheduled},
    {"invalid terms", {{"discount_value", "NULL"}}, {}, "", PromoState::parked},
    {"invalid terms, off",
     {{"discount_value", "NULL"}, {"is_active", "false"}},
     {},
     "off",
     PromoState::parked},
    // reactivation where Stripe allows it
    {"on again", {}, off, "on", PromoState::synced},
    {"the coupon is dead",
     {},
     [](Situation& s) { s.observed.coupon->valid = false; },
     "create_coupon, off, create_code",
     PromoState::synced},
    {"the coupon is dead, the row off",
     {{"is_active", "false"}},
     [](Situation& s) {
       s.observed.coupon->valid = false;
       off(s);
     },
     "",
     PromoState::synced},
    {"Stripe does not switch it on",
     {},
     [](Situation& s) {
       off(s);
       s.observed.code->dead = true;
     },
     "create_code",
     PromoState::synced},
    {"which does not matter while the row is off",
     {{"is_active", "false"}},
     [](Situation& s) {
       off(s);
       s.observed.code->dead = true;
     },
     "",
     PromoState::synced},
    {"used up",
     {{"max_uses", "5"}},
     [](Situation& s) {
       limited(s, 5, 5);
       off(s);
       s.observed.code->dead = true;
     },
     "",
     PromoState::exhausted},
};

TEST(Replace, Plans) {
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const Plan plan = plan_promo(situation_of(one));
    EXPECT_EQ(steps(plan), one.plan);
    EXPECT_EQ(state_name(plan.end.state), std::string(state_name(one.end)));
    EXPECT_FALSE(plan.needs_new_coupon_id);
  }
}

TEST(Replace, FromBeginningToEnd) {
  Situation s = changed({{"discount_value", "40"}, {"max_uses", "9"}});
  step(s, ok(coupon_json(our_marks, "SUMMER-bbbbbb", "40")));
  EXPECT_EQ(s.observed.coupon->id, "SUMMER-aaaaaa");
  EXPECT_EQ(s.observed.next_coupon->id, "SUMMER-bbbbbb");
  EXPECT_EQ(steps(plan_promo(s)), "off, create_code 9");
  step(s, ok(off_answer(4)));
  EXPECT_EQ(steps(plan_promo(s)), "create_code 5");
  CodeShape made;
  made.id = "promo_2";
  made.coupon = R"("SUMMER-bbbbbb")";
  made.more = R"(,"max_redemptions":5)";
  EXPECT_EQ(step(s, ok(code_json(made))).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_2");
  EXPECT_EQ(s.observed.coupon->id, "SUMMER-bbbbbb");
  EXPECT_EQ(s.observed.redeemed_before(), 4);
  ASSERT_EQ(s.observed.replaced.size(), 1u);
  EXPECT_EQ(s.observed.replaced[0].code.id, "promo_1");
  EXPECT_EQ(s.observed.replaced[0].code.times_redeemed, 4);
  EXPECT_TRUE(contains(s.observed.replaced[0].why, "discount: database 40 %, Stripe 50 %"))
      << s.observed.replaced[0].why;
  EXPECT_EQ(steps(plan_promo(s)), "");
  // So it is when mapped anew.
  const std::string stored = s.observed.dump();
  s.observed = Observed::parse(stored);
  EXPECT_EQ(s.observed.dump(), stored) << "with what the history does not have yet";
  s.mapped = map_promo(s.row, settings(), catalog(), s.observed.redeemed_before(), now);
  EXPECT_EQ(steps(plan_promo(s)), "");
  EXPECT_EQ(plan_promo(s).end.state, PromoState::synced);
}

TEST(Replace, ALostSuccessorIsNotTakenForItsPredecessor) {
  Situation s = changed({{"expires_at", later}});
  step(s, ok(off_answer(2)));
  step(s, failed(Verdict::unknown, 0));
  EXPECT_EQ(first_kind(s), "find_code");
  // Only the old one is there, of the same coupon: not made.
  Situation none = s;
  EXPECT_EQ(step(none, ok(list_of({off_answer(2)}))).next, Next::go_on);
  EXPECT_EQ(steps(plan_promo(none)), "create_code");
  EXPECT_EQ(none.observed.code->id, "promo_1");
  // Made.
  CodeShape made;
  made.id = "promo_2";
  made.coupon = coupon_json();
  made.more = R"(,"expires_at":)" + later;
  EXPECT_EQ(step(s, ok(list_of({code_json(made), off_answer(2)}))).next, Next::go_on);
  EXPECT_EQ(s.observed.code->id, "promo_2");
  EXPECT_EQ(s.observed.redeemed_before(), 2);
  EXPECT_EQ(steps(plan_promo(s)), "");
}

TEST(Replace, APredecessorThatSomebodySwitchedOnIsTakenBack) {
  Situation s = changed({{"max_uses", "9"}});
  s.observed.predecessors = {{"promo_0", 3}};
  limited(s, 6, 0);
  off(s);
  s.mapped = map_promo(s.row, settings(), catalog(), 3, now);
  EXPECT_EQ(steps(plan_promo(s)), "on");
  step(s, failed(Verdict::refused, 400));
  CodeShape earlier;
  earlier.id = "promo_0";
  earlier.coupon = coupon_json();
  earlier.more = R"(,"max_redemptions":9)";
  std::string text = code_json(earlier);
  const std::string none = R"("times_redeemed":0)";
  text.replace(text.find(none), none.size(), R"("times_redeemed":4)");
  EXPECT_EQ(step(s, ok(list_of({text, code_json({"promo_1", "SUMMER", false})}))).next,
            Next::go_on);
  // It has the row's terms: nothing else is needed, and its uses are counted once.
  EXPECT_EQ(s.observed.code->id, "promo_0");
  ASSERT_EQ(s.observed.predecessors.size(), 1u);
  EXPECT_EQ(s.observed.predecessors[0].id, "promo_1");
  EXPECT_EQ(steps(plan_promo(s)), "");
}

TEST(Replace, WhereStripeDoesNotSwitchOn) {
  Situation s = changed({});
  off(s);
  EXPECT_EQ(steps(plan_promo(s)), "on");
  step(s, failed(Verdict::refused, 400));
  EXPECT_EQ(first_kind(s), "find_code");
  CodeShape dead;
  dead.active = false;
  dead.coupon = R"("SUMMER-aaaaaa")";  // not shown, though asked for
  EXPECT_EQ(step(s, ok(list_of({code_json(dead)}))).next, Next::go_on);
  EXPECT_EQ(first_kind(s), "read_coupon");
  EXPECT_EQ(step(s, failed(Verdict::missing, 404)).next, Next::go_on);
  EXPECT_EQ(steps(plan_promo(s)), "create_coupon, create_code");
}

TEST(Replace, ACouponThatVanishedMeanwhileIsMadeAnew) {
  Situation s = changed({{"expires_at", later}});
  step(s, ok(off_answer(0)));
  EXPECT_EQ(step(s, failed(Verdict::refused, 400, "resource_missing", "promotion[coupon]")).next,
            Next::retry);
  EXPECT_EQ(steps(plan_promo(s)), "create_coupon, create_code");
}

}  // namespace
}  // namespace stripe_sync::testing
