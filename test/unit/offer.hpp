#pragma once

#include "sync_fixture.hpp"

// What a row says is to be sold, in Stripe's parameters: its columns read once more, for the values
// that the random test uses, by nothing of the mapping under test.

namespace stripe_sync::testing {

struct Offer {
  std::map<std::string, std::string> coupon;
  std::map<std::string, std::string> code;  ///< without its limit, which depends on past uses
};

inline std::string column(const PromoRow& row, const char* item, const std::string& empty = "") {
  const std::string* value = row.get(item);
  return value ? *value : empty;
}
inline std::optional<std::int64_t> whole(const PromoRow& row, const char* item) {
  const std::string* value = row.get(item);
  return value ? std::optional(std::stoll(*value)) : std::nullopt;
}

/// Percent, amount or price; false = it says nothing that can be sold.
inline bool add_discount(const PromoRow& row, Offer& offer) {
  using Table = std::map<std::string, std::string>;
  const Table percents = {
      {"40", "40"}, {"50", "50"}, {"50.00", "50"}, {"12.5", "12.5"}, {"13", "13"}};
  const Table cents = {{"40", "4000"},   {"50", "5000"}, {"50.00", "5000"},
                       {"12.5", "1250"}, {"13", "1300"}, {"150", "15000"}};
  const Table prices = {{"0", "100"}, {"49.75", "75"}, {"99.50", "50"}};  // of 199.00
  const std::string type = column(row, item::discount_type);
  const bool custom = type == "custom_price";
  const Table& table = custom ? prices : type == "fixed" ? cents : percents;
  const auto found =
      table.find(column(row, custom ? item::custom_monthly_price : item::discount_value));
  if (found == table.end()) return false;
  offer.coupon[type == "fixed" ? "amount_off" : "percent_off"] = found->second;
  if (type == "fixed") offer.coupon["currency"] = "usd";
  std::string product = column(row, item::stripe_product_id);
  if (custom && found->first != "0") {
    if (!product.empty() && product != "prod_plan") return false;
    product = "prod_plan";
  }
  if (!product.empty()) offer.coupon["applies_to[products][0]"] = product;
  return true;
}

inline bool add_duration(const PromoRow& row, Offer& offer) {
  const bool custom = column(row, item::discount_type) == "custom_price";
  const std::string duration = column(row, item::duration, custom ? "forever" : "once");
  const std::string months = column(row, item::duration_in_months);
  offer.coupon["duration"] = duration;
  if (duration == "repeating") offer.coupon["duration_in_months"] = months;
  return duration != "repeating" || !months.empty();
}

/// Nothing: the row is wrong.
inline std::optional<Offer> offer_of(const PromoRow& row) {
  Offer offer;
  const auto starts = whole(row, item::starts_at), expires = whole(row, item::expires_at);
  if (starts && expires && *starts >= *expires) return std::nullopt;
  if (!add_discount(row, offer) || !add_duration(row, offer)) return std::nullopt;
  const auto set = [](auto& fields, const std::string& name, const std::string& value) {
    if (!value.empty()) fields[name] = value;
  };
  const std::string description = column(row, item::description);
  set(offer.coupon, "name", description);
  set(offer.coupon, "metadata[description]", description);
  set(offer.code, "expires_at", column(row, item::expires_at));
  set(offer.code, "customer", column(row, item::stripe_customer_id));
  if (column(row, item::first_time_only) == "true")
    offer.code["restrictions[first_time_transaction]"] = "true";
  if (const auto minimum = whole(row, item::minimum_amount)) {
    offer.code["restrictions[minimum_amount]"] = std::to_string(*minimum * 100);
    offer.code["restrictions[minimum_amount_currency]"] = "usd";
  }
  return offer;
}

}  // namespace stripe_sync::testing
