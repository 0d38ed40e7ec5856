// A plan in the words of who owns the row.

#include <algorithm>

#include "sync/promo_compare.hpp"
#include "sync/promo_diff.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

using Kind = Operation::Kind;
using Value = std::optional<std::string>;
using Metadata = std::map<std::string, std::string, std::less<>>;

/// Why another promotion code takes the place of the row's.
std::string why_replaced(const Desired& desired, const Observed& seen) {
  const PromotionCode& code = *seen.code;
  if (!seen.coupon || !seen.coupon->valid)
    return "coupon " + code.coupon + " was deleted in Stripe, or is no longer valid";
  if (differing_terms(desired, *seen.coupon, code).empty())
    return "promotion code " + code.id + " can't be switched on again";
  return "replaces promotion code " + code.id + ", in which Stripe can't change it";
}

/// Why nothing of the row may be sold.
std::string why_off(const Situation& s) {
  const Desired* desired = std::get_if<Desired>(&s.mapped);
  if (s.deleted) return "the row is deleted";
  if (says_off(s.row)) return "is_active is false";
  if (is_over(s.row, s.now) || (desired && desired->expired)) return "expires_at has passed";
  if (desired && desired->starts_at) return "it starts at " + time_text(*desired->starts_at);
  return "all uses are used up";
}

class Lines {
 public:
  Lines(const Situation& s, const Plan& plan)
      : s_(s), plan_(plan), desired_(std::get_if<Desired>(&s.mapped)) {
    makes_code_ = std::any_of(plan.operations.begin(), plan.operations.end(),
                              [](const Operation& one) { return one.kind == Kind::create_code; });
    for (const Operation& operation : plan.operations) add(operation);
    const bool parked = plan.end.state == PromoState::parked;
    if (parked || plan.operations.empty()) add_end();
    if (plan.operations.empty()) add_waiting();
  }
  std::vector<DiffLine> take() && { return std::move(lines_); }

 private:
  void add(const std::string& field, const Value& database, const Value& stripe,
           const std::string& why) {
    lines_.push_back({step_, action_, field, database, stripe, why});
  }

  void add(const Operation& operation) {
    ++step_;
    action_ = operation.what;
    switch (operation.kind) {
      case Kind::create_coupon:
        return add_new_coupon();
      case Kind::create_code:
        return add_new_code(operation);
      default:
        return add_changes(operation);
    }
  }

  std::string why_made() const {
    if (s_.observed.code) return why_replaced(*desired_, s_.observed);
    return "not in Stripe";
  }

  void add_new_coupon() {
    const std::optional<Coupon>& seen = s_.observed.coupon;
    const Coupon* before = s_.observed.code && seen && seen->valid ? &*seen : nullptr;
    for (const Difference& one : differing_coupon_terms(*desired_, before ? *before : Coupon()))
      add(one.field, one.database, before ? Value(one.stripe) : Value(), why_made());
    if (!before && !desired_->name.empty()) add("name", desired_->name, Value(), why_made());
  }

  void add_new_code(const Operation& create) {
    const std::optional<PromotionCode>& before = s_.observed.code;
    const std::string why = why_made();
    add("coupon", parameter(create, "promotion[coupon]"), before ? Value(before->coupon) : Value(),
        why);
    Desired sent = *desired_;
    const auto left = parameter(create, "max_redemptions");
    if (!left.empty()) sent.max_redemptions = std::stoll(left);
    Coupon same;
    same.terms = sent.terms;
    for (const Difference& one : differing_terms(sent, same, before ? *before : PromotionCode()))
      add(one.field, one.database, before ? Value(one.stripe) : Value(), why);
    if (parameter(create, "active") == "false") add("active", "false", Value(), why_off(s_));
  }

  /// The metadata of the object that an update is about.
  const Metadata& metadata_of(const Operation& update) const {
    if (update.kind == Kind::update_code) return s_.observed.code->metadata;
    return coupon_of(update).metadata;
  }

  const Coupon& coupon_of(const Operation& update) const {
    const std::optional<Coupon>& next = s_.observed.next_coupon;
    const bool of_next = next && read_coupon(next->id).call.path == update.call.path;
    return of_next ? *next : *s_.observed.coupon;
  }

  /// What Stripe holds of a parameter.
  Value seen(const Operation& update, std::string_view name) const {
    if (name == "active") return s_.observed.code->active ? "true" : "false";
    if (name == "name") return coupon_of(update).name;
    constexpr std::string_view prefix = "metadata[";
    const Metadata& metadata = metadata_of(update);
    const auto found = metadata.find(name.substr(prefix.size(), name.size() - prefix.size() - 1));
    return found == metadata.end() ? Value() : Value(found->second);
  }

  std::string why_changed(const std::string& name, const std::string& value) const {
    if (name == "active" && value == "true") return "the row is active";
    if (name == "active")
      return makes_code_ && !wants_off(s_) ? "gives way to another" : why_off(s_);
    const bool mark = mentions(name, row_mark) || mentions(name, installation_mark);
    return mark ? "marks it as this row's" : "differs";
  }

  void add_changes(const Operation& operation) {
    for (const auto& [name, value] : operation.call.params) {
      if (name == "expand[]") continue;
      add(name, value, seen(operation, name), why_changed(name, value));
    }
  }

  std::string standing() const {
    const std::optional<PromotionCode>& code = s_.observed.code;
    if (plan_.end.state == PromoState::scheduled && plan_.end.wake_at)
      return "in step with Stripe: inactive until " + time_text(*plan_.end.wake_at);
    if (code && code->active && plan_.end.state == PromoState::synced)
      return "in step with Stripe: sold as promotion code " + code->id;
    return "in step with Stripe: nothing is sold, " + why_off(s_);
  }

  /// Where the row stands once the operations are done.
  void add_end() {
    step_ = 0;
    action_ = "none";
    if (plan_.end.state != PromoState::parked) return add("", Value(), Value(), standing());
    action_ = "parked";
    const Error& reason = plan_.end.reason;
    add("", Value(), Value(), reason.message + (reason.detail.empty() ? "" : ". " + reason.detail));
  }

  /// Terms of a code that is off are not changed before it is switched on.
  void add_waiting() {
    const Observed& seen = s_.observed;
    if (!desired_ || s_.deleted || desired_->active || !seen.code || !seen.coupon) return;
    for (const Difference& one : reasons_to_replace(*desired_, *seen.coupon, *seen.code))
      add(one.field, one.database, one.stripe,
          "waits until the code is to be sold: promotion code " + seen.code->id +
              ", switched off, is then replaced");
  }

  const Situation& s_;
  const Plan& plan_;
  const Desired* desired_;
  bool makes_code_ = false;
  int step_ = 0;
  std::string action_;
  std::vector<DiffLine> lines_;
};

}  // namespace

std::vector<DiffLine> diff_lines(const Situation& situation, const Plan& plan) {
  return Lines(situation, plan).take();
}

}  // namespace stripe_sync
