#include <gtest/gtest.h>

#include "stripe/client.hpp"

namespace stripe_sync::stripe {
namespace {

TEST(ModeOfKey, ByPrefix) {
  EXPECT_EQ(mode_of_key("sk_live_51Habc").value(), Mode::live);
  EXPECT_EQ(mode_of_key("rk_live_51Habc").value(), Mode::live);
  EXPECT_EQ(mode_of_key("sk_test_51Habc").value(), Mode::test);
  EXPECT_EQ(mode_of_key("rk_test_51Habc").value(), Mode::test);
}

TEST(ModeOfKey, SaysWhatIsWrongWithoutRepeatingIt) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "it is empty"},
      {" sk_test_abcdef", "there is white space in it or around it"},
      {"sk_test_abcdef\n", "there is white space in it or around it"},
      {"pk_live_abcdef", "it is a publishable key"},
      {"whsec_abcdef", "it is a webhook secret"},
      {"sk_org_abcdef", "it is an organization's key, which is not supported"},
      {"ek_test_abcdef", "it is an ephemeral key"},
      {"abcdef", "it does not begin with sk_live_, sk_test_, rk_live_ or rk_test_"},
      {"SK_LIVE_abcdef", "it does not begin with sk_live_, sk_test_, rk_live_ or rk_test_"},
      {"sk_test_", "nothing follows its prefix"},
      {"sk_test_abcdef\"", "there is a character in it that no key has"},
      {"sk_test_abcdef\xC3\xA9", "there is a character in it that no key has"},
  };
  for (const auto& [key, reason] : cases) {
    const Result<Mode> mode = mode_of_key(key);
    ASSERT_FALSE(mode.ok()) << key;
    EXPECT_EQ(mode.error().sqlstate, errcode::authentication);
    EXPECT_EQ(mode.error().message, "The Stripe API key can't be used: " + std::string(reason));
    EXPECT_EQ(mode.error().message.find("abcdef"), std::string::npos);
    EXPECT_NE(mode.error().hint.find("stripe_sync_check()"), std::string::npos);
  }
}

TEST(KeyFingerprint, ShowsLittle) {
  EXPECT_EQ(key_fingerprint("sk_test_51H8abcdefghijklmnop"), "sk_test_...mnop");
  EXPECT_EQ(key_fingerprint("rk_live_0123456789abcdefWXYZ"), "rk_live_...WXYZ");
  EXPECT_EQ(key_fingerprint("sk_test_12345678"), "sk_test_...");
  EXPECT_EQ(key_fingerprint("some password"), "(not a key)");
  EXPECT_EQ(key_fingerprint(""), "(none)");
  EXPECT_EQ(redact(key_fingerprint("sk_test_51H8abcdefghijklmnop")), "sk_test_...mnop");
}

TEST(CheckApiBase, Accepted) {
  const std::pair<const char*, const char*> cases[] = {
      {"https://api.stripe.com", "https://api.stripe.com"},
      {"https://api.stripe.com/", "https://api.stripe.com"},
      {"HTTPS://API.Stripe.com:443//", "https://api.stripe.com:443"},
      {"https://gateway.example/Stripe/", "https://gateway.example/Stripe"},
      {"https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"},
      {"http://localhost:12111", "http://localhost:12111"},
      {"http://LOCALHOST", "http://localhost"},
      {"http://127.0.0.1:80", "http://127.0.0.1:80"},
      {"http://127.255.0.9/", "http://127.255.0.9"},
      {"http://[::1]:12111", "http://[::1]:12111"},
  };
  for (const auto& [base, expected] : cases) {
    const Result<std::string> checked = check_api_base(base);
    ASSERT_TRUE(checked.ok()) << base << ": " << checked.error().message;
    EXPECT_EQ(checked.value(), expected);
  }
}

TEST(CheckApiBase, Refused) {
  for (const char* base : {"",
                           "api.stripe.com",
                           "https://",
                           "https:///v1",
                           "ftp://api.stripe.com",
                           "http://api.stripe.com",
                           "http://127.0.0.1.evil.example",
                           "http://127.0.0.1@evil.example",
                           "http://localhost@evil.example",
                           "http://localhost.evil.example",
                           "http://127.1",
                           "http://127.0.0.256",
                           "http://127.0.0.1.",
                           "http://127..0.1",
                           "http://0127.0.0.1",
                           "http://2130706433",
                           "http://0.0.0.0",
                           "http://[::2]",
                           "http://[::1",
                           "http://[::1]evil",
                           "http://localhost\\@evil.example",
                           "http://localhost#@evil.example",
                           "https://user:password@api.stripe.com",
                           "https://api.stripe.com?x=1",
                           "https://api.stripe.com#x",
                           "https://api stripe.com",
                           "https://api.stripe.com\r\nX: y",
                           "https://api.stripe.com:",
                           "https://api.stripe.com:port",
                           "https://api.stripe.com:123456",
                           "https://%61pi.stripe.com",
                           "https://\xC3\xA9.example",
                           "file:///etc/passwd",
                           " https://api.stripe.com"}) {
    const Result<std::string> checked = check_api_base(base);
    ASSERT_FALSE(checked.ok()) << base << " gave " << checked.value();
    EXPECT_EQ(checked.error().sqlstate, errcode::usage);
    EXPECT_EQ(checked.error().message.find("user:"), std::string::npos);
    EXPECT_FALSE(checked.error().hint.empty());
  }
}

}  // namespace
}  // namespace stripe_sync::stripe
