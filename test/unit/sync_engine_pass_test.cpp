#include "fake_world.hpp"

// Many rows of which nothing is known, and what Stripe holds already.

namespace stripe_sync::testing {
namespace {

std::string name(int n) {
  return std::to_string(n);
}

bool lists(const Received& request) {
  return request.method == "GET" && request.path == "/v1/promotion_codes" &&
         request.get("code").empty();
}

struct Account : World {
  /// Somebody else's code, of the terms that rows ask for.
  std::string sell(int n, const std::string& percent = "50", FakeStripe::Fields more = {}) {
    const std::string id = "promo_theirs" + name(static_cast<int>(stripe.codes.size()));
    const std::string coupon = "OLD-" + id;
    stripe.coupons[coupon] = {{"percent_off", percent},
                              {"duration", "once"},
                              {"name", "their name"},
                              {"applies_to[products][0]", "prod_plan"}};
    more.insert({{"code", "CODE" + name(n)}, {"promotion[coupon]", coupon}});
    stripe.codes.emplace_back(id, more);
    return id;
  }
  void expect_adopted(int n, const std::string& id) {
    SCOPED_TRACE(n);
    EXPECT_EQ(state(name(n)), "synced") << row(name(n)).reason.message;
    EXPECT_EQ(row(name(n)).action, "adopted");
    const auto code = Observed::parse(row(name(n)).observed).code;
    EXPECT_EQ(code ? code->id : "none", id);
  }
  std::size_t list_calls() const {
    return static_cast<std::size_t>(
        std::count_if(transport.log.begin(), transport.log.end(),
                      [](const auto& sent) { return lists(sent.request); }));
  }
};

TEST(EnginePass, ManyCodesInStepAreAdoptedByListCallsAlone) {
  Account world;
  std::vector<std::string> ids;
  for (int n = 0; n < 450; ++n) ids.push_back(world.sell(n));
  for (int n = 0; n < 450; ++n)
    world.insert(name(n), {{"stripe_promotion_code_id", n % 2 ? ids[n] : "NULL"}});
  EXPECT_LE(world.settle(), Millis(1'000));
  for (int n = 0; n < 450; ++n) world.expect_adopted(n, ids[n]);
  EXPECT_EQ(world.list_calls(), 5u);
  EXPECT_EQ(world.transport.log.size(), 5u);
}

TEST(EnginePass, AFewRowsAreWorthNone) {
  Account world;
  for (int n = 0; n < 99; ++n) world.insert(name(n), {{"stripe_promotion_code_id", world.sell(n)}});
  world.settle();
  EXPECT_EQ(world.list_calls(), 0u);
  EXPECT_EQ(world.transport.sent("GET"), 99u);
}

TEST(EnginePass, WhatIsNotInStepGoesItsOwnWay) {
  Account world;
  std::vector<std::string> ids;
  for (int n = 0; n < 130; ++n) ids.push_back(world.sell(n, n < 100 ? "50" : "40"));
  for (int n = 0; n < 160; ++n) {
    const bool carries = n < 50 || (n >= 100 && n < 115);
    world.insert(name(n), {{"stripe_promotion_code_id", carries ? ids[n] : "NULL"}});
  }
  world.settle();
  for (int n = 0; n < 100; ++n) world.expect_adopted(n, ids[n]);
  for (int n = 100; n < 130; ++n) {
    SCOPED_TRACE(n);
    EXPECT_EQ(world.state(name(n)), "conflict");
    EXPECT_TRUE(
        contains(world.row(name(n)).reason.message, "discount: database 50 %, Stripe 40 %"));
    EXPECT_EQ(world.coupons_of(name(n)), 0u) << "made in vain";
  }
  for (int n = 130; n < 160; ++n) world.expect_sold(name(n));
  EXPECT_EQ(world.transport.sent("GET"), 2u + 30u);
  EXPECT_EQ(world.transport.sent("POST"), 60u);
}

// What a page said is no reason to write: who has to, or is to be refused, looks for itself.
TEST(EnginePass, NothingIsSentByTheWordOfAPage) {
  Account world;
  std::vector<std::string> ids;
  for (int n = 0; n < 110; ++n) ids.push_back(world.sell(n, n < 100 ? "50" : "40"));
  for (int n = 0; n < 110; ++n) world.insert(name(n));
  // Before anything can be sent for a row, somebody mends Stripe.
  world.transport.fate = [&](const Received& request) {
    if (request.get("starting_after") != "")
      for (auto& [id, coupon] : world.stripe.coupons) coupon["percent_off"] = "50";
    return Fate();
  };
  world.settle();
  for (int n = 0; n < 110; ++n) world.expect_adopted(n, ids[n]);
  EXPECT_EQ(world.transport.sent("POST"), 0u);
}

TEST(EnginePass, RowsThatAreOffTakeWhatIsOff) {
  Account world;
  std::vector<std::string> ids;
  for (int n = 0; n < 120; ++n)
    ids.push_back(world.sell(n, n < 110 ? "50" : "40", {{"active", n % 2 ? "false" : "true"}}));
  for (int n = 0; n < 120; ++n)
    world.insert(name(n), {{"is_active", n % 2 ? "false" : "true"},
                           {"stripe_promotion_code_id", n % 4 < 2 ? ids[n] : "NULL"}});
  world.settle();
  for (int n = 0; n < 110; ++n) world.expect_adopted(n, ids[n]);
  EXPECT_EQ(world.list_calls(), 2u);
  EXPECT_EQ(world.state("110"), "conflict");
  EXPECT_EQ(world.state("111"), "synced");
  EXPECT_TRUE(world.stripe.active_codes("CODE111").empty());
}

TEST(EnginePass, CodesOfOneTextOnSeveralPages) {
  Account world;
  world.stripe.page = 10;
  std::vector<std::string> ids;
  for (int n = 0; n < 100; ++n) ids.push_back(world.sell(n, "50", {{"customer", "cus_1"}}));
  for (int n = 0; n < 100; ++n) world.sell(n, "50", {{"customer", "cus_2"}});
  for (int n = 0; n < 100; ++n)
    world.insert(name(n), {{"stripe_customer_id", "cus_1"},
                           {"stripe_promotion_code_id", n % 2 ? ids[n] : "NULL"}});
  world.settle();
  for (int n = 0; n < 100; ++n) world.expect_adopted(n, ids[n]);
  EXPECT_EQ(world.transport.log.size(), 20u);
}

TEST(EnginePass, PricesAreReadForThePage) {
  const Values custom = {{"discount_type", "custom_price"},
                         {"discount_value", "NULL"},
                         {"stripe_product_id", "NULL"},
                         {"custom_monthly_price", "99.50"}};
  for (const bool readable : {true, false}) {
    Account world;
    std::vector<std::string> ids;
    for (int n = 0; n < 130; ++n)
      ids.push_back(world.sell(n, "50", {{"active", n % 3 ? "true" : "false"}}));
    for (auto& [id, coupon] : world.stripe.coupons) coupon["duration"] = "forever";
    world.transport.fate = [&](const Received& request) {
      return !readable && request.under("/v1/prices") ? denied(403) : Fate();
    };
    for (int n = 0; n < 130; ++n) {
      Values row = custom;
      row["is_active"] = n % 3 ? "true" : "false";
      if (n % 2) row["stripe_promotion_code_id"] = ids[n];
      world.insert(name(n), row);
    }
    if (readable) world.settle();
    world.run(Millis(5'000));
    EXPECT_EQ(world.list_calls(), 2u);
    EXPECT_EQ(world.transport.sent("POST"), 0u);
    if (readable) {
      for (int n = 0; n < 130; ++n) world.expect_adopted(n, ids[n]);
      EXPECT_EQ(world.transport.sent("GET", "/v1/prices"), 2u);
    }
  }
}

TEST(EnginePass, SwitchingOffAndOtherRowsGoOnMeanwhile) {
  for (const int parallel : {1, 4}) {
    SCOPED_TRACE(parallel);
    Account world;
    world.limits.max_parallel = parallel;
    world.engine->set_limits(world.limits);
    world.insert("900");
    world.insert("901");
    world.settle();
    for (int n = 0; n < 600; ++n) world.sell(n);
    world.transport.fate = [](const Received& request) {
      return Fate{Fate::answered, Millis(lists(request) ? 3'000 : 50)};
    };
    for (int n = 0; n < 600; ++n) world.insert(name(n));
    world.run(Millis(4'000));
    world.edit("900", {{"is_active", "false"}});
    world.edit("901", {{"discount_value", "20"}});
    world.insert("902");
    EXPECT_LE(world.run_until([&] { return world.stripe.active_codes("CODE900").empty(); }),
              Millis(3'500));
    world.run_until([&] { return world.row("901").settled() && world.row("902").settled(); });
    EXPECT_LE(world.list_calls(), 6u) << "the pass is still under way";
    world.expect_sold("902");
    world.settle();
    EXPECT_EQ(world.transport.sent("POST", "/v1/coupons"), 4u);
  }
}

TEST(EnginePass, ARowThatIsOffDoesNotWaitForLong) {
  Account world;
  for (int n = 0; n < 1'000; ++n) world.sell(n);
  world.transport.fate = [](const Received& request) {
    return Fate{Fate::answered, Millis(lists(request) ? 9'000 : 50)};
  };
  const std::string theirs = world.sell(5'000);
  for (int n = 5'001; n < 15'000; ++n) world.sell(n);
  for (int n = 0; n < 999; ++n) world.insert(name(n));
  world.insert("5000", {{"stripe_promotion_code_id", theirs}, {"is_active", "false"}});
  EXPECT_LE(world.run_until([&] { return world.stripe.active_codes("CODE5000").empty(); }),
            Millis(75'000));
  // Said while the pass is under way, it does not wait at all.
  const std::string other = world.sell(20'000);
  world.run(Millis(10));
  world.insert("20000", {{"stripe_promotion_code_id", other}, {"is_active", "false"}});
  EXPECT_LE(world.run_until([&] { return world.stripe.active_codes("CODE20000").empty(); }),
            Millis(2'000));
}

TEST(EnginePass, AListThatCantBeReadIsDoneWithout) {
  for (const Fate& fate :
       {denied(403), Fate{Fate::refused, Millis(50), refusal(500)},
        Fate{Fate::refused, Millis(50), refusal(400)},
        Fate{Fate::refused, Millis(50), response(200, "{}")}, Fate{Fate::lost, Millis(80'000)}}) {
    Account world;
    std::vector<std::string> ids;
    for (int n = 0; n < 100; ++n) ids.push_back(world.sell(n));
    world.transport.fate = [&](const Received& request) { return lists(request) ? fate : Fate(); };
    for (int n = 0; n < 100; ++n) world.insert(name(n), {{"stripe_promotion_code_id", ids[n]}});
    EXPECT_LE(world.settle(), Millis(25'000));
    for (int n = 0; n < 100; ++n) world.expect_adopted(n, ids[n]);
    EXPECT_EQ(world.list_calls(), 1u);
    EXPECT_FALSE(world.engine->blocked());
  }
}

TEST(EnginePass, AnOutageAndALimitAreWaitedFor) {
  for (const Fate& fate : {Fate{Fate::never_sent}, limited("7")}) {
    Account world;
    for (int n = 0; n < 300; ++n) world.sell(n);
    int pages = 0;
    world.transport.fate = [&](const Received&) { return ++pages > 1 ? fate : Fate(); };
    for (int n = 0; n < 300; ++n) world.insert(name(n));
    world.run(Millis(60'000));
    EXPECT_TRUE(world.engine->pause());
    EXPECT_LE(world.transport.log.size(), 20u);
    world.transport.fate = [](const Received&) { return Fate(); };
    EXPECT_LE(world.settle(), Millis(40'000));
    EXPECT_EQ(world.list_calls(), world.transport.log.size());
    EXPECT_EQ(world.transport.sent("POST"), 0u);
  }
}

TEST(EnginePass, AWrongKeyStopsIt) {
  Account world;
  for (int n = 0; n < 200; ++n) world.sell(n);
  world.transport.fate = [](const Received&) { return denied(401); };
  for (int n = 0; n < 200; ++n) world.insert(name(n));
  world.run(Millis(10'000));
  EXPECT_TRUE(world.engine->blocked());
  EXPECT_EQ(world.transport.log.size(), 1u);
  world.transport.fate = [](const Received&) { return Fate(); };
  world.engine->unblock();
  world.settle();
}

TEST(EnginePass, AnAccountFullOfOthersCodesHoldsNobodyUpForLong) {
  Account world;
  for (int n = 0; n < 100; ++n) world.sell(n);
  for (int n = 10'000; n < 12'000; ++n) world.sell(n);
  for (int n = 500; n < 620; ++n) world.insert(name(n));
  world.settle();
  EXPECT_EQ(world.list_calls(), 6u);
  for (int n = 500; n < 620; ++n) world.expect_sold(name(n));
}

TEST(EnginePass, TheNextBurstIsComparedAnew) {
  Account world;
  for (int n = 0; n < 240; ++n) world.sell(n);
  for (int n = 0; n < 120; ++n) world.insert(name(n));
  world.settle();
  world.run(Millis(2'000));
  for (int n = 120; n < 240; ++n) world.insert(name(n));
  world.settle();
  // Newest first; the second ends with the last row that waits for it.
  EXPECT_EQ(world.transport.log.size(), 3u + 2u);
  EXPECT_EQ(world.list_calls(), 3u + 2u);
}

// Who was there when the last began is not compared again, however long it takes to send them.
TEST(EnginePass, RowsThatAreMadeAnewAreComparedOnce) {
  Account world;
  for (int n = 0; n < 250; ++n) world.insert(name(n));
  world.settle();
  EXPECT_EQ(world.list_calls(), 1u);
  EXPECT_EQ(world.transport.sent("GET"), 1u);
}

TEST(EnginePass, KilledInTheMiddleItGoesOnWithoutAWrite) {
  for (int at = 1; at < 40; at += 3) {
    SCOPED_TRACE(at);
    Account world;
    for (int n = 0; n < 250; ++n) world.sell(n);
    for (int n = 0; n < 250; ++n) world.insert(name(n));
    int steps = 0;
    world.store.step = [&](const char*) {
      if (++steps == 13 * at) throw std::bad_alloc();
    };
    try {
      world.settle();
    } catch (const std::bad_alloc&) {
      world.store.step = [](const char*) {};
      world.crash();
      world.start();
      world.settle();
    }
    EXPECT_EQ(world.transport.sent("POST"), 0u);
    for (int n = 0; n < 250; ++n) EXPECT_EQ(world.state(name(n)), "synced");
  }
}

TEST(EnginePass, WhatWasReadOfAnotherAccountIsForgotten) {
  Account world;
  for (int n = 0; n < 300; ++n) world.sell(n);
  for (int n = 0; n < 300; ++n) world.insert(name(n));
  world.run(Millis(60));
  EXPECT_EQ(world.list_calls(), 2u);
  world.engine->distrust();
  world.engine->allow_writes(Millis::max());
  for (auto& [id, code] : world.stripe.codes) code["code"] = "OTHER-" + id;
  world.settle();
  for (int n = 0; n < 300; ++n) {
    const bool before = world.row(name(n)).action == "adopted";
    if (!before) world.expect_sold(name(n));
  }
  EXPECT_FALSE(world.store.leased());
}

}  // namespace
}  // namespace stripe_sync::testing
