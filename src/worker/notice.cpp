#include "worker/notice.hpp"

#include <algorithm>

#include "worker/worker_state.hpp"

namespace stripe_sync::worker {

namespace {

constexpr Millis worth_a_notice{2'000};

}  // namespace

void Notice::give(const PromoEngine& engine, Millis now) {
  if (const double rate = engine.rate(); rate != rate_) {
    rate_ = rate;
    store_rate(rate);
  }
  const auto pause = engine.pause();
  if (!pause) {
    if (pause_) store_blocked(std::nullopt, std::nullopt);
    pause_.reset();
    return;
  }
  const bool known =
      pause_ && pause_->until == pause->until && pause_->reason.message == pause->reason.message;
  if (known || (!pause_ && pause->until - now < worth_a_notice)) return;
  pause_ = pause;
  store_blocked(pause->reason, std::max(pause->until - now, Millis(0)));
}

}  // namespace stripe_sync::worker
