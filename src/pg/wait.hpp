#pragma once

#include <optional>

#include "core/clock.hpp"
#include "http/transport.hpp"

#include "pg/boundary.hpp"

namespace stripe_sync::pg {

/// Waits for the latch, the postmaster's death and the transport's sockets in one WaitEventSet, and
/// hands readiness to the transport. Never inside a transaction.
class Waiter {
 public:
  explicit Waiter(http::Transport& transport) : transport_(transport) {}
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// Returns after something happened or `timeout` has passed: whether the latch was set. Handles
  /// interrupts.
  bool wait(Millis timeout);

 private:
  void rebuild();

  http::Transport& transport_;
  struct WaitEventSet* events_ = nullptr;
};

}  // namespace stripe_sync::pg
