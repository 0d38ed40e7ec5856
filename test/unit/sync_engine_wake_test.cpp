#include "fake_world.hpp"

// Rows that nothing but time brings on: what stood in their way ends in Stripe, or they are over.

namespace stripe_sync::testing {
namespace {

/// Somebody else's code, of other terms.
void sell_theirs(World& world, const std::string& text, std::int64_t expires_at) {
  world.stripe.coupons["THEIRS"] = {{"percent_off", "40"}, {"duration", "once"}};
  world.stripe.codes.push_back({"promo_theirs",
                                {{"code", text},
                                 {"promotion[coupon]", "THEIRS"},
                                 {"expires_at", std::to_string(expires_at)}}});
}

TEST(EngineWake, AConflictEndsWhenTheOtherCodeExpires) {
  World world;
  sell_theirs(world, "CODE1", world.clock.unix_seconds() + 3'600);
  world.insert("1");
  world.settle();
  EXPECT_EQ(world.state("1"), "conflict");
  world.run(Millis(3'500'000));
  EXPECT_EQ(world.state("1"), "conflict");
  world.run(Millis(200'000));
  EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
  EXPECT_EQ(world.stripe.active_codes("CODE1").size(), 1u);
}

TEST(EngineWake, AConflictOfTwoRowsEndsWhenTheOtherExpires) {
  World world;
  const std::int64_t end = world.clock.unix_seconds() + 3'600;
  world.insert("1", {{"code", "A"}, {"expires_at", std::to_string(end)}});
  world.settle();
  world.insert("2", {{"code", "A"}, {"discount_value", "40"}});
  world.settle();
  EXPECT_EQ(world.state("2"), "conflict");
  world.run(Millis(3'700'000));
  EXPECT_EQ(world.state("1"), "expired");
  EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
}

TEST(EngineWake, AnExpiryThatStripesClockHasNotReachedIsTriedAgainEachMinuteAtMost) {
  World world;
  world.clock.ahead = Millis(300'000);
  sell_theirs(world, "CODE1", world.clock.unix_seconds() + 60);
  world.insert("1");
  world.settle();
  world.run(Millis(50'000));
  const std::size_t written = world.transport.sent("POST");
  world.run(Millis(420'000));
  EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
  EXPECT_LE(world.transport.sent("POST"), written + 8);
}

TEST(EngineWake, AConflictThatDoesNotExpireIsNotTriedAgain) {
  World world;
  sell_theirs(world, "CODE1", world.clock.unix_seconds() + 60);
  world.stripe.code("promo_theirs")->erase("expires_at");
  world.insert("1");
  world.settle();
  const std::size_t sent = world.transport.log.size();
  world.run(Millis(day * 1'000));
  EXPECT_EQ(world.transport.log.size(), sent);
}

// By Stripe's clock its expiry had passed before it was made.
TEST(EngineWake, ARefusedRowIsExpiredWhenItIsOver) {
  World world;
  world.clock.ahead = Millis(-120'000);
  world.insert("1", {{"expires_at", std::to_string(world.clock.unix_seconds() + 60)}});
  world.settle();
  EXPECT_EQ(world.state("1"), "parked");
  world.run(Millis(61'000));
  EXPECT_EQ(world.state("1"), "expired");
  EXPECT_EQ(world.row("1").reason.message, "");
}

TEST(EngineWake, ARefusedSwitchingOffOfWhatIsOverIsNotRepeated) {
  World world;
  world.insert("1");
  world.settle();
  world.stripe.refuses = [](const Received& in) { return in.get("active") == "false"; };
  world.edit("1", {{"expires_at", std::to_string(world.clock.unix_seconds() - 60)}});
  world.settle();
  EXPECT_EQ(world.state("1"), "parked");
  const std::size_t sent = world.transport.log.size();
  world.run(Millis(60'000));
  EXPECT_EQ(world.transport.log.size(), sent);
}

// A token in advance is for what is on sale and must not be: others wait for it as anybody does.
TEST(EngineWake, WhatWasNeverOnSaleIsNotUrgent) {
  for (const bool on_sale : {false, true}) {
    SCOPED_TRACE(on_sale);
    World world;
    if (on_sale) {
      world.insert("1");
      world.settle();
    }
    while (world.limiter->wait() == Millis(0)) world.limiter->take();
    ASSERT_EQ(world.limiter->wait(Urgency::urgent), Millis(0));
    const std::size_t before = world.transport.log.size();
    if (on_sale) {
      world.edit("1", {{"is_active", "false"}});
    } else {
      world.insert("1", {{"is_active", "false"}});
    }
    world.engine->pump();
    EXPECT_EQ(world.transport.log.size() - before, on_sale ? 1u : 0u);
  }
}

}  // namespace
}  // namespace stripe_sync::testing
