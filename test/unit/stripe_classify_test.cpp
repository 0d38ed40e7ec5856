#include <gtest/gtest.h>

#include "stripe/client.hpp"

namespace stripe_sync::stripe {
namespace {

http::Outcome answered(long status, std::string body, http::Headers headers = {}) {
  http::Outcome outcome;
  outcome.id = 1;
  outcome.response = http::Response{status, std::move(headers), std::move(body)};
  return outcome;
}

Answer classified(long status, std::string body, http::Headers headers = {}) {
  return classify(answered(status, std::move(body), std::move(headers)), "create coupon X");
}

/// Stripe's error with these members.
std::string error_body(const std::string& code, const std::string& type = "invalid_request_error") {
  return R"({"error":{"type":")" + type + R"(","code":")" + code +
         R"(","message":"Stripe's own words.","param":"promotion[coupon]"}})";
}

struct Row {
  const char* name;
  long status;
  std::string body;
  std::string should_retry;  ///< empty: no such header
  Verdict verdict;
  int sqlstate;  ///< 0: no error
};

const std::string no_code = R"({"error":{"type":"invalid_request_error","message":"No."}})";
const std::string html = "<html>Bad gateway</html>";

// Every row of reference/stripe.md section 2, and what is not Stripe's.
const Row rows[] = {
    {"ok", 200, R"({"id":"X"})", "", Verdict::ok, 0},
    {"created", 201, "{}", "", Verdict::ok, 0},
    {"not JSON", 200, html, "", Verdict::unknown, errcode::network},
    {"no object", 200, "[]", "", Verdict::unknown, errcode::network},
    {"empty", 200, "", "", Verdict::unknown, errcode::network},
    {"no content", 204, "", "", Verdict::unknown, errcode::network},
    {"redirect", 301, "", "", Verdict::unavailable, errcode::usage},
    {"redirect, temporary", 307, html, "", Verdict::unavailable, errcode::usage},
    {"no code", 400, no_code, "", Verdict::refused, errcode::refused},
    {"exists", 400, error_body("resource_already_exists"), "", Verdict::refused, errcode::refused},
    {"missing in body", 400, error_body("resource_missing"), "", Verdict::refused,
     errcode::refused},
    {"parameter", 400, error_body("parameter_unknown"), "", Verdict::refused, errcode::refused},
    {"coupon expired", 400, error_body("coupon_expired"), "", Verdict::refused, errcode::refused},
    {"url_invalid", 400, error_body("url_invalid"), "", Verdict::refused, errcode::refused},
    {"rate limit as 400", 400, error_body("rate_limit"), "", Verdict::rate_limited,
     errcode::rate_limited},
    {"idempotency mismatch", 400, error_body("", "idempotency_error"), "", Verdict::refused,
     errcode::refused},
    {"livemode", 400, error_body("livemode_mismatch"), "", Verdict::refused, errcode::refused},
    {"expired key as 400", 400, error_body("api_key_expired"), "", Verdict::unauthorized,
     errcode::authentication},
    {"not a secret key as 400", 400, error_body("secret_key_required"), "", Verdict::unauthorized,
     errcode::authentication},
    {"400 not Stripe's", 400, html, "", Verdict::unknown, errcode::network},
    {"400 not Stripe's, JSON", 400, R"({"detail":"Bad"})", "", Verdict::unknown, errcode::network},
    {"401 not Stripe's", 401, html, "", Verdict::unknown, errcode::network},
    {"403 not Stripe's", 403, html, "", Verdict::unknown, errcode::network},
    {"403 not Stripe's, empty", 403, "", "", Verdict::unknown, errcode::network},
    {"413 not Stripe's", 413, html, "", Verdict::unknown, errcode::network},
    {"rate limit not Stripe's", 429, html, "", Verdict::rate_limited, errcode::rate_limited},
    {"invalid key", 401, no_code, "", Verdict::unauthorized, errcode::authentication},
    {"expired key", 401, error_body("api_key_expired"), "", Verdict::unauthorized,
     errcode::authentication},
    {"expired platform key", 401, error_body("platform_api_key_expired"), "", Verdict::unauthorized,
     errcode::authentication},
    {"not a secret key", 401, error_body("secret_key_required"), "", Verdict::unauthorized,
     errcode::authentication},
    {"other mode's key", 401, error_body("livemode_mismatch"), "", Verdict::unauthorized,
     errcode::authentication},
    {"card", 402, error_body("card_declined", "card_error"), "", Verdict::refused,
     errcode::refused},
    {"permission", 403, no_code, "", Verdict::forbidden, errcode::authentication},
    {"deleted", 404, error_body("resource_missing"), "", Verdict::missing, errcode::refused},
    {"unknown path", 404, no_code, "", Verdict::refused, errcode::refused},
    {"404 not Stripe's", 404, html, "", Verdict::unknown, errcode::network},
    {"404 not Stripe's, JSON", 404, R"({"detail":"Not Found"})", "", Verdict::unknown,
     errcode::network},
    {"timed out in between", 408, "", "", Verdict::unknown, errcode::network},
    {"key in use", 409, error_body("idempotency_key_in_use"), "", Verdict::in_flight,
     errcode::network},
    {"conflict", 409, no_code, "", Verdict::in_flight, errcode::network},
    {"conflict, empty", 409, "", "", Verdict::in_flight, errcode::network},
    {"other 4xx", 418, no_code, "", Verdict::refused, errcode::refused},
    {"dependency", 424, no_code, "", Verdict::unknown, errcode::network},
    {"rate limit", 429, error_body("rate_limit"), "", Verdict::rate_limited, errcode::rate_limited},
    {"lock timeout", 429, error_body("lock_timeout"), "true", Verdict::rate_limited,
     errcode::rate_limited},
    {"rate limit, empty", 429, "", "", Verdict::rate_limited, errcode::rate_limited},
    {"500", 500, error_body("", "api_error"), "", Verdict::unknown, errcode::network},
    {"500, an object", 500, R"({"id":"X"})", "", Verdict::unknown, errcode::network},
    {"502", 502, html, "", Verdict::unknown, errcode::network},
    {"503", 503, "", "", Verdict::unknown, errcode::network},
    {"504", 504, "", "", Verdict::unknown, errcode::network},
    {"599", 599, "", "", Verdict::unknown, errcode::network},
    {"nonsense", 777, "", "", Verdict::unknown, errcode::network},

    {"refused, but try again", 400, no_code, "true", Verdict::unknown, errcode::network},
    {"card, but try again", 402, no_code, "true", Verdict::unknown, errcode::network},
    {"refused for good", 400, no_code, "false", Verdict::refused, errcode::refused},
    {"conflict for good", 409, no_code, "false", Verdict::refused, errcode::refused},
    {"key in use, whatever is advised", 409, error_body("idempotency_key_in_use"), "false",
     Verdict::in_flight, errcode::network},
    {"rate limit, whatever is advised", 429, "", "false", Verdict::rate_limited,
     errcode::rate_limited},
    {"500, whatever is advised", 500, "", "false", Verdict::unknown, errcode::network},
    {"key, whatever is advised", 401, no_code, "true", Verdict::unauthorized,
     errcode::authentication},
    {"permission, whatever is advised", 403, no_code, "true", Verdict::forbidden,
     errcode::authentication},
};

class Classify : public testing::TestWithParam<Row> {};

TEST_P(Classify, ByStatusThenCode) {
  const Row& row = GetParam();
  http::Headers headers;
  if (!row.should_retry.empty()) headers.emplace_back("stripe-should-retry", row.should_retry);
  const Answer answer = classified(row.status, row.body, headers);
  EXPECT_EQ(static_cast<int>(answer.verdict), static_cast<int>(row.verdict)) << row.name;
  EXPECT_EQ(answer.status, row.status);
  EXPECT_EQ(answer.ok(), row.sqlstate == 0);
  EXPECT_EQ(answer.body.is_object(), row.sqlstate == 0);
  EXPECT_EQ(answer.error.message.empty(), row.sqlstate == 0);
  if (row.sqlstate == 0) return;
  EXPECT_EQ(sqlstate_text(answer.error.sqlstate), sqlstate_text(row.sqlstate)) << row.name;
  EXPECT_NE(answer.error.message.find("create coupon X"), std::string::npos) << row.name;
  EXPECT_FALSE(answer.error.detail.empty()) << row.name;
  EXPECT_FALSE(answer.error.hint.empty()) << row.name;
}

INSTANTIATE_TEST_SUITE_P(Rows, Classify, testing::ValuesIn(rows));

TEST(Answer, TellsRefusalInBothWords) {
  const Answer answer =
      classified(400, error_body("resource_missing"), {{"request-id", "req_123"}});
  EXPECT_EQ(answer.code, "resource_missing");
  EXPECT_EQ(answer.param, "promotion[coupon]");
  EXPECT_EQ(answer.request_id, "req_123");
  EXPECT_EQ(answer.error.message, "Stripe refused to create coupon X");
  EXPECT_EQ(answer.error.detail,
            "Stripe's own words. (code resource_missing) (parameter promotion[coupon]) "
            "(request req_123)");
}

TEST(Answer, IdempotencyErrorIsACode) {
  EXPECT_EQ(classified(400, error_body("", "idempotency_error")).code, "idempotency_error");
  EXPECT_EQ(classified(409, error_body("idempotency_key_in_use", "idempotency_error")).code,
            "idempotency_key_in_use");
}

TEST(Answer, Headers) {
  const Answer answer = classified(429, "",
                                   {{"request-id", "req_1"},
                                    {"idempotent-replayed", "true"},
                                    {"retry-after", "7"},
                                    {"stripe-rate-limited-reason", "global-rate"},
                                    {"date", "Tue, 15 Nov 1994 08:12:31 GMT"}});
  EXPECT_TRUE(answer.replayed);
  EXPECT_EQ(answer.retry_after, Millis(7'000));
  EXPECT_EQ(answer.rate_limited_reason, "global-rate");
  EXPECT_EQ(answer.date, 784887151);
  EXPECT_FALSE(classified(200, "{}", {{"idempotent-replayed", "false"}}).replayed);
}

TEST(Answer, RetryAfterOnlyIfSensible) {
  const std::pair<const char*, int> cases[] = {{"0", 0},
                                               {"-5", 0},
                                               {"", 0},
                                               {"soon", 0},
                                               {"1.5", 0},
                                               {"7 s", 0},
                                               {"3600", 3'600'000},
                                               {"99999999999999999999", 3'600'000},
                                               {"Tue, 15 Nov 1994 08:12:31 GMT", 0}};
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(classified(503, "", {{"retry-after", text}}).retry_after, Millis(expected)) << text;
  }
}

TEST(Answer, DateOnlyIfValid) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"Thu, 01 Jan 1970 00:00:01 GMT", 1}, {"Thu, 29 Feb 2024 23:59:59 GMT", 1709251199},
      {"Fri, 29 Feb 2023 00:00:00 GMT", 0}, {"Thu, 01 anF 1970 00:00:01 GMT", 0},
      {"1994-11-15T08:12:31Z", 0},          {"", 0}};
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(classified(200, "{}", {{"date", text}}).date, expected) << text;
  }
}

TEST(Answer, NamesTheMissingPermission) {
  const Answer answer = classified(
      403,
      R"({"error":{"type":"invalid_request_error","message":"The provided key 'rk_test_*********wxyz' does not have the required permissions for this endpoint on account 'acct_1'. Having the 'rak_coupon_write' permission would allow this request to continue."}})");
  EXPECT_NE(answer.error.hint.find("the permission rak_coupon_write ("), std::string::npos);
  EXPECT_EQ(answer.account, "acct_1");
  EXPECT_NE(classified(403, no_code).error.hint.find("that Stripe names"), std::string::npos);
}

TEST(Answer, RedirectNamesBaseAndTarget) {
  const Answer answer = classify(answered(301, "", {{"location", "https://elsewhere.example/v1"}}),
                                 "list prices", "https://api.example");
  EXPECT_NE(answer.error.message.find("https://api.example (stripe_sync.api_base)"),
            std::string::npos);
  EXPECT_NE(answer.error.detail.find("https://elsewhere.example/v1"), std::string::npos);
}

TEST(Answer, WithoutResponse) {
  http::Outcome outcome;
  outcome.failure = {"Could not resolve host: api.stripe.com", true};
  Answer answer = classify(outcome, "create coupon X");
  EXPECT_EQ(answer.verdict, Verdict::unavailable);
  EXPECT_EQ(answer.status, 0);
  EXPECT_EQ(answer.error.sqlstate, errcode::network);
  EXPECT_EQ(answer.error.message,
            "Stripe could not be reached to create coupon X: Could not resolve host: "
            "api.stripe.com");

  outcome.failure = {"Operation timed out", false};
  answer = classify(outcome, "create coupon X");
  EXPECT_EQ(answer.verdict, Verdict::unknown);
  EXPECT_EQ(answer.error.sqlstate, errcode::network);
}

TEST(Answer, ForeignTextIsMadeSafe) {
  const Answer answer = classify(
      answered(401,
               R"({"error":{"message":"Invalid API Key provided: sk_live_abcdefgh\nLOG: forged",)"
               R"("code":"a\nb","param":"c\u001bd"}})",
               {{"request-id", "req\n1"}}),
      "create coupon A\nB");
  for (const std::string& text : {answer.error.message, answer.error.detail, answer.error.hint,
                                  answer.code, answer.param, answer.request_id}) {
    EXPECT_EQ(text.find_first_of("\n\x1b"), std::string::npos) << text;
    EXPECT_EQ(text.find("abcdefgh"), std::string::npos) << text;
  }
}

TEST(Answer, APageOfSomebodyInBetweenSaysSo) {
  for (const long status : {400L, 401L, 403L, 404L}) {
    const Answer answer = classified(status, html);
    EXPECT_NE(answer.error.hint.find("not in Stripe's words"), std::string::npos) << status;
    EXPECT_NE(answer.error.hint.find("stripe_sync_check()"), std::string::npos) << status;
  }
}

TEST(Answer, OAuthErrorIsPlainText) {
  EXPECT_NE(classified(400, R"({"error":"invalid_grant"})").error.detail.find("invalid_grant"),
            std::string::npos);
}

TEST(Answer, OddErrorsDoNoHarm) {
  for (const char* body :
       {R"({"error":[]})", R"({"error":{"code":7}})", R"({"error":{"message":{"a":1}}})"}) {
    EXPECT_EQ(classified(400, body).verdict, Verdict::refused) << body;
  }
  EXPECT_EQ(classified(400, R"({"error":null})").verdict, Verdict::unknown);
}

}  // namespace
}  // namespace stripe_sync::stripe
