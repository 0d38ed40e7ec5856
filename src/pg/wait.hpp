#pragma once

#include <optional>

#include "core/clock.hpp"
#include "http/transport.hpp"

#include "pg/boundary.hpp"

namespace stripe_sync::pg {

/// What pg_stat_activity shows this process to do, a fixed text; idle while it waits.
void show_activity(const char* phase);

/// Waits for this process's latch: whether it was set. To be told to end (SIGTERM) is left pending
/// by all waits, for the caller to end in order; other interrupts are handled.
bool wait_for_latch(Millis timeout);

/// Whether that has happened.
bool told_to_end();

namespace detail {
bool set_end_aside();
void end_as_told();
}  // namespace detail

/// Does what is left to do, and then ends the process if it was told to.
template <class F>
void before_end(const F& last) {
  const bool told = detail::set_end_aside();
  last();
  if (told) detail::end_as_told();
}

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
