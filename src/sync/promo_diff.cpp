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

bool holds(const std::vector<Operation>& operations, const Operation& wanted) {
  return std::any_of(operations.begin(), operations.end(),
                     [&](const Operation& one) { return one.same_request(wanted); });
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
    if (needs_coupon_id()) {
      take_next_coupon_id();
    } else {
      decide();
    }
  }
  return {};
}

/// The id of the next coupon is in use: a push takes another after what it does before.
bool PromoDiff::needs_coupon_id() const {
  const bool unfinished = plan_.end.state == PromoState::pending && !plan_.operations.empty() &&
                          std::holds_alternative<Desired>(situation_.mapped);
  return plan_.needs_new_coupon_id || unfinished;
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
  before_text_.reset();
  const bool in_flight = situation_.unsettled && !situation_.unsettled->looked;
  if (!in_flight) {
    if (auto read = remembered()) return read;
  }
  plan_ = plan_promo(situation_);
  if (plan_.operations.empty()) return std::nullopt;
  if (!plan_.operations.front().writes()) return plan_.operations.front();
  if (auto read = coupon_wanted()) return read;
  return text_wanted();
}

/// A push learns from a refusal that the id of a new coupon is taken, be it by one of the row's
/// own.
std::optional<Operation> PromoDiff::coupon_wanted() {
  for (const Operation& write : plan_.operations) {
    if (write.kind != Kind::create_coupon) continue;
    const Unsettled unsettled{write, std::nullopt, false, true};
    Operation read = look_for(unsettled, situation_.observed);
    if (holds(asked_, read)) continue;
    situation_.unsettled = unsettled;
    return read;
  }
  return std::nullopt;
}

/// A push learns from a refusal who else has a text, after what it does before.
std::optional<Operation> PromoDiff::text_wanted() {
  for (std::size_t i = 0; i < plan_.operations.size(); ++i) {
    const Operation& write = plan_.operations[i];
    const bool creates = write.kind == Kind::create_code && parameter(write, "active") != "false";
    if (!creates && !switches_on(write)) continue;
    Operation find = find_code(creates ? parameter(write, "code") : situation_.observed.code->code);
    if (holds(asked_, find)) continue;
    before_text_ = i;
    return find;
  }
  return std::nullopt;
}

std::optional<Error> PromoDiff::take(const stripe::Answer& answer) {
  if (++looks_ > most_looks) {
    return Error(errcode::network, "Stripe's answers about the promo code contradict each other");
  }
  PromoJob& job = subject_.job;
  // A coupon that is found may be forgotten with a conflict, and is found again then.
  if (look_->kind == Kind::find_code || !answer.ok()) asked_.push_back(*look_);
  const json::Value list = answer.body["data"];
  if (before_text_ && list.is_array() &&
      !is_taken(parameter(*look_, "code"), list, situation_.observed.code))
    return std::nullopt;
  const PromoJob before = job;
  const Effect effect = absorb_into(job, situation_, *look_, answer);
  if (const auto freed = about_to_be_free(
          effect, [&](const std::string& id) { return others_.give_up(id, job.code); })) {
    job = before;
    suppose("once promotion code " + *freed + " of another row has let go of it");
    return std::nullopt;
  }
  if (before_text_ && answer.ok()) show(*before_text_);
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
    case Next::wait:
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
  if (owner_of(rival, job.identity) != Owner::nobody)
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
  if (is_scheduled(situation_, desired) && rival_->active &&
      text_of(situation_.row, item::stripe_promotion_code_id) != rival_->id)
    differences.push_back({"starts_at", time_text(*desired.starts_at), "at once"});
  for (const Difference& one : differences) {
    lines_.push_back(
        {0, "conflict", one.field, one.database, one.stripe,
         "promotion code " + rival_->id + " (coupon " + rival_->coupon + ") is not this row's",
         command("* FROM stripe_sync_resolve", ", 'db'")});
  }
}

/// The first operations of the plan, unless they were shown; after all of them, what else there is
/// to say.
void PromoDiff::show(std::size_t operations) {
  const bool all = operations == plan_.operations.size();
  const bool refused = subject_.state == PromoState::parked && plan_.end.state != subject_.state;
  const std::vector<Operation> shown = shown_;
  const auto left_out = [&](std::size_t step) {
    if (step == 0) return !all || off_supposed_;
    return step > operations || holds(shown, plan_.operations[step - 1]);
  };
  std::size_t last = 0;
  for (DiffLine& line : diff_lines(situation_, plan_)) {
    const auto step = static_cast<std::size_t>(line.step);
    if (left_out(step)) continue;
    if (step > 0 && std::exchange(last, step) != step) shown_.push_back(plan_.operations[step - 1]);
    if (step > 0) line.step = static_cast<int>(shown_.size());
    if (!supposed_.empty()) {
      line.why = supposed_ + ": " + line.why;
    } else if (step > 0 && *was_in_step_) {
      line.why = "changed in Stripe: " + line.why;
      line.next = command("stripe_sync_retry");  // which looks first
    } else if (step > 0) {
      line.next = command(refused ? "stripe_sync_retry" : "* FROM stripe_sync_promo");
    }
    if (line.action == "parked") line.next = command("* FROM stripe_sync_inspect");
    lines_.push_back(std::move(line));
  }
}

void PromoDiff::decide() {
  decided_ = true;
  if (const auto held = others_.hold(subject_.job))
    return conclude("conflict", sentence(*held), command("* FROM stripe_sync_inspect"));
  if (rival_) add_rival();
  const bool parked = plan_.end.state == PromoState::parked;
  const bool refused = subject_.state == PromoState::parked && !parked && supposed_.empty();
  if (refused && !subject_.reason.message.empty())
    conclude("parked", sentence(subject_.reason), command("* FROM stripe_sync_inspect"));
  show(plan_.operations.size());
  if (!parked || wants_off(situation_) || off_supposed_) return;
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
