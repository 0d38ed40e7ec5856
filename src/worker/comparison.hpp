#pragma once

#include <optional>

#include "core/clock.hpp"

#include "pg/promo_store.hpp"

namespace stripe_sync::worker {

/// When the attached tables are compared with what was taken from them: what fires no trigger is
/// found by that alone.
class Comparison {
 public:
  Comparison(pg::SpiPromoStore& store, const Clock& clock) : store_(store), clock_(clock) {}

  /// Compares if it is time: true.
  bool make_if_due();
  /// Somebody waits for what may have changed: it is time, unless it was only just done.
  void hasten();
  /// Time until the next one; nothing = none was made yet, it is made when tables may be read.
  std::optional<Millis> wait() const;

 private:
  Millis every() const;
  Millis soon() const { return 20 * took_ + Millis(1'000); }

  pg::SpiPromoStore& store_;
  const Clock& clock_;
  std::optional<Millis> made_at_;
  Millis took_{0};
};

}  // namespace stripe_sync::worker
