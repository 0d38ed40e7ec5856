#include "worker/comparison.hpp"

#include <algorithm>

#include "pg/guc.hpp"

namespace stripe_sync::worker {

namespace {

constexpr Millis locked_again{5'000};  // what a lock kept from being compared

}  // namespace

// A large table is compared less often: at most a hundredth of the time goes into it.
Millis Comparison::every() const {
  if (store_.has_set_aside()) return soon();
  return std::max(Millis(1000LL * pg::guc::reconcile_interval), 100 * took_);
}

bool Comparison::make_if_due() {
  const Millis began = clock_.steady();
  if (made_at_ && began - *made_at_ < every()) return false;
  const bool whole = store_.reconcile();
  made_at_ = whole ? began : began - every() + locked_again;
  took_ = clock_.steady() - began;
  return true;
}

void Comparison::hasten() {
  if (made_at_ && clock_.steady() - *made_at_ > soon()) made_at_.reset();
}

std::optional<Millis> Comparison::wait() const {
  if (!made_at_) return std::nullopt;
  return *made_at_ + every() - clock_.steady();
}

}  // namespace stripe_sync::worker
