#include "sync_fixture.hpp"

namespace stripe_sync::testing {
namespace {

PromoRow custom(const Values& changes) {
  return row_of({{"code", "DEAL"},
                 {"description", "A deal"},
                 {"discount_type", "custom_price"},
                 {"max_uses", "5"}},
                changes);
}

Catalog with_prices(const std::vector<Price>& active) {
  Catalog result = catalog();
  result.active_by_product["prod_plan"] = active;
  return result;
}

const Price monthly = price("price_month", 19900, "month");
const Price yearly = price("price_year", 199000, "year");

TEST(Price, ReferencesAreReadFirstThenTheProduct) {
  Catalog empty;
  const PromoRow row = custom({{"custom_monthly_price", "70.00"}});
  const Mapped first = map_promo(row, settings(), empty, 0, now);
  ASSERT_TRUE(std::holds_alternative<NeedPrices>(first));
  EXPECT_EQ(std::get<NeedPrices>(first).references, std::vector<std::string>{"price_month"});
  EXPECT_TRUE(std::get<NeedPrices>(first).products.empty());

  empty.by_reference["price_month"] = monthly;
  const Mapped second = map_promo(row, settings(), empty, 0, now);
  ASSERT_TRUE(std::holds_alternative<NeedPrices>(second));
  EXPECT_EQ(std::get<NeedPrices>(second).products, std::vector<std::string>{"prod_plan"});

  empty.active_by_product["prod_plan"] = {monthly};
  EXPECT_EQ(desired_of(map_promo(row, settings(), empty, 0, now)).terms.amount_off, 12900);
}

TEST(Price, InvalidRowsAskForNoPrices) {
  expect_parked(
      map_promo(custom({{"custom_monthly_price", "70"}, {"code", ""}}), settings(), {}, 0, now),
      "code is empty");
}

TEST(Price, ExactPercentageElseAmount) {
  struct Case {
    std::int64_t list;
    const char* asked;
    std::int64_t percent, amount;
  };
  const Case rows[] = {
      {19900, "99.50", 5000, 0}, {19900, "70.00", 0, 12900}, {19900, "99.00", 0, 10000},
      {10000, "33.33", 6667, 0}, {10000, "99.99", 1, 0},     {30000, "100.00", 0, 20000},
  };
  for (const Case& row : rows) {
    SCOPED_TRACE(row.asked);
    Catalog prices = with_prices({price("price_month", row.list, "month")});
    prices.by_reference["price_month"] = price("price_month", row.list, "month");
    const Desired d = desired_of(
        map_promo(custom({{"custom_monthly_price", row.asked}}), settings(), prices, 0, now));
    EXPECT_EQ(d.terms.percent_hundredths.value_or(0), row.percent);
    EXPECT_EQ(d.terms.amount_off.value_or(0), row.amount);
    EXPECT_EQ(d.terms.duration, "forever");
    EXPECT_EQ(d.terms.products, std::vector<std::string>{"prod_plan"});
  }
}

TEST(Price, BothIntervals) {
  AttachSettings both = settings();
  both.yearly_price = "price_year";
  Catalog prices = with_prices({monthly, yearly});
  prices.by_reference["price_year"] = yearly;
  const auto map_both = [&](const char* month, const char* year) {
    return map_promo(custom({{"custom_monthly_price", month}, {"custom_yearly_price", year}}), both,
                     prices, 0, now);
  };
  EXPECT_EQ(desired_of(map_both("99.50", "995.00")).terms.percent_hundredths, 5000);
  EXPECT_EQ(desired_of(map_both("70.00", "1861.00")).terms.amount_off, 12900);
  expect_parked(map_both("70.00", "840.00"), "need different discounts");
  // One of them 0: no percentage for both.
  expect_parked(map_both("0", "840.00"), "need different discounts");

  prices.by_reference["price_year"]->product = "prod_other";
  expect_parked(map_both("99.50", "995.00"), "different products");
}

TEST(Price, EveryActivePriceMustEndAsAsked) {
  struct Case {
    const char* asked;
    Price other;
    const char* says;  ///< nullptr = allowed
  };
  const Case rows[] = {
      {"70.00", yearly, "price price_year (1990.00 usd, per year) would become 1861.00 usd"},
      {"70.00", price("price_2", 4900, "month"),
       "would become 0.00 usd, where the row asks for 70.00"},
      {"70.00", price("price_once", 50000, ""),
       "price price_once (500.00 usd, one-time) would become 371.00 usd"},
      {"70.00", price("price_week", 5000, "week"), "per week) would become 0.00 usd"},
      {"70.00", price("price_3m", 55000, "month", 3), "per 3 months) would become 421.00 usd"},
      {"70.00", price("price_tiers", std::nullopt, "month"),
       "what the discount makes of price price_tiers"},
      {"70.00", price("price_eur", 19900, "month", 1, "eur"), nullptr},
      {"70.00", price("price_twin", 19900, "month"), nullptr},
      {"99.50", yearly, "would become 995.00 usd, for which the row asks no price"},
      {"99.50", price("price_odd", 333, "week"), "about 1.66 usd"},
      {"99.50", price("price_eur", 19900, "month", 1, "eur"),
       "would also apply to price price_eur"},
      {"99.50", price("price_twin", 19900, "month"), nullptr},
  };
  for (const Case& row : rows) {
    SCOPED_TRACE(row.other.id);
    const Mapped mapped = map_promo(custom({{"custom_monthly_price", row.asked}}), settings(),
                                    with_prices({monthly, row.other}), 0, now);
    if (row.says) {
      expect_parked(mapped, row.says);
      EXPECT_TRUE(contains(reason_of(mapped).message, row.other.id));
    } else {
      desired_of(mapped);
    }
  }
}

TEST(Price, RowsOwnListPriceTakesThePlaceOfTheTables) {
  Catalog prices = catalog();
  Price own = price("price_own", 10000, "month");
  own.product = "prod_own";
  prices.by_reference["price_own"] = own;
  prices.active_by_product["prod_own"] = {own};
  const Desired d = desired_of(
      map_promo(custom({{"custom_monthly_price", "70"}, {"stripe_price_id", "price_own"}}),
                settings(), prices, 0, now));
  EXPECT_EQ(d.terms.percent_hundredths, 3000);
  EXPECT_EQ(d.terms.products, std::vector<std::string>{"prod_own"});

  prices.by_reference["price_own"]->interval = "year";
  expect_parked(
      map_promo(custom({{"custom_monthly_price", "70"}, {"stripe_price_id", "price_own"}}),
                settings(), prices, 0, now),
      "stripe_price_id names price price_own");
  prices.by_reference["price_own"]->interval = "month";
  prices.by_reference["price_own"]->interval_count = 3;
  expect_parked(
      map_promo(custom({{"custom_monthly_price", "70"}, {"stripe_price_id", "price_own"}}),
                settings(), prices, 0, now),
      "per 3 months");
}

struct Wrong {
  Values changes;
  const char* says;
};

TEST(Price, WhatCannotBeExpressedIsParked) {
  const Wrong rows[] = {
      {{}, "custom_monthly_price and custom_yearly_price are empty"},
      {{{"discount_value", "20"}}, "discount_value holds 20"},
      {{{"custom_monthly_price", "-1"}}, "custom_monthly_price is -1"},
      {{{"custom_monthly_price", "cheap"}}, "custom_monthly_price is cheap"},
      {{{"custom_monthly_price", "70.005"}}, "finer"},
      {{{"custom_monthly_price", "199.00"}}, "is not below price price_month"},
      {{{"custom_monthly_price", "250"}}, "is not below"},
      {{{"custom_monthly_price", "70"}, {"currency", "eur"}}, "(70) is in eur"},
      {{{"custom_monthly_price", "70"}, {"currency", "???"}}, "not a currency"},
      {{{"custom_yearly_price", "840"}}, "no list price is known for custom_yearly_price (840)"},
      {{{"custom_monthly_price", "70"}, {"stripe_product_id", "prod_other"}},
       "stripe_product_id is prod_other"},
      {{{"custom_monthly_price", "70"}, {"stripe_price_id", "price_gone"}}, "no active price"},
      {{{"custom_monthly_price", "70"}, {"duration", "daily"}}, "duration is \"daily\""},
  };
  Catalog prices = catalog();
  prices.by_reference["price_gone"] = std::nullopt;
  for (const Wrong& row : rows) {
    SCOPED_TRACE(row.says);
    expect_parked(map_promo(custom(row.changes), settings(), prices, 0, now), row.says);
  }
}

TEST(Price, TheTablesListPriceMustFit) {
  const PromoRow row = custom({{"custom_monthly_price", "70"}});
  Catalog prices = catalog();
  prices.by_reference["price_month"] = std::nullopt;
  expect_parked(map_promo(row, settings(), prices, 0, now), "the attached table's monthly_price");
  prices.by_reference["price_month"] = price("price_month", 19900, "week");
  expect_parked(map_promo(row, settings(), prices, 0, now), "per week");
  prices.by_reference["price_month"] = price("price_month", std::nullopt, "month");
  expect_parked(map_promo(row, settings(), prices, 0, now), "no single amount");
  AttachSettings none = settings();
  none.monthly_price.clear();
  expect_parked(map_promo(row, none, prices, 0, now), "no list price is known");
  // Nobody said a currency: the list price's.
  none.monthly_price = "price_month";
  none.currency.clear();
  EXPECT_EQ(desired_of(map_promo(row, none, catalog(), 0, now)).terms.currency, "usd");
}

TEST(Price, AmountsBeyondStripesLargestAreParked) {
  const Price huge = price("price_month", 300'000'000, "month", 1, "usd");
  Catalog prices = with_prices({huge});
  prices.by_reference["price_month"] = huge;
  expect_parked(map_promo(custom({{"custom_monthly_price", "70"}}), settings(), prices, 0, now),
                "more than Stripe takes");
}

TEST(Price, FreeOfCharge) {
  for (const Values& zero : {Values{{"custom_monthly_price", "0.00"}, {"custom_yearly_price", "0"}},
                             Values{{"custom_yearly_price", "0.00"}}}) {
    // Needs no prices at all.
    const Desired d = desired_of(map_promo(custom(zero), settings(), {}, 0, now));
    EXPECT_EQ(d.terms.percent_hundredths, 10'000);
    EXPECT_EQ(d.terms.duration, "forever");
    EXPECT_TRUE(d.terms.products.empty());
    expect_warning(d.warnings, "free for ever");
    EXPECT_FALSE(contains(d.warnings.front().text, "ATTENTION"));
  }
  const Desired unlimited = desired_of(map_promo(
      custom({{"custom_monthly_price", "0"}, {"max_uses", "NULL"}}), settings(), {}, 0, now));
  expect_warning(unlimited.warnings, "ATTENTION");
  const Desired months = desired_of(map_promo(custom({{"custom_monthly_price", "0"},
                                                      {"duration", "repeating"},
                                                      {"duration_in_months", "3"},
                                                      {"stripe_product_id", "prod_x"}}),
                                              settings(), {}, 0, now));
  EXPECT_EQ(months.terms.duration_in_months, 3);
  EXPECT_EQ(months.terms.products, std::vector<std::string>{"prod_x"});
  EXPECT_TRUE(months.warnings.empty());
}

TEST(Price, DurationColumnOfTheRowCounts) {
  const Desired d = desired_of(map(custom({{"custom_monthly_price", "70"}, {"duration", "once"}})));
  EXPECT_EQ(d.terms.duration, "once");
}

// The rows of the first user's table (app-promo-table.md), with the columns that attaching adds.
class FirstUser : public ::testing::Test {
 protected:
  static PromoRow row(const Values& values) { return row_of({{"is_active", "true"}}, values); }
  const std::string in_a_year = std::to_string(now + 365 * day);
  const PromoRow testclient = row({{"code", "TESTCLIENT70"},
                                   {"description", "Special pricing for test client - $70/month"},
                                   {"discount_type", "custom_price"},
                                   {"custom_monthly_price", "70.00"},
                                   {"custom_yearly_price", "840.00"},
                                   {"max_uses", "1"},
                                   {"expires_at", in_a_year}});
  const PromoRow enterprise = row({{"code", "ENTERPRISE99"},
                                   {"description", "Special enterprise pricing - $99/month"},
                                   {"discount_type", "custom_price"},
                                   {"custom_monthly_price", "99.00"},
                                   {"custom_yearly_price", "1188.00"},
                                   {"max_uses", "5"},
                                   {"expires_at", in_a_year}});
};

TEST_F(FirstUser, TestClient) {
  const Desired d = desired_of(map(testclient));
  EXPECT_EQ(d.terms.amount_off, 12900);
  EXPECT_EQ(d.terms.currency, "usd");
  EXPECT_EQ(d.terms.duration, "forever");
  EXPECT_EQ(d.terms.products, std::vector<std::string>{"prod_plan"});
  EXPECT_EQ(d.max_redemptions, 1);
  EXPECT_EQ(d.name, "Special pricing for test client\u2026");
  EXPECT_EQ(d.description, "Special pricing for test client - $70/month");
  ASSERT_EQ(d.warnings.size(), 1u);
  expect_warning(d.warnings, "custom_yearly_price asks for 840.00, but no list price per year");
}

TEST_F(FirstUser, Enterprise) {
  const Desired d = desired_of(map(enterprise));
  EXPECT_EQ(d.terms.amount_off, 10000);
  EXPECT_EQ(d.max_redemptions, 5);
  EXPECT_EQ(d.name, "Special enterprise pricing - $99/month");
}

TEST_F(FirstUser, ASecondActivePriceParksThem) {
  const Price once = price("price_once", 49900, "");
  for (const PromoRow& row : {testclient, enterprise})
    for (const Price& second : {yearly, once})
      expect_parked(map_promo(row, settings(), with_prices({monthly, second}), 0, now), second.id);
}

TEST_F(FirstUser, SoftwareOwner) {
  const Desired d = desired_of(map(row({{"code", "SOFTWAREOWNER"},
                                        {"description", "Free access for software owner testing"},
                                        {"discount_type", "custom_price"},
                                        {"custom_monthly_price", "0.00"},
                                        {"custom_yearly_price", "0.00"}})));
  EXPECT_EQ(d.terms.percent_hundredths, 10'000);
  EXPECT_EQ(d.terms.duration, "forever");
  EXPECT_FALSE(d.max_redemptions);
  expect_warning(d.warnings, "ATTENTION");
}

TEST_F(FirstUser, Launch) {
  const Mapped mapped = map(row({{"code", "LAUNCH50"},
                                 {"description", "50% off setup fee for launch customers"},
                                 {"discount_type", "percentage"},
                                 {"custom_monthly_price", "50.00"},
                                 {"stripe_product_id", "prod_setup"},
                                 {"max_uses", "100"}}));
  expect_parked(mapped, "discount_value is empty, while custom_monthly_price holds 50.00");
  EXPECT_TRUE(contains(reason_of(mapped).hint, "set discount_value"));
}

TEST_F(FirstUser, Beta) {
  const Desired d = desired_of(map(row({{"code", "BETA50"},
                                        {"description", "Beta testing - 50% off for 6 months"},
                                        {"discount_type", "percentage"},
                                        {"discount_value", "50.00"},
                                        {"duration", "repeating"},
                                        {"duration_in_months", "6"},
                                        {"max_uses", "50"}})));
  EXPECT_EQ(d.terms.percent_hundredths, 5000);
  EXPECT_EQ(d.terms.duration, "repeating");
  EXPECT_EQ(d.terms.duration_in_months, 6);
  EXPECT_TRUE(d.warnings.empty());
}

TEST_F(FirstUser, FirstMonth) {
  const PromoRow first = row({{"code", "FIRSTMONTH"},
                              {"description", "First month free for new customers"},
                              {"discount_type", "percentage"},
                              {"discount_value", "100.00"}});
  const Desired d = desired_of(map(first));
  EXPECT_EQ(d.terms.percent_hundredths, 10'000);
  EXPECT_EQ(d.terms.duration, "once");
  EXPECT_TRUE(d.warnings.empty());
  Catalog prices = catalog();
  prices.yearly_prices_exist = true;
  expect_warning(desired_of(map_promo(first, settings(), prices, 0, now)).warnings, "whole year");
}

}  // namespace
}  // namespace stripe_sync::testing
