#include "fake_world.hpp"

// The engine when it does not know what became of a write.

namespace stripe_sync::testing {
namespace {

// What Stripe does not show yet may still be done, when nobody waits for it any more.
TEST(EngineUnknown, AWriteThatComesLateIsNotLeftAlone) {
  for (const bool deleted : {true, false}) {
    for (const bool exists : {true, false}) {
      SCOPED_TRACE(std::to_string(deleted) + std::to_string(exists));
      World world;
      world.insert("1", {{"is_active", exists ? "false" : "true"}});
      if (exists) world.settle();
      world.transport.fate = [&](const Received& request) {
        const bool on =
            exists ? request.get("active") == "true" : request.path == "/v1/promotion_codes";
        return on && request.writes() ? Fate{Fate::late, Millis(1'000)} : Fate();
      };
      if (exists) world.edit("1", {{"is_active", "true"}});
      const auto gone = [&] {
        return !world.transport.log.empty() && world.transport.log.back().fate.kind == Fate::late;
      };
      ASSERT_GE(world.run_until(gone), Millis(0));
      if (deleted) {
        world.store.remove("1");
        world.engine->look_for_due();
      } else {
        world.edit("1", {{"is_active", "false"}});
      }
      world.transport.fate = [](const Received&) { return Fate(); };
      world.settle();
      world.transport.arrive();
      EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
    }
  }
}

TEST(EngineUnknown, AnUnknownOutcomeIsLookedUpAndNothingIsDoneTwice) {
  const Fate fates[] = {{Fate::lost, Millis(5'000)},
                        {Fate::lost_answer, Millis(5'000)},
                        {Fate::failed, Millis(50)},
                        {Fate::failed_after, Millis(50)}};
  for (const Fate& bad : fates) {
    for (std::size_t victim = 1; victim <= 3; ++victim) {
      SCOPED_TRACE(std::to_string(bad.kind) + " " + std::to_string(victim));
      World world;
      world.transport.fate = [&](const Received&) {
        return world.transport.log.size() + 1 == victim ? bad : Fate();
      };
      world.insert("1");
      if (victim == 3) {
        world.settle();
        world.edit("1", {{"is_active", "false"}});
        world.settle();
        EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
        world.edit("1", {{"is_active", "true"}});
      }
      EXPECT_LE(world.settle(), Millis(20'000));
      world.expect_sold("1");
      EXPECT_GE(world.transport.sent("GET"), 1u);
      EXPECT_EQ(world.stripe.idempotency_errors, 0);
    }
  }
}

TEST(EngineUnknown, WhatIsKnownNotToBeDoneKeepsItsNumber) {
  for (const Fate& fate : {limited(), Fate{Fate::never_sent, Millis(20)}}) {
    World world;
    world.transport.fate = [&](const Received&) {
      return world.transport.log.empty() ? fate : Fate();
    };
    world.insert("1");
    world.settle();
    ASSERT_EQ(world.transport.log.size(), 3u);
    EXPECT_EQ(world.transport.log[0].request.key, world.transport.log[1].request.key);
    EXPECT_EQ(world.transport.sent("GET"), 0u);
  }
}

// A database restored from an earlier state takes numbers again that Stripe still remembers.
TEST(EngineUnknown, AReplayIsNotBelieved) {
  for (const bool resent : {false, true}) {
    SCOPED_TRACE(resent);
    World world;
    world.insert("1");
    world.settle();

    world.edit("1", {{"is_active", "false"}});
    world.settle();
    // The same request under the same number, as before the restore, while Stripe holds it active.
    (*world.stripe.code("promo_1"))["active"] = "true";
    world.store.rows.at("1").observed = [&] {
      Observed seen = Observed::parse(world.row("1").observed);
      seen.code->active = true;
      return seen.dump();
    }();
    world.restored = true;
    world.store.restore_numbers(2);
    if (resent) {
      const std::size_t sent = world.transport.log.size();
      world.transport.fate = [&world, sent](const Received&) {
        return world.transport.log.size() == sent ? Fate{Fate::never_sent, Millis(20)} : Fate();
      };
    }
    world.edit("1", {});
    if (!resent) {  // a new number that was used: somebody else uses our numbers
      EXPECT_GE(world.run_until([&] { return world.engine->blocked().has_value(); }), Millis(0));
      const std::string shown = world.engine->take_rival().value_or("");
      EXPECT_NE(shown.find("had been used before"), std::string::npos) << shown;
      EXPECT_FALSE(world.engine->take_rival()) << "told once";
      EXPECT_EQ(world.state("1"), "retrying");
      EXPECT_EQ(world.stripe.active_codes("CODE1").size(), 1u);
      world.engine->unblock();
      world.store.retry_now();
    }
    world.settle();
    EXPECT_FALSE(world.engine->take_rival());
    EXPECT_GE(world.stripe.replays, 1);
    EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
  }
}

}  // namespace
}  // namespace stripe_sync::testing
