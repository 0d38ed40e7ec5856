#include "core/token_bucket.hpp"

#include <algorithm>
#include <cmath>

namespace stripe_sync {
namespace {

constexpr Millis minute{60'000};

// Many requests in flight are refused together: that is one sign, not one for each.
constexpr Millis one_sign{1'000};
// Never less than this part of the rate, so that a bad hour does not end in silence.
constexpr double least_share = 1.0 / 16;
constexpr double slowest_rate = 0.01;
// Sums of fractions may miss a whole token by so much.
constexpr double rounding = 1e-9;

}  // namespace

double TokenBucket::rate(double rate) const noexcept {
  return std::max(rate, slowest_rate) * share_;
}

void TokenBucket::refill(double asked, Millis now) noexcept {
  if (share_ < 1 && now - halved_ >= minute) {
    const auto quiet = (now - halved_) / minute;
    share_ = std::min(1.0, share_ + 0.1 * static_cast<double>(quiet));
    halved_ += quiet * minute;
  }
  const double elapsed = std::max(static_cast<double>((now - refilled_).count()) / 1000, 0.0);
  tokens_ = std::min(tokens_ + elapsed * rate(asked), std::max(rate(asked), 1.0));
  refilled_ = std::max(refilled_, now);
}

void TokenBucket::take(double rate, Millis now) noexcept {
  refill(rate, now);
  tokens_ -= 1;
}

Millis TokenBucket::wait(double asked, Millis now, Urgency urgency) const noexcept {
  TokenBucket then = *this;
  then.refill(asked, now);
  const double needed = urgency == Urgency::urgent ? 0 : 1;
  const double lacking = std::max(needed - rounding - then.tokens_, 0.0);
  const Millis token(static_cast<Millis::rep>(std::ceil(lacking / then.rate(asked) * 1000)));
  return std::max(token, limited_until_ - now);
}

void TokenBucket::limit(double rate, Millis now, Millis until) noexcept {
  refill(rate, now);
  limited_until_ = std::max(limited_until_, until);
  if (share_ < 1 && now - halved_ < one_sign) return;
  share_ = std::max(share_ / 2, least_share);
  halved_ = now;
}

}  // namespace stripe_sync
