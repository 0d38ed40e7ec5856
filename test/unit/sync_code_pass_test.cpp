#include "sync/code_pass.hpp"

#include "fake_transport.hpp"
#include "sync/promo_requests.hpp"
#include "sync_situation.hpp"

namespace stripe_sync::testing {
namespace {

using Texts = std::vector<std::string>;

std::string code(const std::string& id, const std::string& text) {
  CodeShape shape = foreign();
  shape.id = id;
  shape.code = text;
  return code_json(shape);
}

std::string page(const Texts& codes, bool more) {
  std::string list = list_of(codes);
  if (more) list.replace(list.find("false"), 5, "true");
  return list;
}

struct Walk {
  FakeClock clock;
  CodePass pass{clock};

  /// Answers the next call, if there is one; its cursor, or "none".
  std::string next(const stripe::Answer& answer, bool taken = true) {
    const auto call = pass.next_call();
    if (!call) return "none";
    EXPECT_EQ(call->path, "/v1/promotion_codes");
    pass.sent(7);
    EXPECT_FALSE(pass.next_call()) << "one at a time";
    EXPECT_EQ(pass.take(answer), taken);
    for (const auto& [name, value] : call->params)
      if (name == "starting_after") return value;
    return "";
  }
};

TEST(CodePass, ReadsPageAfterPageAndGivesEachTextOutOnce) {
  Walk walk;
  EXPECT_FALSE(walk.pass.next_call());
  walk.pass.begin(100);
  EXPECT_EQ(walk.next(ok(page(
                {code("promo_1", "ONE"), code("promo_2", "two"), code("promo_3", "One")}, true))),
            "");
  EXPECT_FALSE(walk.pass.next_call()) << "rows are to be seen to first";
  EXPECT_EQ(walk.pass.take_texts(1), Texts{"one"});
  EXPECT_EQ(walk.pass.take_texts(9), Texts{"two"});
  EXPECT_FALSE(walk.pass.done());
  EXPECT_EQ(walk.next(ok(page({}, false))), "promo_3");
  EXPECT_TRUE(walk.pass.done());
  EXPECT_TRUE(walk.pass.on());
  walk.pass.end();
  EXPECT_FALSE(walk.pass.on());
  EXPECT_FALSE(walk.pass.next_call());
}

TEST(CodePass, AsksForWhatTermsAreComparedBy) {
  Walk walk;
  walk.pass.begin(100);
  const stripe::Params params = walk.pass.next_call()->params;
  const Operation find = find_code("X");
  for (const auto& expected : find.call.params) {
    if (expected.first != "code")
      EXPECT_EQ(std::count(params.begin(), params.end(), expected), 1) << expected.second;
  }
}

TEST(CodePass, AnswersWhatThePageShows) {
  Walk walk;
  walk.pass.begin(100);
  walk.next(
      ok(page({code("promo_1", "ONE"), code("promo_2", "two"), code("promo_3", "One")}, true)));
  const auto read = walk.pass.answer(read_code("promo_2"));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->body["code"].text_or(""), "two");
  const auto found = walk.pass.answer(find_code("oNe"));
  ASSERT_TRUE(found);
  ASSERT_EQ(found->body["data"].size(), 2u);
  EXPECT_EQ(found->body["data"][1]["id"].text_or(""), "promo_3");
  EXPECT_FALSE(walk.pass.answer(read_code("promo_4")));
  EXPECT_FALSE(walk.pass.answer(find_code("three")));
}

TEST(CodePass, WhatIsNoPageIsNotTakenForOne) {
  for (const std::string& body : {std::string("{}"), std::string(R"({"object":"list"})"),
                                  code("promo_1", "ONE"), page({}, true)}) {
    Walk walk;
    walk.pass.begin(100);
    walk.next(ok(body), false);
    EXPECT_FALSE(walk.pass.done()) << body;
    EXPECT_TRUE(walk.pass.next_call());
  }
  // A page that leads back to itself.
  Walk walk;
  walk.pass.begin(100);
  walk.next(ok(page({code("promo_1", "ONE")}, true)));
  walk.pass.take_texts(9);
  walk.next(ok(page({code("promo_1", "ONE")}, true)), false);
}

TEST(CodePass, NotManyPagesAreReadInVain) {
  const auto pages = [](std::size_t rows, std::size_t helped) {
    Walk walk;
    walk.pass.begin(rows);
    std::size_t read = 0;
    while (walk.pass.next_call() && read < 1'000) {
      ++read;
      walk.next(ok(page({code("promo_" + std::to_string(read), "ONE")}, true)));
      walk.pass.take_texts(9);
      if (read <= helped) walk.pass.helped();
    }
    EXPECT_TRUE(walk.pass.done());
    return read;
  };
  EXPECT_EQ(pages(100, 0), 6u);
  EXPECT_EQ(pages(10'000, 0), 201u);
  EXPECT_EQ(pages(100, 300), 306u);
}

TEST(CodePass, AnOldPageIsReadAgain) {
  Walk walk;
  walk.pass.begin(100);
  walk.next(ok(page({code("promo_1", "ONE")}, true)));
  walk.pass.take_texts(9);
  walk.next(ok(page({code("promo_2", "TWO")}, false)));
  walk.clock.advance(Millis(61'000));
  EXPECT_EQ(walk.pass.take_texts(9), Texts());
  EXPECT_FALSE(walk.pass.done());
  EXPECT_EQ(walk.next(ok(page({code("promo_2", "TWO")}, false))), "promo_1");
  EXPECT_EQ(walk.pass.take_texts(9), Texts{"two"});
  EXPECT_TRUE(walk.pass.done());
}

TEST(CodePass, PatienceEnds) {
  Walk walk;
  walk.pass.begin(100);
  EXPECT_FALSE(walk.pass.patience());
  walk.pass.sent(7);
  EXPECT_EQ(walk.pass.patience(), Millis(10'000));
  walk.clock.advance(Millis(11'000));
  EXPECT_EQ(walk.pass.patience(), Millis(0));
  EXPECT_FALSE(walk.pass.take(CodePass::no_answer()));
}

TEST(CodePass, WhatIsTakenIsKnownUntilItIsForgotten) {
  Walk walk;
  walk.pass.begin(100);
  walk.pass.set_taken("one");
  walk.pass.end();
  EXPECT_TRUE(walk.pass.is_taken("one"));
  walk.pass.forget();
  EXPECT_FALSE(walk.pass.is_taken("one"));
}

}  // namespace
}  // namespace stripe_sync::testing
