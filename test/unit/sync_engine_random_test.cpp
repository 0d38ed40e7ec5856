#include <cstdlib>

#include "fake_world.hpp"

// Everything at once, at random: edits, locks, lost leases, crashes, outages, limits, stalls, a key
// that stops working. Whatever happens, in the end Stripe holds what the rows ask for, once.
// STRIPE_SYNC_SEED=n runs one seed, STRIPE_SYNC_SEEDS=n that many.

namespace stripe_sync::testing {
namespace {

class Chaos {
 public:
  explicit Chaos(unsigned seed) : world(seed) {
    world.limits.max_parallel = 1 + world.pick(5);
    world.engine->set_limits(world.limits);
    for (int i = 0; i < 12; ++i) insert();
    world.transport.fate = [this](const Received& request) { return fate(request); };
  }

  World world;

  void round() {
    for (int i = world.pick(3); i > 0; --i) happen();
    if (world.engine->blocked() && world.pick(4) == 0) unblock();
    const int lengths[] = {1, 10, 60, 500, 5'000, 40'000};
    for (int i = 0; i < 20 && !::testing::Test::HasFatalFailure(); ++i)
      world.step(Millis(lengths[world.pick(6)]));
  }

  void heal() {
    mood_ = calm;
    for (auto& [key, state] : world.store.rows) state.locked = state.row_locked = false;
    for (const std::string& key : stolen_) give_back(key);
    stolen_.clear();
    unblock();
    // A push that lost its lease ends later than its row.
    const auto done = [this] {
      if (world.engine->blocked()) unblock();  // by an answer that was under way
      return world.store.all_settled() && world.engine->jobs() == 0;
    };
    EXPECT_GE(world.run_until(done), Millis(0)) << "not settled";
  }

  void expect_right() {
    EXPECT_EQ(world.stripe.idempotency_errors, 0);
    EXPECT_EQ(world.engine->jobs(), 0u);
    EXPECT_FALSE(world.store.leased());
    for (const auto& [key, row] : world.store.rows) expect_right(key, row);
  }

 private:
  enum Mood { calm, flaky, unreachable, silent, failing, limiting, denying, slow, moods };

  std::string any_row() {
    auto row = world.store.rows.begin();
    std::advance(row, world.pick(static_cast<int>(world.store.rows.size())));
    return row->first;
  }

  void insert(Values values = {}) {
    if (world.pick(4) == 0) {
      values["discount_type"] = "custom_price";
      values["discount_value"] = "NULL";
      values["stripe_product_id"] = "NULL";
      values["custom_monthly_price"] = "99.50";
    }
    if (world.pick(6) == 0) values["is_active"] = "false";
    world.insert(std::to_string(++inserted_), values);
  }

  void edit(const std::string& key) {
    const auto& row = world.row(key);
    if (row.deleted) return;
    if (row.locked && world.pick(2)) world.store.lock(key, false);
    const bool custom = *row.row.get(item::discount_type) == "custom_price";
    switch (world.pick(5)) {
      case 0:
        return world.edit(key, {{"description", "Text " + std::to_string(world.pick(3))}});
      case 1:
        return custom
                   ? world.edit(key, {{"custom_monthly_price", world.pick(2) ? "49.75" : "99.50"}})
                   : world.edit(key, {{"discount_value", world.pick(2) ? "40" : "50"}});
      default:
        return world.edit(key, {{"is_active", world.pick(2) ? "true" : "false"}});
    }
  }

  void happen() {
    const std::string key = any_row();
    switch (world.pick(14)) {
      case 0:
        return insert();
      case 1: {
        if (world.row(key).deleted) return;
        const std::string code = world.row(key).code;
        world.store.remove(key);
        return insert({{"code", code}});
      }
      case 2:
        return world.pick(2) ? world.store.lock(key) : world.store.lock_row(key);
      case 3:
        world.store.lock_row(key, false);
        return world.store.lock(key, false);
      case 4:
        if (!world.row(key).lease || stolen_.count(key)) return;
        world.store.steal(key);
        stolen_.insert(key);
        return;
      case 5:
        for (const std::string& row : stolen_) give_back(row);
        return stolen_.clear();
      case 6:
        if (world.pick(3)) return;
        world.crash();
        stolen_.clear();
        world.clock.advance(Millis(world.pick(5'000)));
        return world.start();
      case 7:
      case 8:
        mood_ = static_cast<Mood>(world.pick(moods));
        return;
      case 9:
        mood_ = calm;
        return;
      default:
        return edit(key);
    }
  }

  Fate fate(const Received&) {
    const Fate troubles[] = {{Fate::never_sent, Millis(20)},     {Fate::lost, Millis(80'000)},
                             {Fate::lost_answer, Millis(9'000)}, {Fate::failed, Millis(70)},
                             {Fate::failed_after, Millis(70)},   limited(),
                             limited("20", "lock_timeout"),      {Fate::answered, Millis(9'000)}};
    const Fate usual{Fate::answered, Millis(20 + world.pick(100))};
    switch (mood_) {
      case flaky:
        return world.pick(4) ? usual : troubles[world.pick(8)];
      case unreachable:
        return troubles[0];
      case silent:
        return world.pick(2) ? troubles[1] : troubles[2];
      case failing:
        return world.pick(2) ? troubles[3] : troubles[4];
      case limiting:
        return world.pick(3) ? limited(world.pick(2) ? "30" : "") : usual;
      case denying:
        return world.pick(5) ? usual : denied(world.pick(2) ? 401 : 403);
      case slow:
        return troubles[7];
      default:
        return usual;
    }
  }

  void give_back(const std::string& key) {
    world.store.give_back(key);
    world.engine->look_for_due();
  }

  void unblock() {
    world.engine->unblock();
    world.store.retry_now();
  }

  void expect_right(const std::string& key, const FakePromoStore::State& row) {
    SCOPED_TRACE("row " + key + " " + row.state + " " + row.reason.message);
    const std::string mark = "public.promo/" + key;
    std::vector<const FakeStripe::Fields*> own, active;
    for (const auto& [id, code] : world.stripe.codes) {
      if (FakeStripe::field(code, "metadata[stripe_sync_row]") != mark) continue;
      own.push_back(&code);
      if (world.stripe.active(code)) active.push_back(&code);
    }
    EXPECT_LE(active.size(), 1u);
    if (row.off) {
      EXPECT_TRUE(active.empty());
      return;
    }
    EXPECT_EQ(row.state, "synced");
    ASSERT_EQ(active.size(), 1u);
    const auto& coupon =
        world.stripe.coupons.at(FakeStripe::field(*active[0], "promotion[coupon]"));
    const std::string* percent = row.row.get(item::discount_value);
    const std::string* price = row.row.get(item::custom_monthly_price);
    const std::string wanted = percent ? percent->substr(0, 2) : *price == "49.75" ? "75" : "50";
    EXPECT_EQ(FakeStripe::field(coupon, "percent_off"), wanted);
    EXPECT_EQ(FakeStripe::field(coupon, "name"), *row.row.get(item::description));
  }

  Mood mood_ = calm;
  int inserted_ = 0;
  std::set<std::string> stolen_;
};

unsigned from_environment(const char* name, unsigned fallback) {
  const char* value = std::getenv(name);
  return value ? static_cast<unsigned>(std::atoi(value)) : fallback;
}

TEST(EngineRandom, StripeHoldsWhatTheRowsAskForOnce) {
  const unsigned one = from_environment("STRIPE_SYNC_SEED", 0);
  const unsigned seeds = from_environment("STRIPE_SYNC_SEEDS", 100);
  for (unsigned seed = one ? one : 1; seed <= (one ? one : seeds); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Chaos chaos(seed);
    for (int part = 0; part < 3; ++part) {
      for (int i = 0; i < 12 && !::testing::Test::HasFailure(); ++i) chaos.round();
      chaos.heal();
      chaos.expect_right();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace stripe_sync::testing
