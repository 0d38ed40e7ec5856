#pragma once

#include <limits>

#include "core/clock.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// What is urgent goes before all else, whoever shares the bucket: it may use a token in advance.
enum class Urgency { normal, urgent };

/// How many requests may be sent: at most so many a second, with a burst of one second's worth;
/// half as many once Stripe limits them, regained by a tenth per quiet minute. Plain data that lies
/// in memory of several processes as well: the rate is that of whoever asks.
class TokenBucket {
 public:
  /// Counts one request. Who may not wait leaves less than nothing: others wait the longer.
  void take(double rate, Millis now) noexcept;
  /// Time until one may be sent; zero if it may now.
  Millis wait(double rate, Millis now, Urgency urgency = Urgency::normal) const noexcept;
  /// Stripe limits requests: none before `until`, and fewer after it.
  void limit(double rate, Millis now, Millis until) noexcept;
  /// None is sent before; the past if there is no such limit.
  Millis limited_until() const noexcept { return limited_until_; }
  /// What is left of `rate`.
  double rate(double rate) const noexcept;

 private:
  void refill(double rate, Millis now) noexcept;

  double tokens_ = std::numeric_limits<double>::max();  ///< full
  double share_ = 1;                                    ///< of the rate
  Millis refilled_{0};
  Millis halved_{0};
  Millis limited_until_{0};
};

}  // namespace stripe_sync
