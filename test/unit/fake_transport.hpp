#pragma once

#include <algorithm>
#include <functional>
#include <set>
#include <stdexcept>

#include "core/clock.hpp"
#include "fake_stripe.hpp"

// The way to the small Stripe, in fake time: latencies, losses, stalls, failures.

namespace stripe_sync::testing {

class FakeClock final : public Clock {
 public:
  std::int64_t unix_ms() const override {
    if (broken) throw std::out_of_range("no time");
    return 1'800'000'000'000 + (now_ + ahead).count();
  }
  std::int64_t stripes_seconds() const { return unix_seconds() - ahead / Millis(1'000); }
  Millis steady() const override { return now_; }
  void advance(Millis by) { now_ += by; }

  bool broken = false;
  Millis ahead{0};  ///< of Stripe's clock

 private:
  Millis now_{1'000'000};
};

/// What becomes of a request.
struct Fate {
  enum Kind {
    answered,
    never_sent,    ///< no connection
    lost,          ///< on the way there; the client waits until `latency`
    lost_answer,   ///< executed, but nothing comes back
    late,          ///< the same, and executed half a minute after the client has given up
    failed,        ///< 500, not executed, stored under the number
    failed_after,  ///< 500 although executed, stored under the number
    refused,       ///< `canned` is answered by something before the endpoint: nothing is stored
  };
  Kind kind = answered;
  Millis latency{50};
  http::Response canned = {};
};

inline Fate limited(const std::string& retry_after = "", const std::string& code = "rate_limit") {
  Fate fate{Fate::refused, Millis(20), refusal(429, code)};
  if (!retry_after.empty()) fate.canned.headers.emplace_back("retry-after", retry_after);
  return fate;
}
inline Fate denied(long status) {
  return {Fate::refused, Millis(20), refusal(status)};
}

class FakeTransport final : public http::Transport {
 public:
  struct Sent {
    std::uint64_t id;
    Received request;
    Fate fate;
    Millis at, executes, ends;
  };

  FakeTransport(const FakeClock& clock, FakeStripe& stripe) : clock_(clock), stripe_(stripe) {}

  std::function<Fate(const Received&)> fate = [](const Received&) { return Fate(); };
  /// Called before and after a request leaves.
  std::function<void(const Received&)> leaving = [](const Received&) {};
  std::vector<Sent> log;
  std::size_t most_in_flight = 0;

  /// The client is gone; what it sent is executed all the same, in its time.
  void drop_client() { open_.clear(); }
  /// All that was sent is executed.
  void arrive() { execute_until(Millis::max()); }
  /// Time until something ends.
  std::optional<Millis> next() const {
    std::optional<Millis> soonest;
    for (const std::uint64_t id : open_)
      if (!soonest || log[id - 1].ends < *soonest) soonest = log[id - 1].ends;
    if (!soonest) return std::nullopt;
    return std::max(Millis(0), *soonest - clock_.steady());
  }
  std::size_t sent(const std::string& method, const std::string& path = "/v1/") const {
    return static_cast<std::size_t>(std::count_if(log.begin(), log.end(), [&](const Sent& sent) {
      return sent.request.method == method && sent.request.under(path);
    }));
  }

  std::uint64_t submit(http::Request request) override {
    const Received in = received(request);
    leaving(in);
    const Millis now = clock_.steady();
    const Fate what = fate(in);
    const Millis executes =
        what.kind == Fate::late ? what.latency + Millis(30'000) : what.latency / 2;
    log.push_back({log.size() + 1, in, what, now, now + executes, now + what.latency});
    open_.insert(log.size());
    waiting_.insert(log.size());
    most_in_flight = std::max(most_in_flight, in_flight());
    leaving(in);
    return log.back().id;
  }
  std::optional<http::Outcome> take() override {
    execute_until(clock_.steady());
    Sent* first = nullptr;
    for (const std::uint64_t id : open_) {
      Sent& sent = log[id - 1];
      if (sent.ends <= clock_.steady() && (!first || sent.ends < first->ends)) first = &sent;
    }
    if (first == nullptr) return std::nullopt;
    open_.erase(first->id);
    http::Outcome outcome;
    outcome.id = first->id;
    const auto answer = answers_.find(first->id);
    if (first->fate.kind == Fate::refused) {
      outcome.response = first->fate.canned;
    } else if (answer != answers_.end() && first->fate.kind != Fate::lost_answer &&
               first->fate.kind != Fate::late) {
      outcome.response = answer->second;
    } else {
      outcome.failure.message = "timed out";
      outcome.failure.never_sent = first->fate.kind == Fate::never_sent;
    }
    return outcome;
  }
  std::size_t in_flight() const override { return open_.size(); }
  /// Those of the last ten seconds: slower ones have given their slots to others.
  std::size_t quick_in_flight() const {
    return static_cast<std::size_t>(std::count_if(
        open_.begin(), open_.end(),
        [&](std::uint64_t id) { return clock_.steady() - log[id - 1].at < Millis(10'000); }));
  }
  void cancel(std::uint64_t id) override { open_.erase(id); }

  const std::vector<http::Socket>& sockets() const override { return no_sockets_; }
  bool take_sockets_changed() override { return false; }
  std::optional<Millis> timeout() const override { return next(); }
  void on_ready(int, unsigned) override {}
  void on_timeout() override {}

 private:
  void execute_until(Millis now) {
    std::vector<Sent*> due;
    for (const std::uint64_t id : waiting_)
      if (log[id - 1].executes <= now) due.push_back(&log[id - 1]);
    std::stable_sort(due.begin(), due.end(),
                     [](const Sent* a, const Sent* b) { return a->executes < b->executes; });
    for (const Sent* sent : due) {
      waiting_.erase(sent->id);
      const Fate::Kind kind = sent->fate.kind;
      if (kind == Fate::never_sent || kind == Fate::lost || kind == Fate::refused) continue;
      const bool fails = kind == Fate::failed || kind == Fate::failed_after;
      answers_[sent->id] = stripe_.handle(sent->request, kind != Fate::failed, fails);
    }
  }

  const FakeClock& clock_;
  FakeStripe& stripe_;
  std::set<std::uint64_t> open_;     ///< the client waits for them
  std::set<std::uint64_t> waiting_;  ///< to be executed
  std::map<std::uint64_t, http::Response> answers_;
  std::vector<http::Socket> no_sockets_;
};

}  // namespace stripe_sync::testing
