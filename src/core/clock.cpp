#include "core/clock.hpp"

#include <algorithm>
#include <cmath>

namespace stripe_sync {
namespace {

constexpr Millis first_wait{1'000};
constexpr Millis longest_wait{300'000};
constexpr Millis minute{60'000};

// A clock that is being corrected little by little was not set back.
constexpr Millis slewed{1'000};

// Many requests in flight are refused together: that is one sign, not one for each.
constexpr Millis one_sign{1'000};
// Never slower than this part of the full rate, so that a bad hour does not end in silence.
constexpr double slowest_part = 1.0 / 16;
constexpr double slowest_rate = 0.01;

double capacity(double rate) {
  return std::max(rate, 1.0);
}

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

TokenBucket::TokenBucket(double rate_per_second, Millis now)
    : full_rate_(std::max(rate_per_second, slowest_rate)),
      rate_(full_rate_),
      tokens_(capacity(full_rate_)),
      refilled_(now),
      halved_(now) {}

void TokenBucket::refill(Millis now) {
  if (now <= refilled_) return;
  if (rate_ < full_rate_ && now - halved_ >= minute) {
    const auto quiet = (now - halved_) / minute;
    rate_ = std::min(full_rate_, rate_ + full_rate_ * 0.1 * static_cast<double>(quiet));
    halved_ += quiet * minute;
  }
  const double elapsed = static_cast<double>((now - refilled_).count()) / 1000;
  tokens_ = std::min(capacity(rate_), tokens_ + elapsed * rate_);
  refilled_ = now;
}

bool TokenBucket::take(Millis now) {
  refill(now);
  if (wait(now) > Millis(0)) return false;
  tokens_ -= 1;
  return true;
}

Millis TokenBucket::wait(Millis now) const {
  TokenBucket then = *this;
  then.refill(now);
  // Sums of fractions may miss a whole token by a rounding error.
  constexpr double nearly_one = 1 - 1e-9;
  if (then.tokens_ >= nearly_one) return Millis(0);
  const double seconds = (nearly_one - then.tokens_) / then.rate_;
  return Millis(static_cast<Millis::rep>(std::ceil(seconds * 1000)));
}

void TokenBucket::halve(Millis now) {
  refill(now);
  if (rate_ < full_rate_ && now - halved_ < one_sign) return;
  rate_ = std::max(rate_ / 2, full_rate_ * slowest_part);
  tokens_ = std::min(tokens_, capacity(rate_));
  halved_ = now;
}

void TokenBucket::set_rate(double rate_per_second, Millis now) {
  const double wanted = std::max(rate_per_second, slowest_rate);
  // Settings are re-read often; only a changed one forgets what Stripe asked for.
  if (wanted == full_rate_) return;
  refill(now);
  full_rate_ = rate_ = wanted;
  tokens_ = std::min(tokens_, capacity(rate_));
}

}  // namespace stripe_sync
