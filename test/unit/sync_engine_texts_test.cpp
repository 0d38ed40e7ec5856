#include "fake_world.hpp"

// A text that was refused because somebody sold it, and what happens until that is looked into.

namespace stripe_sync::testing {
namespace {

/// Row 2 wants what row 1 sells; its promotion code is refused 250 ms after the insertion.
struct Refused : World {
  Refused() {
    insert("1", {{"code", "A"}});
    settle();
    transport.fate = [](const Received& in) {
      const bool create = in.path == "/v1/promotion_codes" && in.writes();
      return Fate{Fate::answered, Millis(create ? 200 : in.under("/v1/coupons") ? 50 : 100)};
    };
    insert("2", {{"code", "A"}, {"discount_value", "40"}});
  }
};

TEST(EngineTexts, WhatIsFreedBetweenRefusalAndLookIsTaken) {
  Refused world;
  world.run(Millis(110));
  world.edit("1", {{"code", "B"}});  // off in Stripe after 160 ms, known after 210
  world.settle();
  EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
  EXPECT_EQ(world.stripe.active_codes("A").size(), 1u);
}

TEST(EngineTexts, WhatIsFreedWhileTheWorkerIsDownIsTaken) {
  Refused world;
  world.run(Millis(260));
  EXPECT_EQ(world.transport.log.back().request.method, "GET");
  world.crash();
  world.stripe.deactivate("promo_1");
  world.start();
  world.settle();
  EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
}

TEST(EngineTexts, ARowThatHasAnotherTextMeanwhileHasNoConflict) {
  Refused world;
  world.run(Millis(110));
  world.edit("2", {{"code", "C"}});
  world.settle();
  world.expect_sold("2", "40");
}

TEST(EngineTexts, ARowThatIsOffMeanwhileHasNoConflict) {
  Refused world;
  world.run(Millis(110));
  world.edit("2", {{"is_active", "false"}});
  world.settle();
  EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
  EXPECT_EQ(world.stripe.active_codes("A").size(), 1u);
}

TEST(EngineTexts, WhatWasUnknownWhenARowWasLeftAloneIsLookedForWhenItComesBack) {
  World world;
  world.transport.fate = [](const Received& in) {
    return Fate{in.path == "/v1/promotion_codes" ? Fate::lost_answer : Fate::answered, Millis(50)};
  };
  world.insert("1");
  world.run(Millis(500));
  EXPECT_EQ(world.state("1"), "retrying");
  world.edit("1", {{"sync_status", "manual"}});
  world.settle();
  EXPECT_EQ(world.state("1"), "excluded");
  world.transport.fate = [](const Received&) { return Fate(); };
  world.edit("1", {{"sync_status", "pending"}, {"code", "B"}});
  world.settle();
  EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  EXPECT_EQ(world.stripe.active_codes("B").size(), 1u);
}

TEST(EngineTexts, ARowInConflictCanBeSwitchedOffAndDeleted) {
  for (const bool renamed : {false, true}) {
    World world;
    world.stripe.make_code("promo_theirs", {{"percent_off", "40"}, {"duration", "once"}},
                           {{"code", "A"}});
    world.insert("1", {{"code", renamed ? "B" : "A"}});
    world.settle();
    if (renamed) world.edit("1", {{"code", "A"}});
    world.settle();
    EXPECT_EQ(world.state("1"), "conflict");
    EXPECT_TRUE(world.stripe.active_codes("B").empty());
    world.edit("1", {{"is_active", "false"}});
    world.settle();
    EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
    world.store.remove("1");
    world.engine->look_for_due();
    world.settle();
    EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
    EXPECT_EQ(world.stripe.active_codes("A"), std::vector<std::string>{"promo_theirs"});
  }
}

/// A row that starts in an hour, under a text that is sold until then or for longer.
struct Scheduled : World {
  explicit Scheduled(std::int64_t rival_ends) {
    const std::int64_t time = clock.stripes_seconds();
    stripe.make_code(
        "promo_theirs",
        {{"percent_off", "50"}, {"duration", "once"}, {"applies_to[products][0]", "prod_plan"}},
        {{"code", "CODE1"}, {"expires_at", std::to_string(time + rival_ends)}});
    insert("1", {{"starts_at", std::to_string(time + 3'600)},
                 {"expires_at", std::to_string(time + rival_ends)}});
    settle();
  }
};

TEST(EngineTexts, WhatIsSoldBeyondTheStartOfARowIsAConflictAtOnce) {
  Scheduled world(7'200);  // all terms are the row's, but for the start
  EXPECT_EQ(world.state("1"), "conflict");
  EXPECT_NE(world.row("1").reason.message.find("starts_at: database "), std::string::npos)
      << world.row("1").reason.message;
  EXPECT_EQ(world.stripe.active_codes("CODE1"), std::vector<std::string>{"promo_theirs"});
  world.store.take_over("1");
  world.settle();
  EXPECT_EQ(world.state("1"), "scheduled") << world.row("1").reason.message;
  EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  world.run(Millis(3'601'000));
  world.expect_sold("1");
}

TEST(EngineTexts, WhatIsOverByTheStartOfARowIsNotInItsWay) {
  World world;
  const std::int64_t time = world.clock.stripes_seconds();
  world.stripe.make_code("promo_theirs", {{"percent_off", "40"}, {"duration", "once"}},
                         {{"code", "CODE1"}, {"expires_at", std::to_string(time + 3'600)}});
  world.insert("1", {{"starts_at", std::to_string(time + 3'600)}});
  world.settle();
  EXPECT_EQ(world.state("1"), "scheduled") << world.row("1").reason.message;
  EXPECT_EQ(world.stripe.active_codes("CODE1"), std::vector<std::string>{"promo_theirs"});
  world.run(Millis(3'661'000));
  EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
  EXPECT_EQ(world.stripe.active_codes("CODE1").size(), 1u);
}

}  // namespace
}  // namespace stripe_sync::testing
