#pragma once

#include <algorithm>
#include <set>

#include "fake_transport.hpp"
#include "sync/promo_store.hpp"
#include "sync_fixture.hpp"

// The contract of promo_store.hpp in memory, as src/pg/promo_store.cpp keeps it.

namespace stripe_sync::testing {

class FakePromoStore final : public PromoStore {
 public:
  struct State {
    std::string key, code;
    std::string mark;  ///< in Stripe: the key, and how often it was changed
    std::string text;  ///< the code without case
    PromoRow row;
    bool off = false, deleted = false;
    bool locked = false;      ///< by the application
    bool row_locked = false;  ///< the promo row itself, so that nothing can be shown in it
    std::int64_t generation = 1;
    Millis changed_at{0};
    std::string state = "pending";
    std::optional<Millis> due;  ///< as judged_at, by the wall clock
    Millis judged_at{0};
    int attempts = 0;
    std::optional<std::int64_t> lease;
    std::int64_t revision = 1;
    std::optional<std::int64_t> used_before;
    std::string counted;  ///< the row's used_count when used_before was told by it
    std::string observed = "{}";
    std::string in_flight;  ///< the operation; empty = none
    std::int64_t number = 0;
    bool looked = false, spent = false;
    std::int64_t sent_at = 0;
    bool take_over = false;
    Error reason;
    std::string action;
    std::vector<std::string> warnings;

    bool settled() const { return !lease && state != "pending" && state != "retrying"; }
  };

  explicit FakePromoStore(const FakeClock& clock) : clock_(clock) {}

  std::map<std::string, State> rows;
  /// Called before and after each call does its work; may throw: a crash.
  std::function<void(const char*)> step = [](const char*) {};
  bool fails = false;  ///< nothing can be saved
  int claims = 0;
  struct Decided {
    std::string row;
    std::int64_t generation;
  };
  std::map<std::string, Decided> decided;     ///< by idempotency key
  std::map<std::string, std::string> linked;  ///< promotion code -> row that has or had it
  AttachSettings attached = settings();

  // --- the application ---

  void insert(const std::string& key, const Values& changes = {}) {
    State& state = rows[key];
    state.key = key;
    if (state.mark.empty()) state.mark = key;
    state.deleted = false;
    state.row = percentage({{"code", "CODE" + key}});
    touch(state, changes);
  }
  /// Nothing to change: looked at again.
  void edit(const std::string& key, const Values& changes) {
    State& state = rows.at(key);
    if (!(state.deleted && state.state == "excluded")) touch(state, changes);
  }
  void remove(const std::string& key) {
    State& state = rows.at(key);
    const bool manual = is_manual(state);
    state.row = PromoRow();
    state.deleted = true;
    touch(state, {});
    if (manual) state.state = "excluded", state.due.reset();
  }
  /// The row goes on under another primary key (the map's stays): its state goes along if it shows
  /// its promotion code. What is under way for the old key is lost.
  void change_key(const std::string& key) {
    State& state = rows.at(key);
    if (state.deleted || state.row_locked || !Observed::parse(state.observed).code) return;
    state.mark += '~';
    state.lease.reset();
    touch(state, {});
  }
  static bool is_manual(const State& state) {
    const std::string* status = state.row.get(item::sync_status);
    return status && *status == "manual";
  }
  void lock(const std::string& key, bool locked = true) { rows.at(key).locked = locked; }
  void lock_row(const std::string& key, bool locked = true) { rows.at(key).row_locked = locked; }

  /// stripe_sync_resolve(): 'db'.
  void take_over(const std::string& key) {
    rows.at(key).take_over = true;
    touch(rows.at(key), {});
  }
  /// The row that has that promotion code, if it is another.
  const State* holder(const std::string& promotion_code, const std::string& but) const {
    for (const auto& [key, state] : rows) {
      const auto held = Observed::parse(state.observed).code;
      if (key != but && !state.deleted && held && held->id == promotion_code) return &state;
    }
    return nullptr;
  }

  // --- another worker, a crash ---

  void steal(const std::string& key) { rows.at(key).lease = ++last_lease_; }
  void give_back(const std::string& key) { release(rows.at(key), "pending", time()); }
  void restore_numbers(std::int64_t last) { last_number_ = last; }
  void clear_leases() {
    interrupted_ = held_since_.has_value();
    held_since_.reset();
    seen_to_.reset();
    for (auto& [key, state] : rows)
      if (state.lease) release(state, "pending", time());
  }

  bool all_settled() const {
    return std::all_of(rows.begin(), rows.end(),
                       [](const auto& entry) { return entry.second.settled(); });
  }
  bool leased() const {
    return std::any_of(rows.begin(), rows.end(),
                       [](const auto& entry) { return entry.second.lease.has_value(); });
  }

  std::optional<Error> held_by_another(const PromoJob& job) const {
    if (!taken(rows.at(job.key), job)) return std::nullopt;
    return Error(errcode::invalid_promo_code, "its promotion code belongs to another row");
  }
  /// A row as a claim would find it.
  PromoJob look(const std::string& key) const { return load(rows.at(key)); }

  // --- PromoStore ---

  Claims claim(int limit, const Decide& decide) override {
    ++claims;
    return claim_due(lock_due(limit, [&](const State& state) { return !held(state); }), decide);
  }
  Claims claim_off(int limit, const Decide& decide) override {
    const auto wanted = [&](const State& state) { return state.off && !held(state); };
    return claim_due(lock_due(limit, wanted), decide);
  }

  std::size_t hold_unseen(std::size_t least) override {
    const auto count =
        static_cast<std::size_t>(std::count_if(rows.begin(), rows.end(), [this](const auto& entry) {
          const State& state = entry.second;
          return unseen(state) && state.due && *state.due <= time() && !state.lease &&
                 (!seen_to_ || state.changed_at > *seen_to_);
        }));
    if (count < (std::exchange(interrupted_, false) ? 1 : least)) return 0;
    held_since_ = clock_.steady();
    return count;
  }
  Claims claim_unseen(const std::vector<std::string>& texts, const Decide& decide) override {
    const std::set<std::string> wanted(texts.begin(), texts.end());
    const auto due = lock_due(1'000'000, [&](const State& state) {
      return unseen(state) && wanted.count(state.text) > 0;
    });
    return claim_due(due, decide);
  }
  void release_unseen(bool seen_to) override {
    if (seen_to) seen_to_ = held_since_;
    held_since_.reset();
  }

  Saved save(PromoJob& job, const Decision& decision) override {
    step("save");
    State& state = rows.at(job.key);
    if (state.lease != job.lease) return Saved::lost;
    if (fails) return Saved::failed;
    if (state.locked) return Saved::busy;
    Saved saved = Saved::released;
    if (state.generation != job.generation) {
      if (decision.send && decision.send->writes()) job.unsettled.reset();
      write(state, job);
      state.attempts = 0;
      release(state, "pending", time());
    } else {
      saved = save_locked(state, job, decision);
    }
    step("saved");
    return saved;
  }

  bool gives_up(const std::string& promotion_code, const std::string& text) override {
    return std::any_of(rows.begin(), rows.end(), [&](const auto& entry) {
      const State& s = entry.second;
      const bool due = s.state == "pending" || s.state == "sending" || s.state == "retrying";
      const auto held = Observed::parse(s.observed).code;
      return due && held && held->id == promotion_code && (s.off || s.text != without_case(text));
    });
  }

  std::optional<Millis> next_due() override {
    std::optional<Millis> soonest;
    for (const auto& [key, state] : rows)
      if (state.due && !state.lease && (!soonest || *state.due < *soonest)) soonest = state.due;
    if (!soonest) return std::nullopt;
    return *soonest - time();
  }

  void retry_now() override {
    for (auto& [key, state] : rows)
      if (state.state == "retrying" && state.due > time()) state.due = time();
  }

  /// The clock was set back: what it said before does not hold.
  void judge_again() {
    for (auto& [key, state] : rows) {
      const bool waits = state.state == "pending" && state.due > time();
      if ((waits || state.judged_at > time()) && state.state != "excluded") state.due = time();
    }
  }

 private:
  void touch(State& state, const Values& changes) {
    state.row = row_of(state.row.values, changes);
    if (const std::string* code = state.row.get(item::code)) state.code = *code;
    state.text = without_case(state.code);
    const std::string* active = state.row.get(item::is_active);
    state.off = state.deleted || (active && *active == "false");
    ++state.generation;
    state.attempts = 0;
    state.state = "pending";
    state.changed_at = clock_.steady();
    state.due = state.judged_at = time();
  }

  static bool unseen(const State& state) {
    return state.observed == "{}" && state.in_flight.empty() && !state.deleted;
  }

  Claims claim_due(const std::vector<State*>& due, const Decide& decide) {
    step("claim");
    Claims out;
    std::set<std::string> codes;
    for (State* state : due) {
      if (!codes.insert(state->text).second) continue;
      ++out.rows;
      state->lease = ++last_lease_;
      state->state = "sending";
      PromoJob job = load(*state);
      Decision decision = decide(job);
      if (decision.leave) {
        release(*state, "pending", time());
        continue;
      }
      if (!decision.ends()) save_locked(*state, job, decision);
      out.jobs.push_back({std::move(job), std::move(decision)});
    }
    step("claimed");
    return out;
  }

  bool held(const State& state) const {
    const bool long_held =
        state.off && held_since_ && clock_.steady() > *held_since_ + Millis(60'000);
    return held_since_ && unseen(state) && state.changed_at <= *held_since_ && !long_held;
  }

  std::vector<State*> lock_due(int limit, const std::function<bool(const State&)>& wanted) {
    std::vector<State*> due;
    for (auto& [key, state] : rows) {
      if (!state.due || *state.due > time() || state.lease || state.locked) continue;
      if (!wanted(state)) continue;
      const bool held = std::any_of(rows.begin(), rows.end(), [&, s = &state](const auto& other) {
        const State& o = other.second;
        return o.text == s->text &&
               (o.lease || (!s->off && o.off && (o.state == "pending" || o.state == "retrying")));
      });
      if (!held) due.push_back(&state);
    }
    std::stable_sort(due.begin(), due.end(), [](const State* a, const State* b) {
      return a->off != b->off ? a->off : *a->due < *b->due;
    });
    if (static_cast<int>(due.size()) > limit) due.resize(static_cast<std::size_t>(limit));
    return due;
  }

  PromoJob load(const State& state) const {
    PromoJob job;
    job.table = "16384";
    job.key = state.key;
    job.code = state.code;
    job.lease = state.lease.value_or(0);
    job.generation = state.generation;
    job.coupon_revision = state.revision;
    job.used_before = state.used_before;
    job.attempts = state.attempts;
    job.take_over = state.take_over;
    job.row = state.row;
    job.deleted = state.deleted;
    job.settings = std::make_shared<const AttachSettings>(attached);
    job.observed = Observed::parse(state.observed);
    if (job.observed.code) job.linked_code = job.observed.code->id;
    job.identity = {"inst_1", "public.promo/" + state.mark,
                    state.code + "-" + state.key + "r" + std::to_string(state.revision)};
    if (!state.in_flight.empty()) {
      job.unsettled = Unsettled{*Operation::parse(state.in_flight), std::nullopt, state.looked,
                                state.spent, state.sent_at};
      job.number = state.number;
    }
    return job;
  }

  // Who waits for a text that is free now is due.
  void wake_for(const State& freed, const std::string& code) {
    const std::string text = without_case(code);
    for (auto& [key, state] : rows)
      if (key != freed.key && state.text == text) {
        const bool waits =
            state.state == "conflict" || state.state == "retrying" || state.state == "parked";
        if (!state.lease && !waits) continue;
        ++state.generation;
        state.changed_at = clock_.steady();
        state.due = time();
        if (!state.lease) state.state = "pending";
      }
  }

  void write(State& state, const PromoJob& job) {
    const std::string held = Observed::parse(state.observed).sells();
    if (!held.empty() && held != job.observed.sells()) wake_for(state, held);
    state.observed = job.observed.dump();
    if (job.observed.code) linked[job.observed.code->id] = state.key;
    state.revision = job.coupon_revision;
    if (job.used_before && !state.used_before)
      if (const std::string* used = job.row.get(item::used_count)) state.counted = *used;
    state.used_before = job.used_before;
    if (!job.action.empty()) state.action = job.action;
    const bool open = job.unsettled && !job.unsettled->refusal;
    state.in_flight = open ? job.unsettled->operation.dump() : "";
    if (!open) return;
    state.number = job.number;
    state.looked = job.unsettled->looked;
    state.spent = job.unsettled->spent;
    state.sent_at = job.unsettled->sent_at;
  }

  Millis time() const { return clock_.steady() + clock_.ahead; }

  void release(State& state, const std::string& name, std::optional<Millis> due) {
    state.lease.reset();
    state.judged_at = time();
    state.state = name;
    state.due = due;
  }

  /// Another row has the promotion code that was just found.
  bool taken(const State& state, const PromoJob& job) const {
    const auto& found = job.observed.code;
    return found && found->id != job.linked_code && holder(found->id, state.key) != nullptr;
  }

  Saved save_locked(State& state, PromoJob& job, const Decision& decision) {
    state.reason = Error();
    if (taken(state, job)) {
      job.observed.code.reset();
      job.observed.coupon.reset();
      job.unsettled.reset();
      write(state, job);
      state.reason.message = "its promotion code belongs to another row";
      state.reason.hint = "Give the row another code.";
      release(state, "conflict", std::nullopt);
      return Saved::released;
    }
    if (decision.settle && state.row_locked) {
      write(state, job);
      state.reason.message = "the row is locked";
      release(state, "retrying", time() + Millis(250));
      return Saved::released;
    }
    if (decision.settle) {
      write(state, job);
      state.take_over = false;
      state.attempts = 0;
      state.reason = decision.settle->reason;
      state.warnings = decision.settle->warnings;
      std::optional<Millis> due;
      if (decision.settle->wake_at)
        due = time() + Millis(*decision.settle->wake_at * 1'000 - clock_.unix_ms());
      release(state, state_name(decision.settle->state), due);
      return Saved::released;
    }
    if (decision.retry) {
      write(state, job);
      state.attempts = job.attempts + (decision.retry->counts ? 1 : 0);
      state.reason = decision.retry->reason;
      EXPECT_FALSE(state.reason.message.empty()) << "a row retries and nothing says why";
      release(state, "retrying", time() + decision.retry->delay);
      return Saved::released;
    }
    if (decision.new_coupon_id) {
      ++job.coupon_revision;
      write(state, job);
      release(state, "pending", time());
      return Saved::released;
    }
    if (decision.send && decision.send->writes()) {
      if (job.number == 0) job.number = ++last_number_;
      job.idempotency_key = "number-" + std::to_string(job.number);
      decided[job.idempotency_key] = {state.key, state.generation};
    }
    write(state, job);
    state.state = "sending";
    return Saved::ok;
  }

  const FakeClock& clock_;
  std::int64_t last_lease_ = 0;
  std::int64_t last_number_ = 0;
  std::optional<Millis> held_since_, seen_to_;
  bool interrupted_ = false;
};

}  // namespace stripe_sync::testing
