#pragma once

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Packs a five-character SQLSTATE as PostgreSQL does (MAKE_SQLSTATE), without its headers.
constexpr int sqlstate(const char (&s)[6]) {
  int packed = 0;
  for (int i = 4; i >= 0; --i) packed = (packed << 6) + ((s[i] - '0') & 0x3F);
  return packed;
}

namespace errcode {
inline constexpr int authentication = sqlstate("SY001");
inline constexpr int rate_limited = sqlstate("SY002");
inline constexpr int refused = sqlstate("SY003");
inline constexpr int usage = sqlstate("SY004");
inline constexpr int invalid_promo_code = sqlstate("SY005");
inline constexpr int signature = sqlstate("SY006");
inline constexpr int network = sqlstate("SY007");
inline constexpr int internal = sqlstate("XX000");
inline constexpr int out_of_memory = sqlstate("53200");
inline constexpr int query_canceled = sqlstate("57014");
}  // namespace errcode

/// Five characters of a packed SQLSTATE ("SY003").
std::string sqlstate_text(int packed);
/// The other way; XX000 for anything that is no SQLSTATE.
int sqlstate_of_text(std::string_view text);

/// An error in the user's words: what happened, Stripe's own words (detail), the next command to
/// type (hint), each printable(): a row's own text may be in it. Thrown for bugs, out of memory and
/// PostgreSQL's errors; returned in a Result for everything that is expected to happen.
struct Error : std::exception {
  Error() = default;
  Error(int code, std::string_view what_happened, std::string_view details = {},
        std::string_view next = {});

  const char* what() const noexcept override { return message.c_str(); }

  int sqlstate = errcode::internal;
  std::string message;
  std::string detail;
  std::string hint;
  std::string column;    ///< item of a promo code that it is about; empty = none, or several
  bool from_pg = false;  ///< the surrounding (sub)transaction is unusable

  /// Cancel, shutdown, out of memory: must end what is running, never be swallowed.
  bool is_fatal_to_run() const;
};

/// Runs `f`; what the standard library throws (a mistake of ours, no memory) leaves it as an Error,
/// so that it is contained where PostgreSQL's errors are.
template <class F>
auto as_errors(const F& f) -> decltype(f()) {
  try {
    return f();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(errcode::internal, std::string("internal error: ") + error.what());
  }
}

/// A value or the reason there is none.
template <class T>
class Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

/// The text with everything that looks like a Stripe key or webhook secret blanked
/// (sk_live_..., rk_test_..., whsec_...). Applied to every text that leaves the process.
std::string redact(std::string_view text);

/// Foreign text fit for a log line or an error: redacted, on one line (control characters become
/// spaces, so that nobody can forge a log entry), and valid UTF-8 ('?' for each stray byte).
std::string printable(std::string_view text);

}  // namespace stripe_sync
