#include "sync_fixture.hpp"

namespace stripe_sync::testing {
namespace {

TEST(Map, PercentageRow) {
  const Desired d = desired_of(map(percentage({{"max_uses", "100"}})));
  EXPECT_EQ(d.code, "SUMMER");
  EXPECT_EQ(d.terms.percent_hundredths, 5000);
  EXPECT_FALSE(d.terms.amount_off);
  EXPECT_EQ(d.terms.duration, "once");
  EXPECT_EQ(d.terms.products, std::vector<std::string>{"prod_plan"});
  EXPECT_EQ(d.name, "Summer sale");
  EXPECT_EQ(d.description, "Summer sale");
  EXPECT_EQ(d.max_redemptions, 100);
  EXPECT_TRUE(d.active);
  EXPECT_TRUE(d.warnings.empty());
}

TEST(Map, FixedRow) {
  const Desired d = desired_of(map(percentage({{"discount_type", "fixed"}})));
  EXPECT_FALSE(d.terms.percent_hundredths);
  EXPECT_EQ(d.terms.amount_off, 5000);
  EXPECT_EQ(d.terms.currency, "usd");

  const Desired yen = desired_of(map(
      percentage({{"discount_type", "Fixed "}, {"currency", " JPY"}, {"discount_value", "50"}})));
  EXPECT_EQ(yen.terms.amount_off, 50);
  EXPECT_EQ(yen.terms.currency, "jpy");
}

struct Wrong {
  Values changes;
  const char* says;
};

TEST(Map, WrongInputsAreParkedWithTheirReason) {
  const Wrong rows[] = {
      {{{"code", "NULL"}}, "code is empty"},
      {{{"code", "  "}}, "code is empty"},
      {{{"code", "BETA 50"}}, "a space at position 5"},
      {{{"code", "CAF\u00c9"}}, "U+00C9 at position 4"},
      {{{"code", "\u00c9\u00c9!"}}, "U+00C9 at position 1"},
      {{{"code", "A_B"}}, "\"_\" at position 2"},
      {{{"code", "A\tB"}}, "U+0009 at position 2"},
      {{{"code", std::string(501, 'A')}}, "501 characters"},
      {{{"discount_type", "NULL"}}, "discount_type is empty"},
      {{{"discount_type", "bogof"}}, "discount_type is \"bogof\""},
      {{{"discount_value", "NULL"}}, "discount_value is empty"},
      {{{"discount_value", "NULL"}, {"custom_yearly_price", "5.00"}},
       "custom_yearly_price holds 5.00"},
      {{{"discount_value", "0"}}, "discount_value: 0 % is no discount"},
      {{{"discount_value", "-1"}}, "no discount"},
      {{{"discount_value", "100.01"}}, "more than 100 %"},
      {{{"discount_value", "33.333"}}, "more than two decimals"},
      {{{"discount_value", "NaN"}}, "not a percentage"},
      {{{"discount_type", "fixed"}, {"discount_value", "NULL"}}, "discount_value is empty"},
      {{{"discount_type", "fixed"}, {"discount_value", "NULL"}, {"custom_monthly_price", "9.00"}},
       "custom_monthly_price holds 9.00"},
      {{{"discount_type", "fixed"}, {"discount_value", "0"}}, "discount_value is 0"},
      {{{"discount_type", "fixed"}, {"discount_value", "-2"}}, "discount_value is -2"},
      {{{"discount_type", "fixed"}, {"discount_value", "1.005"}}, "finer"},
      {{{"discount_type", "fixed"}, {"discount_value", "1000000"}}, "more than Stripe takes"},
      {{{"discount_type", "fixed"}, {"currency", "xyz"}}, "not a currency"},
      {{{"discount_type", "fixed"}, {"currency", "ugx"}}, "not certain"},
      {{{"duration", "weekly"}}, "duration is \"weekly\""},
      {{{"duration", "repeating"}}, "how many months"},
      {{{"duration", "repeating"}, {"duration_in_months", "0"}}, "duration_in_months is 0"},
      {{{"duration", "repeating"}, {"duration_in_months", "-1"}}, "duration_in_months is -1"},
      {{{"duration", "repeating"}, {"duration_in_months", "1.5"}}, "duration_in_months is 1.5"},
      {{{"max_uses", "ten"}}, "max_uses is ten"},
      {{{"max_uses", "-1"}}, "max_uses is -1"},
      {{{"max_uses", "1.5"}}, "max_uses is 1.5"},
      {{{"expires_at", "soon"}}, "expires_at is \"soon\""},
      {{{"expires_at", std::to_string(now + 1827 * day)}}, "more than 5 years ahead"},
      {{{"starts_at", "later"}}, "starts_at is \"later\""},
      {{{"starts_at", "Infinity"}}, "never start"},
      {{{"starts_at", std::to_string(now + day)}, {"expires_at", std::to_string(now + day)}},
       "not before expires_at"},
      {{{"starts_at", std::to_string(now + day)}, {"expires_at", std::to_string(now - day)}},
       "not before expires_at"},
      {{{"is_active", "maybe"}}, "is_active is \"maybe\""},
      {{{"first_time_only", "7"}}, "first_time_only is \"7\""},
      {{{"stripe_customer_id", "bob@example.com"}}, "not a customer's id"},
      {{{"stripe_customer_id", "cus_"}}, "not a customer's id"},
      {{{"stripe_customer_id", "cus_a b"}}, "not a customer's id"},
      {{{"minimum_amount", "-5"}}, "minimum_amount is -5"},
      {{{"minimum_amount", "x"}}, "minimum_amount: "},
      {{{"minimum_amount", "5.001"}}, "finer"},
      {{{"minimum_amount", "5"}, {"currency", "zzz"}}, "not a currency"},
  };
  for (const Wrong& row : rows) {
    SCOPED_TRACE(row.says);
    expect_parked(map(percentage(row.changes)), row.says);
  }
}

TEST(Map, WhatNobodySaidIsAskedFor) {
  AttachSettings none;
  const Catalog empty = catalog();
  expect_parked(map_promo(percentage(), none, empty, 0, now), "how long the discount lasts");
  none.duration = "once";
  expect_parked(map_promo(percentage({{"discount_type", "fixed"}}), none, empty, 0, now),
                "of which currency");
  expect_parked(map_promo(percentage({{"minimum_amount", "5"}}), none, empty, 0, now),
                "of which currency");
  none.duration = "sometimes";
  const Error reason = reason_of(map_promo(percentage(), none, empty, 0, now));
  EXPECT_TRUE(contains(reason.hint, "Attach the table again")) << reason.hint;
}

TEST(Map, AllowedTypesAreNamed) {
  EXPECT_TRUE(contains(reason_of(map(percentage({{"discount_type", "x"}}))).detail, "percentage"));
}

TEST(Map, CodeIsTrimmed) {
  EXPECT_EQ(desired_of(map(percentage({{"code", " Summer-26\n"}}))).code, "Summer-26");
}

TEST(Map, NameIsOneShortLineAndTheDescriptionWhole) {
  const std::string text = "First line\nof a description that is longer than forty characters";
  const Desired d = desired_of(map(percentage({{"description", text}})));
  EXPECT_EQ(d.name, "First line of a description that is\u2026");
  EXPECT_EQ(d.description, text);
  EXPECT_EQ(desired_of(map(percentage({{"description", " "}}))).name, "");
  EXPECT_EQ(desired_of(map(percentage({{"description", "NULL"}}))).name, "");
  const Desired cut = desired_of(map(percentage({{"description", std::string(600, 'x')}})));
  EXPECT_EQ(cut.description.size(), 500u);
}

TEST(Map, Duration) {
  const Desired own =
      desired_of(map(percentage({{"duration", " Repeating "}, {"duration_in_months", "6"}})));
  EXPECT_EQ(own.terms.duration, "repeating");
  EXPECT_EQ(own.terms.duration_in_months, 6);
  AttachSettings attached = settings();
  attached.duration = "REPEATING";
  attached.duration_in_months = 3;
  const Desired inherited = desired_of(map_promo(percentage(), attached, catalog(), 0, now));
  EXPECT_EQ(inherited.terms.duration, "repeating");
  EXPECT_EQ(inherited.terms.duration_in_months, 3);
  const Desired forever =
      desired_of(map_promo(percentage({{"duration", "forever"}}), attached, catalog(), 0, now));
  EXPECT_EQ(forever.terms.duration, "forever");
  EXPECT_FALSE(forever.terms.duration_in_months);
  const Desired ignored = desired_of(map(percentage({{"duration_in_months", "6"}})));
  EXPECT_FALSE(ignored.terms.duration_in_months);
  expect_warning(ignored.warnings, "duration_in_months is 6, but has no effect");
}

TEST(Map, ProductsOfTheRowElseOfTheTable) {
  AttachSettings attached = settings();
  attached.products = {"prod_b", " prod_a", "", "prod_b"};
  const PromoRow row = percentage({{"stripe_product_id", "NULL"}});
  EXPECT_EQ(desired_of(map_promo(row, attached, catalog(), 0, now)).terms.products,
            (std::vector<std::string>{"prod_a", "prod_b"}));
  EXPECT_EQ(desired_of(map_promo(percentage(), attached, catalog(), 0, now)).terms.products,
            std::vector<std::string>{"prod_plan"});
}

TEST(Map, UsesLeft) {
  const auto left = [](const char* max_uses, std::int64_t used_before) {
    return desired_of(
        map_promo(percentage({{"max_uses", max_uses}}), settings(), catalog(), used_before, now));
  };
  EXPECT_EQ(left("50", 12).max_redemptions, 38);
  EXPECT_EQ(left("50.00", 0).max_redemptions, 50);
  EXPECT_FALSE(left("NULL", 12).max_redemptions);
  EXPECT_FALSE(left("NULL", 12).exhausted);
  EXPECT_EQ(left("50", -3).max_redemptions, 50);
  for (const auto& [max_uses, used] : {std::pair{"0", 0}, {"12", 12}, {"5", 12}}) {
    EXPECT_TRUE(left(max_uses, used).exhausted) << max_uses;
    EXPECT_FALSE(left(max_uses, used).active) << max_uses;
  }
  // Only used_before counts: used_count is our own projection.
  EXPECT_EQ(desired_of(map(percentage({{"max_uses", "5"}, {"used_count", "5"}}))).max_redemptions,
            5);
}

TEST(Map, Expiry) {
  const auto at = [](const std::string& text) {
    return desired_of(map(percentage({{"expires_at", text}})));
  };
  EXPECT_EQ(at(std::to_string(now + day) + ".9").expires_at, now + day);
  EXPECT_TRUE(at(std::to_string(now + day)).active);
  EXPECT_EQ(at(std::to_string(now + 1826 * day)).expires_at, now + 1826 * day);
  EXPECT_FALSE(at("Infinity").expires_at);
  EXPECT_TRUE(at("Infinity").active);
  for (const std::string& past : {std::to_string(now), std::to_string(now - 1),
                                  std::to_string(now) + ".4", std::string("-Infinity")}) {
    EXPECT_TRUE(at(past).expired) << past;
    EXPECT_FALSE(at(past).active) << past;
  }
}

TEST(Map, Start) {
  const Desired ahead =
      desired_of(map(percentage({{"starts_at", std::to_string(now + 60) + ".5"}})));
  EXPECT_EQ(ahead.starts_at, now + 61);
  EXPECT_FALSE(ahead.active);
  for (const std::string& past : {std::to_string(now), std::string("-Infinity")}) {
    const Desired begun = desired_of(map(percentage({{"starts_at", past}})));
    EXPECT_FALSE(begun.starts_at);
    EXPECT_TRUE(begun.active);
  }
}

TEST(Map, AStartThatIsNotBeforeTheExpiryStaysWrongWhenBothHaveCome) {
  const PromoRow row = percentage(
      {{"starts_at", std::to_string(now + 100)}, {"expires_at", std::to_string(now + 50)}});
  for (const std::int64_t time : {now, now + 50, now + 100, now + day})
    expect_parked(map_promo(row, settings(), catalog(), 0, time), "not before expires_at");
  const PromoRow always = percentage({{"starts_at", "-Infinity"}, {"expires_at", "-Infinity"}});
  EXPECT_TRUE(desired_of(map(always)).expired);
}

TEST(Map, Active) {
  EXPECT_TRUE(desired_of(map(percentage({{"is_active", "NULL"}}))).active);
  EXPECT_FALSE(desired_of(map(percentage({{"is_active", "false"}}))).active);
  EXPECT_TRUE(says_off(percentage({{"is_active", "false"}})));
  EXPECT_FALSE(says_off(percentage({{"is_active", "NULL"}})));
  EXPECT_FALSE(says_off(percentage()));
  EXPECT_TRUE(is_over(percentage({{"expires_at", "-Infinity"}}), now));
  EXPECT_FALSE(is_over(percentage({{"expires_at", "Infinity"}}), now));
  EXPECT_FALSE(is_over(percentage({{"expires_at", "rubbish"}}), now));
}

TEST(Map, Restrictions) {
  const Desired d = desired_of(map(percentage({{"first_time_only", "true"},
                                               {"minimum_amount", "50"},
                                               {"stripe_customer_id", " cus_Abc9 "}})));
  EXPECT_TRUE(d.first_time_only);
  EXPECT_EQ(d.minimum_amount, 5000);
  EXPECT_EQ(d.minimum_amount_currency, "usd");
  EXPECT_EQ(d.customer, "cus_Abc9");
  EXPECT_FALSE(desired_of(map(percentage({{"minimum_amount", "0.00"}}))).minimum_amount);
  const Desired yen = desired_of(map(percentage({{"minimum_amount", "50"}, {"currency", "jpy"}})));
  EXPECT_EQ(yen.minimum_amount, 50);
}

TEST(Map, YearlyPricesAreAskedForAndWarnedOf) {
  const PromoRow everything = percentage({{"stripe_product_id", "NULL"}});
  Catalog prices = catalog();
  prices.yearly_prices_exist.reset();
  const Mapped asked = map_promo(everything, settings(), prices, 0, now);
  ASSERT_TRUE(std::holds_alternative<NeedPrices>(asked));
  EXPECT_TRUE(std::get<NeedPrices>(asked).yearly_prices);
  // Of no matter where it is said what the discount applies to, or where it lasts for ever.
  desired_of(map_promo(percentage(), settings(), prices, 0, now));
  desired_of(map_promo(percentage({{"stripe_product_id", "NULL"}, {"duration", "forever"}}),
                       settings(), prices, 0, now));
  prices.yearly_prices_exist = true;
  expect_warning(desired_of(map_promo(everything, settings(), prices, 0, now)).warnings,
                 "there are yearly prices");
  prices.yearly_prices_exist = false;
  EXPECT_TRUE(desired_of(map_promo(everything, settings(), prices, 0, now)).warnings.empty());
}

struct Said {
  Values changes;
  const char* warning;  ///< nullptr = none
};

TEST(Map, DescriptionsThatSayOtherThanTheTerms) {
  const Said rows[] = {
      {{{"description", "50% off for 6 months"}}, "says 6 months, the duration is once"},
      {{{"description", "6-month offer"}}, "says 6 months"},
      {{{"description", "6 MONTHS"}, {"duration", "repeating"}, {"duration_in_months", "6"}},
       nullptr},
      {{{"description", "6 months"}, {"duration", "repeating"}, {"duration_in_months", "3"}},
       "the duration is repeating (3 months)"},
      {{{"description", "1 month free"}}, nullptr},
      {{{"description", "First month free"}}, nullptr},
      {{{"description", "$70/month"}}, nullptr},
      {{{"description", "50% off Setup Fee"}}, nullptr},
      {{{"description", "50% off Setup Fee"}, {"stripe_product_id", "NULL"}}, "speaks of a fee"},
      {{{"description", "the set-up fee"}, {"stripe_product_id", "NULL"}}, "speaks of a fee"},
      {{{"description", "coffee for everyone"}, {"stripe_product_id", "NULL"}}, nullptr},
  };
  for (const Said& row : rows) {
    SCOPED_TRACE(row.changes.at("description"));
    const Desired d = desired_of(map(percentage(row.changes)));
    if (row.warning) {
      expect_warning(d.warnings, row.warning);
    } else {
      EXPECT_TRUE(d.warnings.empty()) << d.warnings.front().text;
    }
  }
}

}  // namespace
}  // namespace stripe_sync::testing
