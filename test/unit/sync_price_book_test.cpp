#include "fake_transport.hpp"
#include "sync/price_book.hpp"
#include "sync_fixture.hpp"

namespace stripe_sync::testing {
namespace {

using stripe::Verdict;

NeedPrices references(const std::vector<std::string>& names) {
  return {names, {}, false};
}
NeedPrices product(const std::string& id) {
  return {{}, {id}, false};
}

std::string price_json(const std::string& id, const std::string& more = "") {
  return R"({"id":")" + id +
         R"(","object":"price","active":true,"product":"prod_plan","currency":"usd",)" +
         R"("unit_amount":19900,"recurring":{"interval":"month","interval_count":1})" + more + "}";
}

std::string page(const std::vector<std::string>& prices, bool more = false) {
  std::string data;
  for (const std::string& price : prices) data += (data.empty() ? "" : ",") + price;
  return std::string(R"({"object":"list","has_more":)") + (more ? "true" : "false") +
         R"(,"data":[)" + data + "]}";
}

std::string text(const stripe::Call& call) {
  std::string out = call.method + " " + call.path;
  for (const auto& [name, value] : call.params) out += " " + name + "=" + value;
  return out;
}

struct Book : ::testing::Test {
  FakeClock clock;
  PriceBook book{clock};
  std::uint64_t last = 0;

  /// The next call, and its answer.
  std::string next(const stripe::Answer& answer, bool fails = false) {
    const auto call = book.next_call();
    if (!call) return "none";
    book.sent(++last);
    EXPECT_EQ(book.under_way(), last);
    EXPECT_FALSE(book.next_call());
    EXPECT_EQ(book.take(answer).has_value(), fails);
    EXPECT_FALSE(book.under_way());
    return text(*call);
  }
};

TEST_F(Book, AsksByIdOrLookupKeyOnceEach) {
  book.want(references({"price_1", "gold"}));
  book.want(references({"gold", "plan_2"}));
  EXPECT_EQ(next(ok(price_json("price_1"))), "GET /v1/prices/price_1");
  EXPECT_EQ(next(ok(page({price_json("price_9")}))),
            "GET /v1/prices active=true lookup_keys[0]=gold");
  EXPECT_EQ(next(failed(Verdict::missing, 404, "resource_missing")), "GET /v1/prices/plan_2");
  EXPECT_FALSE(book.busy());
  EXPECT_EQ(book.next_call(), std::nullopt);
  EXPECT_EQ(book.catalog().by_reference.at("price_1")->unit_amount, 19900);
  EXPECT_EQ(book.catalog().by_reference.at("gold")->id, "price_9");
  EXPECT_EQ(book.catalog().by_reference.at("plan_2"), std::nullopt);
}

TEST_F(Book, WhatIsNoActivePriceIsKnownAsNone) {
  book.want(references({"price_off", "nobody", "odd key"}));
  next(ok(R"({"object":"price","id":"price_off","active":false})"));
  next(ok(page({})));
  next(failed(Verdict::refused, 400, "parameter_invalid"));
  for (const char* reference : {"price_off", "nobody", "odd key"})
    EXPECT_EQ(book.catalog().by_reference.at(reference), std::nullopt) << reference;
}

TEST_F(Book, AProductsPricesCountWhenWhole) {
  book.want(product("prod_plan"));
  EXPECT_EQ(next(ok(page({price_json("price_1"), price_json("price_2")}, true))),
            "GET /v1/prices active=true product=prod_plan limit=100");
  EXPECT_TRUE(book.catalog().active_by_product.empty());
  EXPECT_EQ(next(ok(page({price_json("price_3")}))),
            "GET /v1/prices active=true product=prod_plan limit=100 starting_after=price_2");
  EXPECT_EQ(book.catalog().active_by_product.at("prod_plan").size(), 3u);
}

// Emptiness is not success: every one of these would let a check of all prices pass.
TEST_F(Book, AListThatIsNotWholeIsNoList) {
  const stripe::Answer bad_second_pages[] = {
      failed(Verdict::refused, 400, "resource_missing", "starting_after"),
      failed(Verdict::unknown, 500),
      ok(R"({"object":"list"})"),
      ok(page({}, true)),
      ok(page({price_json("price_1")}, true)),
  };
  for (const stripe::Answer& bad : bad_second_pages) {
    book.want(product("prod_plan"));
    next(ok(page({price_json("price_1")}, true)));
    if (bad.ok() && bad.body["data"].is_array()) {
      EXPECT_EQ(next(bad, true).substr(0, 3), "GET");
    } else {
      next(bad, true);
    }
    EXPECT_TRUE(book.catalog().active_by_product.empty());
    EXPECT_FALSE(book.busy());
  }
  for (const char* first : {R"({"object":"list"})", R"({"object":"list","data":[]})", "{}"}) {
    book.want(product("prod_plan"));
    next(ok(first), true);
    EXPECT_TRUE(book.catalog().active_by_product.empty());
  }
  book.want(product("prod_plan"));
  next(failed(Verdict::refused, 400, "resource_missing", "product"), true);
  EXPECT_TRUE(book.catalog().active_by_product.empty());
}

TEST_F(Book, AnswersThatShowNothing) {
  book.want(references({"price_1"}));
  next(ok("{}"), true);
  book.want(references({"gold"}));
  next(ok(R"({"object":"list"})"), true);
  book.want({{}, {}, true});
  next(ok("{}"), true);
  book.want({{}, {}, true});
  next(failed(Verdict::missing, 404, "resource_missing"), true);
  EXPECT_TRUE(book.catalog().by_reference.empty());
  EXPECT_EQ(book.catalog().yearly_prices_exist, std::nullopt);
}

TEST_F(Book, YearlyPrices) {
  book.want({{}, {}, true});
  EXPECT_EQ(next(ok(page({price_json("price_1")}))),
            "GET /v1/prices active=true recurring[interval]=year limit=1");
  EXPECT_EQ(book.catalog().yearly_prices_exist, true);
  book.forget();
  book.want({{}, {}, true});
  next(ok(page({})));
  EXPECT_EQ(book.catalog().yearly_prices_exist, false);
}

TEST_F(Book, ARefusalIsAboutWhatWasAskedAFailureAboutAll) {
  book.want(product("prod_odd"));
  book.want(references({"price_1"}));
  next(failed(Verdict::refused, 400), true);
  EXPECT_EQ(next(ok(price_json("price_1"))), "GET /v1/prices/price_1");

  book.want(references({"price_2", "price_3"}));
  next(failed(Verdict::unavailable, 0), true);
  EXPECT_FALSE(book.busy());
  EXPECT_EQ(book.catalog().by_reference.size(), 1u);
}

TEST_F(Book, IsForgottenAfterAMinute) {
  book.want(references({"price_1"}));
  next(ok(price_json("price_1")));
  clock.advance(Millis(60'000));
  book.forget_old();
  EXPECT_EQ(book.catalog().by_reference.size(), 1u);
  clock.advance(Millis(1));
  book.forget_old();
  EXPECT_TRUE(book.catalog().by_reference.empty());
}

TEST_F(Book, ForgettingKeepsWhatIsWanted) {
  book.want(product("prod_plan"));
  book.want(references({"price_1"}));
  next(ok(page({price_json("price_1")}, true)));
  book.forget();
  EXPECT_EQ(next(ok(page({price_json("price_2")}))),
            "GET /v1/prices active=true product=prod_plan limit=100 starting_after=price_1");
  EXPECT_EQ(book.catalog().active_by_product.at("prod_plan").size(), 2u);
  EXPECT_EQ(next(ok(price_json("price_1"))), "GET /v1/prices/price_1");
}

TEST_F(Book, PatienceEnds) {
  EXPECT_EQ(book.patience(), std::nullopt);
  book.want(references({"price_1"}));
  EXPECT_EQ(book.patience(), std::nullopt);
  book.sent(1);
  clock.advance(Millis(4'000));
  EXPECT_EQ(book.patience(), Millis(6'000));
  clock.advance(Millis(9'000));
  EXPECT_EQ(book.patience(), Millis(0));
}

}  // namespace
}  // namespace stripe_sync::testing
