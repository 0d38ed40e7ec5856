// From Stripe to the row: the mapping read backwards.

#include "sync/promo_reverse.hpp"

#include "sync/money.hpp"
#include "sync/promo_compare.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

using Value = std::optional<std::string>;

/// Major units, without the currency.
std::string major_units(std::int64_t minor, const std::string& currency) {
  const std::string text = money_text(minor, currency);
  return text.substr(0, text.find(' '));
}

Value number(const std::optional<std::int64_t>& value, std::int64_t more = 0) {
  return value ? Value(std::to_string(*value + more)) : Value();
}

void add_terms(Items& items, const CouponTerms& terms) {
  if (terms.percent_hundredths) {
    items[item::discount_type] = "percentage";
    items[item::discount_value] = percent_text(*terms.percent_hundredths);
  } else if (terms.amount_off) {
    items[item::discount_type] = "fixed";
    items[item::discount_value] = major_units(*terms.amount_off, terms.currency);
    items[item::currency] = terms.currency;
  }
  items[item::duration] = terms.duration;
  items[item::duration_in_months] = number(terms.duration_in_months);
  items[item::stripe_product_id] = terms.products.size() == 1 ? Value(terms.products[0]) : Value();
}

void add_limits(Items& items, const PromotionCode& code, std::int64_t used_before) {
  items[item::max_uses] = number(code.max_redemptions, used_before);
  items[item::expires_at] = number(code.expires_at);
  items[item::first_time_only] = code.first_time_only ? "true" : "false";
  items[item::minimum_amount] = Value();
  if (code.minimum_amount.value_or(0) > 0) {
    items[item::minimum_amount] = major_units(*code.minimum_amount, code.minimum_amount_currency);
    items[item::currency] = code.minimum_amount_currency;
  }
  items[item::stripe_customer_id] = code.customer.empty() ? Value() : Value(code.customer);
}

void add_activity(Items& items, const PromoRow& row, const PromotionCode& code, std::int64_t now) {
  const bool over = used_up(code) || (code.expires_at && *code.expires_at <= now);
  if (!code.active && !over) items[item::is_active] = "false";
  const auto starts = unix_time(text_of(row, item::starts_at));
  if (code.active && starts && *starts > now) items[item::starts_at] = Value();
}

/// The row with these items; those that have no column are returned.
std::vector<std::string> write(PromoRow& row, const Items& items,
                               const std::set<std::string>& columns) {
  std::vector<std::string> lacking;
  for (const auto& [name, value] : items) {
    if (columns.count(name) == 0) {
      if (value && *value != "false") lacking.push_back(name);
    } else if (value) {
      row.values[name] = *value;
    } else {
      row.values.erase(name);
    }
  }
  return lacking;
}

}  // namespace

std::string unlike_stripe(const PromoRow& row, const AttachSettings& settings, const Coupon& coupon,
                          const PromotionCode& code, std::int64_t used_before, std::int64_t now) {
  Catalog none;
  none.yearly_prices_exist = false;  // only for a warning
  const Mapped mapped = map_promo(row, settings, none, used_before, now);
  if (const Desired* desired = std::get_if<Desired>(&mapped))
    return side_by_side(differing_terms(*desired, coupon, code));
  const Parked* parked = std::get_if<Parked>(&mapped);
  return parked ? parked->reason.message : "its price is not Stripe's to say";
}

Result<Items> items_from_stripe(const PromoRow& row, const AttachSettings& settings,
                                const std::set<std::string>& columns, const Coupon& coupon,
                                const PromotionCode& code, std::int64_t used_before,
                                std::int64_t now) {
  Items items;
  if (!same_code(text_of(row, item::code), code.code)) items[item::code] = code.code;
  add_terms(items, coupon.terms);
  add_limits(items, code, used_before);
  add_activity(items, row, code, now);

  PromoRow written = row;
  const std::vector<std::string> lacking = write(written, items, columns);
  const std::string why = unlike_stripe(written, settings, coupon, code, used_before, now);
  if (!why.empty()) {
    return invalid(
        "the row's columns can't say what promotion code " + code.id + " is in Stripe: " + why,
        lacking.empty() ? "No column of a promo table says this."
                        : "The table has no column for " + joined(lacking, ", ") + ".",
        "Add the column and attach the table again, or make Stripe like the row: SELECT * FROM "
        "stripe_sync_resolve('" +
            text_of(row, item::code) + "', 'db');");
  }
  Items changed;
  for (const auto& [name, value] : items) {
    if (columns.count(name) == 0) continue;
    const std::string* before = row.get(name);
    if (value ? before == nullptr || *before != *value : before != nullptr) changed[name] = value;
  }
  return changed;
}

}  // namespace stripe_sync
