// What an answer of Stripe's means, and how it is told to the user.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "stripe/client.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync::stripe {
namespace {

// An hour; a longer wait would only be somebody's mistake in between.
constexpr std::int64_t longest_retry_after_seconds = 3'600;

constexpr const char* hint_automatic = "Nothing to do: it is sent again by itself.";
constexpr const char* hint_lookup =
    "Nothing to do: Stripe is asked what became of it before anything is sent again.";
constexpr const char* hint_connection =
    "It is tried again by itself. Check the way from the database server to Stripe, then: "
    "SELECT stripe_sync_check();";
constexpr const char* hint_refused =
    "Correct what Stripe names: a changed row is pushed again by itself.";
constexpr const char* hint_base =
    "Set stripe_sync.api_base to https://api.stripe.com, then: SELECT stripe_sync_check();";
constexpr const char* hint_not_stripe =
    "The answer is not in Stripe's words. Check stripe_sync.api_base and what lies between, then: "
    "SELECT stripe_sync_check();";
constexpr const char* hint_missing =
    "It may have been deleted in Stripe: SELECT * FROM stripe_sync_promo_status;";
constexpr const char* hint_key =
    "Set a valid secret key (Supabase Vault, stripe_sync.api_key_file or STRIPE_SECRET_KEY), "
    "then: SELECT stripe_sync_check();";

std::int64_t parse_http_date(const std::string& text) {
  constexpr std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";
  char month[4] = "";
  int day = 0, year = 0, hour = 0, minute = 0, second = 0;
  // Tue, 15 Nov 1994 08:12:31 GMT; strptime would want the locale's names.
  if (std::sscanf(text.c_str(), "%*3s, %2d %3s %4d %2d:%2d:%2d GMT", &day, month, &year, &hour,
                  &minute, &second) != 6) {
    return 0;
  }
  const std::size_t index = months.find(month);
  if (index == std::string_view::npos || index % 3 != 0) return 0;
  using namespace std::chrono;
  const auto date = std::chrono::year(year) / static_cast<int>(index / 3 + 1) / day;
  if (!date.ok()) return 0;
  return sys_seconds(sys_days(date) + hours(hour) + minutes(minute) + seconds(second))
      .time_since_epoch()
      .count();
}

Millis parse_retry_after(const std::string& text) {
  char* end = nullptr;
  const std::int64_t seconds = std::strtoll(text.c_str(), &end, 10);
  if (end == text.c_str() || *end != '\0' || seconds <= 0) return Millis(0);
  return Millis(1'000 * std::min(seconds, longest_retry_after_seconds));
}

bool is_key_code(std::string_view code) {
  constexpr std::array<std::string_view, 3> codes = {"api_key_expired", "platform_api_key_expired",
                                                     "secret_key_required"};
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

/// The parts of an answer that its meaning and its wording depend on.
struct Reading {
  long status = 0;
  json::Value error;  ///< Stripe's "error", null if the body holds none
  std::string code;
  std::string should_retry;
  std::string location;
};

Verdict verdict_400(const Reading& reading) {
  if (reading.code == "rate_limit") return Verdict::rate_limited;
  // True of every request, not of this one's data.
  if (is_key_code(reading.code)) return Verdict::unauthorized;
  return Verdict::refused;
}

Verdict verdict_409(const Reading& reading) {
  const bool final = reading.should_retry == "false" && reading.code != "idempotency_key_in_use";
  return final ? Verdict::refused : Verdict::in_flight;
}

bool is_4xx(long status) {
  return status >= 400 && status < 500;
}

Verdict verdict_by_status(const Reading& reading) {
  switch (reading.status) {
    case 409:
      return verdict_409(reading);
    case 429:
      return Verdict::rate_limited;
    case 408:
    case 424:
      return Verdict::unknown;
    default:
      break;
  }
  if (reading.status >= 300 && reading.status < 400) return Verdict::unavailable;
  if (!is_4xx(reading.status) || reading.error.is_null()) return Verdict::unknown;
  switch (reading.status) {
    case 400:
      return verdict_400(reading);
    case 401:
      return Verdict::unauthorized;
    case 403:
      return Verdict::forbidden;
    case 404:
      return reading.code == "resource_missing" ? Verdict::missing : Verdict::refused;
    default:
      return Verdict::refused;
  }
}

Verdict verdict_of(const Reading& reading) {
  const Verdict verdict = verdict_by_status(reading);
  const bool try_again = verdict == Verdict::refused && reading.should_retry == "true";
  return try_again ? Verdict::unknown : verdict;
}

/// Stripe's own words, the parameter they are about, and the request's id.
std::string detail_of(const Reading& reading, const Answer& answer) {
  std::string detail = reading.error["message"].text_or("");
  if (detail.empty()) detail = reading.error.text_or("");  // OAuth's errors are a plain string
  const auto append = [&detail](const std::string& more) {
    if (!detail.empty()) detail += ' ';
    detail += more;
  };
  if (!answer.code.empty()) append("(code " + answer.code + ")");
  if (!answer.param.empty()) append("(parameter " + answer.param + ")");
  if (detail.empty()) append("HTTP status " + std::to_string(answer.status));
  if (!reading.location.empty()) append("(to " + reading.location + ")");
  if (!answer.request_id.empty()) append("(request " + answer.request_id + ")");
  return printable(detail);
}

/// What a refusal says of a restricted key: the permission that is missing ("rak_coupon_write"),
/// and the account ("acct_...").
std::string word_in(std::string_view message, std::string_view prefix) {
  const std::size_t begin = message.find(prefix);
  if (begin == std::string_view::npos) return {};
  const std::size_t end = message.find_first_not_of(
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", begin);
  return std::string(message.substr(begin, end - begin));
}

std::string hint_permission(const std::string& message) {
  const std::string permission = word_in(message, "rak_");
  return "Give the restricted key the permission " +
         (permission.empty() ? "that Stripe names" : permission) +
         " (Stripe's dashboard, Developers, API keys), then: SELECT stripe_sync_check();";
}

std::string_view what_is_wrong_with_key(std::string_view code) {
  if (code == "api_key_expired" || code == "platform_api_key_expired") {
    return "the API key has expired";
  }
  if (code == "secret_key_required") return "the API key is not a secret key";
  return "the API key is not valid";
}

std::string hint_of_refusal(const std::string& code) {
  if (code == "idempotency_error") {
    return "An earlier, different request was sent under the same idempotency key. To look at "
           "Stripe's state and start anew: SELECT * FROM stripe_sync_promo();";
  }
  if (code == "livemode_mismatch") {
    return "An id of one mode was used with a key of the other. Compare them: "
           "SELECT stripe_sync_check();";
  }
  return hint_refused;
}

Error error_of(const Reading& reading, const Answer& answer, const std::string& what,
               std::string_view api_base) {
  const std::string detail = detail_of(reading, answer);
  switch (answer.verdict) {
    case Verdict::unauthorized:
      return Error(
          errcode::authentication,
          "Stripe refused to " + what + ": " + std::string(what_is_wrong_with_key(answer.code)),
          detail, hint_key);
    case Verdict::forbidden:
      return Error(errcode::authentication,
                   "Stripe refused to " + what + ": the API key lacks a permission", detail,
                   hint_permission(detail));
    case Verdict::missing:
      return Error(errcode::refused, "Stripe could not " + what + ": it has no such object", detail,
                   hint_missing);
    case Verdict::rate_limited:
      return Error(errcode::rate_limited, "Stripe did not " + what + " yet: it limits requests",
                   detail, hint_automatic);
    case Verdict::in_flight:
      return Error(errcode::network, "Stripe is still busy with an earlier attempt to " + what,
                   detail, hint_automatic);
    case Verdict::unavailable:
      return Error(errcode::usage,
                   "Could not " + what + ": " + std::string(api_base) +
                       " (stripe_sync.api_base) is not Stripe's API, it redirects elsewhere",
                   detail, hint_base);
    case Verdict::refused:
      return Error(errcode::refused, "Stripe refused to " + what, detail,
                   hint_of_refusal(answer.code));
    default:
      return Error(
          errcode::network,
          "Stripe gave no clear answer to the request to " + what + " (HTTP status " +
              std::to_string(answer.status) + ")",
          detail, is_4xx(answer.status) && reading.error.is_null() ? hint_not_stripe : hint_lookup);
  }
}

/// No HTTP answer.
void read_failure(const http::Failure& failure, const std::string& what, std::string_view api_base,
                  Answer& answer) {
  const std::string detail = printable(failure.message);
  if (failure.never_sent) {
    answer.verdict = Verdict::unavailable;
    answer.error = Error(errcode::network, "Stripe could not be reached to " + what + ": " + detail,
                         "Address: " + std::string(api_base), hint_connection);
  } else {
    answer.verdict = Verdict::unknown;
    answer.error = Error(errcode::network,
                         "Stripe's answer to the request to " + what + " did not arrive: " + detail,
                         "Address: " + std::string(api_base), hint_lookup);
  }
}

void read_headers(const http::Response& response, Answer& answer) {
  answer.status = response.status;
  answer.request_id = printable(response.header("request-id").value_or(""));
  answer.replayed = response.header("idempotent-replayed") == "true";
  answer.key_was_used = answer.replayed && !response.sent_again;
  answer.retry_after = parse_retry_after(response.header("retry-after").value_or(""));
  answer.rate_limited_reason =
      printable(response.header("stripe-rate-limited-reason").value_or(""));
  answer.date = parse_http_date(response.header("date").value_or(""));
}

void read_error(const http::Response& response, const json::Value& body, const std::string& what,
                std::string_view api_base, Answer& answer) {
  Reading reading;
  reading.status = response.status;
  reading.error = body["error"];
  reading.code = reading.error["code"].text_or("");
  reading.should_retry = response.header("stripe-should-retry").value_or("");
  reading.location = response.header("location").value_or("");
  // The one type that says more than the code.
  const std::string type = reading.error["type"].text_or("");
  if (response.status == 400 && type == "idempotency_error") reading.code = type;
  answer.code = printable(reading.code);
  answer.key_was_used = answer.key_was_used || answer.code == "idempotency_error";
  answer.param = printable(reading.error["param"].text_or(""));
  answer.verdict = verdict_of(reading);
  if (answer.verdict == Verdict::forbidden)
    answer.account = word_in(reading.error["message"].text_or(""), "acct_");
  answer.error = error_of(reading, answer, what, api_base);
}

}  // namespace

Answer classify(const http::Outcome& outcome, const std::string& what, std::string_view api_base) {
  Answer answer;
  const std::string named = printable(what);
  if (!outcome.response) {
    read_failure(outcome.failure, named, api_base, answer);
    return answer;
  }
  const http::Response& response = *outcome.response;
  read_headers(response, answer);
  const Result<json::Value> body = json::Value::parse(response.body);
  if (response.status < 200 || response.status > 299) {
    read_error(response, body ? body.value() : json::Value(), named, api_base, answer);
  } else if (body && body.value().is_object()) {
    answer.verdict = Verdict::ok;
    answer.body = body.value();
  } else {
    answer.verdict = Verdict::unknown;
    answer.error =
        Error(errcode::network, "Stripe's answer to the request to " + named + " can't be read",
              printable((body ? std::string("not a JSON object") : body.error().message) +
                        (answer.request_id.empty() ? "" : " (request " + answer.request_id + ")")),
              hint_lookup);
  }
  return answer;
}

}  // namespace stripe_sync::stripe
