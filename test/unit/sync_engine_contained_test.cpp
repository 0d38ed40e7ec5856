#include "fake_world.hpp"

// Trouble that holds back as few rows as can be.

namespace stripe_sync::testing {
namespace {

// The key may do all but one kind of request: who needs no such request goes on, who does waits,
// says why, and costs few requests.
TEST(EngineContained, AMissingPermissionHoldsBackOnlyWhoNeedsIt) {
  for (const std::string endpoint : {"/v1/coupons", "/v1/promotion_codes"}) {
    SCOPED_TRACE(endpoint);
    World world;
    for (int i = 0; i < 4; ++i) world.insert(std::to_string(i));
    world.settle();
    world.transport.fate = [&](const Received& request) {
      return request.writes() && request.under(endpoint) ? denied(403) : Fate();
    };
    const std::size_t before = world.transport.log.size();
    for (int i = 4; i < 40; ++i) world.insert(std::to_string(i));
    world.run(Millis(2'000));
    EXPECT_FALSE(world.engine->blocked());
    if (endpoint == "/v1/coupons") {
      world.edit("0", {{"is_active", "false"}});
      EXPECT_GE(world.run_until([&] { return world.row("0").settled(); }, Millis(2'000)),
                Millis(0));
      EXPECT_TRUE(world.stripe.active_codes("CODE0").empty());
    } else {
      world.edit("0", {{"description", "Winter"}});
      EXPECT_GE(world.run_until([&] { return world.row("0").settled(); }, Millis(2'000)),
                Millis(0));
    }
    world.run(Millis(3'600'000));
    EXPECT_FALSE(world.store.leased());
    for (int i = 4; i < 40; ++i) {
      EXPECT_EQ(world.row(std::to_string(i)).attempts, 0);
      EXPECT_NE(world.row(std::to_string(i)).reason.message.find("lacks a permission"),
                std::string::npos);
    }
    EXPECT_LE(world.transport.log.size() - before, 36u + 100);
    world.transport.fate = [](const Received&) { return Fate(); };
    world.engine->unblock();
    world.store.retry_now();
    EXPECT_LE(world.settle(), Millis(15'000));
    for (int i = 4; i < 40; ++i) world.expect_sold(std::to_string(i));
    EXPECT_EQ(world.stripe.idempotency_errors, 0);
  }
}

TEST(EngineContained, AMissingPermissionIsTriedAgainByItself) {
  World world;
  bool given = false;
  world.transport.fate = [&](const Received&) { return given ? Fate() : denied(403); };
  world.insert("1");
  world.run(Millis(1'800'000));
  given = true;
  EXPECT_LE(world.settle(), Millis(301'000));
  world.expect_sold("1");
}

// As many requests as may be under way stall: others wait ten seconds, not until these time out.
TEST(EngineContained, StalledRequestsGiveTheirSlotsToOthers) {
  World world;
  const auto stalls = [](const Received& request) {
    return request.get("id").size() < std::string("CODE10-10r1").size();
  };
  world.transport.fate = [&](const Received& request) {
    return stalls(request) && request.path == "/v1/coupons" ? Fate{Fate::lost, Millis(80'000)}
                                                            : Fate();
  };
  for (int i = 0; i < 4; ++i) world.insert(std::to_string(i));
  world.run(Millis(1'000));
  for (int i = 10; i < 20; ++i) world.insert(std::to_string(i));
  const auto others = [&] {
    for (int i = 10; i < 20; ++i)
      if (!world.row(std::to_string(i)).settled()) return false;
    return true;
  };
  EXPECT_LE(world.run_until(others), Millis(12'000));
  // Not without bound: when all stall, four times as many are under way, and no more.
  for (int i = 20; i < 60; ++i) world.insert(std::to_string(i));
  world.transport.fate = [](const Received&) { return Fate{Fate::lost, Millis(80'000)}; };
  world.run(Millis(70'000));
  EXPECT_LE(world.transport.most_in_flight, 4u * static_cast<unsigned>(world.limits.max_parallel));
  world.transport.fate = [](const Received&) { return Fate(); };
  world.settle(Millis(900'000));
  for (int i = 20; i < 60; ++i) world.expect_sold(std::to_string(i));
}

// What goes wrong in our own code over one row is that row's trouble: it is tried again.
TEST(EngineContained, AMistakeOverOneRowIsContained) {
  World world;
  for (int i = 0; i < 3; ++i) world.insert(std::to_string(i));
  world.step(Millis(10));
  world.clock.broken = true;
  world.run(Millis(200));
  world.clock.broken = false;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(world.state(std::to_string(i)), "retrying");
    EXPECT_NE(world.row(std::to_string(i)).reason.message.find("no time"), std::string::npos);
  }
  world.settle();
  for (int i = 0; i < 3; ++i) world.expect_sold(std::to_string(i));
  EXPECT_EQ(world.transport.sent("GET"), 3u);  // what became of the requests was not known
}

}  // namespace
}  // namespace stripe_sync::testing
