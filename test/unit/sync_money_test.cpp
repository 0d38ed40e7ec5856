#include "sync/money.hpp"

#include <gtest/gtest.h>

#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

struct Amount {
  const char* major;
  const char* currency;
  std::int64_t minor;
};

TEST(Money, MajorUnitsBecomeMinorUnitsExactly) {
  const Amount rows[] = {
      {"12.50", "usd", 1250},
      {" 12.5 ", "USD", 1250},
      {"0.07", "eur", 7},
      {"70", "usd", 7000},
      {"70.000000", "usd", 7000},
      {".5", "usd", 50},
      {"5.", "usd", 500},
      {"+1", "usd", 100},
      {"-3.20", "usd", -320},
      {"0", "usd", 0},
      {"999999.99", "usd", 99'999'999},
      {"0000000000000000000000001", "usd", 100},
      {"500", "jpy", 500},
      {"500.00", "jpy", 500},
      {"99999999", "krw", 99'999'999},
      {"5", "isk", 500},
      {"1.230", "kwd", 1230},
      {"1.5", "bhd", 1500},
      {"12.34", "huf", 1234},
  };
  for (const Amount& row : rows) {
    const auto minor = minor_units(row.major, row.currency);
    ASSERT_TRUE(minor.ok()) << row.major << " " << row.currency << ": " << minor.error().message;
    EXPECT_EQ(minor.value(), row.minor) << row.major << " " << row.currency;
  }
}

TEST(Money, EveryZeroAndThreeDecimalCurrency) {
  for (const char* code : {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf",
                           "vnd", "vuv", "xaf", "xof", "xpf"}) {
    ASSERT_TRUE(minor_units("7", code).ok()) << code;
    EXPECT_EQ(minor_units("7", code).value(), 7) << code;
    EXPECT_FALSE(minor_units("7.5", code).ok()) << code;
  }
  for (const char* code : {"bhd", "jod", "kwd", "omr", "tnd"}) {
    ASSERT_TRUE(minor_units("7.12", code).ok()) << code;
    EXPECT_EQ(minor_units("7.12", code).value(), 7120) << code;
    EXPECT_FALSE(minor_units("7.123", code).ok()) << code;
  }
}

struct Wrong {
  const char* major;
  const char* currency;
  const char* says;
};

TEST(Money, WhatIsNotExactIsRefused) {
  const Wrong rows[] = {
      {"", "usd", "not an amount"},
      {"abc", "usd", "not an amount"},
      {"NaN", "usd", "not an amount"},
      {"1e3", "usd", "not an amount"},
      {"1.2.3", "usd", "not an amount"},
      {".", "usd", "not an amount"},
      {"-", "usd", "not an amount"},
      {"1,50", "usd", "not an amount"},
      {"12.345", "usd", "12.345 usd"},
      {"1.5", "jpy", "finer"},
      {"5.50", "isk", "finer"},
      {"1.234", "kwd", "finer"},
      {"1000000.00", "usd", "more than"},
      {"100000000", "jpy", "more than"},
      {"99999999999999999999", "usd", "more than"},
      {"100", "ugx", "not certain"},
      {"10", "xyz", "not a currency"},
      {"10", "", "not a currency"},
      {"10", "us", "not a currency"},
      {"10", "sd ", "not a currency"},
  };
  for (const Wrong& row : rows) {
    const auto minor = minor_units(row.major, row.currency);
    ASSERT_FALSE(minor.ok()) << row.major << " " << row.currency;
    EXPECT_EQ(minor.error().sqlstate, errcode::invalid_promo_code);
    EXPECT_NE(minor.error().message.find(row.says), std::string::npos) << minor.error().message;
    EXPECT_FALSE(minor.error().detail.empty());
    EXPECT_FALSE(minor.error().hint.empty());
  }
}

TEST(Money, CurrenciesAreNormalised) {
  EXPECT_EQ(normalise_currency(" EUR ").value(), "eur");
  for (const char* wrong : {"", "e", "euro", "e r", "d a", "ed ", "$"})
    EXPECT_FALSE(normalise_currency(wrong).ok()) << wrong;
}

TEST(Money, AmountsAreShownInMajorUnits) {
  EXPECT_EQ(money_text(12900, "usd"), "129.00 usd");
  EXPECT_EQ(money_text(7, "usd"), "0.07 usd");
  EXPECT_EQ(money_text(-150, "eur"), "-1.50 eur");
  EXPECT_EQ(money_text(500, "jpy"), "500 jpy");
  EXPECT_EQ(money_text(500, "isk"), "5.00 isk");
  EXPECT_EQ(money_text(1230, "kwd"), "1.230 kwd");
  EXPECT_EQ(money_text(INT64_MIN, "jpy"), "-9223372036854775808 jpy");
}

TEST(Money, Percentages) {
  const std::pair<const char*, std::int64_t> rows[] = {
      {"50.00", 5000}, {"100", 10'000}, {"12.5", 1250}, {"0.01", 1}, {"33.3300", 3333}};
  for (const auto& [text, hundredths] : rows) {
    ASSERT_TRUE(percent_hundredths(text).ok()) << text;
    EXPECT_EQ(percent_hundredths(text).value(), hundredths);
  }
  for (const char* wrong : {"", "0", "0.00", "-5", "100.01", "101", "12.345", "half", "1e1"})
    EXPECT_FALSE(percent_hundredths(wrong).ok()) << wrong;
  EXPECT_EQ(percent_text(1250), "12.5");
  EXPECT_EQ(percent_text(10'000), "100");
  EXPECT_EQ(percent_text(3333), "33.33");
  EXPECT_EQ(percent_text(1), "0.01");
  EXPECT_EQ(percent_text(1005), "10.05");
}

TEST(Text, NamesAreCutAtAWord) {
  EXPECT_EQ(cut_at_word("short", 40), "short");
  const std::string forty(40, 'x');
  EXPECT_EQ(cut_at_word(forty, 40), forty);
  EXPECT_EQ(cut_at_word(forty + "y", 40), std::string(39, 'x') + "\u2026");
  EXPECT_EQ(cut_at_word("Special pricing for test client - $70/month", 40),
            "Special pricing for test client\u2026");
  // A word that ends exactly at the cut stays.
  EXPECT_EQ(cut_at_word("abc def ghi", 8), "abc def\u2026");
  EXPECT_EQ(cut_at_word("abc defg hi", 8), "abc\u2026");
}

TEST(Text, CharactersAreCountedAndNeverSplit) {
  std::string umlauts;
  for (int i = 0; i < 41; ++i) umlauts += "\u00fc";
  const std::string cut = cut_at_word(umlauts, 40);
  EXPECT_EQ(character_count(cut), 40u);
  EXPECT_EQ(cut.size(), 39 * 2 + 3u);
  EXPECT_EQ(character_count("\U0001F600\u20ac\u00e9x"), 4u);
  EXPECT_EQ(character_count("\xff\xc3"), 2u);
  EXPECT_EQ(first_characters("\u20ac\u20ac\u20ac", 2), "\u20ac\u20ac");
  EXPECT_EQ(character_name(" "), "a space");
  EXPECT_EQ(character_name("_"), "\"_\"");
  EXPECT_EQ(character_name("\t"), "U+0009");
  EXPECT_EQ(character_name("\u00e9"), "U+00E9");
  EXPECT_EQ(character_name("\u20ac"), "U+20AC");
  EXPECT_EQ(character_name("\U0001F600"), "U+1F600");
  EXPECT_EQ(folded(" a\r\n\tb\u0085c  d "), "a b c d");
}

TEST(Text, Times) {
  EXPECT_EQ(unix_time("1767225600.5"), 1767225600);
  EXPECT_EQ(unix_time("1767225600"), 1767225600);
  EXPECT_EQ(unix_time("1767225600.123456"), 1767225600);
  EXPECT_EQ(unix_time("-0.5"), -1);
  EXPECT_EQ(unix_time("-2.000000"), -2);
  EXPECT_EQ(unix_time("Infinity"), time_never);
  EXPECT_EQ(unix_time("-Infinity"), time_always);
  for (const char* wrong : {"", "tomorrow", "2027-01-01", "NaN", "1e9", "."})
    EXPECT_FALSE(unix_time(wrong)) << wrong;
  EXPECT_EQ(time_text(1'800'000'000), "2027-01-15 08:00:00+00");
  EXPECT_EQ(time_text(-1), "1969-12-31 23:59:59+00");
  EXPECT_EQ(time_text(INT64_MAX), "infinity");
  EXPECT_EQ(time_text(INT64_MIN), "-infinity");
}

}  // namespace
}  // namespace stripe_sync
