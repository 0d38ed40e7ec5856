#include "sync_situation.hpp"

namespace stripe_sync::testing {
namespace {

TEST(Objects, CouponIsRead) {
  const auto coupon = Coupon::from(parsed(
      R"({"id":"C1","valid":false,"amount_off":12900,"currency":"usd","percent_off":null,
          "duration":"repeating","duration_in_months":6,"name":null,"redeem_by":1900000000,
          "max_redemptions":7,"applies_to":{"products":["prod_b","prod_a"]},
          "currency_options":{"usd":{"amount_off":12900},"eur":{"amount_off":12000}},
          "metadata":{"a":"b"}})"));
  ASSERT_TRUE(coupon);
  EXPECT_EQ(coupon->id, "C1");
  EXPECT_FALSE(coupon->valid);
  EXPECT_EQ(coupon->terms.amount_off, 12900);
  EXPECT_EQ(coupon->terms.currency, "usd");
  EXPECT_FALSE(coupon->terms.percent_hundredths);
  EXPECT_EQ(coupon->terms.duration_in_months, 6);
  EXPECT_EQ(coupon->terms.products, (std::vector<std::string>{"prod_a", "prod_b"}));
  EXPECT_TRUE(coupon->products_known);
  EXPECT_EQ(coupon->name, "");
  EXPECT_EQ(coupon->redeem_by, 1'900'000'000);
  EXPECT_EQ(coupon->max_redemptions, 7);
  EXPECT_EQ(coupon->other_currencies, std::vector<std::string>{"eur"});
  EXPECT_EQ(coupon->metadata.at("a"), "b");

  const auto percent = Coupon::from(parsed(R"({"id":"C2","percent_off":12.5,"duration":"once"})"));
  EXPECT_EQ(percent->terms.percent_hundredths, 1250);
  EXPECT_TRUE(percent->valid);
  EXPECT_FALSE(percent->products_known);
  EXPECT_FALSE(Coupon::from(parsed(R"({"id":"C3","deleted":true})"))->valid);
  EXPECT_FALSE(Coupon::from(parsed(R"({"object":"coupon"})")));
  EXPECT_FALSE(Coupon::from(json::Value()));
}

TEST(Objects, PromotionCodeIsReadInBothShapes) {
  const auto now_shape = PromotionCode::from(parsed(
      R"({"id":"promo_1","code":"A","active":true,"promotion":{"type":"coupon","coupon":"C1"},
          "customer":"cus_1","expires_at":1900000000,"max_redemptions":5,"times_redeemed":2,
          "restrictions":{"first_time_transaction":true,"minimum_amount":500,
            "minimum_amount_currency":"usd","currency_options":{"eur":{"minimum_amount":400},
            "usd":{"minimum_amount":500}}},"metadata":{"k":"v"}})"));
  ASSERT_TRUE(now_shape);
  EXPECT_EQ(now_shape->coupon, "C1");
  EXPECT_EQ(now_shape->customer, "cus_1");
  EXPECT_EQ(now_shape->expires_at, 1'900'000'000);
  EXPECT_EQ(now_shape->max_redemptions, 5);
  EXPECT_EQ(now_shape->times_redeemed, 2);
  EXPECT_TRUE(now_shape->first_time_only);
  EXPECT_EQ(now_shape->minimum_amount, 500);
  EXPECT_EQ(now_shape->minimum_amount_currency, "usd");
  EXPECT_EQ(now_shape->other_minimum_currencies, std::vector<std::string>{"eur"});

  EXPECT_EQ(PromotionCode::from(parsed(R"({"id":"p","promotion":{"coupon":{"id":"C2"}}})"))->coupon,
            "C2");
  EXPECT_EQ(PromotionCode::from(parsed(R"({"id":"p","coupon":{"id":"C3"}})"))->coupon, "C3");
  EXPECT_EQ(PromotionCode::from(parsed(R"({"id":"p","coupon":"C4"})"))->coupon, "C4");
  EXPECT_EQ(PromotionCode::from(parsed(R"({"id":"p","customer":{"id":"cus_9"}})"))->customer,
            "cus_9");
  EXPECT_EQ(PromotionCode::from(parsed(R"({"id":"p","customer_account":"acct_9"})"))->customer,
            "acct_9");
  EXPECT_FALSE(PromotionCode::from(parsed(R"({"code":"A"})")));
}

TEST(Objects, ObservedIsStoredWhole) {
  Observed observed;
  observed.coupon = Coupon::from(parsed(
      R"({"id":"C\"1","valid":false,"amount_off":5,"currency":"usd","duration":"repeating",
          "duration_in_months":6,"name":"A \"name\"","redeem_by":9,"max_redemptions":7,
          "applies_to":{"products":["prod_a"]},"currency_options":{"eur":{}},
          "metadata":{"a":"b\n"}})"));
  observed.code = PromotionCode::from(parsed(
      R"({"id":"promo_1","code":"A","active":true,"promotion":{"coupon":"C1"},"customer":"cus_1",
          "expires_at":19,"max_redemptions":5,"times_redeemed":2,
          "restrictions":{"first_time_transaction":true,"minimum_amount":500,
          "minimum_amount_currency":"usd","currency_options":{"eur":{}}},"metadata":{"k":"v"}})"));
  observed.unknown_code = "promo_gone";
  const Observed again = Observed::parse(observed.dump());
  EXPECT_EQ(again.dump(), observed.dump());
  ASSERT_TRUE(again.coupon && again.code);
  EXPECT_EQ(again.coupon->terms.duration_in_months, 6);
  EXPECT_EQ(again.coupon->other_currencies, std::vector<std::string>{"eur"});
  EXPECT_FALSE(again.coupon->valid);
  EXPECT_EQ(again.code->minimum_amount, 500);
  EXPECT_EQ(again.unknown_code, "promo_gone");

  EXPECT_EQ(Observed().dump(), "{}");
  for (const char* text : {"{}", "", "null", "rubbish"}) {
    EXPECT_FALSE(Observed::parse(text).coupon) << text;
    EXPECT_FALSE(Observed::parse(text).code) << text;
  }
  observed.coupon = Coupon::from(parsed(R"({"id":"C","percent_off":33.33,"duration":"once"})"));
  EXPECT_EQ(Observed::parse(observed.dump()).coupon->terms.percent_hundredths, 3333);
  EXPECT_FALSE(Observed::parse(observed.dump()).coupon->products_known);
}

TEST(Objects, OperationsAreStoredWhole) {
  for (const Operation& operation : plan_promo(situation(percentage())).operations) {
    const auto again = Operation::parse(operation.dump());
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->same_request(operation));
    EXPECT_EQ(again->what, operation.what);
    EXPECT_EQ(again->dump(), operation.dump());
  }
  for (const char* text : {"", "{}", "[]", R"({"kind":"delete_all"})"})
    EXPECT_FALSE(Operation::parse(text)) << text;
}

TEST(Objects, SameRequest) {
  const Operation one = plan_promo(situation(percentage())).operations.front();
  Operation other = one;
  other.call.idempotency_key = "key";
  other.what = "otherwise named";
  EXPECT_TRUE(one.same_request(other));
  other.call.params.back().second = "x";
  EXPECT_FALSE(one.same_request(other));
}

TEST(Objects, StatesAndTheirProjection) {
  const std::pair<PromoState, std::pair<const char*, const char*>> rows[] = {
      {PromoState::pending, {"pending", "pending"}},
      {PromoState::sending, {"sending", "pending"}},
      {PromoState::retrying, {"retrying", "pending"}},
      {PromoState::synced, {"synced", "synced"}},
      {PromoState::scheduled, {"scheduled", "synced"}},
      {PromoState::exhausted, {"exhausted", "synced"}},
      {PromoState::expired, {"expired", "synced"}},
      {PromoState::parked, {"parked", "error"}},
      {PromoState::conflict, {"conflict", "error"}},
      {PromoState::missing, {"missing", "error"}},
      {PromoState::excluded, {"excluded", "manual"}},
  };
  for (const auto& [state, names] : rows) {
    EXPECT_STREQ(state_name(state), names.first);
    EXPECT_STREQ(sync_status_of(state), names.second);
  }
}

struct Other {
  Values row;
  const char* coupon_member;  ///< replaces "redeem_by":null in the coupon; nullptr = unchanged
  const char* code_member;    ///< added to the promotion code
  const char* says;
};

TEST(Objects, DifferingTermsShowBothSides) {
  const std::string later = std::to_string(now + day);
  const Other rows[] = {
      {{{"discount_value", "40"}}, nullptr, "", "discount: database 40 %, Stripe 50 %"},
      {{{"discount_type", "fixed"}}, nullptr, "", "discount: database 50.00 usd, Stripe 50 %"},
      {{{"duration", "repeating"}, {"duration_in_months", "6"}},
       nullptr,
       "",
       "duration: database repeating for 6 months, Stripe once"},
      {{{"stripe_product_id", "prod_x"}},
       nullptr,
       "",
       "products: database prod_x, Stripe prod_plan"},
      {{{"stripe_product_id", "NULL"}}, nullptr, "", "products: database all, Stripe prod_plan"},
      {{{"code", "WINTER"}}, nullptr, "", "code: database WINTER, Stripe SUMMER"},
      {{{"max_uses", "5"}}, nullptr, "", "max_redemptions: database 5, Stripe unlimited"},
      {{}, nullptr, R"(,"max_redemptions":9)", "max_redemptions: database unlimited, Stripe 9"},
      {{{"expires_at", later}},
       nullptr,
       "",
       "expires_at: database 2027-01-16 08:00:00+00, Stripe never"},
      {{},
       nullptr,
       R"(,"expires_at":1800086400)",
       "expires_at: database never, Stripe 2027-01-16 08:00:00+00"},
      {{{"first_time_only", "true"}}, nullptr, "", "first_time_only: database true, Stripe false"},
      {{{"minimum_amount", "5"}}, nullptr, "", "minimum_amount: database 5.00 usd, Stripe none"},
      {{{"stripe_customer_id", "cus_1"}}, nullptr, "", "customer: database cus_1, Stripe none"},
      {{}, nullptr, R"(,"customer":"cus_2")", "customer: database none, Stripe cus_2"},
      {{}, R"("redeem_by":1800086400)", "", "redeem_by of the coupon: database never, Stripe 2027"},
      {{},
       R"("redeem_by":null,"max_redemptions":3)",
       "",
       "max_redemptions of the coupon: database unlimited, Stripe 3"},
      {{},
       R"("redeem_by":null,"currency_options":{"eur":{}})",
       "",
       "discount in other currencies: database none, Stripe eur"},
  };
  for (const Other& row : rows) {
    SCOPED_TRACE(row.says);
    std::string coupon = coupon_json();
    if (row.coupon_member) {
      const std::string null_limits = R"("redeem_by":null,"max_redemptions":null)";
      coupon.replace(coupon.find(null_limits), null_limits.size(), row.coupon_member);
    }
    CodeShape shape;
    shape.more = row.code_member;
    const auto differences =
        differing_terms(desired_of(map(percentage(row.row))), *Coupon::from(parsed(coupon)),
                        *PromotionCode::from(parsed(code_json(shape))));
    ASSERT_EQ(differences.size(), 1u);
    EXPECT_TRUE(contains(differences.front().text(), row.says)) << side_by_side(differences);
  }
}

TEST(Objects, EqualAtStripesPrecision) {
  CodeShape shape;
  shape.code = "Summer";
  shape.more = R"(,"expires_at":1800086400)";
  const Desired desired =
      desired_of(map(percentage({{"expires_at", "1800086400.75"}, {"discount_value", "50.000"}})));
  EXPECT_TRUE(differing_terms(desired, *Coupon::from(parsed(coupon_json())),
                              *PromotionCode::from(parsed(code_json(shape))))
                  .empty());
}

}  // namespace
}  // namespace stripe_sync::testing
