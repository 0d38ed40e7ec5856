#include "sync/money.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

/// Stripe's largest amount, in minor units.
constexpr std::int64_t max_amount = 99'999'999;

/// Presentment currencies of Stripe's page "Supported currencies", with the three-decimal ones.
constexpr std::string_view currencies =
    "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp "
    "byn bzd cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel ghs "
    "gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd "
    "kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok "
    "npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos "
    "srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg xof "
    "xpf yer zar zmw";

/// stripe.md section 8.1.
constexpr std::string_view zero_decimal =
    "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf";
constexpr std::string_view three_decimal = "bhd jod kwd omr tnd";

bool listed(std::string_view list, std::string_view currency) {
  return currency.size() == 3 && currency.find(' ') == std::string_view::npos &&
         list.find(currency) % 4 == 0;
}

/// How Stripe writes a currency's amounts: `decimals` digits of minor units, in multiples of
/// `step`.
struct Unit {
  int decimals;
  std::int64_t step;
};

Unit unit_of(std::string_view currency) {
  if (listed(zero_decimal, currency)) return {0, 1};
  if (listed(three_decimal, currency)) return {3, 10};
  if (currency == "isk" || currency == "ugx") return {2, 100};
  return {2, 1};
}

std::int64_t power_of_ten(int exponent) {
  std::int64_t result = 1;
  for (; exponent > 0; --exponent) result *= 10;
  return result;
}

Error invalid(std::string message, std::string detail, std::string hint = {}) {
  return Error(errcode::invalid_promo_code, std::move(message), std::move(detail), std::move(hint));
}

}  // namespace

Result<std::string> normalise_currency(std::string_view currency) {
  std::string code = lowered(currency);
  if (listed(currencies, code)) return code;
  return invalid("\"" + std::string(trimmed(currency)) + "\" is not a currency that Stripe takes",
                 "Stripe needs a three-letter ISO code that it supports, such as usd or eur.",
                 "Set the currency to such a code.");
}

Result<std::int64_t> minor_units(std::string_view major, std::string_view currency) {
  const auto code = normalise_currency(currency);
  if (!code) return code.error();
  const std::string shown(trimmed(major));
  // The currency's page lists it both ways: 100 UGX may be 100 or 10000.
  if (code.value() == "ugx")
    return invalid(shown + " ugx can't be sent: Stripe's unit of this currency is not certain",
                   "Stripe's documentation lists ugx both with and without decimals.",
                   "Use a percentage, or make this code in Stripe's Dashboard.");

  const Unit unit = unit_of(code.value());
  Scaled amount = scaled_number(major, unit.decimals);
  if (amount.fault == NumberFault::none && amount.value % unit.step != 0)
    amount.fault = NumberFault::too_fine;
  if (amount.fault == NumberFault::none && std::abs(amount.value) > max_amount)
    amount.fault = NumberFault::too_large;
  switch (amount.fault) {
    case NumberFault::none:
      return amount.value;
    case NumberFault::not_a_number:
      return invalid("\"" + shown + "\" is not an amount of money",
                     "Stripe needs a decimal number of " + code.value() + ".",
                     "Write digits with a decimal point, such as 12.50.");
    case NumberFault::too_fine:
      return invalid(shown + " " + code.value() + " is finer than this currency's smallest unit",
                     "Stripe's smallest step is " + money_text(unit.step, code.value()) +
                         ", and amounts are never rounded here.",
                     "Use a multiple of " + money_text(unit.step, code.value()) + ".");
    case NumberFault::too_large:
      break;
  }
  return invalid(shown + " " + code.value() + " is more than Stripe takes",
                 "Stripe's largest amount is " + money_text(max_amount, code.value()) + ".",
                 "Use a smaller amount.");
}

std::string money_text(std::int64_t minor, std::string_view currency) {
  const int decimals = unit_of(currency).decimals;
  // Not negated as a signed number: the least one has no counterpart.
  const auto magnitude =
      minor < 0 ? 0 - static_cast<std::uint64_t>(minor) : static_cast<std::uint64_t>(minor);
  const auto unit = static_cast<std::uint64_t>(power_of_ten(decimals));
  std::string text = (minor < 0 ? "-" : "") + std::to_string(magnitude / unit);
  if (decimals > 0) {
    const std::string fraction = std::to_string(magnitude % unit);
    text += "." + std::string(static_cast<std::size_t>(decimals) - fraction.size(), '0') + fraction;
  }
  return text + " " + std::string(currency);
}

Result<std::int64_t> percent_hundredths(std::string_view percent) {
  const std::string shown(trimmed(percent));
  const Scaled value = scaled_number(percent, 2);
  const char* need = "Stripe needs a percentage above 0 and up to 100, with at most two decimals.";
  if (value.fault == NumberFault::not_a_number)
    return invalid("\"" + shown + "\" is not a percentage", need, "Write a number such as 12.5.");
  if (value.fault == NumberFault::too_fine)
    return invalid(shown + " % has more than two decimals", need, "Use at most two decimals.");
  if (value.fault == NumberFault::too_large || value.value > 10'000)
    return invalid(shown + " % is more than 100 %", need, "Use at most 100.");
  if (value.value <= 0)
    return invalid(shown + " % is no discount", need, "Use a percentage above 0.");
  return value.value;
}

std::string percent_text(std::int64_t hundredths) {
  std::string text = std::to_string(hundredths / 100);
  const auto rest = hundredths % 100;
  if (rest == 0) return text;
  text += "." + std::to_string(rest / 10);
  if (rest % 10 != 0) text += std::to_string(rest % 10);
  return text;
}

}  // namespace stripe_sync
