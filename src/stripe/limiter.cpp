#include "stripe/limiter.hpp"

#include <algorithm>
#include <utility>

namespace stripe_sync::stripe {

namespace {

constexpr Millis shortest_pause{1'000};

Error told_to_another() {
  return Error(errcode::rate_limited, "Stripe limits requests",
               "It said so to another worker of this server that has the same key.",
               "Nothing to do: it goes on by itself.");
}

}  // namespace

void Limiter::configure(std::uint64_t who, double rate_per_second) {
  if (who != who_) told_ = {};
  who_ = who;
  rate_ = rate_per_second;
}

void Limiter::take() {
  const Millis now = clock_.steady();
  exclusively(who_, now, [&](TokenBucket& bucket) { bucket.take(rate_, now); });
}

Millis Limiter::wait(Urgency urgency) {
  const Millis now = clock_.steady();
  Millis wait{0};
  exclusively(who_, now,
              [&](const TokenBucket& bucket) { wait = bucket.wait(rate_, now, urgency); });
  return wait;
}

void Limiter::limit(const Error& reason, Millis retry_after) {
  const Millis now = clock_.steady();
  const Millis until = now + std::max(retry_after, shortest_pause);
  if (until > told_.until) told_ = {reason, until};
  exclusively(who_, now, [&](TokenBucket& bucket) { bucket.limit(rate_, now, until); });
}

std::optional<Pause> Limiter::pause() {
  const Millis now = clock_.steady();
  Millis until{0};
  exclusively(who_, now, [&](const TokenBucket& bucket) { until = bucket.limited_until(); });
  if (until <= now) return std::nullopt;
  return Pause{until == told_.until ? told_.reason : told_to_another(), until};
}

double Limiter::rate() {
  const Millis now = clock_.steady();
  double rate = 0;
  exclusively(who_, now, [&](const TokenBucket& bucket) { rate = bucket.rate(rate_); });
  return rate;
}

void LocalLimiter::exclusively(std::uint64_t who, Millis, const Step& step) {
  if (std::exchange(whose_, who) != who) bucket_ = TokenBucket();
  step(bucket_);
}

}  // namespace stripe_sync::stripe
