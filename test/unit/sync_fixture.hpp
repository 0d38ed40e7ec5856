#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <string>
#include <utility>

#include "sync/money.hpp"
#include "sync/promo_plan.hpp"
#include "sync/promo_row.hpp"

// Rows, prices and Stripe's answers as the tests of sync/ need them.

namespace stripe_sync::testing {

inline constexpr std::int64_t now = 1'800'000'000;  // 2027-01-15 08:00:00+00
inline constexpr std::int64_t day = 86'400;

using Values = std::map<std::string, std::string, std::less<>>;

inline PromoRow row_of(Values values, const Values& changes = {}) {
  for (const auto& [key, value] : changes) {
    if (value == "NULL") {
      values.erase(key);
    } else {
      values[key] = value;
    }
  }
  return {std::move(values)};
}

/// A valid row: 50 % off once.
inline PromoRow percentage(const Values& changes = {}) {
  return row_of({{"code", "SUMMER"},
                 {"description", "Summer sale"},
                 {"discount_type", "percentage"},
                 {"discount_value", "50.00"},
                 {"stripe_product_id", "prod_plan"},
                 {"is_active", "true"}},
                changes);
}

inline AttachSettings settings() {
  AttachSettings settings;
  settings.currency = "usd";
  settings.duration = "once";
  settings.monthly_price = "price_month";
  return settings;
}

inline Price price(const std::string& id, std::optional<std::int64_t> amount,
                   const std::string& interval, std::int64_t count = 1,
                   const std::string& currency = "usd") {
  return {id, "prod_plan", currency, amount, interval, count};
}

/// One product with one price of 199.00 a month.
inline Catalog catalog() {
  Catalog catalog;
  catalog.by_reference["price_month"] = price("price_month", 19900, "month");
  catalog.active_by_product["prod_plan"] = {price("price_month", 19900, "month")};
  catalog.yearly_prices_exist = false;
  return catalog;
}

inline Mapped map(const PromoRow& row) {
  return map_promo(row, settings(), catalog(), 0, now);
}

inline Desired desired_of(const Mapped& mapped) {
  if (const auto* parked = std::get_if<Parked>(&mapped))
    ADD_FAILURE() << "parked: " << parked->reason.message;
  const auto* desired = std::get_if<Desired>(&mapped);
  if (!desired) ADD_FAILURE() << "not desired";
  return desired ? *desired : Desired{};
}

inline Error reason_of(const Mapped& mapped) {
  const auto* parked = std::get_if<Parked>(&mapped);
  if (!parked) ADD_FAILURE() << "not parked";
  return parked ? parked->reason : Error{};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A parked reason says everything: message, what Stripe needs, what to change.
inline void expect_parked(const Mapped& mapped, const std::string& part) {
  const Error reason = reason_of(mapped);
  EXPECT_EQ(reason.sqlstate, errcode::invalid_promo_code);
  EXPECT_TRUE(contains(reason.message, part)) << reason.message << "\nlacks: " << part;
  EXPECT_FALSE(reason.detail.empty()) << reason.message;
  EXPECT_FALSE(reason.hint.empty()) << reason.message;
}

inline void expect_warning(const std::vector<Warning>& warnings, const std::string& part) {
  std::string all;
  for (const Warning& warning : warnings) all += warning.sentence() + "\n";
  EXPECT_TRUE(contains(all, part)) << "warnings: " << all << "lack: " << part;
}

inline void expect_warning(const std::vector<std::string>& warnings, const std::string& part) {
  std::string all;
  for (const std::string& warning : warnings) all += warning + "\n";
  EXPECT_TRUE(contains(all, part)) << "warnings: " << all << "lack: " << part;
}

inline json::Value parsed(const std::string& text) {
  const auto value = json::Value::parse(text);
  if (!value) ADD_FAILURE() << value.error().message << ": " << text;
  return value ? value.value() : json::Value();
}

inline stripe::Answer ok(const std::string& body) {
  stripe::Answer answer;
  answer.verdict = stripe::Verdict::ok;
  answer.status = 200;
  answer.body = parsed(body);
  return answer;
}

inline stripe::Answer failed(stripe::Verdict verdict, long status, const std::string& code = {},
                             const std::string& param = {}) {
  stripe::Answer answer;
  answer.verdict = verdict;
  answer.status = status;
  answer.code = code;
  answer.param = param;
  answer.error = Error(errcode::refused, "Stripe refused", "its words", "a hint");
  return answer;
}

}  // namespace stripe_sync::testing
