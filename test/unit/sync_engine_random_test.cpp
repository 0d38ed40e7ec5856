#include <cstdlib>

#include "chaos.hpp"

// Everything at once, at random: rows edited in all they say, renamed, exchanged, deleted and made
// again, left to the user; Stripe's objects used, changed and made by hand, and what it refuses;
// locks, lost leases, crashes, outages, limits, stalls, a key that stops working, clocks that
// differ and jump. Whatever happens, in the end Stripe sells what the rows say, once, or they say
// why not. STRIPE_SYNC_SEED=n runs one seed, STRIPE_SYNC_SEEDS=n that many (from that one on).

namespace stripe_sync::testing {
namespace {

using Codes = std::vector<std::pair<std::string, const FakeStripe::Fields*>>;
using State = FakePromoStore::State;

class Judge {
 public:
  explicit Judge(Chaos& chaos) : chaos_(chaos), world_(chaos.world) {
    chaos.seen = [this](const Received& request) { expect_allowed(request); };
  }

  /// At any time.
  void expect_one_each() const {
    std::set<std::string> selling;
    for (const auto& [id, code] : world_.stripe.codes) {
      const std::string row = chaos_.owner(id, code);
      if (row.empty() || !world_.stripe.active(code)) continue;
      EXPECT_TRUE(selling.insert(row).second) << "two sell for row " << row;
    }
  }

  void expect_right() const {
    EXPECT_EQ(world_.stripe.idempotency_errors, 0);
    EXPECT_EQ(world_.engine->jobs(), 0u);
    EXPECT_FALSE(world_.store.leased());
    for (const auto& [key, row] : world_.store.rows) {
      expect_right(row);
      if (!::testing::Test::HasFailure()) continue;
      ADD_FAILURE() << "row " << key << life(row);
      return;
    }
  }

  /// Looked at again, by another worker: nothing is written that is in step.
  void expect_quiet() {
    const std::size_t written = world_.transport.sent("POST");
    const std::int64_t begin = world_.clock.unix_seconds();
    world_.crash();
    world_.start();
    for (const auto& [key, row] : world_.store.rows)
      if (!tries_again(row)) world_.edit(key, {});
    chaos_.settle();
    for (const auto& [key, row] : world_.store.rows)
      for (const char* item : {item::starts_at, item::expires_at})
        if (const auto time = whole(row.row, item))
          if (*time >= begin - 1 && *time <= world_.clock.unix_seconds()) return;
    EXPECT_EQ(world_.transport.sent("POST"), written) << "a quiet system writes:" << last_write();
  }

 private:
  Codes codes_of(const std::string& key) const {
    Codes codes;
    for (const auto& [id, code] : world_.stripe.codes)
      if (chaos_.owner(id, code) == key) codes.emplace_back(id, &code);
    return codes;
  }
  Codes sold(const std::string& key) const {
    Codes codes;
    for (const auto& code : codes_of(key))
      if (world_.stripe.active(*code.second)) codes.push_back(code);
    return codes;
  }
  /// Of max_uses, what is left for a promotion code beside the row's others.
  std::int64_t uses_left(const State& row, const Codes& others) const {
    const std::string before = row.used_before ? row.counted : column(row.row, item::used_count);
    std::int64_t left = *whole(row.row, item::max_uses) - (before.empty() ? 0 : std::stoll(before));
    for (const auto& [id, code] : others) left -= FakeStripe::redeemed(*code);
    return left;
  }

  /// Is asked of the row again when it is looked at again.
  bool tries_again(const State& row) const {
    return row.state == "conflict" || (row.state == "parked" && offer_of(row.row));
  }

  void expect_allowed(const Received& request) {
    if (!request.writes()) return;
    const auto decision = world_.store.decided.at(request.key);
    const State& row = world_.row(decision.row);
    if (row.generation != decision.generation) return;  // changed in between
    EXPECT_FALSE(FakePromoStore::is_manual(row)) << "row " << row.key << " is manual";
    if (request.path != "/v1/promotion_codes") return;
    EXPECT_TRUE(sold(row.key).empty()) << "another promotion code of row " << row.key << " sells";
    const std::string most = request.get("max_redemptions");
    ASSERT_EQ(most.empty(), !row.row.get(item::max_uses));
    if (!most.empty()) {
      EXPECT_EQ(std::stoll(most), uses_left(row, codes_of(row.key))) << "row " << row.key;
    }
  }

  // --- in the end ---

  void expect_right(const State& row) const {
    SCOPED_TRACE("row " + row.key + " " + row.state + " " + row.reason.message);
    const Codes active = sold(row.key);
    ASSERT_LE(active.size(), 1u);
    if (row.state == "excluded") {
      EXPECT_TRUE(row.deleted || FakePromoStore::is_manual(row));
    } else if (!is_turning(row)) {
      if (row.state == "parked" || row.state == "conflict") expect_reason(row, active);
      row.off ? expect_off(row, active) : expect_on(row, active);
    }
  }

  /// Its time has come by one clock, and not by the other.
  bool is_turning(const State& row) const {
    const std::int64_t ours = world_.clock.unix_seconds(), theirs = world_.clock.stripes_seconds();
    const auto end = whole(row.row, item::expires_at);
    return end && *end >= std::min(ours, theirs) - 1 && *end <= std::max(ours, theirs) + 1;
  }

  void expect_reason(const State& row, const Codes& active) const {
    EXPECT_FALSE(row.reason.message.empty());
    if (row.deleted) return;
    EXPECT_FALSE(row.reason.hint.empty() && row.reason.detail.empty());
    for (const auto& [id, code] : active)
      EXPECT_TRUE(contains(row.reason.detail, id)) << "what is sold is not said";
  }

  void expect_off(const State& row, const Codes& active) const {
    EXPECT_TRUE(active.empty());
    if (row.deleted || offer_of(row.row)) {
      EXPECT_NE(row.state, "conflict");
    } else {
      EXPECT_EQ(row.state, "parked");
    }
  }

  void expect_on(const State& row, const Codes& active) const {
    const auto offer = offer_of(row.row);
    if (!offer) {
      EXPECT_EQ(row.state, "parked");
      if (whole(row.row, item::expires_at).value_or(INT64_MAX) <= world_.clock.unix_seconds()) {
        EXPECT_TRUE(active.empty());
      }
    } else if (row.state == "conflict") {
      EXPECT_TRUE(active.empty());
      EXPECT_TRUE(somebody_sells(row)) << "nobody stands in its way";
    } else if (const auto resting = why_not_sold(row); !resting.empty()) {
      const bool refused = row.state == "parked" && is_refused(row.row);
      EXPECT_TRUE(resting.count(row.state) || refused) << *resting.begin();
      // That it is used up is told by answers, and it says what is sold.
      if (!refused || resting.count("exhausted") == 0) {
        EXPECT_TRUE(active.empty());
      }
    } else if (row.state == "parked") {
      EXPECT_TRUE(is_refused(row.row)) << "Stripe does not refuse it";
    } else {
      EXPECT_EQ(row.state, "synced");
      expect_sold(row, *offer, active);
    }
  }

  /// Or did a moment ago: that it has expired is tried out after a minute.
  bool somebody_sells(const State& row) const {
    for (const auto& [id, code] : world_.stripe.codes) {
      if (without_case(FakeStripe::field(code, "code")) != row.text) continue;
      const std::string end = FakeStripe::field(code, "expires_at");
      const auto since = end.empty() ? INT64_MAX : world_.clock.stripes_seconds() - std::stoll(end);
      if (chaos_.owner(id, code) != row.key && (world_.stripe.active(code) || since < 300))
        return true;
    }
    return false;
  }

  static bool is_refused(const PromoRow& row) {
    const std::string type = column(row, item::discount_type);
    return (type != "custom_price" && column(row, item::discount_value) == "13") ||
           column(row, item::stripe_customer_id) == "cus_gone" ||
           column(row, item::description) == "Refused";
  }

  std::set<std::string> why_not_sold(const State& row) const {
    std::set<std::string> states;
    const std::int64_t time = world_.clock.unix_seconds();
    if (whole(row.row, item::expires_at).value_or(time + 1) <= time) states.insert("expired");
    if (whole(row.row, item::starts_at).value_or(time) > time) states.insert("scheduled");
    if (row.row.get(item::max_uses) && uses_left(row, codes_of(row.key)) <= 0)
      states.insert("exhausted");
    return states;
  }

  /// Nothing but what the row says, field by field.
  void expect_sold(const State& row, Offer offer, const Codes& active) const {
    ASSERT_EQ(active.size(), 1u);
    FakeStripe::Fields code = *active[0].second;
    FakeStripe::Fields coupon =
        world_.stripe.coupons.at(FakeStripe::field(code, "promotion[coupon]"));
    EXPECT_EQ(without_case(code["code"]), without_case(column(row.row, item::code)));
    const std::string most = code["max_redemptions"];
    ASSERT_EQ(most.empty(), !row.row.get(item::max_uses));
    if (!most.empty()) {
      Codes others = codes_of(row.key);
      others.erase(std::find(others.begin(), others.end(), active[0]));
      EXPECT_EQ(std::stoll(most), uses_left(row, others));
    }
    const std::string mark = coupon["metadata[stripe_sync_row]"];
    if (Chaos::by_hand(FakeStripe::field(code, "promotion[coupon]")) &&
        mark.empty()) {  // adopted as it is
      offer.coupon.erase("name");
      offer.coupon.erase("metadata[description]");
    } else {
      EXPECT_EQ(mark, "public.promo/" + row.mark);
    }
    for (FakeStripe::Fields* fields : {&code, &coupon}) {
      for (const char* name :
           {"id", "code", "max_redemptions", "promotion[type]", "promotion[coupon]", "active",
            "times_redeemed", "metadata[stripe_sync_row]", "metadata[stripe_sync_installation]"})
        fields->erase(name);
      for (auto field = fields->begin(); field != fields->end();)
        field = field->second.empty() ? fields->erase(field) : std::next(field);
    }
    EXPECT_EQ(code, offer.code);
    EXPECT_EQ(coupon, offer.coupon);
  }

  // --- for who has to find out ---

  std::string told(const FakeTransport::Sent& sent) const {
    std::string text = "\n  " + std::to_string(sent.at.count()) + " fate " +
                       std::to_string(sent.fate.kind) + " " + sent.request.method + " " +
                       sent.request.path;
    for (const auto& [name, value] : sent.request.params)
      if (name != "expand[]") text += " " + name + "=" + value;
    return text;
  }
  std::string last_write() const {
    const auto& log = world_.transport.log;
    const auto write = std::find_if(log.rbegin(), log.rend(),
                                    [](const auto& sent) { return sent.request.writes(); });
    const auto& row = world_.row(world_.store.decided.at(write->request.key).row);
    return told(*write) + "\n of row " + row.key + " " + row.state + life(row);
  }
  std::string life(const State& row) const {
    std::string text = " at " + std::to_string(world_.clock.unix_seconds()) + ", Stripe " +
                       std::to_string(world_.clock.stripes_seconds()) + ":";
    for (const auto& [name, value] : row.row.values) text += " " + name + "=" + value;
    text += "\n  " + row.observed + "\n  " + row.reason.detail;
    for (const auto& [id, code] : codes_of(row.key)) {
      text += "\n  " + id + (world_.stripe.active(*code) ? " sells" : "");
      for (const auto& [name, value] : *code) text += " " + name + "=" + value;
    }
    for (const auto& sent : world_.transport.log) {
      const auto decision = world_.store.decided.find(sent.request.key);
      const bool write = decision != world_.store.decided.end() && decision->second.row == row.key;
      if (write || without_case(sent.request.get("code")) == row.text) text += told(sent);
    }
    return text;
  }

  Chaos& chaos_;
  World& world_;
};

unsigned from_environment(const char* name, unsigned fallback) {
  const char* value = std::getenv(name);
  return value ? static_cast<unsigned>(std::atoi(value)) : fallback;
}

void run(unsigned seed) {
  SCOPED_TRACE("STRIPE_SYNC_SEED=" + std::to_string(seed));
  Chaos chaos(seed);
  Judge judge(chaos);
  for (int part = 0; part < 3 && !::testing::Test::HasFailure(); ++part) {
    for (int i = 0; i < 6 && !::testing::Test::HasFailure(); ++i) {
      chaos.round();
      judge.expect_one_each();
    }
    chaos.heal();
    judge.expect_right();
    judge.expect_quiet();
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
