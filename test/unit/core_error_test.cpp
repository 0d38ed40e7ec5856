#include <gtest/gtest.h>

#include "core/error.hpp"

namespace stripe_sync {
namespace {

TEST(Sqlstate, RoundTrip) {
  EXPECT_EQ(sqlstate_text(errcode::authentication), "SY001");
  EXPECT_EQ(sqlstate_text(errcode::network), "SY007");
  EXPECT_EQ(sqlstate_text(errcode::internal), "XX000");
  EXPECT_EQ(sqlstate_text(errcode::query_canceled), "57014");
}

TEST(Sqlstate, PacksAsPostgresDoes) {
  // ERRCODE_QUERY_CANCELED and ERRCODE_OUT_OF_MEMORY as in errcodes.h.
  EXPECT_EQ(errcode::query_canceled, 5 + (7 << 6) + (0 << 12) + (1 << 18) + (4 << 24));
  EXPECT_EQ(errcode::out_of_memory, 5 + (3 << 6) + (2 << 12));
}

TEST(Error, FatalToRun) {
  EXPECT_TRUE(Error(sqlstate("57014"), "cancel").is_fatal_to_run());
  EXPECT_TRUE(Error(sqlstate("57P01"), "shutdown").is_fatal_to_run());
  EXPECT_TRUE(Error(sqlstate("57P03"), "cannot connect now").is_fatal_to_run());
  EXPECT_TRUE(Error(sqlstate("53200"), "memory").is_fatal_to_run());
  EXPECT_FALSE(Error(sqlstate("53100"), "disk full").is_fatal_to_run());
  EXPECT_FALSE(Error(sqlstate("57000"), "intervention").is_fatal_to_run());
  EXPECT_FALSE(Error(errcode::refused, "refused").is_fatal_to_run());
}

TEST(Result, HoldsOneOrTheOther) {
  const Result<int> value(3);
  EXPECT_TRUE(value.ok());
  EXPECT_EQ(value.value(), 3);
  const Result<int> failed(Error(errcode::usage, "no"));
  EXPECT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "no");
}

TEST(Redact, EveryKindOfSecret) {
  EXPECT_EQ(redact("key sk_live_51H8abcXYZ."), "key sk_live_***.");
  EXPECT_EQ(redact("sk_test_a sk_org_b rk_live_c rk_test_d"),
            "sk_test_*** sk_org_*** rk_live_*** rk_test_***");
  EXPECT_EQ(redact("whsec_Ab+/9=, whsec_x"), "whsec_***, whsec_***");
  EXPECT_EQ(redact("url?key=sk_live_abc&x=1"), "url?key=sk_live_***&x=1");
  EXPECT_EQ(redact("Xsk_live_abcsk_live_def"), "Xsk_live_***");
}

TEST(Redact, LeavesTheRest) {
  for (const char* text : {"", "sk_", "task_list", "sk_live_", "sk_test_...abcd", "pk_live_abc",
                           "stripe_sync.webhook_secret_file"}) {
    EXPECT_EQ(redact(text), text);
  }
}

TEST(Printable, OneLine) {
  EXPECT_EQ(printable("a\nb\r\tc\x7F"), "a b  c ");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a b");
  EXPECT_EQ(printable("a\xC2\x85g"), "a g");      // NEL
  EXPECT_EQ(printable("a\xE2\x80\xA8g"), "a g");  // line separator
  EXPECT_EQ(printable("sk_live_abc\n"), "sk_live_*** ");
}

TEST(Printable, ValidUtf8) {
  EXPECT_EQ(printable("Zo\xC3\xAB \xE2\x82\xAC \xF0\x9F\x8E\x81"),
            "Zo\xC3\xAB \xE2\x82\xAC \xF0\x9F\x8E\x81");
  EXPECT_EQ(printable("a\xFFz"), "a?z");
  EXPECT_EQ(printable("cut \xE2\x82"), "cut ??");
  EXPECT_EQ(printable("\xC0\xAF"), "??");            // overlong
  EXPECT_EQ(printable("\xED\xA0\x80"), "???");       // surrogate
  EXPECT_EQ(printable("\xF4\x90\x80\x80"), "????");  // beyond U+10FFFF
  EXPECT_EQ(printable("\x80"), "?");
}

}  // namespace
}  // namespace stripe_sync
