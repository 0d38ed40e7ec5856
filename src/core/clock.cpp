#include "core/clock.hpp"

#include <algorithm>
#include <cmath>

namespace stripe_sync {
namespace {

constexpr Millis first_wait{1'000};
constexpr Millis longest_wait{300'000};

// A clock that is being corrected little by little was not set back.
constexpr Millis slewed{1'000};

}  // namespace

std::int64_t SystemClock::unix_ms() const {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<Millis>(now).count();
}

Millis SystemClock::steady() const {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<Millis>(now);
}

bool ClockWatch::set_back() {
  const Millis ahead = Millis(clock_.unix_ms()) - clock_.steady();
  const bool back = ahead < ahead_ - slewed;
  ahead_ = back ? ahead : std::max(ahead_, ahead);
  return back;
}

Millis backoff(int attempts, double uniform, Millis retry_after) {
  // Nine doublings already exceed the cap.
  const int doublings = std::clamp(attempts - 1, 0, 9);
  const Millis whole = std::min(first_wait * (1 << doublings), longest_wait);
  const double factor = 0.5 + std::clamp(uniform, 0.0, 1.0) / 2;
  const Millis wait(std::llround(static_cast<double>(whole.count()) * factor));
  return std::max(wait, retry_after);
}

}  // namespace stripe_sync
