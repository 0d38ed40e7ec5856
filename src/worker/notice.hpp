#pragma once

#include <optional>

#include "sync/promo_engine.hpp"

namespace stripe_sync::worker {

/// What stripe_sync_health says of a worker that is well: why the engine sends nothing for a while,
/// and how fast it goes.
class Notice {
 public:
  /// Stores what has changed since.
  void give(const PromoEngine& engine, Millis now);
  /// Something else was stored in its place.
  void forget() { pause_.reset(); }

 private:
  std::optional<Pause> pause_;  ///< as stored
  double rate_ = 0;
};

}  // namespace stripe_sync::worker
