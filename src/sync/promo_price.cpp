#include <algorithm>

#include "sync/money.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_text.hpp"

// custom_price: "70.00 a month instead of the list price" as a coupon (stripe.md section 8). A
// coupon knows no target price, only a percentage or an amount, so it is sent only where every
// active price of the product ends at what the row asks.

namespace stripe_sync {
namespace {

constexpr std::int64_t whole = 10'000;  ///< 100 % in hundredths of a percent
/// Far above what Stripe takes, and low enough for products with `whole`.
constexpr std::int64_t max_unit_amount = 999'999'999'999;

/// One of the two prices a row can ask.
struct Asked {
  const char* column;
  const char* interval;
  std::string setting;    ///< the attachment's list price of this interval; empty = none
  std::string text = {};  ///< as the row holds it; empty = not asked
  const Price* list = nullptr;
  std::int64_t amount = 0;  ///< minor units, once there is a list price
};

/// What takes a list price to the asked one: one of the two is set.
struct Cut {
  std::int64_t percent = 0;
  std::int64_t amount = 0;
};

std::string interval_text(const Price& price) {
  if (price.interval.empty()) return "one-time";
  if (price.interval_count == 1) return "per " + price.interval;
  return "per " + std::to_string(price.interval_count) + " " + price.interval + "s";
}

std::string price_text(const Price& price) {
  const std::string amount =
      price.unit_amount ? money_text(*price.unit_amount, price.currency) : "no single amount";
  return "price " + price.id + " (" + amount + ", " + interval_text(price) + ")";
}

bool has_interval(const Price& price, std::string_view interval) {
  return price.interval == interval && price.interval_count == 1;
}

std::string asked_text(const Asked& asked) {
  return std::string(asked.column) + " (" + asked.text + ")";
}

Refusal read_asked(const PromoRow& row, std::vector<Asked>& prices) {
  for (Asked& asked : prices) asked.text = text_of(row, asked.column);
  prices.erase(std::remove_if(prices.begin(), prices.end(),
                              [](const Asked& asked) { return asked.text.empty(); }),
               prices.end());
  if (prices.empty()) {
    const std::string filled = filled_columns(row, {item::discount_value});
    return invalid(item::custom_monthly_price,
                   "custom_monthly_price and custom_yearly_price are empty" +
                       (filled.empty() ? "" : ", while " + filled),
                   "A code of discount_type custom_price needs the price to pay in one of them.",
                   filled.empty()
                       ? "Set custom_monthly_price or custom_yearly_price."
                       : "Set custom_monthly_price or custom_yearly_price, or discount_type to "
                         "percentage or fixed if discount_value is the discount.");
  }
  for (const Asked& asked : prices) {
    const Scaled value = scaled_number(asked.text, 9);
    if (value.fault == NumberFault::not_a_number || value.value < 0)
      return invalid(asked.column, std::string(asked.column) + " is " + asked.text,
                     "The price to pay is a number, 0 or more.",
                     "Set " + std::string(asked.column) + " to the price to pay, or to NULL.");
  }
  return {};
}

/// One amount that this can count with: not tiers, nor anything finer than a minor unit.
bool has_amount(const Price& price) {
  return price.unit_amount && *price.unit_amount >= 0 && *price.unit_amount <= max_unit_amount;
}

bool is_zero(const Asked& asked) {
  const Scaled value = scaled_number(asked.text, 0);
  return value.fault == NumberFault::none && value.value == 0;
}

Refusal free_of_charge(Mapping& m) {
  m.desired.terms.percent_hundredths = whole;
  map_products(m);
  return {};
}

/// What the catalog holds of a reference; nothing = it must be asked first.
const Price* lookup(Mapping& m, const std::string& reference, const std::string& said_by,
                    Refusal& refusal) {
  const auto found = m.catalog.by_reference.find(reference);
  if (found == m.catalog.by_reference.end()) {
    m.need.references.push_back(reference);
    return nullptr;
  }
  if (found->second) return &*found->second;
  refusal = invalid(said_by + " is " + reference + ", which is no active price in Stripe",
                    "The list price is needed to know what to take off.",
                    "Set " + said_by + " to the id or lookup key of an active price.");
  return nullptr;
}

/// The row's own list price: takes the place of the attachment's of the same interval.
Refusal own_list_price(Mapping& m, std::vector<Asked>& prices) {
  const std::string reference = text_of(m.row, item::stripe_price_id);
  if (reference.empty()) return {};
  Refusal refusal;
  const Price* price = lookup(m, reference, item::stripe_price_id, refusal);
  if (refusal) refusal->column = item::stripe_price_id;
  if (!price) return refusal;
  for (Asked& asked : prices) {
    if (!has_interval(*price, asked.interval)) continue;
    asked.list = price;
    return {};
  }
  std::vector<std::string> columns;
  for (const Asked& asked : prices) columns.push_back(asked_text(asked));
  return invalid(item::stripe_price_id,
                 "stripe_price_id names " + price_text(*price) + ", but the row asks for " +
                     joined(columns, " and "),
                 "custom_monthly_price needs a list price per month, custom_yearly_price one per "
                 "year.",
                 "Set stripe_price_id to a price of the asked interval, or to NULL.");
}

Refusal attached_list_prices(Mapping& m, std::vector<Asked>& prices) {
  for (Asked& asked : prices) {
    if (asked.list || asked.setting.empty()) continue;
    const std::string setting = "the attached table's " + std::string(asked.interval) + "ly_price";
    Refusal refusal;
    const Price* price = lookup(m, asked.setting, setting, refusal);
    if (refusal) return refusal;
    if (!price) continue;
    if (!has_interval(*price, asked.interval))
      return invalid(
          setting + " is " + price_text(*price),
          "It must be a price per " + std::string(asked.interval) + ".",
          "Attach the table again with a price per " + std::string(asked.interval) + ".");
    asked.list = price;
  }
  return {};
}

/// The currency the asked prices are meant in: the row's, the table's, else the list price's.
Result<std::string> asked_currency(const Mapping& m, const Price& list) {
  std::string currency = text_of(m.row, item::currency);
  if (currency.empty()) currency = trimmed(m.settings.currency);
  if (currency.empty()) currency = list.currency;
  const auto code = normalise_currency(currency);
  if (!code) return in_column(item::currency, code.error());
  return code.value();
}

Refusal check_list_price(const Asked& asked, const std::string& currency, const Price& first) {
  const Price& list = *asked.list;
  if (list.product != first.product)
    return invalid("the list prices " + first.id + " and " + list.id +
                       " belong to different products (" + first.product + ", " + list.product +
                       ")",
                   "One coupon can't take different amounts off different products.",
                   "Use list prices of one product, or ask for one interval only.");
  if (list.currency != currency)
    return invalid(
        asked.column,
        asked_text(asked) + " is in " + currency + ", but its list is " + price_text(list),
        "Asked price and list price must be in one currency.",
        "Correct the currency, or name a list price in " + currency + ".");
  if (!has_amount(list))
    return invalid(asked.column, price_text(list) + " is no list price for " + asked_text(asked),
                   "A price of tiers, or finer than a minor unit, has no one amount.",
                   "Name a list price with one amount.");
  if (asked.amount >= *list.unit_amount)
    return invalid(asked.column, asked_text(asked) + " is not below " + price_text(list),
                   "A coupon can only take something off the list price.",
                   "Set " + std::string(asked.column) + " to less than the list price.");
  return {};
}

/// Exact only: nothing where the percentage has more than two decimals.
std::optional<std::int64_t> percent_between(std::int64_t list, std::int64_t asked) {
  if (asked * whole % list != 0) return std::nullopt;
  return whole - asked * whole / list;
}

Result<Cut> one_cut(const std::vector<Asked>& listed) {
  const auto agree = [&](auto cut_of) {
    const auto first = cut_of(listed.front());
    return std::all_of(listed.begin(), listed.end(),
                       [&](const Asked& asked) { return cut_of(asked) == first; });
  };
  const auto percent = [](const Asked& a) {
    return percent_between(*a.list->unit_amount, a.amount);
  };
  const auto amount = [](const Asked& a) { return *a.list->unit_amount - a.amount; };
  if (percent(listed.front()) && agree(percent)) return Cut{*percent(listed.front()), 0};
  if (agree(amount)) return Cut{0, amount(listed.front())};
  std::vector<std::string> parts;
  for (const Asked& asked : listed)
    parts.push_back(money_text(amount(asked), asked.list->currency) + " off " +
                    price_text(*asked.list));
  return invalid("the asked prices need different discounts: " + joined(parts, ", "),
                 "One coupon takes one percentage or one amount off, for all intervals.",
                 "Ask for one interval only, or make one row for each.");
}

/// What a price becomes under the cut: its text, and whether it is exactly `asked`.
std::pair<std::string, bool> outcome(const Price& price, const Cut& cut, const Asked* asked) {
  const std::int64_t unit = *price.unit_amount;
  const std::int64_t rest = cut.percent > 0 ? unit * (whole - cut.percent)
                                            : std::max<std::int64_t>(unit - cut.amount, 0) * whole;
  const std::string text =
      (rest % whole == 0 ? "" : "about ") + money_text(rest / whole, price.currency);
  return {text, asked && rest == asked->amount * whole};
}

Refusal check_price(const Mapping& m, const Price& price, const Cut& cut,
                    const std::vector<Asked>& prices, const std::string& currency) {
  const char* need =
      "The discount applies to every price of the product, so each must end at what the row asks.";
  const std::string hint = "Give the asked prices a product of their own, or deactivate price " +
                           price.id + " and then SELECT stripe_sync_retry('" + m.desired.code +
                           "');";
  if (price.currency != currency) {
    if (cut.percent == 0) return {};  // an amount in one currency takes nothing off another
    return invalid("the discount of " + percent_text(cut.percent) + " % would also apply to " +
                       price_text(price),
                   need, hint);
  }
  if (!has_amount(price))
    return invalid("what the discount makes of " + price_text(price) + " can't be told", need,
                   hint);
  const Asked* asked = nullptr;
  for (const Asked& candidate : prices)
    if (has_interval(price, candidate.interval)) asked = &candidate;
  const auto [becomes, exact] = outcome(price, cut, asked);
  if (exact) return {};
  const std::string wanted =
      asked ? "where the row asks for " + asked->text : "for which the row asks no price";
  return invalid(price_text(price) + " would become " + becomes + ", " + wanted, need, hint);
}

Refusal apply_cut(Mapping& m, const Cut& cut, const Price& list) {
  CouponTerms& terms = m.desired.terms;
  if (cut.percent > 0) {
    terms.percent_hundredths = cut.percent;
  } else {
    // Through the one place that knows Stripe's largest amount.
    const std::string text = money_text(cut.amount, list.currency);
    const auto amount = minor_units(text.substr(0, text.find(' ')), list.currency);
    if (!amount) return amount.error();
    terms.amount_off = amount.value();
    terms.currency = list.currency;
  }
  const std::string own = text_of(m.row, item::stripe_product_id);
  if (!own.empty() && own != list.product)
    return invalid(item::stripe_product_id,
                   "stripe_product_id is " + own + ", but " + price_text(list) +
                       " belongs to product " + list.product,
                   "A custom price applies to its list price's product.",
                   "Set stripe_product_id to that product or to NULL, or name another list price.");
  terms.products = {list.product};
  return {};
}

/// Every active price must come out as asked; what is asked and not offered is warned of.
Refusal check_active(Mapping& m, const Cut& cut, const std::vector<Asked>& prices,
                     const std::vector<Price>& active, const std::string& currency) {
  for (const Price& price : active)
    if (Refusal refusal = check_price(m, price, cut, prices, currency)) return refusal;
  for (const Asked& asked : prices) {
    const bool offered = std::any_of(active.begin(), active.end(), [&](const Price& price) {
      return price.currency == currency && has_interval(price, asked.interval);
    });
    if (asked.list || offered) continue;
    warn(m, asked.column,
         std::string(asked.column) + " asks for " + asked.text + ", but no list price per " +
             asked.interval + " is known: the code does not offer it",
         "Name the list price per " + std::string(asked.interval) + ", or ignore this.");
  }
  return {};
}

Refusal map_below_list(Mapping& m, std::vector<Asked>& prices, const Asked& first,
                       const std::string& currency) {
  std::vector<Asked> listed;
  for (Asked& asked : prices) {
    const auto amount = minor_units(asked.text, currency);
    if (!amount) return in_column(asked.column, amount.error());
    asked.amount = amount.value();
    if (!asked.list) continue;
    if (Refusal refusal = check_list_price(asked, currency, *first.list)) return refusal;
    listed.push_back(asked);
  }
  const auto cut = one_cut(listed);
  if (!cut) return cut.error();

  const std::string& product = first.list->product;
  const auto active = m.catalog.active_by_product.find(product);
  if (active == m.catalog.active_by_product.end()) {
    m.need.products.push_back(product);
    return {};
  }
  if (Refusal refusal = check_active(m, cut.value(), prices, active->second, currency))
    return refusal;
  return apply_cut(m, cut.value(), *first.list);
}

Refusal map_asked(Mapping& m, std::vector<Asked>& prices) {
  if (Refusal refusal = read_asked(m.row, prices)) return refusal;
  if (std::all_of(prices.begin(), prices.end(), is_zero)) return free_of_charge(m);
  if (Refusal refusal = own_list_price(m, prices)) return refusal;
  if (Refusal refusal = attached_list_prices(m, prices)) return refusal;
  if (m.needs_prices()) return {};

  const auto first = std::find_if(prices.begin(), prices.end(),
                                  [](const Asked& asked) { return asked.list != nullptr; });
  if (first == prices.end())
    return invalid(prices.front().column,
                   "no list price is known for " + asked_text(prices.front()),
                   "Stripe takes discounts, not prices: the list price tells what to take off.",
                   "Give the row a stripe_price_id, or attach the table again with monthly_price "
                   "=> ... or yearly_price => ...");
  const auto currency = asked_currency(m, *first->list);
  if (!currency) return currency.error();
  return map_below_list(m, prices, *first, currency.value());
}

}  // namespace

Refusal map_custom_price(Mapping& m) {
  std::vector<Asked> prices = {
      {item::custom_monthly_price, "month", std::string(trimmed(m.settings.monthly_price))},
      {item::custom_yearly_price, "year", std::string(trimmed(m.settings.yearly_price))}};
  Refusal refusal = map_asked(m, prices);
  // What is about list prices or the attachment is about what the row asks.
  if (!prices.empty()) m.need.column = prices.front().column;
  if (refusal && refusal->column.empty()) refusal->column = m.need.column;
  return refusal;
}

}  // namespace stripe_sync
