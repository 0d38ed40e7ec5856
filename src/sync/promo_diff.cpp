// Reads what a push would be planned from, and plans it.

#include "sync/promo_diff.hpp"

#include <algorithm>
#include <utility>

#include "sync/promo_compare.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_situation.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

using Kind = Operation::Kind;
using Next = Effect::Next;

// No push needs as many; what answers so that more are wanted is not Stripe.
constexpr int most_looks = 20;

std::string literal(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "''" : std::string(1, c);
  return quoted + "'";
}

std::string sentence(const Error& error) {
  return error.detail.empty() ? error.message : error.message + ". " + error.detail;
}

Operation write_to(const Coupon& coupon) {
  return {Kind::update_coupon, {"POST", read_coupon(coupon.id).call.path, {}, {}}, ""};
}

bool nothing_to_do(const Plan& plan) {
  return plan.operations.empty() && !plan.needs_new_coupon_id;
}

/// Whether an active promotion code of a list has the text, but for the row's own.
bool is_taken(const std::string& text, const json::Value& list,
              const std::optional<PromotionCode>& own) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto code = PromotionCode::from(list[i]);
    if (code && code->active && same_code(code->code, text) && !(own && own->id == code->id))
      return true;
  }
  return false;
}

}  // namespace

std::string PromoDiff::command(const char* call, const char* more) const {
  return std::string("SELECT ") + call + "(" + literal(subject_.job.code) + more + ");";
}

void PromoDiff::conclude(const char* action, const std::string& why, std::string next) {
  lines_.push_back({0, action, "", {}, {}, why, std::move(next)});
  decided_ = true;
}

void PromoDiff::suppose(std::string what) {
  supposed_ = std::move(what);
  decided_ = false;
}

/// What keeps the row from being pushed, whatever Stripe holds.
void PromoDiff::begin() {
  const PromoJob& job = subject_.job;
  const Error& unread = subject_.unread;
  if (!unread.message.empty()) {
    conclude("none", sentence(unread), unread.hint);
  } else if (job.deleted && subject_.state == PromoState::excluded) {
    conclude("manual", "the row is deleted and its code was left as it was in Stripe");
  } else if (lowered(text_of(job.row, item::sync_status)) == "manual") {
    conclude("manual", "the row is left alone: its sync_status is manual");
  } else if (subject_.state == PromoState::missing) {
    conclude("missing",
             "the row vanished in a way that may be a mistake: its code is left as it is",
             command("* FROM stripe_sync_resolve", ", 'db'"));
    suppose("if resolved with 'db'");
  }
}

PromoDiff::Wants PromoDiff::next(const Catalog& catalog, std::int64_t now) {
  if (!std::exchange(begun_, true)) begin();
  while (!decided_) {
    situation_ = situation_of(subject_.job, catalog, now);
    const NeedPrices* need = std::get_if<NeedPrices>(&situation_.mapped);
    if (need && !wants_off(situation_)) return {std::nullopt, *need};
    if (!was_in_step_) was_in_step_ = nothing_to_do(plan_promo(situation_));
    look_ = look();
    if (look_) return {look_, std::nullopt};
    if (plan_.needs_new_coupon_id) {
      take_next_coupon_id();
    } else {
      decide();
    }
  }
  return {};
}

/// What was last seen, one object after the other: it is looked at as after a write without an
/// answer.
std::optional<Operation> PromoDiff::remembered() {
  const Observed& seen = situation_.observed;
  const auto usable = [](const std::optional<Coupon>& coupon) { return coupon && coupon->valid; };
  std::optional<Operation> write;
  if (!std::exchange(code_read_, true)) {
    if (seen.code) {
      write = switch_off(*seen.code);
    } else if (usable(seen.coupon)) {
      write = write_to(*seen.coupon);
    }
  }
  if (!write && !std::exchange(next_coupon_read_, true) && usable(seen.next_coupon))
    write = write_to(*seen.next_coupon);
  if (!write) return std::nullopt;
  situation_.unsettled = Unsettled{*write, std::nullopt, false, true};
  return look_for(*situation_.unsettled, seen);
}

/// The next read; without one, plan_ is what a push would do.
std::optional<Operation> PromoDiff::look() {
  const bool in_flight = situation_.unsettled && !situation_.unsettled->looked;
  if (!in_flight) {
    if (auto read = remembered()) return read;
  }
  plan_ = plan_promo(situation_);
  if (plan_.operations.empty()) return std::nullopt;
  if (!plan_.operations.front().writes()) return plan_.operations.front();
  return text_wanted();
}

/// A push learns from a refusal who else has a text.
std::optional<Operation> PromoDiff::text_wanted() const {
  for (const Operation& operation : plan_.operations) {
    const bool creates = operation.kind == Kind::create_code;
    if (!creates && !switches_on(operation)) continue;
    Operation find =
        find_code(creates ? parameter(operation, "code") : situation_.observed.code->code);
    const bool found = std::any_of(found_.begin(), found_.end(),
                                   [&](const Operation& one) { return one.same_request(find); });
    if (!found) return find;
  }
  return std::nullopt;
}

std::optional<Error> PromoDiff::take(const stripe::Answer& answer) {
  if (++looks_ > most_looks) {
    return Error(errcode::network, "Stripe's answers about the promo code contradict each other");
  }
  PromoJob& job = subject_.job;
  if (look_->kind == Kind::find_code) {
    found_.push_back(*look_);
    const bool after_write = situation_.unsettled && !situation_.unsettled->looked;
    const json::Value list = answer.body["data"];
    if (!after_write && list.is_array() &&
        !is_taken(parameter(*look_, "code"), list, situation_.observed.code))
      return std::nullopt;
  }
  const PromoJob before = job;
  const Effect effect = absorb_into(job, situation_, *look_, answer);
  switch (effect.next) {
    case Next::go_on:
      return std::nullopt;
    case Next::salt:
      take_next_coupon_id();
      return std::nullopt;
    case Next::parked:
      conclude("parked", sentence(effect.reason), command("* FROM stripe_sync_inspect"));
      return std::nullopt;
    case Next::conflict:
      resolve(effect, answer, before);
      return std::nullopt;
    case Next::retry:
      // An object is gone, and a push would begin anew after a pause.
      if (answer.verdict == stripe::Verdict::missing) return std::nullopt;
      return effect.reason;
    default:
      return effect.reason;
  }
}

/// Goes on as if the conflict had been decided for the row, where it can be.
void PromoDiff::resolve(const Effect& effect, const stripe::Answer& answer,
                        const PromoJob& before) {
  PromoJob& job = subject_.job;
  const PromotionCode rival = *job.observed.rival;
  const Coupon coupon = *job.observed.rival_coupon;
  if (!effect.held_by.empty() && gives_up_(effect.held_by, job.code)) {
    job = before;
    return suppose("once promotion code " + effect.held_by + " of another row has let go of it");
  }
  if (owner_of(rival.metadata, job.identity) != Owner::nobody)
    return conclude("conflict", effect.reason.message, command("* FROM stripe_sync_inspect"));
  job = before;
  job.take_over = situation_.take_over = true;
  absorb_into(job, situation_, *look_, answer);
  rival_ = rival;
  rival_coupon_ = coupon;
  suppose("if resolved with 'db'");
}

void PromoDiff::take_next_coupon_id() {
  auto& ids = subject_.coupon_ids;
  if (ids.empty()) throw Error(errcode::internal, "no other coupon id is at hand");
  subject_.job.identity.coupon_id = ids.front();
  ids.erase(ids.begin());
}

/// Both sides of a conflict.
void PromoDiff::add_rival() {
  const Desired& desired = std::get<Desired>(situation_.mapped);
  auto differences = differing_terms(desired, *rival_coupon_, *rival_);
  if (desired.active && !rival_->active && !used_up(*rival_))
    differences.push_back({"active", "true", "false"});
  for (const Difference& one : differences) {
    lines_.push_back(
        {0, "conflict", one.field, one.database, one.stripe,
         "promotion code " + rival_->id + " (coupon " + rival_->coupon + ") is not this row's",
         command("* FROM stripe_sync_resolve", ", 'db'")});
  }
}

void PromoDiff::decide() {
  decided_ = true;
  if (rival_) add_rival();
  const bool parked = plan_.end.state == PromoState::parked;
  const bool off = wants_off(situation_);
  const bool refused = subject_.state == PromoState::parked && !parked && supposed_.empty();
  if (refused && !subject_.reason.message.empty())
    conclude("parked", sentence(subject_.reason), command("* FROM stripe_sync_inspect"));
  const bool pushed = supposed_.empty() && !*was_in_step_;
  for (DiffLine& line : diff_lines(situation_, plan_)) {
    if (line.step == 0 && off_supposed_) continue;
    if (!supposed_.empty()) {
      line.why = supposed_ + ": " + line.why;
    } else if (line.step > 0 && *was_in_step_) {
      line.why = "changed in Stripe: " + line.why;
    }
    if (line.action == "parked") line.next = command("* FROM stripe_sync_inspect");
    if (line.step > 0 && pushed) {
      line.next = command(refused ? "stripe_sync_retry" : "* FROM stripe_sync_promo");
    }
    lines_.push_back(std::move(line));
  }
  if (!parked || off || off_supposed_) return;
  // What would be left to do.
  off_supposed_ = true;
  PromoJob& job = subject_.job;
  if (job.row.get(item::is_active)) {
    job.row.values[item::is_active] = "false";
    suppose("if is_active were false");
  } else {
    job.deleted = true;
    job.row = {};
    suppose("if the row were deleted");
  }
}

}  // namespace stripe_sync
