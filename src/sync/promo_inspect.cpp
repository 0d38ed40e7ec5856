#include "sync/promo_inspect.hpp"

#include <algorithm>

#include "sync/money.hpp"
#include "sync/promo_compare.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

using Severity = Finding::Severity;

Judged judge(const Examined& e) {
  return judge_promo(e.row, e.settings, {}, e.used_before, e.now);
}

/// What was found so far; a text that is there already is not added again.
class Findings {
 public:
  Finding& add(Severity severity, const std::string& column, const std::string& what,
               const std::string& remedy = {}) {
    const auto known = std::find_if(list_.begin(), list_.end(),
                                    [&](const Finding& finding) { return finding.what == what; });
    if (known != list_.end()) return *known;
    list_.push_back({severity, column, what, {}, remedy, false});
    return list_.back();
  }
  Finding& add(const Error& error, const std::string& column) {
    Finding& finding = add(Severity::error, column, error.message, error.hint);
    finding.detail = error.detail;
    return finding;
  }
  std::vector<Finding> sorted() && {
    std::stable_sort(list_.begin(), list_.end(),
                     [](const Finding& a, const Finding& b) { return a.severity < b.severity; });
    return std::move(list_);
  }

 private:
  std::vector<Finding> list_;
};

void add_verdict(Findings& findings, const Examined& e, const Judged& judged) {
  if (!e.verdict) return;
  // What is told without prices the mapping has just said by itself.
  const std::string& column = judged.need.column;
  const Error& reason = e.verdict->reason;
  const bool of_mapping =
      e.verdict->state == PromoState::parked && reason.sqlstate == errcode::invalid_promo_code;
  if (!reason.message.empty()) findings.add(reason, of_mapping ? column : "");
  for (const std::string& sentence : e.verdict->warnings) {
    const bool said = std::any_of(judged.warnings.begin(), judged.warnings.end(),
                                  [&](const Warning& w) { return w.sentence() == sentence; });
    if (!said) findings.add(Severity::warning, column, sentence);
  }
}

void add_repairs(Findings& findings, const Examined& e) {
  for (const Repair& repair : repairs_of(e)) {
    if (!repair.touches_money)
      findings.add(Severity::warning, repair.changes.front().column, repair.why).fixable = true;
  }
}

/// When it may be redeemed, as far as the row says.
void add_times(Findings& findings, const Examined& e, const Judged& judged) {
  if (says_off(e.row))
    findings.add(Severity::info, item::is_active, "the code is switched off",
                 "Set is_active to true to sell it.");
  if (!judged.desired) return;
  const Desired& d = *judged.desired;
  const bool redeemed = e.observed.code && used_up(*e.observed.code);
  if (d.expired)
    findings.add(Severity::info, item::expires_at,
                 "the code has expired (" + time_text(*d.expires_at) + ")",
                 "Set expires_at to a later time, or to NULL, to sell it again.");
  if (d.starts_at)
    findings.add(Severity::info, item::starts_at,
                 "the code starts at " + time_text(*d.starts_at) + " and is inactive until then");
  if (d.exhausted || redeemed)
    findings.add(Severity::info, item::max_uses, "all uses of the code are used up",
                 "Raise max_uses, or set it to NULL, to sell it again.");
}

/// What Stripe goes on to sell although the row says otherwise.
void add_still_sold(Findings& findings, const Examined& e, const Judged& judged) {
  const std::optional<PromotionCode>& code = e.observed.code;
  if (!code || !code->active || (code->expires_at && *code->expires_at <= e.now)) return;
  const std::string subject = "promotion code " + code->id;
  if (says_off(e.row)) {
    findings.add(Severity::warning, item::is_active,
                 subject + " is still active in Stripe, though is_active is false");
  } else if (!judged.faults.empty() || (e.verdict && e.verdict->state == PromoState::parked)) {
    findings.add(Severity::warning, "",
                 subject + " is still active in Stripe, with the terms it was made with",
                 "Set is_active to false to switch it off.");
  } else if (judged.desired && e.observed.coupon) {
    const auto differences = differing_terms(*judged.desired, *e.observed.coupon, *code);
    if (!differences.empty())
      findings.add(Severity::warning, "",
                   subject + " is active in Stripe with other terms: " + side_by_side(differences));
  }
}

/// Whether a description that names this number anywhere names it as a percentage.
bool may_be_percentage(const std::string& description, const std::string& number) {
  for (auto at = description.find(number); at != std::string::npos;
       at = description.find(number, at + 1)) {
    const auto digit = [&](std::size_t i) {
      return i < description.size() && description[i] >= '0' && description[i] <= '9';
    };
    auto end = at + number.size();
    if ((at > 0 && digit(at - 1)) || digit(end)) continue;
    end = description.find_first_not_of("0. ", end);
    if (end == std::string::npos || description[end] != '%') return false;
  }
  return true;
}

/// The one value that stands in the custom prices; nothing = none, or two.
std::optional<std::string> lone_custom_price(const PromoRow& row) {
  std::optional<std::string> found;
  for (const char* column : {item::custom_monthly_price, item::custom_yearly_price}) {
    const std::string text = text_of(row, column);
    if (text.empty()) continue;
    if (found && *found != text) return std::nullopt;
    found = text;
  }
  return found;
}

/// A percentage that stands where a custom price belongs.
std::optional<Repair> misplaced_value(const Examined& e) {
  const auto value = lone_custom_price(e.row);
  if (lowered(text_of(e.row, item::discount_type)) != "percentage" || !value ||
      !text_of(e.row, item::discount_value).empty())
    return std::nullopt;
  const auto percent = percent_hundredths(*value);
  const std::string description = text_of(e.row, item::description);
  if (!percent || !may_be_percentage(description, percent_text(percent.value())))
    return std::nullopt;

  Repair repair{{{item::discount_value, *value}}, {}, true};
  for (const char* column : {item::custom_monthly_price, item::custom_yearly_price})
    if (!text_of(e.row, column).empty()) repair.changes.push_back({column, std::nullopt});
  repair.why = "discount_type is percentage, and the percentage stands in " +
               repair.changes.back().column + " instead of discount_value";
  return repair;
}

std::optional<Repair> blanks_around(const Examined& e) {
  const std::string* code = e.row.get(item::code);
  const std::string text = text_of(e.row, item::code);
  if (!code || text.empty() || *code == text) return std::nullopt;
  return Repair{{{item::code, text}},
                "the code has blanks around it: Stripe has it without them, and who looks for \"" +
                    text + "\" in the table does not find it",
                false};
}

std::optional<Repair> missing_ids(const Examined& e) {
  if (!e.verdict || std::string_view(sync_status_of(e.verdict->state)) != "synced")
    return std::nullopt;
  Repair repair;
  repair.why = "Stripe holds the row's objects, but the row does not carry their ids";
  const auto add = [&](const char* column, const std::string& id) {
    if (!id.empty() && text_of(e.row, column).empty()) repair.changes.push_back({column, id});
  };
  if (e.observed.coupon) add(item::stripe_coupon_id, e.observed.coupon->id);
  if (e.observed.code) add(item::stripe_promotion_code_id, e.observed.code->id);
  if (repair.changes.empty()) return std::nullopt;
  return repair;
}

}  // namespace

const char* severity_name(Severity severity) {
  switch (severity) {
    case Severity::error:
      return "error";
    case Severity::warning:
      return "warning";
    default:
      return "info";
  }
}

std::vector<Finding> findings_of(const Examined& e) {
  Findings findings;
  if (lowered(text_of(e.row, item::sync_status)) == "manual") {
    findings.add(Severity::info, item::sync_status,
                 "the row is left alone: its sync_status is manual",
                 "Set sync_status to pending to have it pushed again.");
  }
  const Judged judged = judge(e);
  const auto misplaced = misplaced_value(e);
  for (const Error& fault : judged.faults)
    findings.add(fault, fault.column).fixable = misplaced && fault.column == item::discount_value;
  for (const Warning& warning : judged.warnings)
    findings.add(Severity::warning, warning.column, warning.text, warning.remedy);
  add_verdict(findings, e, judged);
  add_repairs(findings, e);
  add_still_sold(findings, e, judged);
  add_times(findings, e, judged);
  return std::move(findings).sorted();
}

std::vector<Repair> repairs_of(const Examined& e) {
  std::vector<Repair> repairs;
  for (auto find : {blanks_around, misplaced_value, missing_ids})
    if (auto repair = find(e)) repairs.push_back(std::move(*repair));
  return repairs;
}

}  // namespace stripe_sync
