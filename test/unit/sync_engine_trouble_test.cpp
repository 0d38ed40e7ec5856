#include "fake_world.hpp"

// The engine when Stripe, or the way there, is in trouble.

namespace stripe_sync::testing {
namespace {

bool creates_coupon_of(const Received& request, const std::string& key) {
  return request.path == "/v1/coupons" && request.get("id").rfind("CODE" + key + "-", 0) == 0;
}

TEST(EngineTrouble, AStalledRequestDelaysNoOtherRow) {
  World world;
  world.transport.fate = [](const Received& request) {
    return creates_coupon_of(request, "0") ? Fate{Fate::lost, Millis(80'000)} : Fate();
  };
  world.insert("0");
  for (int i = 1; i <= 20; ++i) world.insert(std::to_string(i));
  const auto others = [&] {
    for (int i = 1; i <= 20; ++i)
      if (!world.row(std::to_string(i)).settled()) return false;
    return true;
  };
  EXPECT_LE(world.run_until(others), Millis(4'000));
  EXPECT_FALSE(world.row("0").settled());
  world.transport.fate = [](const Received&) { return Fate(); };
  EXPECT_LE(world.settle(), Millis(83'000));
  world.expect_sold("0");
}

TEST(EngineTrouble, ARowThatAlwaysFailsDelaysNoOtherAndIsTriedLessAndLess) {
  World world;
  world.transport.fate = [](const Received& request) {
    const bool bad =
        request.path.find("CODE0-") != std::string::npos || creates_coupon_of(request, "0");
    return bad ? Fate{Fate::failed} : Fate();
  };
  world.insert("0");
  world.run(Millis(3'600'000));
  for (int i = 1; i <= 30; ++i) {
    world.insert(std::to_string(i));
    EXPECT_LE(world.run_until([&] { return world.row(std::to_string(i)).settled(); }),
              Millis(1'000));
    world.run(Millis(20'000));
  }
  const std::size_t before = world.transport.log.size();
  world.run(Millis(60'000));
  for (int i = 31; i <= 600; ++i) {
    world.insert(std::to_string(i));
    world.run(Millis(10'000));
  }
  // Two requests for each of the others; the bad one is not tried again at each success of theirs.
  EXPECT_LE(world.transport.log.size() - before, 2u * 570 + 100);
}

struct Outage {
  const char* name;
  Fate fate;
  int rows;
};

class EngineOutage : public ::testing::TestWithParam<Outage> {};

// Nothing is lost or done twice, nobody's attempts are used up, few requests are sent in vain, and
// what waited is pushed within half a minute of the end; also when Stripe has forgotten our keys.
TEST_P(EngineOutage, EndsForEveryRow) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    const int rows = GetParam().rows;
    const int half_hours = seed == 1 ? 52 : 1;
    world.transport.fate = [&](const Received&) { return GetParam().fate; };
    for (int i = 0; i < rows; ++i) world.insert(std::to_string(i));
    world.run(Millis(1'800'000) * half_hours);
    EXPECT_LE(world.transport.log.size(),
              static_cast<std::size_t>(400 * std::min(rows, 4) * half_hours));
    for (const auto& [key, row] : world.store.rows) {
      EXPECT_LE(row.attempts, 1) << key;
      EXPECT_TRUE(row.lease || !row.reason.message.empty() || row.state == "pending");
    }
    world.transport.fate = [](const Received&) { return Fate(); };
    const Millis took = world.settle();
    EXPECT_LE(took, GetParam().fate.latency + Millis(32'000) + rows * Millis(400));
    for (int i = 0; i < rows; ++i) world.expect_sold(std::to_string(i));
    EXPECT_EQ(world.stripe.idempotency_errors, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, EngineOutage,
    ::testing::Values(Outage{"unreachable", {Fate::never_sent, Millis(20)}, 1},
                      Outage{"unreachable_many", {Fate::never_sent, Millis(20)}, 40},
                      Outage{"timeouts", {Fate::lost, Millis(10'000)}, 1},
                      Outage{"timeouts_many", {Fate::lost, Millis(10'000)}, 40},
                      Outage{"errors", {Fate::refused, Millis(50), refusal(503)}, 1},
                      Outage{"errors_some", {Fate::refused, Millis(50), refusal(503)}, 3},
                      Outage{"errors_many", {Fate::refused, Millis(50), refusal(503)}, 40},
                      Outage{"answers_lost_many", {Fate::lost_answer, Millis(5'000)}, 40}),
    [](const auto& test) { return test.param.name; });

TEST(EngineTrouble, AfterAnOutageWaitingRowsAreDueAtOnce) {
  World world;
  bool down = false;
  world.transport.fate = [&](const Received& request) {
    if (down) return Fate{Fate::never_sent, Millis(20)};
    return creates_coupon_of(request, "0") ? Fate{Fate::failed} : Fate();
  };
  world.insert("0");
  const auto waits_long = [&] {
    return world.row("0").due && *world.row("0").due - world.clock.steady() > Millis(200'000);
  };
  ASSERT_GE(world.run_until(waits_long, Millis(10'000'000)), Millis(0));
  down = true;
  world.insert("1");
  world.run(Millis(60'000));
  world.transport.fate = [](const Received&) { return Fate(); };
  EXPECT_LE(world.settle(), Millis(32'000));
}

TEST(EngineTrouble, ALimitPausesAllAndHalvesTheRate) {
  World world;
  bool limit = true;
  world.transport.fate = [&](const Received&) {
    if (limit) return limited("7");
    return Fate();
  };
  for (int i = 0; i < 60; ++i) world.insert(std::to_string(i));
  world.step(Millis(100));
  EXPECT_LE(world.transport.log.size(), 4u);
  limit = false;
  const std::size_t before = world.transport.log.size();
  world.run(Millis(6'900));
  EXPECT_EQ(world.transport.log.size(), before);
  EXPECT_FALSE(world.store.leased());
  world.run(Millis(10'000));
  EXPECT_GE(world.transport.log.size(), before + 40);
  EXPECT_LE(world.transport.log.size(), before + 62);  // five a second
  world.settle();
  for (int i = 0; i < 60; ++i) {
    world.expect_sold(std::to_string(i));
    EXPECT_EQ(world.row(std::to_string(i)).attempts, 0);
  }
}

TEST(EngineTrouble, ALongPauseIsNotCutShort) {
  World world;
  bool first = true;
  world.transport.fate = [&](const Received&) {
    Fate fate = limited(std::exchange(first, false) ? "600" : "");
    fate.latency = Millis(first ? 20 : 40);
    return fate;
  };
  for (int i = 0; i < 4; ++i) world.insert(std::to_string(i));
  world.run(Millis(1'000));
  world.transport.fate = [](const Received&) { return Fate(); };
  world.engine->unblock();  // somebody asks for a push
  world.store.retry_now();
  const std::size_t before = world.transport.log.size();
  world.run(Millis(590'000));
  EXPECT_EQ(world.transport.log.size(), before);
  EXPECT_LE(world.settle(), Millis(20'000));
}

TEST(EngineTrouble, ALockedObjectHoldsBackItsRowAlone) {
  World world;
  world.transport.fate = [](const Received& request) {
    return creates_coupon_of(request, "0") ? limited("", "lock_timeout") : Fate();
  };
  for (int i = 0; i <= 20; ++i) world.insert(std::to_string(i));
  world.run(Millis(4'500));
  for (int i = 1; i <= 20; ++i) world.expect_sold(std::to_string(i));
  world.run(Millis(600'000));
  EXPECT_LE(world.transport.sent("POST", "/v1/coupons"), 20u + 15);
  world.transport.fate = [](const Received&) { return Fate(); };
  world.settle();
  world.expect_sold("0");
}

TEST(EngineTrouble, NothingStaleIsSentAfterAPause) {
  World world;
  world.transport.fate = [](const Received& request) {
    return creates_coupon_of(request, "1") ? limited("600") : Fate{Fate::answered, Millis(300)};
  };
  for (int i = 1; i <= 4; ++i) world.insert(std::to_string(i));
  world.run(Millis(200));
  world.transport.fate = [](const Received&) { return Fate(); };
  world.run(Millis(200'000));  // coupons are made; the codes have to wait
  EXPECT_FALSE(world.store.leased());
  EXPECT_NE(world.row("2").reason.message.find("not sent yet"), std::string::npos);
  for (int i = 1; i <= 4; ++i) world.edit(std::to_string(i), {{"is_active", "false"}});
  world.settle();
  for (int i = 1; i <= 4; ++i)
    EXPECT_TRUE(world.stripe.active_codes("CODE" + std::to_string(i)).empty());
}

TEST(EngineTrouble, WhatIsSavedDuringAPauseIsNotSentAfterIt) {
  World world;
  world.insert("1");
  world.step(Millis(10));
  world.store.lock("1");
  world.run(Millis(1'000));
  world.transport.fate = [](const Received&) { return limited("600"); };
  world.insert("2");
  world.run(Millis(1'000));
  world.transport.fate = [](const Received&) { return Fate(); };
  world.store.lock("1", false);
  world.run(Millis(100'000));
  EXPECT_FALSE(world.store.leased());
  world.edit("1", {{"is_active", "false"}});
  world.settle();
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  EXPECT_EQ(world.transport.sent("GET"), 0u);  // it is known that nothing was sent
}

TEST(EngineTrouble, WhoWaitsForPricesIsLetGoWhenBlocked) {
  World world;
  world.transport.fate = [](const Received& request) {
    return request.under("/v1/prices") ? Fate{Fate::lost, Millis(80'000)} : denied(401);
  };
  world.insert("1", {{"discount_type", "custom_price"}, {"custom_monthly_price", "99.50"}});
  world.insert("2");
  world.run(Millis(1'000));
  ASSERT_TRUE(world.engine->blocked());
  EXPECT_FALSE(world.store.leased());
}

TEST(EngineTrouble, BlockedUntilTheCauseIsGone) {
  World world;
  world.transport.fate = [](const Received& request) {
    Fate fate = denied(401);
    if (request.path != "/v1/coupons") fate.latency = Millis(500);
    return fate;
  };
  for (int i = 0; i < 10; ++i) world.insert(std::to_string(i));
  world.run(Millis(1'000));
  ASSERT_TRUE(world.engine->blocked());
  EXPECT_LE(world.transport.log.size(), 4u);
  EXPECT_FALSE(world.store.leased());
  EXPECT_EQ(world.engine->jobs(), 0u);
  EXPECT_EQ(world.engine->wait(), std::nullopt);

  const std::size_t before = world.transport.log.size();
  for (int i = 0; i < 100; ++i) {  // an owner that pumps all the same
    world.engine->look_for_due();
    world.engine->pump();
    world.clock.advance(Millis(1'000));
  }
  EXPECT_EQ(world.transport.log.size(), before);

  world.transport.fate = [](const Received&) { return Fate(); };
  world.engine->unblock();
  world.store.retry_now();
  EXPECT_LE(world.settle(), Millis(5'000));
  for (int i = 0; i < 10; ++i) {
    world.expect_sold(std::to_string(i));
    EXPECT_EQ(world.row(std::to_string(i)).attempts, 0);
  }
}

TEST(EngineTrouble, OnePushIsBlockedWhileOthersAreUnderWay) {
  World world;
  world.transport.fate = [](const Received& request) {
    return creates_coupon_of(request, "0") ? denied(401) : Fate{Fate::answered, Millis(300)};
  };
  for (int i = 0; i < 4; ++i) world.insert(std::to_string(i));
  world.run(Millis(2'000));
  ASSERT_TRUE(world.engine->blocked());
  EXPECT_EQ(world.transport.log.size(), 4u);
  EXPECT_EQ(world.stripe.coupons.size(), 3u);
  EXPECT_FALSE(world.store.leased());
  world.transport.fate = [](const Received&) { return Fate(); };
  world.engine->unblock();
  world.store.retry_now();
  world.settle();
  for (int i = 0; i < 4; ++i) world.expect_sold(std::to_string(i));
  // A refusal may be stored under its number.
  std::set<std::string> keys;
  for (const auto& sent : world.transport.log) keys.insert(sent.request.key);
  EXPECT_EQ(keys.size(), world.transport.log.size());
}

TEST(EngineTrouble, ANumberThatWasUsedForSomethingElseIsSomebodyElses) {
  World world;
  world.insert("1");
  world.settle();
  world.restored = true;
  world.store.restore_numbers(0);
  world.insert("2");
  EXPECT_GE(world.run_until([&] { return world.engine->blocked().has_value(); }), Millis(0));
  EXPECT_TRUE(world.engine->take_rival());
  EXPECT_EQ(world.stripe.codes_of("CODE2"), 0u);
  world.run(Millis(60'000));
  EXPECT_EQ(world.stripe.idempotency_errors, 1) << "nothing more is sent";
  world.store.restore_numbers(1'000);
  world.engine->unblock();
  world.store.retry_now();
  world.settle();
  EXPECT_FALSE(world.engine->take_rival());
  world.expect_sold("2");
}

TEST(EngineTrouble, WritesWaitForLeave) {
  World world;
  world.insert("1");
  world.settle();
  world.engine->allow_writes(world.clock.steady());
  EXPECT_FALSE(world.engine->wants_to_write());
  const std::size_t before = world.transport.log.size();
  world.edit("1", {{"is_active", "false"}});
  world.run(Millis(10'000));
  EXPECT_EQ(world.transport.log.size(), before);
  EXPECT_TRUE(world.engine->wants_to_write());
  world.edit("1", {{"is_active", "true"}});  // meanwhile: not sent as it was decided
  world.run(Millis(10'000));
  EXPECT_FALSE(world.engine->wants_to_write());
  world.edit("1", {{"is_active", "false"}});
  world.run(Millis(10'000));
  world.engine->allow_writes(world.clock.steady() + Millis(60'000));
  EXPECT_FALSE(world.engine->wants_to_write());
  world.settle();
  EXPECT_EQ(world.transport.log.size(), before + 1);
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
}

TEST(EngineTrouble, BlockedByItsOwnerItSendsNothingAndSavesWhatComes) {
  World world;
  world.transport.fate = [](const Received&) { return Fate{Fate::answered, Millis(500)}; };
  world.insert("1");
  world.run(Millis(100));
  EXPECT_EQ(world.transport.in_flight(), 1u);
  world.engine->block(Error(errcode::usage, "paused"));
  world.insert("2");
  world.run(Millis(10'000));
  EXPECT_EQ(world.transport.log.size(), 1u);
  EXPECT_EQ(world.state("1"), "retrying");
  EXPECT_FALSE(world.store.leased());
  world.engine->unblock();
  world.store.retry_now();
  world.settle();
  world.expect_sold("1");
  world.expect_sold("2");
  EXPECT_EQ(world.transport.sent("GET"), 0u) << "its outcome was known";
}

}  // namespace
}  // namespace stripe_sync::testing
