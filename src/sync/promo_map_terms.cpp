#include <algorithm>

#include "sync/money.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

const char* const discount_types = "percentage, fixed and custom_price";

Refusal map_percentage(Mapping& m) {
  const std::string value = text_of(m.row, item::discount_value);
  if (value.empty()) {
    const std::string filled =
        filled_columns(m.row, {item::custom_monthly_price, item::custom_yearly_price});
    return invalid(item::discount_value,
                   "discount_value is empty" + (filled.empty() ? "" : ", while " + filled),
                   "A code of discount_type percentage needs its percentage in discount_value.",
                   filled.empty()
                       ? "Set discount_value to the percentage."
                       : "If that is the percentage, set discount_value to it and the custom price "
                         "to NULL; if it is a price, set discount_type to custom_price.");
  }
  const auto percent = percent_hundredths(value);
  if (!percent) return in_column(item::discount_value, percent.error());
  m.desired.terms.percent_hundredths = percent.value();
  return {};
}

Refusal map_fixed(Mapping& m) {
  const std::string value = text_of(m.row, item::discount_value);
  if (value.empty()) {
    const std::string filled =
        filled_columns(m.row, {item::custom_monthly_price, item::custom_yearly_price});
    return invalid(item::discount_value,
                   "discount_value is empty" + (filled.empty() ? "" : ", while " + filled),
                   "A code of discount_type fixed needs the amount to take off in discount_value.",
                   filled.empty()
                       ? "Set discount_value to the amount."
                       : "If that is the amount to take off, set discount_value to it and the "
                         "custom price to NULL; if it is the price to pay, set discount_type to "
                         "custom_price.");
  }
  std::string currency = text_of(m.row, item::currency);
  if (currency.empty()) currency = trimmed(m.settings.currency);
  if (currency.empty())
    return invalid(item::discount_value,
                   "discount_value is " + value + ", but of which currency is said nowhere",
                   "Stripe needs a currency with an amount.",
                   "Give the row a currency, or attach the table again with currency => ...");
  const auto code = normalise_currency(currency);
  if (!code) return in_column(item::currency, code.error());
  const auto amount = minor_units(value, code.value());
  if (!amount) return in_column(item::discount_value, amount.error());
  if (amount.value() <= 0)
    return invalid(item::discount_value, "discount_value is " + value,
                   "Stripe needs an amount above 0.",
                   "Set discount_value to the amount to take off.");
  m.desired.terms.amount_off = amount.value();
  m.desired.terms.currency = code.value();
  return {};
}

Result<std::optional<std::int64_t>> row_months(const PromoRow& row) {
  const std::string text = text_of(row, item::duration_in_months);
  if (text.empty()) return std::optional<std::int64_t>();
  const Scaled months = scaled_number(text, 0);
  if (months.fault == NumberFault::none && months.value > 0)
    return std::optional<std::int64_t>(months.value);
  return invalid(item::duration_in_months, "duration_in_months is " + text,
                 "Stripe needs a whole number of months above 0.",
                 "Set duration_in_months to a whole number above 0, or to NULL.");
}

/// The first "6 months" or "6-month" of a text; 0 = none.
std::int64_t months_named(std::string_view text) {
  const std::string lower = lowered(text);
  for (auto at = lower.find("month"); at != std::string::npos; at = lower.find("month", at + 1)) {
    auto end = at;
    if (end > 0 && (lower[end - 1] == ' ' || lower[end - 1] == '-')) --end;
    auto begin = end;
    while (begin > 0 && is_digit(lower[begin - 1])) --begin;
    if (begin == end || end - begin > 4) continue;
    return scaled_number(std::string_view(lower).substr(begin, end - begin), 0).value;
  }
  return 0;
}

std::string duration_text(const CouponTerms& terms) {
  if (!terms.duration_in_months) return terms.duration;
  return terms.duration + " (" + std::to_string(*terms.duration_in_months) + " months)";
}

/// Whether the text names percentages ("50%", "12.5 %"), and this one is not among them.
std::string other_percentage(std::string_view text, std::int64_t hundredths) {
  std::string other;
  for (auto at = text.find('%'); at != std::string_view::npos; at = text.find('%', at + 1)) {
    auto end = at;
    while (end > 0 && text[end - 1] == ' ') --end;
    auto begin = end;
    while (begin > 0 && (is_digit(text[begin - 1]) || text[begin - 1] == '.')) --begin;
    const Scaled named = scaled_number(text.substr(begin, end - begin), 2);
    if (named.fault != NumberFault::none) continue;
    if (named.value == hundredths) return {};
    if (other.empty()) other = percent_text(named.value);
  }
  return other;
}

void warn_of_description(Mapping& m) {
  const Desired& d = m.desired;
  const std::int64_t months = months_named(d.description);
  const bool once_is_meant = months == 1 && d.terms.duration == "once";
  if (months > 0 && !once_is_meant && d.terms.duration_in_months.value_or(0) != months)
    warn(m, item::duration,
         "the description says " + std::to_string(months) + (months == 1 ? " month" : " months") +
             ", the duration is " + duration_text(d.terms),
         "Check duration and duration_in_months.");
  const std::string percent = d.terms.percent_hundredths
                                  ? other_percentage(d.description, *d.terms.percent_hundredths)
                                  : std::string();
  if (!percent.empty())
    warn(m, item::description,
         "the description says " + percent + " %, the discount is " +
             percent_text(*d.terms.percent_hundredths) + " %",
         "Correct the one that is wrong.");
  const bool fee = mentions(d.description, "setup fee") || mentions(d.description, "set-up fee") ||
                   mentions(d.description, "set up fee");
  if (fee && d.terms.products.empty())
    warn(m, item::stripe_product_id,
         "the description speaks of a fee, but the discount applies to all products",
         "Set stripe_product_id to the fee's product.");
}

/// Values that look as if they counted, beside the ones that do.
void warn_of_unused(Mapping& m) {
  const std::string type = lowered(text_of(m.row, item::discount_type));
  const std::vector<const char*> unused =
      type == "custom_price" ? std::vector{item::discount_value}
                             : std::vector{item::custom_monthly_price, item::custom_yearly_price};
  for (const char* column : unused) {
    const std::string text = text_of(m.row, column);
    const Scaled value = scaled_number(text, 9);
    if (text.empty() || (value.fault == NumberFault::none && value.value == 0)) continue;
    warn(m, column,
         std::string(column) + " is " + text + ", but has no effect: discount_type is " + type,
         "Set " + std::string(column) + " to NULL, or correct discount_type.");
  }
}

void warn_of_percentage(Mapping& m) {
  const CouponTerms& terms = m.desired.terms;
  const std::int64_t percent = terms.percent_hundredths.value_or(0);
  if (percent == 10'000 && terms.duration == "forever") {
    if (m.desired.max_redemptions) {
      warn(m, item::duration, "this code makes everything it applies to free for ever");
    } else {
      warn(m, item::max_uses,
           "ATTENTION: this code makes everything it applies to free for ever, for everybody who "
           "has it: max_uses is empty, so nothing limits how often it is used",
           "Set max_uses, a duration or stripe_product_id if that is not meant.");
    }
  }
  if (percent > 0 && percent < 100 && !text_of(m.row, item::discount_value).empty())
    warn(m, item::discount_value,
         "discount_value is " + text_of(m.row, item::discount_value) + ", which is less than 1 %",
         "Write 50 for 50 %.");
}

}  // namespace

Refusal map_duration(Mapping& m) {
  std::string duration = lowered(text_of(m.row, item::duration));
  const bool from_row = !duration.empty();
  const bool price = lowered(text_of(m.row, item::discount_type)) == "custom_price";
  if (!from_row) duration = price ? "forever" : lowered(m.settings.duration);
  const char* need = "Stripe needs one of once, repeating and forever.";
  if (duration.empty())
    return invalid(item::duration, "how long the discount lasts is said nowhere", need,
                   "Give the row a duration, or attach the table again with duration => ...");
  if (duration != "once" && duration != "repeating" && duration != "forever")
    return invalid(item::duration, "duration is \"" + duration + "\"", need,
                   from_row ? "Set duration to one of these, or to NULL for the table's default."
                            : "Attach the table again with one of these as duration.");

  const auto months = row_months(m.row);
  if (!months) return months.error();
  CouponTerms& terms = m.desired.terms;
  terms.duration = duration;
  if (duration == "repeating") {
    terms.duration_in_months = months.value() ? months.value() : m.settings.duration_in_months;
    if (terms.duration_in_months.value_or(0) <= 0)
      return invalid(item::duration_in_months,
                     "duration is repeating, but for how many months is said nowhere",
                     "Stripe needs a number of months above 0 with repeating.",
                     "Set duration_in_months, or duration to once or forever.");
  } else if (months.value()) {
    warn(m, item::duration_in_months,
         "duration_in_months is " + std::to_string(*months.value()) +
             ", but has no effect: the duration is " + duration,
         "Set duration to repeating, or duration_in_months to NULL.");
  }
  return {};
}

void map_products(Mapping& m) {
  std::vector<std::string>& products = m.desired.terms.products;
  const std::string own = text_of(m.row, item::stripe_product_id);
  if (!own.empty()) {
    products = {own};
    return;
  }
  for (const std::string& product : m.settings.products)
    if (!trimmed(product).empty()) products.emplace_back(trimmed(product));
  std::sort(products.begin(), products.end());
  products.erase(std::unique(products.begin(), products.end()), products.end());
}

Refusal map_terms(Mapping& m) {
  const std::string type = lowered(text_of(m.row, item::discount_type));
  if (type == "custom_price") return map_custom_price(m);
  if (type != "percentage" && type != "fixed")
    return invalid(item::discount_type,
                   type.empty() ? "discount_type is empty" : "discount_type is \"" + type + "\"",
                   std::string("The types are ") + discount_types + ".",
                   "Set discount_type to one of these.");
  if (Refusal refusal = type == "percentage" ? map_percentage(m) : map_fixed(m)) return refusal;
  map_products(m);
  return {};
}

void warn(Mapping& m, const char* column, std::string text, std::string remedy) {
  m.desired.warnings.push_back({column, std::move(text), std::move(remedy)});
}

void add_warnings(Mapping& m) {
  const CouponTerms& terms = m.desired.terms;
  warn_of_percentage(m);
  warn_of_unused(m);
  warn_of_description(m);
  // A coupon's months are calendar months, and a yearly invoice is discounted whole (stripe.md
  // section 8): one free month is a free year there.
  if (terms.duration == "forever" || !terms.products.empty()) return;
  if (!m.catalog.yearly_prices_exist) {
    m.need.yearly_prices = true;
    m.need.column = item::stripe_product_id;
  } else if (*m.catalog.yearly_prices_exist) {
    warn(m, item::stripe_product_id,
         "the discount (duration " + duration_text(terms) +
             ") applies to all products, and there are yearly prices: a whole "
             "year is discounted there",
         "Set stripe_product_id to limit it.");
  }
}

}  // namespace stripe_sync
