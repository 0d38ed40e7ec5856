#include "sync/promo_map.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "sync/money.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

constexpr std::size_t max_code = 500;         // stripe.md section 7
constexpr std::size_t max_name = 40;          // section 6
constexpr std::size_t max_description = 500;  // of a metadata value: section 1.2
// "At most 5 years ahead" (section 7): of any five years, the shortest.
constexpr std::int64_t max_expiry_ahead = (5 * 365 + 1) * std::int64_t{86'400};

bool code_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

Refusal map_code(Mapping& m) {
  const std::string code = text_of(m.row, item::code);
  const char* need = "Stripe takes letters A-Z and a-z, digits and - in a code.";
  if (code.empty()) return invalid(item::code, "code is empty", need, "Give the row a code.");
  const auto bad = std::find_if_not(code.begin(), code.end(), code_character);
  if (bad != code.end()) {
    const std::string_view rest = std::string_view(code).substr(bad - code.begin());
    const std::string_view before = std::string_view(code).substr(0, bad - code.begin());
    return invalid(item::code,
                   "code \"" + code + "\" has " +
                       character_name(rest.substr(0, character_length(rest))) + " at position " +
                       std::to_string(character_count(before) + 1),
                   need, "Take that character out of the code.");
  }
  if (code.size() > max_code)
    return invalid(item::code, "code has " + std::to_string(code.size()) + " characters",
                   "Stripe takes at most 500.", "Use a shorter code.");
  m.desired.code = code;
  return {};
}

Refusal map_description(Mapping& m) {
  const std::string description = text_of(m.row, item::description);
  m.desired.description = first_characters(description, max_description);
  m.desired.name = cut_at_word(folded(description), max_name);
  return {};
}

/// A boolean column; `fallback` where it says nothing.
Result<bool> flag(const PromoRow& row, const char* column, bool fallback) {
  const std::string text = lowered(text_of(row, column));
  if (text.empty()) return fallback;
  if (text == "true" || text == "false") return text == "true";
  return invalid(column, std::string(column) + " is \"" + text + "\"", "It must be true or false.",
                 "Set " + std::string(column) + " to true or false.");
}

/// A time column; nothing = NULL.
Result<std::optional<std::int64_t>> moment(const PromoRow& row, const char* column) {
  const std::string text = text_of(row, column);
  if (text.empty()) return std::optional<std::int64_t>();
  const auto time = unix_time(text);
  if (time) return time;
  return invalid(column, std::string(column) + " is \"" + text + "\", which is not a time",
                 "Stripe needs a point in time.",
                 "Set " + std::string(column) + " to a time, or to NULL.");
}

Refusal map_expiry(Mapping& m) {
  const auto expires = moment(m.row, item::expires_at);
  if (!expires) return expires.error();
  if (!expires.value() || *expires.value() == time_never) return {};
  const std::int64_t time = *expires.value();
  if (time > m.now + max_expiry_ahead)
    return invalid(item::expires_at,
                   "expires_at is " + time_text(time) + ", more than 5 years ahead",
                   "Stripe takes an expiry at most 5 years ahead.",
                   "Set expires_at to at most 5 years from now, or to NULL for a code that never "
                   "expires.");
  m.desired.expires_at = time;
  m.desired.expired = time <= m.now;
  return {};
}

Refusal map_start(Mapping& m) {
  const auto starts = moment(m.row, item::starts_at);
  if (!starts) return starts.error();
  if (!starts.value() || *starts.value() == time_always) return {};
  const std::int64_t time = *starts.value();
  if (time == time_never)
    return invalid(item::starts_at, "starts_at is infinity: the promo code would never start",
                   "A code is switched on in Stripe when its start has come.",
                   "Set starts_at to a time, or is_active to false.");
  // Whether they have come or not: what is wrong must not change with time alone.
  if (m.desired.expires_at && time >= *m.desired.expires_at)
    return invalid(item::starts_at,
                   "starts_at (" + time_text(time) + ") is not before expires_at (" +
                       time_text(*m.desired.expires_at) + ")",
                   "A code must start before it expires.", "Correct one of the two.");
  if (time <= m.now) return {};
  // Not before its time: Stripe's seconds are whole, a row's need not be.
  const std::string text = text_of(m.row, item::starts_at);
  const auto point = std::min(text.find('.'), text.size());
  const bool fraction = text.find_first_not_of(".0", point) != std::string::npos;
  m.desired.starts_at = time + (fraction ? 1 : 0);
  return {};
}

Refusal map_uses(Mapping& m) {
  const std::string text = text_of(m.row, item::max_uses);
  if (text.empty()) return {};
  const Scaled uses = scaled_number(text, 0);
  if (uses.fault != NumberFault::none || uses.value < 0)
    return invalid(item::max_uses, "max_uses is " + text,
                   "Stripe needs a whole number of redemptions above 0, or no limit.",
                   "Set max_uses to a whole number, or to NULL for no limit.");
  m.desired.max_redemptions = uses.value - std::max<std::int64_t>(m.used_before, 0);
  m.desired.exhausted = *m.desired.max_redemptions <= 0;
  return {};
}

Refusal map_minimum(Mapping& m) {
  const std::string text = text_of(m.row, item::minimum_amount);
  if (text.empty()) return {};
  std::string currency = text_of(m.row, item::currency);
  if (currency.empty()) currency = trimmed(m.settings.currency);
  if (currency.empty()) currency = m.desired.terms.currency;
  if (currency.empty())
    return invalid(item::minimum_amount,
                   "minimum_amount is " + text + ", but of which currency is said nowhere",
                   "Stripe needs a currency with a minimum amount.",
                   "Give the row a currency, or attach the table again with currency => ...");
  const auto code = normalise_currency(currency);
  if (!code) return in_column(item::currency, code.error());
  const auto amount = minor_units(text, code.value());
  if (!amount) return in_column(item::minimum_amount, amount.error());
  if (amount.value() < 0)
    return invalid(item::minimum_amount, "minimum_amount is " + text,
                   "Stripe needs an amount above 0.",
                   "Set minimum_amount to an amount above 0, or to NULL.");
  if (amount.value() == 0) return {};
  m.desired.minimum_amount = amount.value();
  m.desired.minimum_amount_currency = code.value();
  return {};
}

Refusal map_first_time(Mapping& m) {
  const auto first_time = flag(m.row, item::first_time_only, false);
  if (!first_time) return first_time.error();
  m.desired.first_time_only = first_time.value();
  return {};
}

Refusal map_customer(Mapping& m) {
  const std::string customer = text_of(m.row, item::stripe_customer_id);
  const bool plain = std::all_of(customer.begin(), customer.end(),
                                 [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  if (!customer.empty() && (!plain || customer.rfind("cus_", 0) != 0 || customer.size() == 4))
    return invalid(item::stripe_customer_id,
                   "stripe_customer_id is \"" + customer + "\", which is not a customer's id",
                   "Stripe needs an id such as cus_NffrFeUfNV2Hib.",
                   "Set stripe_customer_id to the customer's id in Stripe, or to NULL.");
  m.desired.customer = customer;
  return {};
}

/// Whether the code may be redeemed now, once times and uses are known.
Refusal map_active(Mapping& m) {
  const auto active = flag(m.row, item::is_active, true);
  if (!active) return active.error();
  Desired& d = m.desired;
  d.active = active.value() && !d.expired && !d.exhausted && !d.starts_at;
  return {};
}

using Step = Refusal (*)(Mapping&);
// Expiry before start, and all before active.
constexpr Step first_steps[] = {map_code,     map_description, map_expiry,   map_start, map_uses,
                                map_duration, map_first_time,  map_customer, map_active};
// Each builds on the one before: a minimum's currency may be that of the terms.
constexpr Step later_steps[] = {map_terms, map_minimum};

}  // namespace

Error invalid(std::string message, std::string detail, std::string hint) {
  return Error(errcode::invalid_promo_code, std::move(message), std::move(detail), std::move(hint));
}

Error invalid(const char* column, std::string message, std::string detail, std::string hint) {
  Error error = invalid(std::move(message), std::move(detail), std::move(hint));
  error.column = column;
  return error;
}

Error in_column(const char* column, Error error) {
  error.column = column;
  error.message = std::string(column) + ": " + error.message;
  return error;
}

std::string text_of(const PromoRow& row, const char* column) {
  const std::string* value = row.get(column);
  return value ? std::string(trimmed(*value)) : std::string();
}

std::string filled_columns(const PromoRow& row, std::initializer_list<const char*> columns) {
  std::vector<std::string> filled;
  for (const char* column : columns) {
    const std::string text = text_of(row, column);
    if (!text.empty()) filled.push_back(std::string(column) + " holds " + text);
  }
  return joined(filled, " and ");
}

Mapped map_promo(const PromoRow& row, const AttachSettings& settings, const Catalog& catalog,
                 std::int64_t used_before, std::int64_t now) {
  Judged judged = judge_promo(row, settings, catalog, used_before, now);
  if (!judged.faults.empty()) return Parked{std::move(judged.faults.front())};
  if (judged.desired) return std::move(*judged.desired);
  return std::move(judged.need);
}

Judged judge_promo(const PromoRow& row, const AttachSettings& settings, const Catalog& catalog,
                   std::int64_t used_before, std::int64_t now) {
  Judged judged;
  Mapping mapping{row, settings, catalog, used_before, now};
  for (const Step step : first_steps)
    if (Refusal refusal = step(mapping)) judged.faults.push_back(std::move(*refusal));
  bool whole = true;
  for (const Step step : later_steps) {
    Refusal refusal = whole ? step(mapping) : Refusal();
    whole = whole && !refusal && !mapping.needs_prices();
    if (refusal) judged.faults.push_back(std::move(*refusal));
  }
  if (whole) add_warnings(mapping);
  judged.warnings = mapping.desired.warnings;
  judged.need = mapping.need;
  if (judged.faults.empty() && !mapping.needs_prices()) judged.desired = std::move(mapping.desired);
  return judged;
}

std::int64_t uses_before(const PromoRow& row, const std::optional<std::int64_t>& known) {
  if (known) return *known;
  const std::string* used = row.get(item::used_count);
  return used ? std::max(0LL, std::strtoll(used->c_str(), nullptr, 10)) : 0;
}

bool says_off(const PromoRow& row) {
  return lowered(text_of(row, item::is_active)) == "false";
}

bool is_over(const PromoRow& row, std::int64_t now) {
  const auto expires = moment(row, item::expires_at);
  return expires && expires.value() && *expires.value() <= now;
}

}  // namespace stripe_sync
