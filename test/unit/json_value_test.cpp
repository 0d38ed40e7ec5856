#include <gtest/gtest.h>

#include <limits>

#include "json/json.hpp"

namespace stripe_sync::json {
namespace {

using namespace std::string_literals;

Value parsed(std::string_view text) {
  Result<Value> value = Value::parse(text);
  EXPECT_TRUE(value.ok()) << text << ": " << (value ? "" : value.error().message);
  return value ? value.value() : Value();
}

std::string failure(std::string_view text) {
  const Result<Value> value = Value::parse(text);
  EXPECT_FALSE(value.ok()) << text;
  if (value) return {};
  EXPECT_EQ(value.error().sqlstate, errcode::refused);
  return value.error().message;
}

TEST(Json, PathsNeedNoChecks) {
  const Value v = parsed(R"({"promotion":{"coupon":"SUMMER"},"list":[1,{"a":true}],"n":null})");
  EXPECT_EQ(v["promotion"]["coupon"].text(), "SUMMER");
  EXPECT_EQ(v["list"][1]["a"].boolean(), true);
  EXPECT_TRUE(v["absent"]["deeper"][3].is_null());
  EXPECT_TRUE(v["n"].is_null());
  EXPECT_TRUE(v["list"][7].is_null());
  EXPECT_TRUE(v["list"]["key"].is_null());
  EXPECT_TRUE(v[0].is_null());
  EXPECT_EQ(v["promotion"].text(), std::nullopt);
  EXPECT_EQ(v["promotion"]["coupon"].integer(), std::nullopt);
}

TEST(Json, DefaultIsNull) {
  const Value v;
  EXPECT_TRUE(v.is_null());
  EXPECT_FALSE(v.is_object());
  EXPECT_EQ(v.size(), 0u);
  EXPECT_TRUE(v.keys().empty());
  EXPECT_EQ(v.dump(), "null");
  EXPECT_EQ(v.text_or("else"), "else");
}

TEST(Json, CopiesOutliveTheirDocument) {
  Value inner;
  {
    const Value v = parsed(R"({"a":{"b":"kept"}})");
    inner = v["a"];
  }
  const Value copy = inner;
  Value moved = std::move(inner);
  moved = moved["b"];
  EXPECT_EQ(copy["b"].text(), "kept");
  EXPECT_EQ(moved.text(), "kept");
}

TEST(Json, SizesAndKeys) {
  const Value v = parsed(R"({"b":1,"a":[1,2,3],"é":{}})");
  EXPECT_EQ(v.size(), 3u);
  EXPECT_EQ(v.keys(), (std::vector<std::string>{"b", "a", "é"}));
  EXPECT_EQ(v["a"].size(), 3u);
  EXPECT_EQ(v["b"].size(), 0u);
  EXPECT_TRUE(v.is_object());
  EXPECT_TRUE(v["a"].is_array());
}

TEST(Json, AnyValueIsADocument) {
  EXPECT_EQ(parsed("\"x\"").text(), "x");
  EXPECT_EQ(parsed(" 7 ").integer(), 7);
  EXPECT_TRUE(parsed("null").is_null());
}

TEST(Json, LastDuplicateWins) {
  EXPECT_EQ(parsed(R"({"a":1,"a":2})")["a"].integer(), 2);
}

TEST(Json, Integers) {
  EXPECT_EQ(parsed("9223372036854775807").integer(), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(parsed("-9223372036854775808").integer(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(parsed("1.0").integer(), std::nullopt);
  EXPECT_EQ(parsed("\"1\"").integer(), std::nullopt);
  EXPECT_EQ(failure("[1, 9223372036854775808]").substr(0, 34),
            "not valid JSON: a number is too la");
  EXPECT_NE(failure("1e999"), "");
}

TEST(Json, Hundredths) {
  EXPECT_EQ(parsed("12.5").hundredths(), 1250);
  EXPECT_EQ(parsed("12.345").hundredths(), 1235);
  EXPECT_EQ(parsed("12.344").hundredths(), 1234);
  EXPECT_EQ(parsed("1.005").hundredths(), 101);
  EXPECT_EQ(parsed("-1.005").hundredths(), -101);
  EXPECT_EQ(parsed("1e2").hundredths(), 10000);
  EXPECT_EQ(parsed("100").hundredths(), 10000);
  EXPECT_EQ(parsed("0.29").hundredths(), 29);
  EXPECT_EQ(parsed("64.82").hundredths(), 6482);
  EXPECT_EQ(parsed("33.333333").hundredths(), 3333);
  EXPECT_EQ(parsed("0").hundredths(), 0);
  EXPECT_EQ(parsed("9223372036854775807").hundredths(), std::nullopt);
  EXPECT_EQ(parsed("1e300").hundredths(), std::nullopt);
  EXPECT_EQ(parsed("\"12.5\"").hundredths(), std::nullopt);
  for (int i = 0; i <= 10000; ++i) {
    const std::string text =
        std::to_string(i / 100) + '.' + std::to_string(i % 100 / 10) + std::to_string(i % 10);
    ASSERT_EQ(parsed(text).hundredths(), i) << text;
  }
}

TEST(Json, Text) {
  EXPECT_EQ(parsed(R"("é€\ud83c\udf81\n\"")").text(), "é€🎁\n\"");
  EXPECT_EQ(parsed(R"("")").text(), "");
  // NUL can't be held by PostgreSQL.
  EXPECT_EQ(parsed(R"({"a":"x\u0000y\u0000"})")["a"].text(), "x\xEF\xBF\xBDy\xEF\xBF\xBD");
  EXPECT_EQ(parsed(R"({"a":"x\u0000"})").dump(), R"({"a":"x\ufffd"})");
  EXPECT_EQ(parsed(R"({"a":"\\u0000"})").dump(), R"({"a":"\\u0000"})");
}

TEST(Json, InvalidDocuments) {
  EXPECT_EQ(failure(""), "not valid JSON: it ends too early at byte 0");
  EXPECT_EQ(failure("{\"a\":"), "not valid JSON: it ends too early at byte 5");
  EXPECT_EQ(failure("{} {}"), "not valid JSON: something follows its end at byte 4");
  EXPECT_EQ(failure("\"a\xFFz\"").substr(0, 29), "not valid JSON: invalid UTF-8");
  EXPECT_EQ(failure("\"\xED\xA0\x80\"").substr(0, 29), "not valid JSON: invalid UTF-8");
  EXPECT_EQ(failure("\"\xC0\xAF\"").substr(0, 29), "not valid JSON: invalid UTF-8");
  EXPECT_NE(failure(R"("\ud800")"), "");
  EXPECT_NE(failure(R"("\udc00\ud800")"), "");
  EXPECT_NE(failure("{'a':1}"), "");
  EXPECT_NE(failure("[1,]"), "");
  EXPECT_NE(failure("NaN"), "");
  EXPECT_NE(failure("\"a\0b\""s), "");
  EXPECT_NE(failure(R"({"a\u0000b":1})"), "");
}

TEST(Json, ErrorsNeverQuoteTheDocument) {
  EXPECT_EQ(failure(R"({"key": sk_live_abc})").find("sk_live"), std::string::npos);
}

TEST(Json, DepthIsLimited) {
  EXPECT_EQ(failure(std::string(100'000, '[')).substr(0, 33), "not valid JSON: nested too deeply");
  EXPECT_TRUE(Value::parse(std::string(1'000, '[') + std::string(1'000, ']')).ok());
}

TEST(Json, DumpGivesBackWhatWasRead) {
  for (const char* text : {R"({"b":1,"a":[true,null,"é\n"],"r":12.34})", "[]", "\"x\"", "0.1", "-3",
                           "9223372036854775807"}) {
    EXPECT_EQ(parsed(text).dump(), text);
  }
  EXPECT_EQ(parsed(" { \"a\" : [ 1 , 2 ] } ").dump(), R"({"a":[1,2]})");
}

TEST(Json, Quote) {
  EXPECT_EQ(quote(""), "\"\"");
  EXPECT_EQ(quote("a\"b\\c/é"), "\"a\\\"b\\\\c/é\"");
  EXPECT_EQ(quote("\n\t\x1F"), "\"\\u000a\\u0009\\u001f\"");
  const std::string every = [] {
    std::string all;
    for (char c = 1; c < 127; ++c) all += c;
    return all;
  }();
  EXPECT_EQ(parsed(quote(every)).text(), every);
}

}  // namespace
}  // namespace stripe_sync::json
