#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "http/transport.hpp"
#include "json/json.hpp"
#include "stripe/limiter.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync::stripe {

/// The version every request names, so that an account's default can't change our shapes.
inline constexpr const char* api_version = "2026-10-28.endive";

/// Parameters in order, names as bracket paths: {"restrictions[minimum_amount]", "5000"}. An empty
/// value unsets (metadata[k]=).
using Params = std::vector<std::pair<std::string, std::string>>;

/// application/x-www-form-urlencoded; everything but unreserved characters is percent-encoded
/// (brackets of names stay raw).
std::string form_encode(const Params& params);

/// One segment of a path (an id), with everything but unreserved characters percent-encoded.
std::string path_segment(std::string_view id);

enum class Mode { test, live };

/// Mode told by a key's prefix; an error (SY001) names what is wrong with anything that is not a
/// secret or restricted key, without repeating it.
Result<Mode> mode_of_key(std::string_view key);
/// Last four characters and a length-free tag, fit to be shown ("sk_test_...abcd").
std::string key_fingerprint(std::string_view key);

/// The base URL without trailing slashes, or why (SY004) the key must not be sent there: anything
/// but https://, except to this machine (localhost, 127.0.0.0/8, [::1]).
Result<std::string> check_api_base(std::string_view api_base);

struct Call {
  std::string method;           ///< GET, POST, DELETE
  std::string path;             ///< "/v1/coupons", segments already percent-encoded
  Params params;                ///< query of GET and DELETE, body of POST
  std::string idempotency_key;  ///< POST only
};

/// What an answer means for the one who asked (stripe.md section 2; by status first, then code,
/// then type, never by message).
enum class Verdict {
  ok,            ///< 2xx with a JSON object
  refused,       ///< 400, 402 and other 4xx: not done; the same request will be refused again
  missing,       ///< 404 resource_missing: the object named in the URL does not exist
  unauthorized,  ///< 401: not done; the key is wrong, for every request
  forbidden,     ///< 403: not done; the key lacks a permission
  rate_limited,  ///< 429: not done; later
  in_flight,     ///< 409: an earlier request with this key is still running; outcome unknown
  unavailable,   ///< never reached Stripe (or api_base redirects elsewhere): not done
  unknown,       ///< sent; no whole answer, none of Stripe's, 5xx, 408, 424: may or may not be done
};

struct Answer {
  Verdict verdict = Verdict::unknown;
  long status = 0;      ///< 0 = no HTTP answer
  json::Value body;     ///< of an ok answer
  std::string code;     ///< Stripe's error.code
  std::string param;    ///< Stripe's error.param
  std::string account;  ///< whose the key is, where Stripe names it in refusing a permission
  std::string request_id;
  bool replayed = false;  ///< Idempotent-Replayed
  /// Another request than this one had used the idempotency key before.
  bool key_was_used = false;
  Millis retry_after{0};
  std::string rate_limited_reason;  ///< Stripe-Rate-Limited-Reason
  std::int64_t date = 0;            ///< the answer's Date, Unix seconds; 0 = none
  /// In the user's words; DETAIL holds Stripe's own words and the request id. Empty when ok.
  Error error;

  bool ok() const { return verdict == Verdict::ok; }
  /// A limit of the account's; a lock or a limit of one object is that object's row's alone.
  bool limits_all() const {
    return verdict == Verdict::rate_limited && code != "lock_timeout" &&
           rate_limited_reason != "resource-specific";
  }
};

/// Reads an exchange's end. `what` names the request for the message ("create coupon BETA50"),
/// `api_base` the server for messages about the way there.
///
/// Stripe-Should-Retry: `true` turns a refusal (400, 402, other 4xx) into `unknown`, so that it is
/// looked up and sent again; `false` turns a 409 that is not about the idempotency key into
/// `refused`. On 429 and 5xx it changes nothing: a limit passes and an unknown outcome stays
/// unknown, whoever advises against another try.
///
/// A 4xx in anything but Stripe's words is `unknown` (429 apart): what answers there (a proxy, a
/// wrong api_base) must not make objects look deleted, park a row or condemn the key.
Answer classify(const http::Outcome& outcome, const std::string& what,
                std::string_view api_base = "https://api.stripe.com");

struct Config {
  std::string api_base = "https://api.stripe.com";
  std::string key;
  std::string user_agent = "stripe_sync";
  std::string ca_file;  ///< empty = the system's certificate authorities
  Millis connect_timeout{10'000};
  Millis request_timeout{80'000};
  double rate_per_second = 10;
};

/// Sends calls through a transport and classifies what comes back. Whatever is sent counts, and
/// whatever answer says that it was too much is heeded, for all who ask with the same key.
class Client {
 public:
  /// Has no key yet: configure() before the first send().
  Client(http::Transport& transport, Limiter& limiter) : transport_(transport), limiter_(limiter) {}
  ~Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Throws on what mode_of_key() or check_api_base() would have refused.
  void configure(Config config);
  const Config& config() const { return config_; }

  /// When one may send; send() itself makes nobody wait.
  Limiter& limiter() const { return limiter_; }

  /// `what` names the request in messages. Returns the id that comes back with the answer.
  std::uint64_t send(const Call& call, std::string what);
  std::optional<std::pair<std::uint64_t, Answer>> take();
  /// Drops a call; no answer follows.
  void cancel(std::uint64_t id);
  std::size_t in_flight() const { return transport_.in_flight(); }

 private:
  http::Transport& transport_;
  Limiter& limiter_;
  Config config_;
  std::vector<std::pair<std::uint64_t, std::string>> names_;
};

}  // namespace stripe_sync::stripe
