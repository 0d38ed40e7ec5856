#include <cstdlib>

#include "fake_world.hpp"

// Everything at once, at random: rows edited in all they say, Stripe's objects used and changed by
// hand, locks, lost leases, crashes, outages, limits, stalls, a key that stops working, time that
// jumps. Whatever happens, in the end Stripe sells what the rows say, once.
// STRIPE_SYNC_SEED=n runs one seed, STRIPE_SYNC_SEEDS=n that many (from that one on).

namespace stripe_sync::testing {
namespace {

class Chaos {
 public:
  explicit Chaos(unsigned seed) : world(seed) {
    world.limits.max_parallel = 1 + world.pick(5);
    world.engine->set_limits(world.limits);
    for (int i = 0; i < 12; ++i) insert();
    world.transport.fate = [this](const Received& request) {
      expect_uses_left(request);
      return fate(request);
    };
  }

  World world;

  void round() {
    for (int i = world.pick(4); i >= 0; --i) happen();
    if (world.engine->blocked() && world.pick(4) == 0) unblock();
    const int lengths[] = {1, 10, 60, 500, 5'000, 40'000};
    for (int i = 0; i < 20 && !::testing::Test::HasFatalFailure(); ++i) {
      world.step(Millis(lengths[world.pick(6)]));
    }
    std::set<std::string> selling;
    for (const auto& [id, code] : world.stripe.codes) {
      if (!world.stripe.active(code)) continue;
      EXPECT_TRUE(selling.insert(mark_of(code)).second) << "two sell for " << mark_of(code);
    }
  }

  void heal() {
    mood_ = calm;
    for (auto& [key, state] : world.store.rows) state.locked = state.row_locked = false;
    for (const std::string& key : stolen_) give_back(key);
    stolen_.clear();
    unblock();
    settle();
  }

  /// What was done in Stripe by hand is seen when a row's own code is written to next.
  void show_what_was_done() {
    std::vector<std::string> on;
    for (const std::string& key : touched_)
      if (!world.row(key).off) on.push_back(key);
    touched_.clear();
    for (const char* active : {"false", "true"}) {
      for (const std::string& key : on) world.edit(key, {{"is_active", active}});
      settle();
    }
  }

  void expect_right() {
    EXPECT_EQ(world.stripe.idempotency_errors, 0);
    EXPECT_EQ(world.engine->jobs(), 0u);
    EXPECT_FALSE(world.store.leased());
    for (const auto& [key, row] : world.store.rows) expect_right(key, row);
  }

  /// Looked at again, by another worker: nothing is written that is in step.
  void expect_quiet() {
    const std::size_t written = world.transport.sent("POST");
    const std::int64_t begin = world.clock.unix_seconds();
    world.crash();
    world.start();
    for (const auto& [key, row] : world.store.rows)
      if (row.state != "conflict") world.edit(key, {});
    settle();
    for (const auto& [key, row] : world.store.rows)
      if (const auto starts = number(row.row, item::starts_at))
        if (*starts >= begin && *starts <= world.clock.unix_seconds()) return;
    EXPECT_EQ(world.transport.sent("POST"), written) << "a quiet system writes:" << tail(8);
  }

 private:
  enum Mood { calm, flaky, unreachable, silent, failing, limiting, denying, slow, moods };
  using Codes = std::vector<const FakeStripe::Fields*>;

  static std::optional<std::int64_t> number(const PromoRow& row, const char* item) {
    const std::string* text = row.get(item);
    return text ? std::optional(std::stoll(*text)) : std::nullopt;
  }

  static std::string mark_of(const FakeStripe::Fields& code) {
    return FakeStripe::field(code, "metadata[stripe_sync_row]");
  }

  // --- what happens ---

  std::string any_row() {
    auto row = world.store.rows.begin();
    std::advance(row, world.pick(static_cast<int>(world.store.rows.size())));
    return row->first;
  }

  std::string one_of(std::initializer_list<const char*> values) {
    return values.begin()[world.pick(static_cast<int>(values.size()))];
  }
  std::string moment(std::initializer_list<std::int64_t> ahead) {
    const int which = world.pick(static_cast<int>(ahead.size()) + 1);
    if (which == 0) return "NULL";
    return std::to_string(world.clock.unix_seconds() + ahead.begin()[which - 1]);
  }

  void insert(Values values = {}) {
    if (world.pick(4) == 0) {
      values["discount_type"] = "custom_price";
      values["discount_value"] = "NULL";
      values["stripe_product_id"] = "NULL";
      values["custom_monthly_price"] = "99.50";
    }
    if (world.pick(6) == 0) values["is_active"] = "false";
    if (world.pick(3) == 0) values["max_uses"] = one_of({"1", "2", "5"});
    if (world.pick(3) == 0) values["used_count"] = one_of({"1", "3"});
    world.insert(std::to_string(++inserted_), values);
  }

  Values change(const PromoRow& row) {
    const bool custom = *row.get(item::discount_type) == "custom_price";
    switch (world.pick(14)) {
      case 0:
      case 1:
        return {{"description", "Text " + std::to_string(world.pick(3))}};
      case 2:
      case 3:
        return custom ? Values{{"custom_monthly_price", one_of({"49.75", "99.50", "-1"})}}
                      : Values{{"discount_value", one_of({"40", "50", "50.00", "NULL"})}};
      case 4:
        return {{"duration", one_of({"once", "forever"})}};
      case 5:
      case 6:
        return {{"max_uses", one_of({"NULL", "1", "2", "5", "9"})}};
      case 7:
        return {{"expires_at", moment({-10, 60, 3'600, 9 * day})}};
      case 8:
        return {{"starts_at", moment({-10, 60, 3'600, 2 * day})}};
      case 9:
        return {{"code", "TEXT" + std::to_string(world.pick(6))}};
      default:
        return {{"is_active", one_of({"true", "true", "false"})}};
    }
  }

  void edit(const std::string& key) {
    const auto& row = world.row(key);
    if (row.deleted) return;
    if (row.locked && world.pick(2)) world.store.lock(key, false);
    world.edit(key, change(row.row));
  }

  /// A customer, or somebody in the Dashboard.
  void touch_stripe() {
    if (world.stripe.codes.empty()) return;
    const int which = world.pick(static_cast<int>(world.stripe.codes.size()));
    const auto& [id, code] = world.stripe.codes[static_cast<std::size_t>(which)];
    const std::string mark = mark_of(code);
    touched_.insert(mark.substr(mark.rfind('/') + 1));
    switch (world.pick(8)) {
      case 0:
        return world.stripe.deactivate(id);
      case 1:
        return world.stripe.delete_coupon(FakeStripe::field(code, "promotion[coupon]"));
      default:
        return world.stripe.redeem(id);
    }
  }

  void happen() {
    const std::string key = any_row();
    switch (world.pick(22)) {
      case 0:
        return insert();
      case 1: {
        if (world.row(key).deleted) return;
        const std::string code = world.row(key).code;
        world.store.remove(key);
        return world.pick(3) ? insert({{"code", code}}) : world.engine->look_for_due();
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
      case 10:
        if (world.pick(3)) return;
        return world.clock.advance(Millis(1'000) * (1 + world.pick(2 * static_cast<int>(day))));
      case 11:
      case 12:
      case 13:
        return touch_stripe();
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

  void settle() {
    // A push that lost its lease ends later than its row; and a row's time may have come.
    const auto done = [this] {
      if (world.engine->blocked()) unblock();  // by an answer that was under way
      const auto due = world.store.next_due();
      return world.store.all_settled() && world.engine->jobs() == 0 && (!due || *due > Millis(0));
    };
    EXPECT_GE(world.run_until(done), Millis(0)) << "not settled";
  }

  // --- what must be ---

  /// The last requests, for who has to find out.
  std::string tail(std::size_t requests) const {
    const auto& log = world.transport.log;
    std::string text;
    for (std::size_t i = log.size() - std::min(requests, log.size()); i < log.size(); ++i) {
      text += "\n  " + log[i].request.method + " " + log[i].request.path;
      for (const auto& [name, value] : log[i].request.params) text += " " + name + "=" + value;
    }
    return text;
  }

  Codes codes_of(const std::string& key) const {
    const std::string mark = "public.promo/" + key;
    Codes codes;
    for (const auto& [id, code] : world.stripe.codes)
      if (mark_of(code) == mark) codes.push_back(&code);
    return codes;
  }
  Codes sold(const std::string& key) const {
    Codes codes;
    for (const auto* code : codes_of(key))
      if (world.stripe.active(*code)) codes.push_back(code);
    return codes;
  }
  /// Of max_uses, what is left for a promotion code beside all the row's others.
  std::int64_t uses_left(const PromoRow& row, const Codes& others) const {
    std::int64_t left = *number(row, item::max_uses) - number(row, item::used_count).value_or(0);
    for (const auto* code : others) left -= FakeStripe::redeemed(*code);
    return left;
  }

  void expect_uses_left(const Received& request) {
    if (!request.writes() || request.path != "/v1/promotion_codes") return;
    const auto decision = world.store.decided.at(request.key);
    const auto& row = world.row(decision.row);
    if (row.generation != decision.generation) return;  // changed in between
    EXPECT_TRUE(sold(row.key).empty()) << "another promotion code of row " << row.key << " sells";
    const std::string most = request.get("max_redemptions");
    ASSERT_EQ(most.empty(), !row.row.get(item::max_uses));
    if (!most.empty()) {
      EXPECT_EQ(std::stoll(most), uses_left(row.row, codes_of(row.key)));
    }
  }

  void expect_right(const std::string& key, const FakePromoStore::State& row) {
    SCOPED_TRACE("row " + key + " " + row.state + " " + row.reason.message);
    const Codes active = sold(key);
    ASSERT_LE(active.size(), 1u);
    if (row.state == "parked" || row.state == "conflict") {
      EXPECT_FALSE(row.reason.message.empty());
    }
    if (row.off) {
      EXPECT_TRUE(active.empty());
    } else if (!valid(row.row)) {
      EXPECT_TRUE(row.state == "parked" || row.state == "expired");
    } else if (row.state == "conflict") {
      EXPECT_TRUE(active.empty());
    } else if (const auto resting = why_not_sold(key, row.row); !resting.empty()) {
      EXPECT_EQ(resting.count(row.state), 1u) << *resting.begin();
      EXPECT_TRUE(active.empty());
    } else {
      EXPECT_EQ(row.state, "synced");
      expect_sold(row.row, active, codes_of(key));
    }
  }

  static bool valid(const PromoRow& row) {
    const auto starts = number(row, item::starts_at), expires = number(row, item::expires_at);
    if (starts && expires && *starts >= *expires) return false;
    const std::string* price = row.get(item::custom_monthly_price);
    return price ? *price != "-1" : row.get(item::discount_value) != nullptr;
  }

  std::set<std::string> why_not_sold(const std::string& key, const PromoRow& row) const {
    std::set<std::string> states;
    const std::int64_t time = world.clock.unix_seconds();
    if (number(row, item::expires_at).value_or(time + 1) <= time) states.insert("expired");
    if (number(row, item::starts_at).value_or(time) > time) states.insert("scheduled");
    if (row.get(item::max_uses) && uses_left(row, codes_of(key)) <= 0) states.insert("exhausted");
    return states;
  }

  void expect_sold(const PromoRow& row, const Codes& active, Codes all) {
    ASSERT_EQ(active.size(), 1u);
    const FakeStripe::Fields& code = *active[0];
    const FakeStripe::Fields& coupon =
        world.stripe.coupons.at(FakeStripe::field(code, "promotion[coupon]"));
    const auto said = [&](const char* item, const char* otherwise) {
      const std::string* text = row.get(item);
      return text ? *text : otherwise;
    };
    const std::string* percent = row.get(item::discount_value);
    const std::string* price = row.get(item::custom_monthly_price);
    EXPECT_EQ(FakeStripe::field(coupon, "percent_off"),
              percent ? percent->substr(0, 2) : (*price == "49.75" ? "75" : "50"));
    EXPECT_EQ(FakeStripe::field(coupon, "name"), said(item::description, ""));
    EXPECT_EQ(FakeStripe::field(coupon, "duration"),
              said(item::duration, price ? "forever" : "once"));
    EXPECT_EQ(FakeStripe::field(code, "code"), said(item::code, ""));
    EXPECT_EQ(FakeStripe::field(code, "expires_at"), said(item::expires_at, ""));
    const std::string most = FakeStripe::field(code, "max_redemptions");
    ASSERT_EQ(most.empty(), !row.get(item::max_uses));
    if (most.empty()) return;
    all.erase(std::find(all.begin(), all.end(), &code));
    EXPECT_EQ(std::stoll(most), uses_left(row, all));
  }

  Mood mood_ = calm;
  int inserted_ = 0;
  std::set<std::string> stolen_;
  std::set<std::string> touched_;  ///< rows whose objects were changed in Stripe, unknown to us
};

unsigned from_environment(const char* name, unsigned fallback) {
  const char* value = std::getenv(name);
  return value ? static_cast<unsigned>(std::atoi(value)) : fallback;
}

void run(unsigned seed) {
  SCOPED_TRACE("STRIPE_SYNC_SEED=" + std::to_string(seed));
  Chaos chaos(seed);
  for (int part = 0; part < 3 && !::testing::Test::HasFailure(); ++part) {
    for (int i = 0; i < 6 && !::testing::Test::HasFailure(); ++i) chaos.round();
    chaos.heal();
    chaos.show_what_was_done();
    chaos.expect_right();
    chaos.expect_quiet();
  }
}

TEST(EngineRandom, StripeSellsWhatTheRowsSayOnce) {
  const unsigned one = from_environment("STRIPE_SYNC_SEED", 0);
  const unsigned first = one ? one : 1;
  const unsigned seeds = from_environment("STRIPE_SYNC_SEEDS", one ? 1 : 120);
  for (unsigned seed = first; seed < first + seeds && !HasFailure(); ++seed) run(seed);
}

}  // namespace
}  // namespace stripe_sync::testing
