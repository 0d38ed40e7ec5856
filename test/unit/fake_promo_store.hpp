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
    PromoRow row;
    bool off = false, deleted = false;
    bool locked = false;      ///< by the application
    bool row_locked = false;  ///< the promo row itself, so that nothing can be shown in it
    std::int64_t generation = 1;
    Millis changed_at{0};
    std::string state = "pending";
    std::optional<Millis> due;
    int attempts = 0;
    std::optional<std::int64_t> lease;
    std::int64_t revision = 1;
    std::optional<std::int64_t> used_before;
    std::string observed = "{}";
    std::string in_flight;  ///< the operation; empty = none
    std::int64_t number = 0;
    bool looked = false, spent = false;
    bool take_over = false;
    std::optional<Error> refusal;
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
  std::map<std::string, Decided> decided;  ///< by idempotency key
  AttachSettings attached = settings();

  // --- the application ---

  void insert(const std::string& key, const Values& changes = {}) {
    State& state = rows[key];
    state.key = key;
    state.row = percentage({{"code", "CODE" + key}});
    touch(state, changes);
  }
  void edit(const std::string& key, const Values& changes) { touch(rows.at(key), changes); }
  void remove(const std::string& key) {
    rows.at(key).row = PromoRow();
    rows.at(key).deleted = true;
    touch(rows.at(key), {});
  }
  void lock(const std::string& key, bool locked = true) { rows.at(key).locked = locked; }
  void lock_row(const std::string& key, bool locked = true) { rows.at(key).row_locked = locked; }

  // --- another worker, a crash ---

  void steal(const std::string& key) { rows.at(key).lease = ++last_lease_; }
  void give_back(const std::string& key) { release(rows.at(key), "pending", clock_.steady()); }
  void restore_numbers(std::int64_t last) { last_number_ = last; }
  void clear_leases() {
    for (auto& [key, state] : rows)
      if (state.lease) release(state, "pending", clock_.steady());
  }

  bool all_settled() const {
    return std::all_of(rows.begin(), rows.end(),
                       [](const auto& entry) { return entry.second.settled(); });
  }
  bool leased() const {
    return std::any_of(rows.begin(), rows.end(),
                       [](const auto& entry) { return entry.second.lease.has_value(); });
  }

  // --- PromoStore ---

  Claims claim(int limit, const Decide& decide) override {
    step("claim");
    ++claims;
    Claims out;
    std::set<std::string> codes;
    for (State* state : lock_due(limit)) {
      if (!codes.insert(state->code).second) continue;
      ++out.rows;
      state->lease = ++last_lease_;
      state->state = "sending";
      PromoJob job = load(*state);
      Decision decision = decide(job);
      if (!decision.ends()) save_locked(*state, job, decision);
      out.jobs.push_back({std::move(job), std::move(decision)});
    }
    step("claimed");
    return out;
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
      release(state, "pending", clock_.steady());
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
      return due && held && held->id == promotion_code && (s.off || s.code != text);
    });
  }

  std::optional<Millis> next_due() override {
    std::optional<Millis> soonest;
    for (const auto& [key, state] : rows)
      if (state.due && !state.lease && (!soonest || *state.due < *soonest)) soonest = state.due;
    if (!soonest) return std::nullopt;
    return *soonest - clock_.steady();
  }

  void retry_now() override {
    for (auto& [key, state] : rows)
      if (state.state == "retrying" && state.due > clock_.steady()) state.due = clock_.steady();
  }

 private:
  void touch(State& state, const Values& changes) {
    state.row = row_of(state.row.values, changes);
    if (const std::string* code = state.row.get(item::code)) state.code = *code;
    const std::string* active = state.row.get(item::is_active);
    state.off = state.deleted || (active && *active == "false");
    ++state.generation;
    state.attempts = 0;
    state.state = "pending";
    state.due = state.changed_at = clock_.steady();
  }

  std::vector<State*> lock_due(int limit) {
    std::vector<State*> due;
    for (auto& [key, state] : rows) {
      if (!state.due || *state.due > clock_.steady() || state.lease || state.locked) continue;
      const bool held = std::any_of(rows.begin(), rows.end(), [&, s = &state](const auto& other) {
        const State& o = other.second;
        return o.code == s->code &&
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
    job.lease = *state.lease;
    job.generation = state.generation;
    job.coupon_revision = state.revision;
    job.used_before = state.used_before;
    job.attempts = state.attempts;
    job.take_over = state.take_over;
    job.row = state.row;
    job.deleted = state.deleted;
    job.settings = std::make_shared<const AttachSettings>(attached);
    job.observed = Observed::parse(state.observed);
    job.identity = {"inst_1", "public.promo/" + state.key,
                    state.code + "-" + state.key + "r" + std::to_string(state.revision)};
    if (!state.in_flight.empty()) {
      job.unsettled =
          Unsettled{*Operation::parse(state.in_flight), state.refusal, state.looked, state.spent};
      job.number = state.number;
    }
    return job;
  }

  // Who waits for a text that is free now is due.
  void wake_for(const State& freed, const std::string& text) {
    for (auto& [key, state] : rows)
      if (key != freed.key && state.code == text) {
        const bool waits =
            state.state == "conflict" || state.state == "retrying" || state.state == "parked";
        if (!state.lease && !waits) continue;
        ++state.generation;
        state.changed_at = state.due.emplace(clock_.steady());
        if (!state.lease) state.state = "pending";
      }
  }

  void write(State& state, const PromoJob& job) {
    const std::string held = Observed::parse(state.observed).sells();
    if (!held.empty() && held != job.observed.sells()) wake_for(state, held);
    state.observed = job.observed.dump();
    state.revision = job.coupon_revision;
    state.used_before = job.used_before;
    if (!job.action.empty()) state.action = job.action;
    state.in_flight = job.unsettled ? job.unsettled->operation.dump() : "";
    if (!job.unsettled) return;
    state.number = job.number;
    state.looked = job.unsettled->looked;
    state.spent = job.unsettled->spent;
    state.refusal = job.unsettled->refusal;
  }

  static void release(State& state, const std::string& name, std::optional<Millis> due) {
    state.lease.reset();
    state.state = name;
    state.due = due;
  }

  Saved save_locked(State& state, PromoJob& job, const Decision& decision) {
    state.reason = Error();
    const Millis time = clock_.steady();
    if (decision.settle && state.row_locked) {
      write(state, job);
      state.reason.message = "the row is locked";
      release(state, "retrying", time + Millis(250));
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
        due = time + Millis(*decision.settle->wake_at * 1'000 - clock_.unix_ms());
      release(state, state_name(decision.settle->state), due);
      return Saved::released;
    }
    if (decision.retry) {
      write(state, job);
      state.attempts = job.attempts + (decision.retry->counts ? 1 : 0);
      state.reason = decision.retry->reason;
      EXPECT_FALSE(state.reason.message.empty()) << "a row retries and nothing says why";
      release(state, "retrying", time + decision.retry->delay);
      return Saved::released;
    }
    if (decision.new_coupon_id) {
      ++job.coupon_revision;
      write(state, job);
      release(state, "pending", time);
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
};

}  // namespace stripe_sync::testing
