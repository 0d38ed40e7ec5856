// What a row asks for against what Stripe holds, of all that can't be changed in place.

#include "sync/promo_compare.hpp"

#include <algorithm>
#include <cctype>

#include "sync/money.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

using Differences = std::vector<Difference>;

// What has expired by our clock may not have by Stripe's.
constexpr std::int64_t stripe_is_late = 60;

void compare(Differences& differences, const char* what, const std::string& database,
             const std::string& stripe) {
  if (database != stripe) differences.push_back({what, database, stripe});
}

std::string discount_text(const CouponTerms& terms) {
  if (terms.percent_hundredths) return percent_text(*terms.percent_hundredths) + " %";
  return terms.amount_off ? money_text(*terms.amount_off, terms.currency) : "none";
}

std::string duration_text(const CouponTerms& terms) {
  if (terms.duration != "repeating") return terms.duration;
  return "repeating for " + std::to_string(terms.duration_in_months.value_or(0)) + " months";
}

std::string list_text(const std::vector<std::string>& list, const char* none) {
  return list.empty() ? none : joined(list, " ");
}

std::string limit_text(const std::optional<std::int64_t>& limit) {
  return limit ? std::to_string(*limit) : "unlimited";
}

std::string expiry_text(const std::optional<std::int64_t>& time) {
  return time ? time_text(*time) : "never";
}

std::string minimum_text(const std::optional<std::int64_t>& amount, const std::string& currency) {
  return amount.value_or(0) > 0 ? money_text(*amount, currency) : "none";
}

std::string or_none(const std::string& text) {
  return text.empty() ? "none" : text;
}

void compare_code(Differences& differences, const Desired& desired, const PromotionCode& code) {
  if (!same_code(desired.code, code.code)) compare(differences, "code", desired.code, code.code);
  compare(differences, "max_redemptions", limit_text(desired.max_redemptions),
          limit_text(code.max_redemptions));
  compare(differences, "expires_at", expiry_text(desired.expires_at), expiry_text(code.expires_at));
  compare(differences, "first_time_only", desired.first_time_only ? "true" : "false",
          code.first_time_only ? "true" : "false");
  compare(differences, "minimum_amount",
          minimum_text(desired.minimum_amount, desired.minimum_amount_currency),
          minimum_text(code.minimum_amount, code.minimum_amount_currency));
  compare(differences, "minimum_amount in other currencies", "none",
          list_text(code.other_minimum_currencies, "none"));
  compare(differences, "customer", or_none(desired.customer), or_none(code.customer));
}

}  // namespace

std::string side_by_side(const std::vector<Difference>& differences) {
  std::vector<std::string> texts;
  for (const Difference& difference : differences) texts.push_back(difference.text());
  return joined(texts, "; ");
}

std::vector<Difference> differing_coupon_terms(const Desired& desired, const Coupon& coupon) {
  Differences differences;
  compare(differences, "discount", discount_text(desired.terms), discount_text(coupon.terms));
  compare(differences, "duration", duration_text(desired.terms), duration_text(coupon.terms));
  compare(differences, "products", list_text(desired.terms.products, "all"),
          list_text(coupon.terms.products, "all"));
  // Limits on the coupon bind all its codes; no row can ask for them.
  compare(differences, "redeem_by of the coupon", "never", expiry_text(coupon.redeem_by));
  compare(differences, "max_redemptions of the coupon", "unlimited",
          limit_text(coupon.max_redemptions));
  compare(differences, "discount in other currencies", "none",
          list_text(coupon.other_currencies, "none"));
  return differences;
}

std::vector<Difference> differing_terms(const Desired& desired, const Coupon& coupon,
                                        const PromotionCode& code) {
  Differences differences = differing_coupon_terms(desired, coupon);
  compare_code(differences, desired, code);
  return differences;
}

std::vector<Difference> reasons_to_replace(const Desired& desired, const Coupon& coupon,
                                           const PromotionCode& code) {
  if (!coupon.valid) return {{"coupon " + code.coupon, "valid", "deleted or no longer valid"}};
  Differences differences = differing_terms(desired, coupon, code);
  if (differences.empty() && code.dead && desired.active && !used_up(code))
    differences.push_back({"active", "true", "can't be switched on again"});
  return differences;
}

Error still_sold(Error reason, const Observed& observed) {
  if (!observed.code) return reason;
  const PromotionCode& code = *observed.code;
  std::string sold = "In Stripe, promotion code " + code.id + " (" + code.code + ") ";
  if (!code.active && !code.making_room) return reason;  // off by the row's own word
  if (!code.active) {
    sold += "is switched off.";
  } else if (observed.coupon && observed.coupon->id == code.coupon) {
    sold += "goes on as it was: " + discount_text(observed.coupon->terms) + ", " +
            duration_text(observed.coupon->terms) + ".";
  } else {
    sold += "goes on as it was.";
  }
  reason.detail += (reason.detail.empty() ? "" : " ") + sold;
  return reason;
}

std::optional<std::int64_t> over_at(const Situation& s) {
  const auto end = unix_time(text_of(s.row, item::expires_at));
  return end && *end != time_never && *end > s.now ? end : std::nullopt;
}

std::optional<std::int64_t> conflict_until(const Situation& s) {
  const auto over = over_at(s);
  const std::optional<PromotionCode>& rival = s.observed.rival;
  if (!rival || !rival->active || !rival->expires_at) return over;
  const std::int64_t end = std::max(*rival->expires_at, s.now + stripe_is_late);
  return over ? std::min(*over, end) : end;
}

bool is_scheduled(const Situation& s, const Desired& desired) {
  return desired.starts_at && !says_off(s.row);
}

bool used_up(const PromotionCode& code) {
  return code.max_redemptions && code.times_redeemed >= *code.max_redemptions;
}

bool ordered_off(const Situation& s) {
  return s.deleted || says_off(s.row);
}

bool wants_off(const Situation& s) {
  const Desired* desired = std::get_if<Desired>(&s.mapped);
  return ordered_off(s) || is_over(s.row, s.now) || (desired && !desired->active);
}

std::string carried_code(const Situation& s) {
  if (s.observed.code || s.observed.coupon) return {};
  const std::string id = text_of(s.row, item::stripe_promotion_code_id);
  // Anything else than an id can't be asked for, and Stripe can't know it.
  const bool plain = std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-';
  });
  return plain && id != s.observed.unknown_code ? id : std::string();
}

}  // namespace stripe_sync
