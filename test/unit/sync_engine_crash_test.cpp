#include "fake_world.hpp"

// The worker dies at every single step: before and after each transaction, before and after each
// request leaves.

namespace stripe_sync::testing {
namespace {

struct Crash {};

struct Story {
  const char* name;
  std::function<void(World&)> begin;  ///< before anything can crash
  std::function<void(World&)> happens;
  std::function<void(World&)> expect;
};

/// Counts steps and dies at the one asked for.
class Steps {
 public:
  Steps(World& world, int die_at) : world_(world), die_at_(die_at) {
    world.store.step = [this](const char*) { count(); };
    const auto watch = world.transport.leaving;
    world.transport.leaving = [this, watch](const Received& request) {
      watch(request);
      count();
    };
  }
  void stop() { counting_ = false; }
  bool died() const { return died_; }

 private:
  void count() {
    if (!counting_ || ++steps_ != die_at_) return;
    died_ = true;
    throw Crash();
  }

  World& world_;
  int die_at_;
  int steps_ = 0;
  bool counting_ = true;
  bool died_ = false;
};

// A crash in take(), with an answer in hand, is one before the save that follows.
int crash_at_every_step(const Story& story, Millis downtime) {
  for (int die_at = 1;; ++die_at) {
    SCOPED_TRACE(std::string(story.name) + ", dies at step " + std::to_string(die_at));
    World world(static_cast<unsigned>(die_at));
    if (story.begin) story.begin(world);
    Steps steps(world, die_at);
    story.happens(world);
    try {
      world.settle();
    } catch (const Crash&) {
      world.crash();
      world.clock.advance(downtime);
      world.start();
    }
    steps.stop();
    world.settle();
    story.expect(world);
    EXPECT_EQ(world.stripe.idempotency_errors, 0);
    EXPECT_FALSE(world.store.leased());
    if (!steps.died() || ::testing::Test::HasFailure()) return die_at;
  }
}

void push_first(World& world) {
  world.insert("1");
  world.settle();
}

// Pushed with a limit, and used twice.
void push_and_use(World& world) {
  world.insert("1", {{"max_uses", "10"}});
  world.settle();
  for (int use = 0; use < 2; ++use) world.stripe.redeem(world.stripe.active_codes("CODE1").front());
}

// One code on, the former off, and no use counted twice or forgotten.
void expect_replaced(World& world, const std::string& percent, const std::string& limit,
                     std::size_t coupons) {
  EXPECT_EQ(world.state("1"), "synced") << world.row("1").reason.message;
  EXPECT_EQ(world.stripe.codes_of("CODE1"), 2u);
  EXPECT_EQ(world.coupons_of("1"), coupons);
  const auto on = world.stripe.active_codes("CODE1");
  ASSERT_EQ(on.size(), 1u);
  const auto* code = world.stripe.code(on.front());
  EXPECT_EQ(FakeStripe::field(*code, "max_redemptions"), limit);
  const auto& coupon = world.stripe.coupons.at(FakeStripe::field(*code, "promotion[coupon]"));
  EXPECT_EQ(FakeStripe::field(coupon, "percent_off"), percent);
  const Observed observed = Observed::parse(world.row("1").observed);
  ASSERT_EQ(observed.predecessors.size(), 1u);
  EXPECT_EQ(observed.predecessors[0].redeemed, 2);
}

const Values custom = {{"discount_type", "custom_price"},
                       {"discount_value", "NULL"},
                       {"stripe_product_id", "NULL"},
                       {"custom_monthly_price", "99.50"}};

const Story stories[] = {
    {"create", nullptr, [](World& world) { world.insert("1"); },
     [](World& world) { world.expect_sold("1"); }},
    {"create several", nullptr,
     [](World& world) {
       for (int i = 1; i <= 6; ++i) world.insert(std::to_string(i));
     },
     [](World& world) {
       for (int i = 1; i <= 6; ++i) world.expect_sold(std::to_string(i));
     }},
    {"custom price", nullptr, [](World& world) { world.insert("1", custom); },
     [](World& world) { world.expect_sold("1"); }},
    {"switch off", push_first,
     [](World& world) {
       world.edit("1", {{"is_active", "false"}});
     },
     [](World& world) {
       EXPECT_TRUE(world.stripe.active_codes("CODE1").empty());
       EXPECT_EQ(world.state("1"), "synced");
       world.edit("1", {{"is_active", "true"}});
       world.settle();
       world.expect_sold("1");
     }},
    {"switch on",
     [](World& world) {
       world.insert("1", {{"is_active", "false"}});
       world.settle();
     },
     [](World& world) {
       world.edit("1", {{"is_active", "true"}});
     },
     [](World& world) { world.expect_sold("1"); }},
    {"new description", push_first,
     [](World& world) {
       world.edit("1", {{"description", "Winter sale"}});
     },
     [](World& world) {
       world.expect_sold("1");
       EXPECT_EQ(FakeStripe::field(world.stripe.coupons.begin()->second, "name"), "Winter sale");
     }},
    {"new terms", push_and_use,
     [](World& world) {
       world.edit("1", {{"discount_value", "40"}});
     },
     [](World& world) { expect_replaced(world, "40", "8", 2); }},
    {"new limit", push_and_use,
     [](World& world) {
       world.edit("1", {{"max_uses", "20"}});
     },
     [](World& world) { expect_replaced(world, "50", "18", 1); }},
    {"delete and insert", push_first,
     [](World& world) {
       world.store.remove("1");
       world.insert("2", {{"code", "CODE1"}, {"discount_value", "40"}});
     },
     [](World& world) {
       EXPECT_EQ(world.state("2"), "synced") << world.row("2").reason.message;
       ASSERT_EQ(world.stripe.active_codes("CODE1").size(), 1u);
       EXPECT_EQ(world.stripe.codes.size(), 2u);
       EXPECT_EQ(world.coupons_of("2"), 1u);
     }},
};

TEST(EngineCrash, LeavesOneOfEachWhereverItComes) {
  for (const Story& story : stories) {
    for (const Millis downtime : {Millis(0), Millis(5'000)}) {
      EXPECT_GE(crash_at_every_step(story, downtime), 6) << story.name;
    }
    if (::testing::Test::HasFailure()) return;
  }
}

// The same while answers get lost, so that it dies during looks and retries too.
TEST(EngineCrash, DuringTroubleToo) {
  const Fate fates[] = {{Fate::lost, Millis(3'000)},    {Fate::lost_answer, Millis(3'000)},
                        {Fate::failed, Millis(50)},     {Fate::failed_after, Millis(50)},
                        {Fate::never_sent, Millis(20)}, limited()};
  for (const Fate& fate : fates) {
    SCOPED_TRACE(fate.kind);
    for (Story story : stories) {
      const auto happens = story.happens;
      story.happens = [&](World& world) {
        world.transport.fate = [&world, &fate](const Received&) {
          return world.pick(3) == 0 ? fate : Fate();
        };
        happens(world);
      };
      const auto expect = story.expect;
      story.expect = [&](World& world) {
        world.transport.fate = [](const Received&) { return Fate(); };
        expect(world);
      };
      crash_at_every_step(story, Millis(1'000));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace stripe_sync::testing
