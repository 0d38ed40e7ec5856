#include "sync/promo_engine.hpp"

#include <algorithm>
#include <utility>

#include "sync/foreign_writes.hpp"
#include "sync/promo_compare.hpp"
#include "sync/promo_situation.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {

namespace {

constexpr Millis recheck_busy{1'000};  // due rows that could not be claimed: locked, or a group's
constexpr Millis save_again{100};      // doubling
constexpr Millis save_again_most{1'000};
constexpr Millis decision_lasts{1'000};
constexpr Millis save_failed_most{60'000};

Error held_by_another(const std::string& promotion_code) {
  return Error(
      errcode::invalid_promo_code,
      "promotion code " + promotion_code + " of another row has this text until it is pushed", "",
      "Nothing to do: it goes on when that is done.");
}

std::string name_of(const PromoJob& job) {
  return job.table + "/" + job.key;
}

}  // namespace

PromoEngine::PromoEngine(PromoStore& store, stripe::Client& client, const Clock& clock,
                         Uniform uniform)
    : store_(store),
      client_(client),
      clock_(clock),
      uniform_(std::move(uniform)),
      prices_(clock),
      pass_(clock) {}

void PromoEngine::set_limits(const Limits& limits) {
  limits_ = limits;
}

void PromoEngine::block(const Error& reason) {
  blocked_ = reason;
  review_unsent();
}

void PromoEngine::unblock() {
  blocked_.reset();
  reach_.try_again();
  no_prices_ = {};
  permissions_.try_again();
  claim_at_ = Millis(0);
  if (jobs_.empty()) prices_.forget();  // a push under way has been judged by them
}

Situation PromoEngine::situation(const PromoJob& job) const {
  Situation now = situation_of(job, prices_.catalog(), clock_.unix_seconds());
  now.text_taken = pass_.is_taken(lowered(job.code));
  now.answer_within = client_.config().request_timeout / Millis(1'000);
  return now;
}

Decision PromoEngine::decide(PromoJob& job) {
  Decision decision;
  const Situation now = situation(job);
  const Plan plan = plan_promo(now);
  if (plan.needs_new_coupon_id) {
    decision.new_coupon_id = true;
    return decision;
  }
  if (!job.used_before && (job.observed.code || !plan.operations.empty())) {
    job.used_before = now.used_before;
  }
  const NeedPrices* need = std::get_if<NeedPrices>(&now.mapped);
  const bool wants_prices =
      need && plan.operations.empty() && plan.end.state == PromoState::pending;
  if (plan.operations.empty() && !wants_prices) {
    // What has not been looked for stays unknown: a row that was left to the user may come back.
    if (job.unsettled && job.unsettled->looked) job.unsettled.reset();
    decision.settle = plan.end;
    return decision;
  }
  if (const auto pause = held()) {
    decision.retry = put_off(*pause);
    return decision;
  }
  if (wants_prices) {
    if (clock_.steady() < no_prices_.until) {
      decision.retry = put_off(no_prices_);
    } else {
      prices_.want(*need);
    }
    return decision;
  }
  const Operation& next = plan.operations.front();
  if (const auto pause = permissions_.missing(next.call, clock_.steady())) {
    decision.retry = put_off(*pause);
    return decision;
  }
  if (next.writes()) {
    const bool again = job.unsettled && job.unsettled->looked && !job.unsettled->spent &&
                       job.unsettled->operation.same_request(next);
    if (!again) job.number = 0;
    job.first_send = !again;
    job.unsettled = Unsettled{next, std::nullopt, false, false, now.now};
  }
  decision.send = next;
  return decision;
}

Decision PromoEngine::decide_after(PromoJob& job, const Operation& operation,
                                   const stripe::Answer& answer) {
  const std::int64_t sent_at = job.unsettled ? job.unsettled->sent_at : 0;
  if (operation.writes()) job.unsettled.reset();
  if (std::exchange(job.first_send, false) && answer.key_was_used) {
    rival_ = "Idempotency key " + job.idempotency_key + ", new here, had been used before, to " +
             operation.what +
             (answer.request_id.empty() ? "." : " (request " + answer.request_id + ").");
    blocked_ = written_by_another(*rival_);
  }
  if (operation.writes() && answer.replayed) {
    // An answer to an earlier request says nothing about now, and will never be another.
    job.unsettled = Unsettled{operation, std::nullopt, false, true};
    return decide(job);
  }

  Situation now = situation(job);
  now.sent_at = sent_at;
  const Effect effect = absorb_into(job, std::move(now), operation, answer);
  if (answer.ok()) permissions_.granted(operation.call);

  Decision decision;
  switch (effect.next) {
    case Effect::Next::go_on:
      return decide(job);
    case Effect::Next::salt:
      decision.new_coupon_id = true;
      break;
    case Effect::Next::parked:
    case Effect::Next::conflict:
      if (const auto freed = about_to_be_free(
              effect, [&](const std::string& id) { return store_.gives_up(id, job.code); })) {
        decision.retry = {held_by_another(*freed), backoff(job.attempts + 1, uniform_()), true};
        break;
      }
      decision.settle.emplace().reason = still_sold(effect.reason, job.observed);
      if (effect.next == Effect::Next::parked) {
        decision.settle->state = PromoState::parked;
        decision.settle->wake_at = over_at(situation(job));
      } else {
        decision.settle->state = PromoState::conflict;
        decision.settle->wake_at = conflict_until(situation(job));
      }
      break;
    case Effect::Next::wait:
      decision.retry = Decision::Retry{effect.reason, effect.retry_after, false};
      break;
    case Effect::Next::blocked:
      if (answer.verdict == stripe::Verdict::forbidden) {
        permissions_.refused(operation.call, effect.reason, clock_.steady(), uniform_());
      } else {
        blocked_ = effect.reason;
      }
      [[fallthrough]];
    case Effect::Next::retry:
      if (operation.writes() && (effect.keep_number || effect.next == Effect::Next::blocked)) {
        // Known not to have been done. A refused permission may be stored under its number.
        job.unsettled = Unsettled{operation, std::nullopt, true, !effect.keep_number};
      }
      decision.retry = retry(job, operation, effect.reason, answer);
      break;
  }
  return decision;
}

// A mistake of ours about one row is that row's trouble alone: it stays as it was before.
template <class F>
Decision PromoEngine::contained(PromoJob& job, const F& judge) {
  const PromoJob before = job;
  try {
    return as_errors(judge);
  } catch (const Error& error) {
    if (error.is_fatal_to_run()) throw;
    job = before;
    Decision decision;
    decision.retry = Decision::Retry{error, backoff(job.attempts + 1, 0.5), true};
    return decision;
  }
}

// An outage is no row's fault, and its end must not be missed by long.
Decision::Retry PromoEngine::retry(const PromoJob& job, const Operation& operation,
                                   const Error& reason, const stripe::Answer& answer) {
  const Millis now = clock_.steady();
  if (const auto pause = permissions_.missing(operation.call, now)) {
    return {reason, pause->until - now, false};
  }
  const int outage = reach_.outage(answer, now);
  const bool own = outage == 0 && !answer.limits_all() && !blocked_;
  Millis delay = backoff(own ? job.attempts + 1 : std::max(outage, 1), uniform_());
  if (!own) delay = std::min(delay, Reach::longest);
  return {reason, std::max(delay, answer.retry_after), own};
}

Decision::Retry PromoEngine::put_off(const Pause& pause) const {
  Error reason = pause.reason;
  reason.message = "not sent yet: " + reason.message;
  return {reason, std::max(pause.until - clock_.steady(), Millis(0)), false};
}

PromoEngine::Active PromoEngine::take_out(JobId id) {
  Active active = std::move(jobs_.at(id));
  jobs_.erase(id);
  return active;
}

void PromoEngine::pump() {
  save_unsaved();
  give_up_waiting();
  resume_priced();
  review_unsent();
  claim_off();
  send_decided();
  claim();
  compare_with_page();
  send_decided();
}

void PromoEngine::claim() {
  const Millis now = clock_.steady();
  if (held() || !claim_at_ || now < *claim_at_ || room() <= 0) return;
  // What is claimed is sent soon: until then a row may change, and one to be switched off come.
  if (client_.limiter().wait() > Millis(0)) return;
  begin_pass();
  if (waiting().empty()) prices_.forget_old();
  const int most = std::min(room(), std::max(1, static_cast<int>(rate())));
  auto claims = store_.claim(most, [this](PromoJob& job) { return decide(job); });
  const int claimed = claims.rows;
  look_for_off_ = look_for_off_ && claimed == most;
  take_on(std::move(claims));
  const auto due = store_.next_due();
  const bool due_now = due && *due <= Millis(0);
  claim_at_.reset();
  if (due) claim_at_ = now + (due_now && claimed == 0 ? recheck_busy : *due);
  // Read once for a burst, and anew for the next.
  if (jobs_.empty() && !due_now) {
    prices_.forget();
    end_pass();
    pass_.forget();
  }
}

// Before anything else is sent, while others wait for a token or have all slots.
void PromoEngine::claim_off() {
  if (!may_claim_off() || client_.limiter().wait(Urgency::urgent) > Millis(0)) return;
  auto claims = store_.claim_off(room_for_off(), [this](PromoJob& job) { return decide(job); });
  look_for_off_ = claims.rows > 0;
  take_on(std::move(claims));
}

void PromoEngine::take_on(PromoStore::Claims claims) {
  for (auto& [job, decision] : claims.jobs) {
    if (decision.ends()) {
      carry_on(std::move(job), decision);
    } else {
      jobs_[next_job_++] = Active{std::move(job), decision.send, clock_.steady()};
    }
  }
}

void PromoEngine::send_decided() {
  if (held()) return;
  send_jobs(Urgency::urgent);
  if (const auto call = prices_.next_call(); call && may_send())
    prices_.sent(client_.send(*call, "read prices"));
  if (!prices_.next_call()) send_jobs(Urgency::normal);
  if (const auto call = pass_.next_call(); call && may_send())
    pass_.sent(client_.send(*call, "read promotion codes"));
}

void PromoEngine::send_jobs(Urgency urgency) {
  for (auto& [id, active] : jobs_) {
    if (!active.unsent() || active.urgency() != urgency || waits_to_write(active)) continue;
    if (!may_send(urgency)) return;
    stripe::Call call = active.operation->call;
    if (active.operation->writes()) call.idempotency_key = active.job.idempotency_key;
    active.sent = true;
    active.sent_at = clock_.steady();
    sent_[client_.send(call, active.operation->what)] = id;
  }
}

void PromoEngine::resume_priced() {
  if (held()) return;
  for (const JobId id : waiting()) {
    if (!may_resume()) return;
    PromoJob job = take_out(id).job;
    const Decision decision = contained(job, [&] { return decide(job); });
    carry_on(std::move(job), decision);
  }
}

// What was decided is sent soon or not as it is: the row may say something else by then, or be
// another's.
void PromoEngine::review_unsent() {
  const auto pause = held();
  for (auto next = jobs_.begin(); next != jobs_.end();) {
    const auto& [id, unsent] = *next++;
    const bool old = unsent.operation && clock_.steady() - unsent.decided_at > decision_lasts;
    if (unsent.sent || (!pause && !old)) continue;
    Active active = take_out(id);
    if (!pause) {
      carry_on(std::move(active.job), Decision{active.operation, {}, {}, false});
      continue;
    }
    if (active.operation && active.operation->writes()) {
      active.job.unsettled = Unsettled{*active.operation, std::nullopt, true, false};
    }
    put_back(std::move(active.job), *pause);
  }
}

void PromoEngine::put_back(PromoJob job, const Pause& pause) {
  Decision decision;
  decision.retry = put_off(pause);
  carry_on(std::move(job), decision);
}

// What can't be written keeps nobody else waiting: it is held here, outside the slots, until it
// can.
void PromoEngine::save_unsaved() {
  const Millis now = clock_.steady();
  for (Unsaved& unsaved : std::exchange(unsaved_, {})) {
    if (now < unsaved.at || lacks_slot(unsaved)) {
      unsaved_.push_back(std::move(unsaved));
    } else {
      carry_on(std::move(unsaved.job), unsaved.decision, unsaved.wait);
    }
  }
}

void PromoEngine::carry_on(PromoJob job, const Decision& decision, Millis waited) {
  const Saved saved = store_.save(job, decision);
  if (saved == Saved::busy || saved == Saved::failed) {
    const Millis most = saved == Saved::busy ? save_again_most : save_failed_most;
    const Millis wait = std::clamp(waited * 2, save_again, most);
    unsaved_.push_back({std::move(job), decision, clock_.steady() + wait, wait});
  } else if (saved == Saved::ok) {
    jobs_[next_job_++] = Active{std::move(job), decision.send, clock_.steady()};
  } else {
    claim_at_ = Millis(0);  // a slot is free, and the row itself may be due again
  }
}

bool PromoEngine::handle(std::uint64_t id, const stripe::Answer& answer) {
  if (prices_.under_way() == id) {
    take_prices(answer);
  } else if (pass_.under_way() == id) {
    take_page(answer);
  } else {
    const auto found = sent_.find(id);
    if (found == sent_.end()) return false;
    Active active = take_out(found->second);
    sent_.erase(found);
    note(name_of(active.job), answer);
    const Decision decision =
        contained(active.job, [&] { return decide_after(active.job, *active.operation, answer); });
    carry_on(std::move(active.job), decision);
  }
  review_unsent();
  return true;
}

void PromoEngine::note(const std::string& who, const stripe::Answer& answer) {
  const Millis now = clock_.steady();
  reach_.note(who, answer, limits_.max_parallel, now, uniform_());
}

void PromoEngine::take_prices(const stripe::Answer& answer) {
  note("prices", answer);
  const auto error = prices_.take(answer);
  if (!error) {
    price_failures_ = 0;
    return;
  }
  if (answer.verdict == stripe::Verdict::unauthorized) blocked_ = error;
  Millis delay = backoff(++price_failures_, uniform_());
  if (Reach::passes(answer)) delay = std::min(delay, Reach::longest);
  no_prices_ = {*error, clock_.steady() + std::max(delay, answer.retry_after)};
  for (const JobId id : waiting()) put_back(take_out(id).job, no_prices_);
}

void PromoEngine::give_up_waiting() {
  if (prices_.patience() == Millis(0)) {
    client_.cancel(*prices_.under_way());
    take_prices(PriceBook::no_answer());
  }
  if (pass_.patience() == Millis(0)) {
    client_.cancel(*pass_.under_way());
    take_page(CodePass::no_answer());
  }
}

}  // namespace stripe_sync
