#pragma once

#include <chrono>
#include <cstdint>

#include "core/no_postgres.hpp"

namespace stripe_sync {

using Millis = std::chrono::milliseconds;

/// Source of time; tests put their own in place.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Wall clock, milliseconds since the epoch.
  virtual std::int64_t unix_ms() const = 0;
  /// Never goes back; only differences mean something.
  virtual Millis steady() const = 0;
  std::int64_t unix_seconds() const { return unix_ms() / 1000; }
};

class SystemClock final : public Clock {
 public:
  std::int64_t unix_ms() const override;
  Millis steady() const override;
};

/// Notices that the wall clock was set back: what was put off or judged by what it said before may
/// not hold.
class ClockWatch {
 public:
  explicit ClockWatch(const Clock& clock) : clock_(clock) {}

  /// Since the call before; at the first one, since nobody knows when.
  bool set_back();

 private:
  const Clock& clock_;
  Millis ahead_ = Millis::max();  ///< most of the wall clock before the steady one
};

/// Wait before attempt number `attempts + 1`: 1 s doubling to a cap of 5 min, times a uniform
/// factor in [0.5, 1); `uniform` is that draw in [0, 1). A Retry-After is a lower bound.
Millis backoff(int attempts, double uniform, Millis retry_after = Millis(0));

}  // namespace stripe_sync
