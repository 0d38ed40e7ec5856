#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "core/clock.hpp"
#include "stripe/client.hpp"

#include "core/no_postgres.hpp"

// What keeps requests from being sent, told from how earlier ones ended.

namespace stripe_sync {

/// Told from how requests end: when nothing may be sent, and whose fault a failure is.
class Reach {
 public:
  static constexpr Millis shortest{1'000};
  static constexpr Millis longest{30'000};  ///< between tries while Stripe can't be reached

  static bool never_came(const stripe::Answer& answer) {
    return answer.verdict == stripe::Verdict::unavailable ||
           answer.verdict == stripe::Verdict::unknown;
  }
  /// Waiting helps, and nobody has to do anything.
  static bool passes(const stripe::Answer& answer) {
    return never_came(answer) || answer.limits_all();
  }

  /// Takes how a request of `who` ended. Rows that never get an answer say nothing about others,
  /// unless more than `many` do.
  void note(const std::string& who, const stripe::Answer& answer, int many, Millis now,
            double uniform) {
    if (!never_came(answer)) {
      recovered_ = recovered_ || unreachable_.until > Millis(0);
      failing_.clear();
      failures_ = 0;
      unreachable_ = {};
    } else if (now >= unreachable_.until) {  // what is in flight then fails together: one sign
      failing_.insert(who);
      ++failures_;
      if (answer.verdict == stripe::Verdict::unavailable ||
          static_cast<int>(failing_.size()) > many) {
        unreachable_ = {answer.error, now + std::min(backoff(failures_, uniform), longest)};
      }
    }
  }

  /// Failures since the last answer, when it looks as if there were none for anybody; else 0.
  int outage(const stripe::Answer& answer, Millis now) const {
    const bool looks_so = failures_ > 1 || now < unreachable_.until;
    return never_came(answer) && looks_so ? failures_ : 0;
  }
  const Pause& pause() const { return unreachable_; }
  /// The same as long as it is not known to be over.
  std::optional<Pause> told() const {
    return unreachable_.until > Millis(0) ? std::optional(unreachable_) : std::nullopt;
  }
  void try_again() { unreachable_ = {}; }
  bool take_recovered() { return std::exchange(recovered_, false); }

 private:
  Pause unreachable_;              ///< nothing comes back
  int failures_ = 0;               ///< answers in a row that never came
  std::set<std::string> failing_;  ///< whose these were
  bool recovered_ = false;
};

/// Kinds of requests that the key lacks the permission for. Whoever needs none of these goes on,
/// switching off above all.
class Permissions {
 public:
  static constexpr Millis shortest{30'000};  ///< somebody has to change the key first

  /// What is in flight when the first is refused fails together: one sign.
  void refused(const stripe::Call& call, const Error& reason, Millis now, double uniform) {
    if (missing(call, now)) return;
    Missing& entry = missing_[endpoint_of(call)];
    const Millis grown = backoff(4 + ++entry.times, uniform);
    entry.pause = {reason, now + std::max(grown, shortest)};
  }
  void granted(const stripe::Call& call) { missing_.erase(endpoint_of(call)); }
  /// Why such a request is not sent now, if so.
  std::optional<Pause> missing(const stripe::Call& call, Millis now) const {
    const auto found = missing_.find(endpoint_of(call));
    const bool held = found != missing_.end() && now < found->second.pause.until;
    return held ? std::optional(found->second.pause) : std::nullopt;
  }
  void try_again() { missing_.clear(); }

 private:
  struct Missing {
    Pause pause;
    int times = 0;
  };
  /// What a permission is about: "POST /v1/coupons".
  static std::string endpoint_of(const stripe::Call& call) {
    return call.method + " " + call.path.substr(0, call.path.find('/', sizeof "/v1/" - 1));
  }

  std::map<std::string, Missing> missing_;
};

}  // namespace stripe_sync
