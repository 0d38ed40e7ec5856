#pragma once

#include <memory>
#include <random>

#include "fake_promo_store.hpp"
#include "sync/promo_engine.hpp"

// The engine with everything around it, driven as the worker drives it, in fake time.

namespace stripe_sync::testing {

struct World {
  FakeClock clock;
  ClockWatch clock_watch{clock};
  FakeStripe stripe;
  FakeTransport transport{clock, stripe};
  FakePromoStore store{clock};
  std::minstd_rand random;
  Millis stale{1'001};    ///< how long what was decided may wait for its token
  bool restored = false;  ///< the database: its numbers come again
  PromoEngine::Limits limits;
  stripe::Config config;
  std::unique_ptr<stripe::Limiter> limiter;
  std::unique_ptr<stripe::Client> client;
  std::unique_ptr<PromoEngine> engine;

  explicit World(unsigned seed = 1) : random(seed) {
    config.key = "sk_test_0123456789";
    stripe.now = [this] { return clock.stripes_seconds(); };
    stripe.prices = {{"price_month", "prod_plan", "month", 19900}};
    transport.leaving = [this](const Received& request) { watch(request); };
    start();
  }

  int pick(int below) { return static_cast<int>(random() % static_cast<unsigned>(below)); }

  void start() {
    limiter = std::make_unique<stripe::LocalLimiter>(clock);
    client = std::make_unique<stripe::Client>(transport, *limiter);
    client->configure(config);
    engine = std::make_unique<PromoEngine>(
        store, *client, clock, [this] { return static_cast<double>(pick(1'000)) / 1'000; });
    engine->set_limits(limits);
  }

  /// The worker dies; what it sent arrives all the same.
  void crash() {
    engine.reset();
    client.reset();
    transport.drop_client();
    store.clear_leases();
  }

  /// As the application's commit does.
  void insert(const std::string& key, const Values& changes = {}) {
    store.insert(key, changes);
    engine->look_for_due();
  }
  void edit(const std::string& key, const Values& changes) {
    store.edit(key, changes);
    engine->look_for_due();
  }

  /// The clock of worker and database jumps; the worker sees it when it looks next.
  void set_clock(Millis ahead) {
    clock.ahead = ahead;
    if (clock_watch.set_back()) store.judge_again();
    engine->look_for_due();
  }

  /// One round of the worker's loop; waits `most` at most, and not at all when `done`.
  void step(
      Millis most, const std::function<bool()>& done = [] { return false; }) {
    if (!engine->blocked()) engine->pump();
    if (done()) return;
    Millis wait = most;
    if (const auto due = engine->wait(); due && !engine->blocked()) wait = std::min(wait, *due);
    if (const auto answer = transport.next()) wait = std::min(wait, *answer);
    idle_rounds_ = wait > Millis(0) ? 0 : idle_rounds_ + 1;
    ASSERT_LT(idle_rounds_, 200) << "the worker would spin";
    clock.advance(wait);
    while (auto answered = client->take()) {
      EXPECT_TRUE(engine->handle(answered->first, answered->second));
    }
    if (engine->take_recovered()) store.retry_now();
  }

  void run(Millis length) {
    const Millis end = clock.steady() + length;
    while (clock.steady() < end && !::testing::Test::HasFatalFailure()) step(end - clock.steady());
  }
  /// How long it took; -1 ms = it did not happen within `most`.
  Millis run_until(const std::function<bool()>& done, Millis most = Millis(600'000)) {
    const Millis begin = clock.steady(), end = begin + most;
    while (!done()) {
      if (clock.steady() >= end || ::testing::Test::HasFatalFailure()) return Millis(-1);
      step(end - clock.steady(), done);
    }
    return clock.steady() - begin;
  }
  Millis settle(Millis most = Millis(600'000)) {
    const Millis took = run_until([this] { return store.all_settled(); }, most);
    EXPECT_GE(took, Millis(0)) << "not settled";
    return took;
  }

  const FakePromoStore::State& row(const std::string& key) const { return store.rows.at(key); }
  std::string state(const std::string& key) const { return row(key).state; }

  /// One coupon, one active promotion code, and the row's terms.
  void expect_sold(const std::string& key, const std::string& percent = "50") {
    SCOPED_TRACE(key);
    EXPECT_EQ(state(key), "synced") << row(key).reason.message;
    EXPECT_EQ(stripe.active_codes(row(key).code).size(), 1u);
    EXPECT_EQ(stripe.codes_of(row(key).code), 1u);
    EXPECT_EQ(coupons_of(key), 1u);
    for (const std::string& id : stripe.active_codes(row(key).code)) {
      const std::string coupon = FakeStripe::field(*stripe.code(id), "promotion[coupon]");
      EXPECT_EQ(FakeStripe::field(stripe.coupons.at(coupon), "percent_off"), percent);
    }
  }
  std::size_t coupons_of(const std::string& key) const {
    std::size_t count = 0;
    for (const auto& [id, coupon] : stripe.coupons)
      count += FakeStripe::field(coupon, "metadata[stripe_sync_row]") == "public.promo/" + key;
    return count;
  }
  /// What was sent, one request a line: "POST /v1/coupons".
  std::vector<std::string> sent() const {
    std::vector<std::string> lines;
    for (const auto& request : transport.log)
      lines.push_back(request.request.method + " " + request.request.path);
    return lines;
  }

 private:
  // Whatever else happens: nothing is sent that was decided on a row before it changed, but for the
  // moment between decision and token. A number belongs to one request, and is used again only for
  // the same one whose earlier try is known not to have been done, or was looked for.
  void watch(const Received& request) {
    EXPECT_EQ(request.writes(), !request.key.empty());
    EXPECT_LE(transport.quick_in_flight(), static_cast<std::size_t>(limits.max_parallel));
    if (!request.writes()) return;
    const auto decision = store.decided.at(request.key);
    const auto& row = store.rows.at(decision.row);
    EXPECT_TRUE(row.generation == decision.generation || clock.steady() - row.changed_at < stale)
        << request.path << " was decided on a row that has changed since";
    const FakeTransport::Sent* before = nullptr;
    bool looked = false;
    for (std::size_t i = looked_from(request.key); i < transport.log.size(); ++i) {
      const FakeTransport::Sent& sent = transport.log[i];
      if (sent.request.key == request.key) {
        before = &sent;
        looked = false;
      } else if (!sent.request.writes()) {
        looked = true;
      }
    }
    last_sent_[request.key] = transport.log.size();
    if (restored || before == nullptr || before->at == clock.steady()) return;
    EXPECT_EQ(before->request.path, request.path);
    EXPECT_EQ(before->request.params, request.params);
    const bool not_done =
        before->fate.kind == Fate::never_sent || before->fate.kind == Fate::refused;
    EXPECT_TRUE(not_done || looked) << request.path << " sent again blindly";
  }
  std::size_t looked_from(const std::string& key) const {
    const auto found = last_sent_.find(key);
    if (found == last_sent_.end()) return transport.log.size();
    return found->second > 0 ? found->second - 1 : 0;
  }

  std::map<std::string, std::size_t> last_sent_;
  int idle_rounds_ = 0;
};

}  // namespace stripe_sync::testing
