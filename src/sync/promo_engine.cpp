#include "sync/promo_engine.hpp"

#include <algorithm>
#include <utility>

namespace stripe_sync {

namespace {

constexpr Millis recheck_busy{1'000};  // due rows that could not be claimed: locked, or a group's
constexpr Millis save_again{100};
constexpr Millis longest_pause{30'000};  // between tries while Stripe can't be reached

// Uses before the first push are not Stripe's to count.
std::int64_t uses_before(const PromoJob& job) {
  if (job.used_before) return *job.used_before;
  const std::string* used = job.row.get(item::used_count);
  return used == nullptr ? 0 : std::max(0LL, std::strtoll(used->c_str(), nullptr, 10));
}

const char* action_of(const Operation& operation, const PromoJob& job) {
  switch (operation.kind) {
    case Operation::Kind::create_code:
      return "created";
    case Operation::Kind::update_code:
      for (const auto& [name, value] : operation.call.params) {
        if (name == "active") return value == "true" ? "switched on" : "switched off";
      }
      return "updated";
    case Operation::Kind::update_coupon:
      return job.action.empty() ? "updated" : job.action.c_str();
    case Operation::Kind::read_code:
    case Operation::Kind::find_code:
      return job.action.empty() && job.observed.code ? "adopted" : job.action.c_str();
    default:
      return job.action.c_str();
  }
}

bool never_came(const stripe::Answer& answer) {
  return answer.verdict == stripe::Verdict::unavailable ||
         answer.verdict == stripe::Verdict::unknown;
}

}  // namespace

PromoEngine::PromoEngine(PromoStore& store, stripe::Client& client, const Clock& clock,
                         Uniform uniform)
    : store_(store),
      client_(client),
      clock_(clock),
      uniform_(std::move(uniform)),
      bucket_(limits_.rate_per_second, clock.steady()),
      prices_(clock) {}

void PromoEngine::set_limits(const Limits& limits) {
  if (limits.rate_per_second != limits_.rate_per_second) {
    bucket_.set_rate(limits.rate_per_second, clock_.steady());
  }
  limits_ = limits;
}

void PromoEngine::unblock() {
  blocked_.reset();
  paused_until_ = Millis(0);
  claim_at_ = Millis(0);
  if (jobs_.empty()) prices_.clear();  // a job may be waiting for them
}

bool PromoEngine::take_recovered() {
  return std::exchange(recovered_, false);
}

Situation PromoEngine::situation(const PromoJob& job) {
  Situation situation;
  situation.row = job.row;
  situation.deleted = job.deleted;
  situation.observed = job.observed;
  situation.identity = job.identity;
  situation.unsettled = job.unsettled;
  situation.now = clock_.unix_seconds();
  situation.used_before = uses_before(job);
  situation.mapped =
      map_promo(job.row, *job.settings, prices_.catalog(), situation.used_before, situation.now);
  return situation;
}

Decision PromoEngine::decide(PromoJob& job) {
  Decision decision;
  const Situation now = situation(job);
  const Plan plan = plan_promo(now);
  const NeedPrices* need = std::get_if<NeedPrices>(&now.mapped);
  if (need && plan.operations.empty() && plan.end.state == PromoState::pending) {
    prices_.want(*need);
    return decision;
  }
  if (plan.needs_new_coupon_id) {
    decision.new_coupon_id = true;
    return decision;
  }
  if (!job.used_before && (job.observed.code || !plan.operations.empty())) {
    job.used_before = now.used_before;
  }
  if (plan.operations.empty()) {
    job.unsettled.reset();
    decision.settle = plan.end;
    return decision;
  }
  const Operation& next = plan.operations.front();
  if (next.writes()) {
    const bool again = job.unsettled && job.unsettled->looked && !job.unsettled->spent &&
                       job.unsettled->operation.same_request(next);
    job.resent = again;
    if (!again) job.number = 0;
    job.unsettled = Unsettled{next, std::nullopt, false, false};
  }
  decision.send = next;
  return decision;
}

Decision PromoEngine::decide_after(PromoJob& job, const Operation& operation,
                                   const stripe::Answer& answer) {
  stripe::Answer seen = answer;
  if (operation.writes() && answer.replayed) {
    // A first send can't have been seen before, and a stored failure will never turn into success.
    if (!job.resent) seen.verdict = stripe::Verdict::unknown;
  }
  if (operation.writes()) job.unsettled.reset();

  Situation now = situation(job);
  const std::int64_t used_before = now.used_before;
  const Effect effect = absorb(now, operation, seen);
  job.observed = now.observed;
  job.unsettled = now.unsettled;
  if (now.used_before != used_before) job.used_before = now.used_before;
  if (job.unsettled && operation.writes() && answer.replayed) job.unsettled->spent = true;
  if (seen.ok()) job.action = action_of(operation, job);

  Decision decision;
  switch (effect.next) {
    case Effect::Next::go_on:
      return decide(job);
    case Effect::Next::salt:
      decision.new_coupon_id = true;
      break;
    case Effect::Next::parked:
    case Effect::Next::conflict:
      job.unsettled.reset();
      decision.settle =
          Settled{effect.next == Effect::Next::parked ? PromoState::parked : PromoState::conflict,
                  effect.reason,
                  {},
                  std::nullopt};
      break;
    case Effect::Next::blocked:
      blocked_ = effect.reason;
      [[fallthrough]];
    case Effect::Next::retry: {
      const bool own_fault = effect.next == Effect::Next::retry && !effect.keep_number;
      if (operation.writes() && (effect.keep_number || effect.next == Effect::Next::blocked)) {
        // Known not to have been done. A refused permission may be stored under its number.
        job.unsettled = Unsettled{operation, std::nullopt, true, !effect.keep_number};
      }
      decision.retry = Decision::Retry{
          effect.reason, backoff(job.attempts, uniform_(), effect.retry_after), own_fault};
      break;
    }
  }
  return decision;
}

void PromoEngine::claim() {
  const Millis now = clock_.steady();
  if (blocked_ || now < paused_until_ || !claim_at_ || now < *claim_at_) return;
  const int room = limits_.max_parallel - static_cast<int>(jobs_.size());
  if (room <= 0) return;
  if (jobs_.empty()) prices_.clear();  // read once for a burst, and anew for the next
  auto claims = store_.claim(room, [this](PromoJob& job) { return decide(job); });
  for (auto& [job, decision] : claims.jobs) {
    jobs_[next_job_++] = Active{std::move(job), decision.send, false, !decision.send.has_value()};
  }
  const auto due = store_.next_due();
  claim_at_.reset();
  if (due) claim_at_ = now + (*due > Millis(0) || claims.rows > 0 ? *due : recheck_busy);
}

void PromoEngine::send_decided() {
  const Millis now = clock_.steady();
  if (now < paused_until_) return;
  if (auto call = prices_.next_call()) {
    if (!bucket_.take(now)) return;
    prices_.sent(client_.send(*call, "read prices"));
  }
  for (auto& [id, active] : jobs_) {
    if (active.sent || !active.operation) continue;
    if (!bucket_.take(now)) return;
    stripe::Call call = active.operation->call;
    if (active.operation->writes()) call.idempotency_key = active.job.idempotency_key;
    active.sent = true;
    sent_[client_.send(call, active.operation->what)] = id;
  }
}

// A row locked by the application keeps nobody else waiting: its outcome is held here, outside the
// slots, until it can be written.
void PromoEngine::save_unsaved() {
  if (unsaved_.empty() || clock_.steady() < save_at_) return;
  auto unsaved = std::exchange(unsaved_, {});
  for (auto& [job, decision] : unsaved) carry_on(std::move(job), decision);
}

void PromoEngine::pump() {
  save_unsaved();
  send_decided();
  claim();
  send_decided();
}

std::optional<Millis> PromoEngine::wait() {
  const Millis now = clock_.steady();
  std::optional<Millis> soonest;
  const auto consider = [&](Millis in) {
    in = std::max(in, Millis(0));
    if (!soonest || in < *soonest) soonest = in;
  };
  const bool unsent =
      prices_.next_call() || std::any_of(jobs_.begin(), jobs_.end(), [](const auto& entry) {
        return entry.second.operation && !entry.second.sent;
      });
  if (unsent) consider(std::max({bucket_.wait(now), paused_until_ - now, Millis(1)}));
  if (!unsaved_.empty()) consider(save_at_ - now);
  if (!blocked_ && claim_at_ && static_cast<int>(jobs_.size()) < limits_.max_parallel) {
    consider(std::max(*claim_at_, paused_until_) - now);
  }
  return soonest;
}

void PromoEngine::note_reachability(const stripe::Answer& answer) {
  if (answer.verdict == stripe::Verdict::rate_limited) {
    bucket_.halve(clock_.steady());
    paused_until_ = clock_.steady() + std::max(answer.retry_after, Millis(1'000));
  } else if (never_came(answer)) {
    ++failures_;
    const Millis pause = std::min(backoff(failures_ - 1, uniform_()), longest_pause);
    // A single slow request says nothing about the others.
    if (answer.verdict == stripe::Verdict::unavailable || failures_ > limits_.max_parallel) {
      paused_until_ = clock_.steady() + pause;
    }
  } else {
    if (failures_ > 0) recovered_ = true;
    failures_ = 0;
  }
}

bool PromoEngine::handle(std::uint64_t id, const stripe::Answer& answer) {
  if (prices_.owns(id)) {
    note_reachability(answer);
    if (auto error = prices_.take(answer)) {
      if (answer.verdict == stripe::Verdict::unauthorized ||
          answer.verdict == stripe::Verdict::forbidden) {
        blocked_ = error;
      }
      Decision decision;
      decision.retry = Decision::Retry{*error, backoff(0, uniform_(), answer.retry_after), false};
      std::vector<JobId> waiting;
      for (auto& [job, active] : jobs_) {
        if (active.wants_prices) waiting.push_back(job);
      }
      for (JobId job : waiting) {
        Active active = std::move(jobs_.at(job));
        jobs_.erase(job);
        carry_on(std::move(active.job), decision);
      }
    } else if (!prices_.busy()) {
      resume_priced();
    }
    return true;
  }
  const auto found = sent_.find(id);
  if (found == sent_.end()) return false;
  const JobId job = found->second;
  sent_.erase(found);
  note_reachability(answer);
  Active active = std::move(jobs_.at(job));
  jobs_.erase(job);
  take_answer(std::move(active), answer);
  return true;
}

void PromoEngine::take_answer(Active active, const stripe::Answer& answer) {
  const Decision decision = decide_after(active.job, *active.operation, answer);
  carry_on(std::move(active.job), decision);
}

void PromoEngine::carry_on(PromoJob job, const Decision& decision) {
  const Saved saved = store_.save(job, decision);
  if (saved == Saved::busy) {
    unsaved_.emplace_back(std::move(job), decision);
    save_at_ = clock_.steady() + save_again;
  } else if (saved == Saved::ok) {
    jobs_[next_job_++] = Active{std::move(job), decision.send, false, !decision.send.has_value()};
  } else {
    claim_at_ = Millis(0);  // a slot is free, and the row itself may be due again
  }
}

void PromoEngine::resume_priced() {
  std::vector<JobId> waiting;
  for (auto& [id, active] : jobs_) {
    if (active.wants_prices) waiting.push_back(id);
  }
  for (JobId id : waiting) {
    Active active = std::move(jobs_.at(id));
    jobs_.erase(id);
    const Decision decision = decide(active.job);
    carry_on(std::move(active.job), decision);
  }
}

}  // namespace stripe_sync
