#include "fake_world.hpp"

// The engine when nothing is in its way, and its dealings with the store.

namespace stripe_sync::testing {
namespace {

using Lines = std::vector<std::string>;

TEST(Engine, CreatesACouponAndAPromotionCode) {
  World world;
  world.insert("1");
  world.settle();
  world.expect_sold("1");
  EXPECT_EQ(world.sent(), (Lines{"POST /v1/coupons", "POST /v1/promotion_codes"}));
  EXPECT_EQ(world.row("1").action, "created");
  EXPECT_EQ(world.row("1").attempts, 0);
}

TEST(Engine, QuietSendsNothingAndWaitsForEver) {
  World world;
  world.insert("1");
  world.settle();
  const std::size_t sent = world.transport.log.size();
  const int claims = world.store.claims;
  world.run(Millis(7 * 86'400'000));
  EXPECT_EQ(world.transport.log.size(), sent);
  EXPECT_LE(world.store.claims, claims + 2);
  EXPECT_EQ(world.engine->wait(), std::nullopt);
  EXPECT_EQ(world.engine->jobs(), 0u);
}

TEST(Engine, WaitsUntilTheNextRowIsDue) {
  World world;
  const std::int64_t start = world.clock.unix_seconds() + 3'600;
  world.insert("1", {{"starts_at", std::to_string(start)}});
  world.settle();
  EXPECT_EQ(world.state("1"), "scheduled");
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  world.step(Millis(1));
  ASSERT_TRUE(world.engine->wait());
  EXPECT_GT(*world.engine->wait(), Millis(3'500'000));
  world.run(Millis(3'601'000));
  world.expect_sold("1");
}

TEST(Engine, SwitchesOffFirst) {
  World world;
  world.limits.max_parallel = 1;
  world.engine->set_limits(world.limits);
  world.insert("1");
  world.settle();
  for (int i = 2; i <= 9; ++i) world.insert(std::to_string(i));
  world.edit("1", {{"is_active", "false"}});
  const std::size_t before = world.transport.log.size();
  world.settle();
  EXPECT_EQ(world.sent()[before], "POST /v1/promotion_codes/promo_1");
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  EXPECT_EQ(world.row("1").action, "switched off");
}

TEST(Engine, ADeletedRowMakesRoomForAnotherOfItsCode) {
  World world;
  world.insert("1", {{"code", "SAME"}});
  world.settle();
  world.insert("2", {{"code", "SAME"}, {"discount_value", "40"}});
  world.store.remove("1");
  world.settle();
  EXPECT_EQ(world.state("1"), "synced");
  EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
  ASSERT_EQ(world.stripe.active_codes("SAME").size(), 1u);
  EXPECT_EQ(world.coupons_of("2"), 1u);
}

// --- one text, several rows ---

TEST(Engine, TwoRowsExchangeTheirTexts) {
  World world;
  world.insert("1", {{"code", "A"}});
  world.insert("2", {{"code", "B"}, {"discount_value", "40"}});
  world.settle();
  world.edit("1", {{"code", "B"}});
  world.edit("2", {{"code", "A"}});
  EXPECT_LT(world.settle(), Millis(10'000));
  for (const char* key : {"1", "2"}) {
    EXPECT_EQ(world.state(key), "synced") << world.row(key).reason.message;
    EXPECT_EQ(world.stripe.active_codes(world.row(key).code).size(), 1u);
  }
  EXPECT_EQ(world.stripe.codes.size(), 4u);
}

TEST(Engine, ThreeTextsGoRound) {
  World world;
  world.limits.max_parallel = 1;
  world.engine->set_limits(world.limits);
  const char* texts[] = {"A", "B", "C"};
  for (int i = 0; i < 3; ++i) world.insert(std::to_string(i), {{"code", texts[i]}});
  world.settle();
  for (int i = 0; i < 3; ++i) world.edit(std::to_string(i), {{"code", texts[(i + 1) % 3]}});
  world.settle();
  for (int i = 0; i < 3; ++i) {
    const auto& row = world.row(std::to_string(i));
    EXPECT_EQ(row.state, "synced") << row.reason.message;
    EXPECT_EQ(world.stripe.active_codes(row.code).size(), 1u);
  }
}

TEST(Engine, AFreedTextIsTaken) {
  World world;
  world.insert("1", {{"code", "A"}});
  world.settle();
  world.insert("2", {{"code", "A"}, {"discount_value", "40"}});
  world.edit("1", {{"code", "B"}});
  world.settle();
  EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
  EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
  EXPECT_EQ(world.coupons_of("2"), 1u);
}

// Two rows ask for one text: the second waits in conflict until the first lets it go.
TEST(Engine, AConflictOfTwoRowsEndsWithTheOther) {
  World world;
  world.insert("1", {{"code", "A"}});
  world.settle();
  world.insert("2", {{"code", "A"}, {"discount_value", "40"}});
  world.settle();
  EXPECT_EQ(world.state("2"), "conflict");
  EXPECT_TRUE(contains(world.row("2").reason.message, "another row"));
  world.store.remove("1");
  world.engine->look_for_due();
  world.settle();
  EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
  EXPECT_EQ(world.stripe.active_codes("A").size(), 1u);
}

TEST(Engine, AConflictIsTakenOver) {
  World world;
  world.stripe.coupons["THEIRS"] = {{"percent_off", "40"}, {"duration", "once"}};
  world.stripe.codes.push_back({"promo_theirs",
                                {{"code", "CODE1"},
                                 {"promotion[coupon]", "THEIRS"},
                                 {"times_redeemed", "3"},
                                 {"max_redemptions", "50"}}});
  world.insert("1", {{"max_uses", "10"}, {"used_count", "1"}});
  world.settle();
  EXPECT_EQ(world.state("1"), "conflict");
  EXPECT_EQ(world.stripe.active_codes("CODE1").front(), "promo_theirs");
  world.store.rows.at("1").take_over = true;
  world.edit("1", {});
  world.settle();
  EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
  ASSERT_EQ(world.stripe.active_codes("CODE1").size(), 1u);
  const auto& made = *world.stripe.code(world.stripe.active_codes("CODE1").front());
  // Of the three uses, one was the one that the table had counted.
  EXPECT_EQ(FakeStripe::field(made, "max_redemptions"), "7");
  EXPECT_FALSE(world.row("1").take_over);
  EXPECT_EQ(world.coupons_of("1"), 1u);
}

TEST(Engine, KeepsToItsLimits) {
  World world;
  world.limits.max_parallel = 3;
  world.engine->set_limits(world.limits);
  world.transport.fate = [](const Received&) { return Fate{Fate::answered, Millis(2'000)}; };
  for (int i = 0; i < 20; ++i) world.insert(std::to_string(i));
  world.settle();
  EXPECT_EQ(world.transport.most_in_flight, 3u);

  World quick;
  for (int i = 0; i < 50; ++i) quick.insert(std::to_string(i));
  const Millis took = quick.settle();
  EXPECT_GE(took, Millis(8'900));  // 100 requests at 10 a second, ten of them at once
  EXPECT_LE(took, Millis(11'000));
}

TEST(Engine, KeepsToLimitsThatWereLowered) {
  World world;
  world.transport.fate = [](const Received&) { return Fate{Fate::answered, Millis(500)}; };
  for (int i = 0; i < 4; ++i) world.insert(std::to_string(i));
  world.step(Millis(100));
  EXPECT_EQ(world.transport.in_flight(), 4u);
  world.limits.max_parallel = 1;
  world.engine->set_limits(world.limits);
  world.settle();  // the transport watches
  for (int i = 0; i < 4; ++i) world.expect_sold(std::to_string(i));
}

TEST(Engine, ManyRowsThatNeedNoRequestSettleAtOnce) {
  World world;
  for (int i = 0; i < 300; ++i) world.insert(std::to_string(i), {{"discount_value", "NULL"}});
  EXPECT_LE(world.settle(), Millis(100));
  EXPECT_EQ(world.sent(), Lines{"GET /v1/promotion_codes"}) << "they might have been others";
  EXPECT_EQ(world.state("7"), "parked");
}

// What waits for a token waits in the database, where it may still change and be overtaken.
TEST(Engine, AClaimedRowIsSentSoon) {
  World world;
  world.config.rate_per_second = 0.2;
  world.client->configure(world.config);
  for (int i = 1; i <= 4; ++i) world.insert(std::to_string(i));
  world.run(Millis(2'000));
  EXPECT_EQ(world.engine->jobs(), 1u);
  world.insert("9", {{"is_active", "false"}});
  EXPECT_LE(world.run_until([&] { return world.row("9").settled(); }), Millis(20'000));
  world.settle();
}

TEST(Engine, SwitchesOffBeforeWhatHasAllSlotsAndTokens) {
  World world;
  world.limits.max_parallel = 2;
  world.engine->set_limits(world.limits);
  world.config.rate_per_second = 4;
  world.client->configure(world.config);
  for (const char* sold : {"off1", "off2", "off3"}) world.insert(sold);
  world.settle();
  for (int i = 1; i <= 9; ++i) world.insert(std::to_string(i));
  const auto all_wait = [&] {
    return world.engine->jobs() == 2 && world.transport.in_flight() == 0;
  };
  ASSERT_GE(world.run_until(all_wait), Millis(0));
  const std::size_t before = world.transport.log.size();
  for (const char* sold : {"off1", "off2", "off3"}) world.edit(sold, {{"is_active", "false"}});
  world.run(Millis(2'000));
  ASSERT_GE(world.transport.log.size(), before + 3);
  for (std::size_t i = before; i < before + 3; ++i)
    EXPECT_EQ(world.transport.log[i].request.get("active"), "false") << i;
  EXPECT_LE(world.transport.log.size(), before + 9);  // one of them in advance
  world.settle();
}

TEST(Engine, ARowChangedDuringItsPushIsPushedAnew) {
  World world;
  world.insert("1");
  world.step(Millis(10));  // the coupon's request is under way
  ASSERT_EQ(world.transport.log.size(), 1u);
  world.edit("1", {{"discount_value", "40"}});
  world.settle();
  // Nothing of 50 % was sent after the change.
  EXPECT_EQ(world.state("1"), "synced");
  EXPECT_EQ(world.stripe.active_codes("CODE1").size(), 1u);
  const auto id = world.stripe.active_codes("CODE1").front();
  const std::string coupon = FakeStripe::field(*world.stripe.code(id), "promotion[coupon]");
  EXPECT_EQ(FakeStripe::field(world.stripe.coupons.at(coupon), "percent_off"), "40");
  EXPECT_EQ(world.stripe.codes.size(), 1u);
}

TEST(Engine, ARowSwitchedOffDuringItsPushEndsOff) {
  for (int steps = 1; steps < 8; ++steps) {
    SCOPED_TRACE(steps);
    World world;
    world.insert("1");
    for (int i = 0; i < steps; ++i) world.step(Millis(10));
    world.edit("1", {{"is_active", "false"}});
    world.settle();
    EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
    EXPECT_EQ(world.state("1"), "synced");
  }
}

TEST(Engine, AnOutcomeThatCannotBeSavedIsKeptAndBlocksNoSlot) {
  World world;
  for (int i = 1; i <= 4; ++i) world.insert(std::to_string(i));
  world.step(Millis(10));
  for (int i = 1; i <= 4; ++i) world.store.lock(std::to_string(i));
  world.run(Millis(1'000));
  EXPECT_EQ(world.engine->jobs(), 4u);
  for (int i = 5; i <= 8; ++i) world.insert(std::to_string(i));
  world.run(Millis(3'000));
  for (int i = 5; i <= 8; ++i) world.expect_sold(std::to_string(i));
  EXPECT_EQ(world.transport.sent("POST", "/v1/coupons"), 8u);

  world.run(Millis(60'000));
  for (int i = 1; i <= 4; ++i) world.store.lock(std::to_string(i), false);
  EXPECT_LE(world.settle(), Millis(3'000));
  for (int i = 1; i <= 4; ++i) world.expect_sold(std::to_string(i));
  EXPECT_EQ(world.transport.sent("GET"), 0u);
  EXPECT_EQ(world.engine->jobs(), 0u);
}

TEST(Engine, SavingIsTriedAgainAtAWalk) {
  World world;
  world.insert("1");
  world.step(Millis(10));
  world.store.lock("1");
  int saves = 0;
  world.store.step = [&](const char* what) { saves += what == std::string("save") ? 1 : 0; };
  world.run(Millis(600'000));
  EXPECT_LE(saves, 620);
}

TEST(Engine, AnUnlockedRowThatChangedIsNotSentAsItWas) {
  World world;
  world.insert("1");
  world.step(Millis(10));
  world.store.lock("1");
  world.run(Millis(2'000));
  world.edit("1", {{"is_active", "false"}});
  world.store.lock("1", false);
  world.settle();
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  for (const auto& sent : world.transport.log) {
    const bool creates = sent.request.path == "/v1/promotion_codes" && sent.request.writes();
    EXPECT_TRUE(!creates || sent.request.get("active") == "false");
  }
}

TEST(Engine, ASavedDecisionWaitsForASlotUnsaved) {
  World world;
  world.limits.max_parallel = 1;
  world.engine->set_limits(world.limits);
  world.insert("1");
  world.step(Millis(10));
  world.store.lock("1");
  world.run(Millis(1'000));
  world.transport.fate = [](const Received&) { return Fate{Fate::lost, Millis(80'000)}; };
  world.insert("2");
  world.run(Millis(1'000));
  world.transport.fate = [](const Received&) { return Fate(); };
  world.store.lock("1", false);
  world.run(Millis(8'000));
  EXPECT_EQ(world.transport.sent("POST", "/v1/promotion_codes"), 0u);
  world.edit("1", {{"is_active", "false"}});  // the stale creation must not be sent later on
  world.settle();
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  world.expect_sold("2");
}

TEST(Engine, AStoreThatFailsIsAskedAtAWalk) {
  World world;
  world.store.fails = true;
  for (int i = 0; i < 500; ++i) world.insert(std::to_string(i), {{"discount_value", "NULL"}});
  world.run(Millis(60'000));
  EXPECT_LE(world.engine->jobs(), 70u);
  EXPECT_LE(world.store.claims, 100);
  world.store.fails = false;
  EXPECT_LE(world.settle(), Millis(63'000));
}

TEST(Engine, AStoreThatGoesOnFailingIsTriedLessAndLess) {
  World world;
  world.insert("1");
  world.step(Millis(10));
  world.store.fails = true;
  int saves = 0;
  world.store.step = [&](const char* what) { saves += what == std::string("save") ? 1 : 0; };
  world.run(Millis(3'600'000));
  EXPECT_LE(saves, 80);
  world.store.fails = false;
  EXPECT_LE(world.settle(), Millis(63'000));
  world.expect_sold("1");
}

// The owner may stop pumping: while it verifies a key, say.
TEST(Engine, AnOldDecisionIsCheckedBeforeItIsSent) {
  for (const bool stolen : {false, true}) {
    World world;
    world.insert("1");
    world.insert("2");
    world.step(Millis(10));
    world.clock.advance(Millis(1'000));
    while (auto answered = world.client->take()) {
      world.engine->handle(answered->first, answered->second);
    }
    world.clock.advance(Millis(3'600'000));
    if (stolen) {
      world.store.steal("1");
    } else {
      world.edit("1", {{"is_active", "false"}});
    }
    world.run(Millis(10'000));
    EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
    EXPECT_EQ(world.stripe.codes_of("CODE1"), stolen ? 0u : 1u);
    world.expect_sold("2");
  }
}

TEST(Engine, ALostLeaseEndsThePush) {
  World world;
  world.insert("1");
  world.step(Millis(10));
  world.store.steal("1");
  world.run(Millis(60'000));
  EXPECT_EQ(world.transport.log.size(), 1u);
  EXPECT_EQ(world.engine->jobs(), 0u);
  world.insert("2");
  EXPECT_GE(world.run_until([&] { return world.row("2").settled(); }), Millis(0));
  EXPECT_EQ(world.transport.log.size(), 3u);
}

TEST(Engine, NumbersAreUsedOnce) {
  World world;
  world.insert("1");
  world.settle();
  for (const char* active : {"false", "true", "false", "true"}) {
    world.edit("1", {{"is_active", active}});
    world.settle();
    EXPECT_EQ(world.stripe.active_codes("CODE1").size(), active == std::string("true") ? 1u : 0u);
  }
  std::set<std::string> keys;
  for (const auto& sent : world.transport.log) keys.insert(sent.request.key);
  EXPECT_EQ(keys.size(), world.transport.log.size());
  EXPECT_EQ(world.stripe.replays, 0);
}

TEST(Engine, SomebodyElsesAnswerIsNotTaken) {
  World world;
  world.insert("1");
  world.step(Millis(10));
  EXPECT_FALSE(world.engine->handle(4711, stripe::Answer()));
}

}  // namespace
}  // namespace stripe_sync::testing
