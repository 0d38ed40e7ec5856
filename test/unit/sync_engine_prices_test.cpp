#include "fake_world.hpp"

// Rows that can't be judged before prices are read.

namespace stripe_sync::testing {
namespace {

const Values custom = {{"discount_type", "custom_price"},
                       {"discount_value", "NULL"},
                       {"stripe_product_id", "NULL"},
                       {"custom_monthly_price", "99.50"}};

bool reads_prices(const Received& request) {
  return request.under("/v1/prices");
}

TEST(EnginePrices, OneReadingServesManyRows) {
  World world;
  for (int i = 0; i < 40; ++i) world.insert(std::to_string(i), custom);
  EXPECT_LE(world.settle(), Millis(12'000));
  for (int i = 0; i < 40; ++i) world.expect_sold(std::to_string(i));
  EXPECT_EQ(world.transport.sent("GET", "/v1/prices"), 2u);
}

TEST(EnginePrices, ALongBurstReadsThemOnceAMinute) {
  World world;
  world.limits.max_parallel = 1;
  world.engine->set_limits(world.limits);
  world.transport.fate = [](const Received&) { return Fate{Fate::answered, Millis(500)}; };
  for (int i = 0; i < 170; ++i) world.insert(std::to_string(i), custom);
  world.settle();
  EXPECT_GE(world.transport.sent("GET", "/v1/prices"), 4u);
  EXPECT_LE(world.transport.sent("GET", "/v1/prices"), 8u);
}

TEST(EnginePrices, TheNextBurstReadsThemAnew) {
  World world;
  world.insert("1", custom);
  world.settle();
  world.run(Millis(10));
  world.stripe.prices[0].amount = 39'800;
  world.insert("2", custom);
  world.settle();
  world.expect_sold("1");
  world.expect_sold("2", "75");
}

TEST(EnginePrices, AllPagesAreRead) {
  World world;
  world.stripe.page = 2;
  for (int i = 0; i < 4; ++i)
    world.stripe.prices.push_back({"price_" + std::to_string(i), "prod_plan", "month", 19'900});
  world.insert("1", custom);
  world.settle();
  world.expect_sold("1");
  EXPECT_EQ(world.transport.sent("GET", "/v1/prices"), 4u);

  world.stripe.prices.push_back({"price_week", "prod_plan", "week", 100});
  world.run(Millis(10));
  world.insert("2", custom);
  world.settle();
  EXPECT_EQ(world.state("2"), "parked");
}

TEST(EnginePrices, AFailureIsTriedAgainForAllTogether) {
  World world;
  world.transport.fate = [](const Received& request) {
    return reads_prices(request) ? Fate{Fate::refused, Millis(50), refusal(500)} : Fate();
  };
  for (int i = 0; i < 10; ++i) world.insert(std::to_string(i), custom);
  for (int i = 10; i < 70; ++i) {  // who comes meanwhile waits with them
    world.insert(std::to_string(i), custom);
    world.run(Millis(2'000));
  }
  EXPECT_LE(world.transport.log.size(), 20u);
  EXPECT_FALSE(world.store.leased());
  EXPECT_EQ(world.state("3"), "retrying");
  world.transport.fate = [](const Received&) { return Fate(); };
  EXPECT_LE(world.settle(), Millis(50'000));
  for (int i = 0; i < 70; ++i) {
    world.expect_sold(std::to_string(i));
    EXPECT_EQ(world.row(std::to_string(i)).attempts, 0);
  }
}

TEST(EnginePrices, AStalledReadingDelaysNobodyElseAndIsGivenUp) {
  World world;
  world.transport.fate = [&](const Received& request) {
    const bool first = reads_prices(request) && world.transport.sent("GET", "/v1/prices") == 0;
    return first ? Fate{Fate::lost, Millis(80'000)} : Fate();
  };
  for (int i = 0; i < 12; ++i) world.insert(std::to_string(i), custom);
  world.step(Millis(10));
  for (int i = 20; i < 30; ++i) world.insert(std::to_string(i));
  world.run(Millis(4'000));
  for (int i = 20; i < 30; ++i) world.expect_sold(std::to_string(i));
  EXPECT_LE(world.settle(), Millis(15'000));
  for (int i = 0; i < 12; ++i) world.expect_sold(std::to_string(i));
}

TEST(EnginePrices, NotAllRowsOfATableWaitInMemory) {
  World world;
  world.transport.fate = [](const Received&) { return Fate{Fate::lost, Millis(80'000)}; };
  for (int i = 0; i < 300; ++i) world.insert(std::to_string(i), custom);
  world.run(Millis(9'000));
  EXPECT_LE(world.engine->jobs(), 20u);
}

// Not even when prices can't be read and rows wait for them: a few cost no time, many a little.
TEST(EnginePrices, SwitchingOffNeedsNone) {
  struct Case {
    int waiting;
    Millis most;
  };
  for (const Case& rows : {Case{0, Millis(1'500)}, {8, Millis(1'500)}, {60, Millis(14'000)}}) {
    SCOPED_TRACE(rows.waiting);
    World world;
    for (int i = 0; i < rows.waiting + 5; ++i) world.insert(std::to_string(i), custom);
    world.settle();
    world.run(Millis(100'000));
    world.transport.fate = [](const Received& request) {
      return reads_prices(request) ? Fate{Fate::lost, Millis(80'000)} : Fate();
    };
    for (int i = 5; i < rows.waiting + 5; ++i)
      world.edit(std::to_string(i), {{"custom_monthly_price", "49.75"}});
    world.run(Millis(500));
    for (int i = 0; i < 5; ++i) world.edit(std::to_string(i), {{"is_active", "false"}});
    const auto off = [&] {
      for (int i = 0; i < 5; ++i)
        if (!world.stripe.active_codes("CODE" + std::to_string(i)).empty()) return false;
      return true;
    };
    const Millis took = world.run_until(off);
    EXPECT_GE(took, Millis(0));
    EXPECT_LE(took, rows.most);
  }
}

TEST(EnginePrices, AKeyThatMayNotReadThemHoldsBackOnlyWhoNeedsThem) {
  World world;
  world.transport.fate = [](const Received& request) {
    return reads_prices(request) ? denied(403) : Fate();
  };
  for (int i = 0; i < 5; ++i) world.insert(std::to_string(i), custom);
  for (int i = 5; i < 9; ++i) world.insert(std::to_string(i));
  world.run(Millis(3'600'000));
  EXPECT_FALSE(world.engine->blocked());
  for (int i = 5; i < 9; ++i) world.expect_sold(std::to_string(i));
  EXPECT_LE(world.transport.sent("GET"), 40u);
  EXPECT_NE(world.row("0").reason.message.find("lacks a permission"), std::string::npos);
  world.transport.fate = [](const Received&) { return Fate(); };
  world.engine->unblock();
  world.store.retry_now();
  EXPECT_LE(world.settle(), Millis(5'000));

  World wrong_key;
  wrong_key.transport.fate = [](const Received&) { return denied(401); };
  wrong_key.insert("0", custom);
  wrong_key.run(Millis(10'000));
  EXPECT_TRUE(wrong_key.engine->blocked());
  EXPECT_FALSE(wrong_key.store.leased());
  wrong_key.transport.fate = [](const Received&) { return Fate(); };
  wrong_key.engine->unblock();
  wrong_key.store.retry_now();
  wrong_key.settle();
  wrong_key.expect_sold("0");
}

TEST(EnginePrices, OneBadReferenceParksItsRowAlone) {
  World world;
  world.transport.fate = [](const Received& request) {
    const bool bad = request.get("lookup_keys[0]") ==
                     "b\xC3\xA4"
                     "d";
    return bad ? Fate{Fate::refused, Millis(20), refusal(400, "parameter_invalid")} : Fate();
  };
  Values bad = custom;
  bad["stripe_price_id"] =
      "b\xC3\xA4"
      "d";
  world.insert("0", bad);
  for (int i = 1; i < 5; ++i) world.insert(std::to_string(i), custom);
  EXPECT_LE(world.settle(), Millis(5'000));
  EXPECT_EQ(world.state("0"), "parked");
  for (int i = 1; i < 5; ++i) world.expect_sold(std::to_string(i));
}

// The prices come while the row that waits for them can't be saved: nobody must forget it.
TEST(EnginePrices, ARowThatIsSavedAfterThePricesCameGoesOn) {
  World world;
  world.transport.fate = [](const Received& request) {
    return Fate{Fate::answered, Millis(request.path == "/v1/prices" ? 300 : 50)};
  };
  world.insert("1", custom);
  world.insert("2", custom);
  world.step(Millis(10));
  world.store.lock("1");  // its next decision is to wait for the product's prices
  world.run(Millis(5'000));
  world.expect_sold("2");
  world.store.lock("1", false);
  EXPECT_LE(world.settle(), Millis(5'000));
  world.expect_sold("1");
}

TEST(EnginePrices, ForgettingThemHangsNobody) {
  for (int at = 0; at < 40; ++at) {
    SCOPED_TRACE(at);
    World world;
    for (int i = 0; i < 6; ++i) world.insert(std::to_string(i), custom);
    world.run(Millis(10 * at));
    world.engine->unblock();
    EXPECT_LE(world.settle(), Millis(6'000));
    for (int i = 0; i < 6; ++i) world.expect_sold(std::to_string(i));
  }
}

TEST(EnginePrices, ARowChangedWhileItWaitsIsJudgedAnew) {
  World world;
  world.insert("1", custom);
  world.step(Millis(10));
  world.edit("1", {{"custom_monthly_price", "49.75"}});
  world.settle();
  world.expect_sold("1", "75");
}

TEST(EnginePrices, ARowIsNotClaimedForASlotThatTheReadingTakes) {
  World world;
  world.limits.max_parallel = 1;
  world.engine->set_limits(world.limits);
  world.transport.fate = [](const Received& request) {
    return Fate{Fate::answered, Millis(reads_prices(request) ? 9'000 : 50)};
  };
  world.insert("1", custom);
  world.run(Millis(100));
  world.insert("2");
  world.run(Millis(4'000));
  world.edit("2", {{"is_active", "false"}});
  world.settle();
  EXPECT_TRUE(world.stripe.active_codes("CODE2").empty());
  world.expect_sold("1");
}

TEST(EnginePrices, WithOneRequestAtATime) {
  World world;
  world.limits.max_parallel = 1;
  world.engine->set_limits(world.limits);
  for (int i = 0; i < 10; ++i) world.insert(std::to_string(i), i % 2 ? custom : Values());
  world.settle();
  for (int i = 0; i < 10; ++i) world.expect_sold(std::to_string(i));
  EXPECT_EQ(world.transport.most_in_flight, 1u);
}

}  // namespace
}  // namespace stripe_sync::testing
