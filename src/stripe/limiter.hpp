#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/token_bucket.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Why something is not done before `until`.
struct Pause {
  Error reason;
  Millis until{0};
};

}  // namespace stripe_sync

namespace stripe_sync::stripe {

/// How often Stripe may be asked with one key. Where the bucket lies, and with whom it is shared,
/// is for those who derive from this.
class Limiter {
 public:
  explicit Limiter(const Clock& clock) : clock_(clock) {}
  virtual ~Limiter() = default;
  Limiter(const Limiter&) = delete;
  Limiter& operator=(const Limiter&) = delete;

  /// From now on: the key and its address, as a hash of both, and requests a second.
  void configure(std::uint64_t who, double rate_per_second);

  /// A request is sent.
  void take();
  /// Time until one should be sent; zero if it may be now.
  Millis wait(Urgency urgency = Urgency::normal);
  /// Stripe has refused a request because there were too many.
  void limit(const Error& reason, Millis retry_after);
  /// Why nothing should be sent for longer than a token takes, if so.
  std::optional<Pause> pause();
  /// Requests a second, as it is now.
  double rate();

 protected:
  /// Plain arithmetic: throws nothing, calls nothing.
  using Step = std::function<void(TokenBucket&)>;
  /// Runs `step` on the bucket of `who` while nobody else does.
  virtual void exclusively(std::uint64_t who, Millis now, const Step& step) = 0;

 private:
  const Clock& clock_;
  std::uint64_t who_ = 0;
  double rate_ = 1;
  Pause told_;  ///< to this process, in Stripe's words
};

/// A bucket of this process alone.
class LocalLimiter final : public Limiter {
 public:
  using Limiter::Limiter;

 protected:
  void exclusively(std::uint64_t who, Millis now, const Step& step) override;

 private:
  std::uint64_t whose_ = 0;
  TokenBucket bucket_;
};

}  // namespace stripe_sync::stripe
