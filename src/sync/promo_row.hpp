#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.hpp"
#include "stripe/client.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// The items of a promo table, by our names (the attachment maps them to its columns). Times are
/// Unix seconds with fraction ("1767225600.5", "Infinity"), booleans "true" / "false".
namespace item {
inline constexpr const char* code = "code";
inline constexpr const char* description = "description";
inline constexpr const char* discount_type = "discount_type";
inline constexpr const char* discount_value = "discount_value";
inline constexpr const char* custom_monthly_price = "custom_monthly_price";
inline constexpr const char* custom_yearly_price = "custom_yearly_price";
inline constexpr const char* max_uses = "max_uses";
inline constexpr const char* used_count = "used_count";
inline constexpr const char* starts_at = "starts_at";
inline constexpr const char* expires_at = "expires_at";
inline constexpr const char* is_active = "is_active";
inline constexpr const char* currency = "currency";
inline constexpr const char* duration = "duration";
inline constexpr const char* duration_in_months = "duration_in_months";
inline constexpr const char* stripe_product_id = "stripe_product_id";
inline constexpr const char* stripe_price_id = "stripe_price_id";
inline constexpr const char* first_time_only = "first_time_only";
inline constexpr const char* minimum_amount = "minimum_amount";
inline constexpr const char* stripe_customer_id = "stripe_customer_id";
inline constexpr const char* stripe_coupon_id = "stripe_coupon_id";
inline constexpr const char* stripe_promotion_code_id = "stripe_promotion_code_id";
inline constexpr const char* sync_status = "sync_status";
}  // namespace item

/// A promo code as its row holds it. NULL and a column the table lacks both read as nothing.
struct PromoRow {
  std::map<std::string, std::string, std::less<>> values;

  const std::string* get(std::string_view item) const {
    auto found = values.find(item);
    return found == values.end() ? nullptr : &found->second;
  }
};

/// What the user said when attaching: used where a row says nothing.
struct AttachSettings {
  std::string currency;
  std::string duration;
  std::optional<std::int64_t> duration_in_months;
  std::string monthly_price;  ///< price id or lookup key; empty = none
  std::string yearly_price;
  std::vector<std::string> products;
};

struct Price {
  std::string id;
  std::string product;
  std::string currency;
  std::optional<std::int64_t> unit_amount;  ///< nothing: tiered or finer than a minor unit
  std::string interval;                     ///< day, week, month, year; empty = one-time
  std::int64_t interval_count = 1;
};

/// What is known of Stripe's prices; filled on demand (NeedPrices), forgotten after a while.
struct Catalog {
  /// By the id or lookup key asked for; nothing = Stripe has no such active price.
  std::map<std::string, std::optional<Price>, std::less<>> by_reference;
  std::map<std::string, std::vector<Price>, std::less<>> active_by_product;
  std::optional<bool> yearly_prices_exist;
};

/// What must be read from Stripe before a row can be judged. One kind at a time is enough: the
/// mapping is asked again with a fuller catalog.
struct NeedPrices {
  std::vector<std::string> references;  ///< ids (price_..., plan_...) or lookup keys
  std::vector<std::string> products;    ///< all active prices of these
  bool yearly_prices = false;           ///< whether any active yearly price exists
  std::string column = {};              ///< item of the row that is judged by them
};

/// Terms of a coupon, at Stripe's precision.
struct CouponTerms {
  std::optional<std::int64_t> percent_hundredths;  ///< or amount_off
  std::optional<std::int64_t> amount_off;          ///< minor units of currency
  std::string currency;                            ///< only with amount_off
  std::string duration;                            ///< once, repeating, forever
  std::optional<std::int64_t> duration_in_months;  ///< only when repeating
  std::vector<std::string> products;               ///< applies_to, sorted; empty = everything
};

/// What can be sent, but is probably not meant.
struct Warning {
  std::string column;  ///< item that it is about
  std::string text;
  std::string remedy;

  std::string sentence() const { return remedy.empty() ? text : text + ". " + remedy; }
};

/// What a row asks Stripe to hold.
struct Desired {
  std::string code;  ///< trimmed, as written
  CouponTerms terms;
  std::string name;         ///< at most 40 characters, cut at a word
  std::string description;  ///< whole, at most 500 characters, for metadata
  /// What is left for a new promotion code; 0 or less when exhausted.
  std::optional<std::int64_t> max_redemptions;
  std::optional<std::int64_t> expires_at;  ///< Unix seconds
  std::optional<std::int64_t> starts_at;   ///< only while it lies ahead
  bool first_time_only = false;
  std::optional<std::int64_t> minimum_amount;  ///< minor units
  std::string minimum_amount_currency;
  std::string customer;
  bool active = true;  ///< is_active, and started, not expired, something left
  bool expired = false;
  bool exhausted = false;
  std::vector<Warning> warnings;
};

/// Why a row can't be pushed: message, detail and hint in the user's words.
struct Parked {
  Error reason;
};

using Mapped = std::variant<Desired, Parked, NeedPrices>;

/// The mapping table of docs/promo-codes.md, pure. `now` in Unix seconds; `used_before` is what
/// max_uses is less before the first redemption in Stripe.
Mapped map_promo(const PromoRow& row, const AttachSettings& settings, const Catalog& catalog,
                 std::int64_t used_before, std::int64_t now);

/// All that can be said of a row, not only what stands in the way first.
struct Judged {
  std::vector<Error> faults;  ///< each keeps the row from being pushed
  std::vector<Warning> warnings;
  /// What can't be told without prices; without them also nothing of what depends on it.
  NeedPrices need;
  std::optional<Desired> desired;  ///< if there is no fault and no need
};
Judged judge_promo(const PromoRow& row, const AttachSettings& settings, const Catalog& catalog,
                   std::int64_t used_before, std::int64_t now);

/// What max_uses is less: `known`, once it is; before the first push what the row has counted,
/// which Stripe can't.
std::int64_t uses_before(const PromoRow& row, const std::optional<std::int64_t>& known);

/// Whether the row itself says off: is_active false. Needs no valid terms.
bool says_off(const PromoRow& row);
/// Whether its expires_at has passed. Needs no valid terms either.
bool is_over(const PromoRow& row, std::int64_t now);

}  // namespace stripe_sync
