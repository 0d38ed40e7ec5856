#include "sync/promo_inspect.hpp"

#include "sync_situation.hpp"

namespace stripe_sync::testing {
namespace {

Examined examine(const PromoRow& row) {
  Examined e;
  e.row = row;
  e.settings = settings();
  e.now = now;
  return e;
}

Examined settled(const PromoRow& row, PromoState state = PromoState::synced) {
  Examined e = examine(row);
  const Situation held = in_step(row);
  e.observed = held.observed;
  e.verdict.emplace().state = state;
  return e;
}

/// "error discount_value*, warning code": severity and column of each; * = can be fixed.
std::string told(const Examined& e) {
  std::string text;
  for (const Finding& f : findings_of(e)) {
    text += (text.empty() ? "" : ", ") + std::string(severity_name(f.severity)) +
            (f.column.empty() ? "" : " " + f.column) + (f.fixable ? "*" : "");
  }
  return text;
}

/// "code=SUMMER; discount_value=50.00 custom_monthly_price=NULL (money)"
std::string mended(const Examined& e) {
  std::string text;
  for (const Repair& repair : repairs_of(e)) {
    if (!text.empty()) text += "; ";
    for (const Repair::Change& change : repair.changes)
      text += change.column + "=" + change.value.value_or("NULL") + " ";
    text += repair.touches_money ? "(money)" : "";
  }
  return text;
}

struct Case {
  Values changes;
  const char* told;
};

TEST(Inspect, EveryFaultIsToldWithItsColumn) {
  const std::string later = std::to_string(now + day);
  const Case cases[] = {
      {{}, ""},
      {{{"code", "A B"}, {"discount_value", "150"}, {"duration", "weekly"}, {"max_uses", "-1"}},
       "error code, error max_uses, error duration, error discount_value"},
      {{{"code", "NULL"}}, "error code"},
      {{{"discount_type", "bogo"}}, "error discount_type"},
      {{{"discount_type", "fixed"}, {"currency", "xyz"}}, "error currency"},
      {{{"duration", "repeating"}}, "error duration_in_months"},
      {{{"expires_at", "soon"}, {"starts_at", "Infinity"}}, "error expires_at, error starts_at"},
      {{{"is_active", "maybe"}}, "error is_active"},
      {{{"first_time_only", "7"}, {"stripe_customer_id", "bob"}},
       "error first_time_only, error stripe_customer_id"},
      {{{"minimum_amount", "-5"}}, "error minimum_amount"},
      // A minimum is in the currency of the discount: without that nothing can be said of it.
      {{{"minimum_amount", "x"}, {"discount_value", "0"}}, "error discount_value"},
      {{{"discount_value", "0.5"}}, "warning discount_value"},
      {{{"custom_yearly_price", "70"}}, "warning custom_yearly_price"},
      {{{"custom_yearly_price", "0.00"}}, ""},
      {{{"description", "40% off"}}, "warning description"},
      {{{"description", "40% or 50 % off"}}, ""},
      {{{"discount_value", "100"}, {"duration", "forever"}, {"max_uses", "5"}}, "warning duration"},
      {{{"discount_value", "100"}, {"duration", "forever"}}, "warning max_uses"},
      {{{"code", " SUMMER"}}, "warning code*"},
      {{{"is_active", "false"}}, "info is_active"},
      {{{"sync_status", "manual"}}, "info sync_status"},
      {{{"expires_at", std::to_string(now)}}, "info expires_at"},
      {{{"starts_at", later}}, "info starts_at"},
      {{{"max_uses", "0"}}, "info max_uses"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.told);
    EXPECT_EQ(told(examine(percentage(c.changes))), c.told);
  }
}

TEST(Inspect, WhatOnlyPricesTellIsTakenFromTheVerdict) {
  Examined e = examine(percentage({{"discount_type", "custom_price"},
                                   {"discount_value", "NULL"},
                                   {"custom_monthly_price", "70"}}));
  EXPECT_EQ(told(e), "");
  e.verdict.emplace().state = PromoState::parked;
  e.verdict->reason = Error(errcode::invalid_promo_code, "price_x would become 1.00", "why", "how");
  ASSERT_EQ(told(e), "error custom_monthly_price");
  EXPECT_EQ(findings_of(e).front().detail, "why");
  // Stripe's refusal is about no column.
  e.verdict->reason.sqlstate = errcode::refused;
  EXPECT_EQ(told(e), "error");
  e.verdict.emplace().warnings = {"custom_yearly_price asks for too much"};
  EXPECT_EQ(told(e), "warning custom_monthly_price");
}

TEST(Inspect, NothingIsToldTwice) {
  Examined e = examine(percentage({{"discount_value", "NULL"}, {"description", "40% off"}}));
  e.verdict.emplace().state = PromoState::parked;
  e.verdict->reason = findings_of(examine(e.row)).empty()
                          ? Error()
                          : Error(errcode::invalid_promo_code, "discount_value is empty");
  EXPECT_EQ(told(e), "error discount_value");
  Examined warned = settled(percentage({{"discount_value", "0.5"}}));
  for (const Warning& w : desired_of(map(warned.row)).warnings)
    warned.verdict->warnings.push_back(w.sentence());
  warned.observed = {};
  EXPECT_EQ(told(warned), "warning discount_value");
}

TEST(Inspect, WhatStripeStillSells) {
  EXPECT_EQ(told(settled(percentage())),
            "warning stripe_coupon_id*");  // its ids are not in the row
  const Values ids = {{"stripe_coupon_id", "SUMMER-aaaaaa"},
                      {"stripe_promotion_code_id", "promo_1"}};
  const auto with = [&](Values changes) {
    changes.insert(ids.begin(), ids.end());
    return settled(percentage(changes));
  };
  EXPECT_EQ(told(with({})), "");
  EXPECT_EQ(told(with({{"discount_value", "40"}})), "warning");
  EXPECT_TRUE(contains(findings_of(with({{"discount_value", "40"}})).front().what, "Stripe 50 %"));
  EXPECT_EQ(told(with({{"discount_value", "0"}})), "error discount_value, warning");
  EXPECT_EQ(told(with({{"is_active", "false"}})), "warning is_active, info is_active");
  Examined off = with({{"discount_value", "0"}});
  off.observed.code->active = false;
  EXPECT_EQ(told(off), "error discount_value");
}

TEST(Fix, OnlyWhatLeavesNoDoubt) {
  const auto misplaced = [](const char* monthly, const char* description, Values more = {}) {
    more.insert({{"discount_value", "NULL"},
                 {"custom_monthly_price", monthly},
                 {"description", description}});
    return mended(examine(percentage(more)));
  };
  const std::string fixed = "discount_value=50.00 custom_monthly_price=NULL (money)";
  EXPECT_EQ(misplaced("50.00", "50% off setup fee"), fixed);
  EXPECT_EQ(misplaced("50.00", "50.00 % off"), fixed);
  EXPECT_EQ(misplaced("50.00", "Launch offer of 2050, 150 left"), fixed);
  EXPECT_EQ(misplaced("50.00", "$50/month"), "");
  EXPECT_EQ(misplaced("50.00", "pay 50"), "");
  EXPECT_EQ(misplaced("150.00", ""), "");
  EXPECT_EQ(misplaced("0.00", ""), "");
  EXPECT_EQ(misplaced("50.00", "", {{"discount_type", "fixed"}}), "");
  EXPECT_EQ(misplaced("50.00", "", {{"custom_yearly_price", "500"}}), "");
  EXPECT_EQ(misplaced("50.00", "", {{"custom_yearly_price", "50.00"}}),
            "discount_value=50.00 custom_monthly_price=NULL custom_yearly_price=NULL (money)");
  EXPECT_EQ(mended(examine(percentage({{"custom_monthly_price", "50"}}))), "");

  EXPECT_EQ(mended(examine(percentage({{"code", "\tSUMMER \n"}}))), "code=SUMMER ");
  EXPECT_EQ(mended(examine(percentage({{"code", "  "}}))), "");

  const std::string ids = "stripe_coupon_id=SUMMER-aaaaaa stripe_promotion_code_id=promo_1 ";
  EXPECT_EQ(mended(settled(percentage())), ids);
  EXPECT_EQ(mended(settled(percentage(), PromoState::expired)), ids);
  EXPECT_EQ(mended(settled(percentage(), PromoState::conflict)), "");
  EXPECT_EQ(mended(settled(percentage({{"stripe_coupon_id", "other"}}))),
            "stripe_promotion_code_id=promo_1 ");
  Examined unjudged = settled(percentage());
  unjudged.verdict.reset();
  EXPECT_EQ(mended(unjudged), "");
}

}  // namespace
}  // namespace stripe_sync::testing
