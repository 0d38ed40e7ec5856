#include "sync_situation.hpp"

namespace stripe_sync::testing {
namespace {

TEST(Plan, CreatesCouponThenCode) {
  const Plan plan = plan_promo(situation(percentage({{"max_uses", "9"}})));
  ASSERT_EQ(kinds(plan), "create_coupon create_code");
  EXPECT_EQ(plan.operations[0].call.method, "POST");
  EXPECT_EQ(plan.operations[0].call.path, "/v1/coupons");
  EXPECT_EQ(params_text(plan.operations[0]),
            "id=SUMMER-aaaaaa&name=Summer sale&percent_off=50&duration=once&"
            "applies_to[products][0]=prod_plan&metadata[description]=Summer sale&"
            "metadata[stripe_sync_row]=public.promo/1&metadata[stripe_sync_installation]=inst_1&"
            "expand[]=applies_to");
  EXPECT_EQ(plan.operations[1].call.path, "/v1/promotion_codes");
  EXPECT_EQ(params_text(plan.operations[1]),
            "promotion[type]=coupon&promotion[coupon]=SUMMER-aaaaaa&code=SUMMER&max_redemptions=9&"
            "metadata[stripe_sync_row]=public.promo/1&metadata[stripe_sync_installation]=inst_1");
  EXPECT_EQ(plan.end.state, PromoState::synced);
  EXPECT_TRUE(plan.end.reason.message.empty());
}

TEST(Plan, EverythingARowCanAsk) {
  const std::string expires = std::to_string(now + day);
  Situation s = situation(percentage({{"discount_type", "fixed"},
                                      {"duration", "repeating"},
                                      {"duration_in_months", "6"},
                                      {"description", "NULL"},
                                      {"expires_at", expires},
                                      {"is_active", "false"},
                                      {"first_time_only", "true"},
                                      {"minimum_amount", "20"},
                                      {"stripe_customer_id", "cus_1"}}));
  const Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "create_coupon create_code");
  const std::string coupon = params_text(plan.operations[0]);
  EXPECT_TRUE(contains(coupon,
                       "id=SUMMER-aaaaaa&amount_off=5000&currency=usd&duration=repeating&"
                       "duration_in_months=6&applies_to[products][0]=prod_plan&"
                       "metadata[stripe_sync_row]"))
      << coupon;
  const std::string code = params_text(plan.operations[1]);
  EXPECT_TRUE(contains(code, "code=SUMMER&active=false&customer=cus_1&expires_at=" + expires +
                                 "&restrictions[first_time_transaction]=true&"
                                 "restrictions[minimum_amount]=2000&"
                                 "restrictions[minimum_amount_currency]=usd&metadata"))
      << code;
  EXPECT_EQ(plan.end.state, PromoState::synced);
}

TEST(Plan, NothingToDoSendsNothing) {
  const Plan plan = plan_promo(in_step());
  EXPECT_EQ(kinds(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::synced);
  EXPECT_FALSE(plan.end.wake_at);
  Situation s = in_step();
  s.observed = Observed::parse(s.observed.dump());
  EXPECT_EQ(kinds(plan_promo(s)), "");
}

struct InPlace {
  Values row;
  const char* operation;  ///< kind and parameters
};

TEST(Plan, InPlaceChangesSendOnlyTheDifference) {
  const InPlace rows[] = {
      {{{"is_active", "false"}}, "update_code active=false"},
      {{{"description", "Winter"}},
       "update_coupon name=Winter&metadata[description]=Winter&expand[]=applies_to"},
      {{{"description", "Summer  sale"}},
       "update_coupon metadata[description]=Summer  sale&expand[]=applies_to"},
      {{{"description", "NULL"}}, "update_coupon name=&metadata[description]=&expand[]=applies_to"},
      {{{"code", "summer"}}, ""},
      {{{"discount_value", "50"}}, ""},
  };
  for (const InPlace& row : rows) {
    const Plan plan = plan_promo(in_step(percentage(row.row)));
    std::string sent;
    for (const Operation& operation : plan.operations)
      sent += std::string(kind_name(operation.kind)) + " " + params_text(operation);
    EXPECT_EQ(sent, row.operation);
    EXPECT_EQ(plan.end.state, PromoState::synced);
  }
}

TEST(Plan, NameThatIsTheIdIsNoName) {
  Situation s = in_step(percentage({{"description", "NULL"}}));
  s.observed.coupon->name = s.observed.coupon->id;
  s.observed.coupon->metadata.erase("description");
  EXPECT_EQ(kinds(plan_promo(s)), "");
}

TEST(Plan, AMovedRowsMarkIsSetAndASharedCouponIsLeftAlone) {
  Situation s = in_step();
  s.observed.code->metadata["stripe_sync_row"] = "public.promo/7";
  s.observed.coupon->metadata["stripe_sync_row"] = "public.promo/2";
  s.observed.coupon->own = false;
  s.observed.coupon->name = "Another row's name";
  const Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "update_code");
  EXPECT_EQ(params_text(plan.operations[0]), "metadata[stripe_sync_row]=public.promo/1");
}

TEST(Plan, SwitchingOnAgain) {
  Situation s = in_step();
  s.observed.code->active = false;
  Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "update_code");
  EXPECT_EQ(plan.operations[0].call.path, "/v1/promotion_codes/promo_1");
  EXPECT_EQ(params_text(plan.operations[0]), "active=true");
}

TEST(Plan, UsedUpInStripeIsNotSwitchedOn) {
  Situation s = in_step(percentage({{"max_uses", "5"}}));
  s.observed.code->active = false;
  s.observed.code->max_redemptions = 5;
  s.observed.code->times_redeemed = 5;
  const Plan plan = plan_promo(s);
  EXPECT_EQ(kinds(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::exhausted);
}

TEST(Plan, SwitchingOffComesFirstAndNeedsNoValidTerms) {
  const Values invalid = {{"is_active", "false"}, {"discount_value", "NULL"}};
  Situation s = in_step(percentage(invalid));
  Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "update_code");
  EXPECT_EQ(params_text(plan.operations[0]), "active=false");
  EXPECT_EQ(plan.end.state, PromoState::parked);
  EXPECT_TRUE(contains(plan.end.reason.message, "discount_value"));
  s.observed.code->active = false;
  EXPECT_EQ(kinds(plan_promo(s)), "");
  EXPECT_EQ(plan_promo(s).end.state, PromoState::parked);

  // Invalid, but not off: stays as it is.
  s = in_step(percentage({{"discount_value", "NULL"}}));
  EXPECT_EQ(kinds(plan_promo(s)), "");
  // Invalid, and expired.
  s = in_step(percentage({{"discount_value", "NULL"}, {"expires_at", "-Infinity"}}));
  EXPECT_EQ(kinds(plan_promo(s)), "update_code");

  s = in_step(percentage({{"is_active", "false"}, {"description", "Other"}}));
  EXPECT_EQ(kinds(plan_promo(s)), "update_code update_coupon");
}

TEST(Plan, OffRowWithOlderTermsInStripeIsSyncedWithAWarning) {
  Situation s = in_step(percentage({{"is_active", "false"}, {"discount_value", "40"}}));
  Plan plan = plan_promo(s);
  EXPECT_EQ(kinds(plan), "update_code");
  s.observed.code->active = false;
  plan = plan_promo(s);
  EXPECT_EQ(kinds(plan), "");
  EXPECT_EQ(plan.end.state, PromoState::synced);
  expect_warning(plan.end.warnings, "holds older terms: discount: database 40 %, Stripe 50 %");
}

TEST(Plan, DeletedRows) {
  Situation s = in_step();
  s.deleted = true;
  s.mapped = Parked{};
  Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "update_code");
  EXPECT_EQ(params_text(plan.operations[0]), "active=false");
  EXPECT_EQ(plan.end.state, PromoState::synced);
  s.observed.code->active = false;
  EXPECT_EQ(kinds(plan_promo(s)), "");
  EXPECT_EQ(plan_promo(s).end.state, PromoState::synced);
  s.observed = {};
  EXPECT_EQ(kinds(plan_promo(s)), "");
  EXPECT_EQ(plan_promo(s).end.state, PromoState::synced);
}

TEST(Plan, ManualRowsAreLeftAlone) {
  for (const bool deleted : {false, true}) {
    Situation s = in_step(percentage({{"sync_status", "manual"}, {"is_active", "false"}}));
    s.deleted = deleted;
    s.unsettled = Unsettled{plan_promo(situation(percentage())).operations[0], {}, false, false};
    const Plan plan = plan_promo(s);
    EXPECT_EQ(kinds(plan), "");
    EXPECT_EQ(plan.end.state, PromoState::excluded);
    EXPECT_EQ(plan.end.warnings.empty(), !deleted);
  }
  EXPECT_EQ(plan_promo(situation(percentage({{"sync_status", "manual"}}))).operations.size(), 0u);
}

TEST(Plan, ManualRowsThatComeBackAreLookedAtLikeAnyOther) {
  const Operation off = plan_promo(in_step(percentage({{"is_active", "false"}}))).operations[0];
  for (const char* status : {"pending", "", "synced", "error"}) {
    const Values back = {{"sync_status", status}, {"discount_value", "40"}};
    Situation s = in_step(percentage(back));
    s.identity.coupon_id = "SUMMER-bbbbbb";
    EXPECT_EQ(kinds(plan_promo(s)), "create_coupon update_code create_code") << status;
    s.unsettled = Unsettled{off, std::nullopt, false, false};  // it was under way then
    EXPECT_EQ(kinds(plan_promo(s)), "read_code") << status;
  }
  EXPECT_EQ(kinds(plan_promo(in_step(percentage({{"sync_status", "pending"}})))), "");
}

TEST(Plan, WhatOnlyTheDatabaseKnowsCostsNoWrite) {
  for (const Values& only :
       {Values{{"used_count", "7"}}, Values{{"code", " summer "}},
        Values{{"custom_yearly_price", "70"}}, Values{{"currency", "eur"}},
        Values{{"duration_in_months", "6"}}, Values{{"duration", "ONCE"}},
        Values{{"starts_at", std::to_string(now - day)}}, Values{{"minimum_amount", "0"}},
        Values{{"first_time_only", "false"}}, Values{{"stripe_promotion_code_id", "promo_x"}}}) {
    const Plan plan = plan_promo(in_step(percentage(only)));
    EXPECT_EQ(kinds(plan), "") << only.begin()->first;
    EXPECT_EQ(plan.end.state, PromoState::synced) << only.begin()->first;
  }
}

struct Resting {
  Values row;
  const char* new_kinds;  ///< with nothing in Stripe
  const char* old_kinds;  ///< with an active code in Stripe
  PromoState state;
};

TEST(Plan, RowsThatMayNotBeRedeemedNow) {
  const std::string later = std::to_string(now + day);
  const Resting rows[] = {
      {{{"is_active", "false"}}, "create_coupon create_code", "update_code", PromoState::synced},
      {{{"starts_at", later}}, "create_coupon create_code", "update_code", PromoState::scheduled},
      {{{"starts_at", later}, {"is_active", "false"}},
       "create_coupon create_code",
       "update_code",
       PromoState::synced},
      {{{"expires_at", "-Infinity"}}, "", "update_code", PromoState::expired},
      {{{"max_uses", "0"}}, "", "update_code", PromoState::exhausted},
      {{{"max_uses", "0"}, {"is_active", "false"}}, "", "update_code", PromoState::exhausted},
  };
  for (const Resting& row : rows) {
    const PromoRow promo = percentage(row.row);
    Situation fresh = situation(promo);
    fresh.text_looked = true;
    Plan plan = plan_promo(fresh);
    EXPECT_EQ(kinds(plan), row.new_kinds);
    EXPECT_EQ(plan.end.state, row.state);
    for (const Operation& operation : plan.operations)
      EXPECT_EQ(contains(params_text(operation), "active=false"),
                operation.kind == Kind::create_code);
    plan = plan_promo(in_step(promo));
    EXPECT_EQ(kinds(plan), row.old_kinds);
    EXPECT_EQ(plan.end.state, row.state);
  }
}

TEST(Plan, LooksWhoSellsTheTextOfARowThatStartsLater) {
  EXPECT_EQ(kinds(plan_promo(situation(percentage({{"starts_at", std::to_string(now + day)}})))),
            "find_code");
}

TEST(Plan, WakesAtStartAndExpiry) {
  Situation later = situation(percentage(
      {{"starts_at", std::to_string(now + day)}, {"expires_at", std::to_string(now + 2 * day)}}));
  later.text_looked = true;
  EXPECT_EQ(plan_promo(later).end.wake_at, now + day);
  EXPECT_EQ(plan_promo(situation(percentage({{"expires_at", std::to_string(now + 2 * day)}})))
                .end.wake_at,
            now + 2 * day);
  EXPECT_FALSE(plan_promo(situation(percentage(
                              {{"is_active", "false"}, {"expires_at", std::to_string(now + day)}})))
                   .end.wake_at);
  // Its time has come: switched on.
  Situation s = in_step(percentage({{"starts_at", std::to_string(now)}}));
  s.observed.code->active = false;
  EXPECT_EQ(params_text(plan_promo(s).operations.at(0)), "active=true");
}

TEST(Plan, ParkedRowsSendNothing) {
  Situation s = situation(percentage({{"discount_value", "NULL"}}));
  EXPECT_EQ(kinds(plan_promo(s)), "");
  EXPECT_EQ(plan_promo(s).end.state, PromoState::parked);
}

TEST(Plan, WhatIsSoldAllTheSameIsSwitchedOffAtTheRowsEnd) {
  Situation s = in_step();
  s.row = percentage({{"discount_value", "NULL"}, {"expires_at", std::to_string(now + day)}});
  s.mapped = map(s.row);
  EXPECT_EQ(plan_promo(s).end.state, PromoState::parked);
  EXPECT_EQ(plan_promo(s).end.wake_at, now + day);
  s.now = now + day;
  EXPECT_EQ(kinds(plan_promo(s)), "update_code");
  s.observed.code->active = false;
  EXPECT_EQ(plan_promo(s).end.wake_at, std::nullopt);
}

TEST(Plan, WithoutPricesOnlySwitchingOff) {
  Situation s = in_step();
  s.mapped = NeedPrices{};
  EXPECT_EQ(kinds(plan_promo(s)), "");
  EXPECT_EQ(plan_promo(s).end.state, PromoState::pending);
  s.unsettled = Unsettled{plan_promo(situation(percentage())).operations[0], {}, false, false};
  EXPECT_EQ(kinds(plan_promo(s)), "");
  s.unsettled.reset();
  s.row = percentage({{"is_active", "false"}});
  EXPECT_EQ(kinds(plan_promo(s)), "update_code");
  EXPECT_EQ(plan_promo(s).end.state, PromoState::pending);
  s.mapped = Parked{};
  EXPECT_EQ(plan_promo(s).end.state, PromoState::synced);
}

TEST(Plan, UnusedCoupon) {
  Situation s = in_step();
  s.observed.code.reset();
  Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "create_code");
  EXPECT_TRUE(contains(params_text(plan.operations[0]), "promotion[coupon]=SUMMER-aaaaaa"));

  // The terms changed before the code was made: another coupon, under another id.
  s.row = percentage({{"discount_value", "40"}});
  s.mapped = map(s.row);
  plan = plan_promo(s);
  EXPECT_TRUE(plan.needs_new_coupon_id);
  EXPECT_EQ(kinds(plan), "");
  s.identity.coupon_id = "SUMMER-bbbbbb";
  plan = plan_promo(s);
  EXPECT_FALSE(plan.needs_new_coupon_id);
  ASSERT_EQ(kinds(plan), "create_coupon create_code");
  EXPECT_TRUE(contains(params_text(plan.operations[1]), "promotion[coupon]=SUMMER-bbbbbb"));

  // The earlier one serves under a new revision too, if it is what is asked for.
  s.mapped = map(percentage());
  EXPECT_EQ(kinds(plan_promo(s)), "create_code");
  s.identity = identity();
  s.observed.coupon->valid = false;
  EXPECT_TRUE(plan_promo(s).needs_new_coupon_id);
  s.observed.coupon->valid = true;
  s.observed.coupon->products_known = false;
  EXPECT_EQ(kinds(plan_promo(s)), "read_coupon");
}

TEST(Plan, UnknownCouponIsRead) {
  Situation s = in_step();
  s.observed.coupon.reset();
  const Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "read_coupon");
  EXPECT_EQ(plan.operations[0].call.path, "/v1/coupons/SUMMER-aaaaaa");
  EXPECT_EQ(params_text(plan.operations[0]), "expand[]=applies_to&expand[]=currency_options");
}

TEST(Plan, UnsettledWritesAreLookedForFirst) {
  const Operation coupon = plan_promo(situation(percentage())).operations[0];
  const Operation code = plan_promo(situation(percentage())).operations[1];
  const Operation off = plan_promo(in_step(percentage({{"is_active", "false"}}))).operations[0];
  const Operation name = plan_promo(in_step(percentage({{"description", "X"}}))).operations[0];
  struct Look {
    Operation write;
    const char* path;
    const char* params;
  };
  const Look rows[] = {
      {coupon, "/v1/coupons/SUMMER-aaaaaa", "expand[]=applies_to&expand[]=currency_options"},
      {name, "/v1/coupons/SUMMER-aaaaaa", "expand[]=applies_to&expand[]=currency_options"},
      {code, "/v1/promotion_codes",
       "code=SUMMER&limit=100&expand[]=data.promotion.coupon&"
       "expand[]=data.promotion.coupon.applies_to&"
       "expand[]=data.promotion.coupon.currency_options"},
      {off, "/v1/promotion_codes/promo_1",
       "expand[]=promotion.coupon&expand[]=promotion.coupon.applies_to&"
       "expand[]=promotion.coupon.currency_options"},
  };
  for (const Look& row : rows) {
    Situation s = in_step(percentage({{"is_active", "false"}}));
    s.unsettled = Unsettled{row.write, std::nullopt, false, false};
    const Plan plan = plan_promo(s);
    ASSERT_EQ(plan.operations.size(), 1u);
    EXPECT_FALSE(plan.operations[0].writes());
    EXPECT_EQ(plan.operations[0].call.method, "GET");
    EXPECT_EQ(plan.operations[0].call.path, row.path);
    EXPECT_EQ(params_text(plan.operations[0]), row.params);
    s.unsettled->looked = true;
    EXPECT_TRUE(plan_promo(s).operations.at(0).writes());
  }
}

TEST(Plan, CarriedIdsAreLookedAtBeforeAnythingIsMade) {
  const Values carried = {{"stripe_promotion_code_id", "promo_old"}};
  Situation s = situation(percentage(carried));
  const Plan plan = plan_promo(s);
  ASSERT_EQ(kinds(plan), "read_code");
  EXPECT_EQ(plan.operations[0].call.path, "/v1/promotion_codes/promo_old");
  s.observed.unknown_code = "promo_old";
  EXPECT_EQ(kinds(plan_promo(s)), "create_coupon create_code");
  s.row.values["stripe_promotion_code_id"] = "promo_other";
  EXPECT_EQ(kinds(plan_promo(s)), "read_code");
  s.row.values["stripe_promotion_code_id"] = "../coupons";
  EXPECT_EQ(kinds(plan_promo(s)), "create_coupon create_code");
  // What we made ourselves is known: the column is its projection.
  s = in_step(percentage({{"stripe_promotion_code_id", "promo_1"}}));
  EXPECT_EQ(kinds(plan_promo(s)), "");
  // An invalid row is parked without a request, unless it is to be switched off.
  s = situation(percentage({{"stripe_promotion_code_id", "promo_old"}, {"discount_value", "0"}}));
  EXPECT_EQ(kinds(plan_promo(s)), "");
  s.row.values["is_active"] = "false";
  EXPECT_EQ(kinds(plan_promo(s)), "read_code");
}

TEST(Plan, PathsAreEncoded) {
  Situation s = in_step(percentage({{"description", "X"}}));
  s.observed.coupon->id = "50 % off/now";
  EXPECT_EQ(plan_promo(s).operations.at(0).call.path, "/v1/coupons/50%20%25%20off%2Fnow");
}

}  // namespace
}  // namespace stripe_sync::testing
