#include "pg/time_limit.hpp"

#include <csignal>

extern "C" {
#include "access/xact.h"
#include "storage/latch.h"
#include "utils/timeout.h"
}

namespace stripe_sync::pg {

namespace {

// Plain C: a signal handler and a transaction callback.
volatile sig_atomic_t time_is_up = false;
bool registered = false;
TimeoutId timer;

void cancel() {
  InterruptPending = true;
  QueryCancelPending = true;
}

void on_time_up() {
  time_is_up = true;
  cancel();
  SetLatch(MyLatch);
}

// PL/pgSQL can catch a cancel, and begin anew, for ever. Its block ends in the abort of a
// subtransaction: what comes next is cancelled in its turn, up to whoever called in_time().
void on_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
  if (event == SUBXACT_EVENT_ABORT_SUB && time_is_up) cancel();
}

}  // namespace

namespace detail {

void start_time_limit(Millis limit) {
  const int milliseconds = static_cast<int>(limit.count());
  pg_call([=] {
    if (!registered) {
      timer = RegisterTimeout(USER_TIMEOUT, on_time_up);
      RegisterSubXactCallback(on_subtransaction, nullptr);
      registered = true;
    }
    time_is_up = false;
    enable_timeout_after(timer, milliseconds);
  });
}

bool end_time_limit() {
  return pg_call([] {
    disable_timeout(timer, false);
    const bool up = time_is_up;
    time_is_up = false;
    if (up) QueryCancelPending = false;
    return up;
  });
}

}  // namespace detail

Error out_of_time(const std::string& table, Millis limit) {
  Error error(errcode::usage,
              table + " did not answer within " + std::to_string(limit.count()) + " ms",
              "One of its triggers, constraints or functions took longer than "
              "stripe_sync.table_timeout allows, and was cancelled.",
              "Make it quicker, or raise stripe_sync.table_timeout.");
  error.from_pg = true;
  return error;
}

}  // namespace stripe_sync::pg
