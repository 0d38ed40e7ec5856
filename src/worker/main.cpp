// The worker's process: begins, goes on after mistakes, ends.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "core/clock.hpp"
#include "worker/worker.hpp"
#include "worker/worker_state.hpp"

#include "pg/boundary.hpp"
#include "pg/compat.hpp"
#include "pg/log.hpp"
#include "pg/start_worker.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
}

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

namespace {

constexpr Millis longest_rest{60'000};
constexpr Millis healthy_after{300'000};

bool connected = false;

// Plain C. A worker whose database is gone must not be started again and again: only exit code 0
// says so to the postmaster.
extern "C" void give_up_without_database(int, Datum) {
  if (!connected) _exit(0);
}

// Why it ended, unless it was meant to or the process has to end.
std::optional<Error> run_once() {
  try {
    as_errors(run_worker);
    return std::nullopt;
  } catch (const Error& error) {
    if (error.is_fatal_to_run()) throw;
    return error;
  }
}

// Somebody waits for the worker, or wants none.
bool asked_for() {
  const Orders orders = read_orders();
  return !orders.extension || !orders.wanted || orders.push_request > orders.pushes_done ||
         orders.check_request > orders.checks_done;
}

void rest(Millis length) {
  const SystemClock clock;
  const Millis end = clock.steady() + length;
  while (clock.steady() < end) {
    const long milliseconds = static_cast<long>((end - clock.steady()).count());
    const bool latched = pg_call([milliseconds] {
      const int events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                                   milliseconds, wait_event());
      ResetLatch(MyLatch);
      CHECK_FOR_INTERRUPTS();
      return (events & WL_LATCH_SET) != 0;
    });
    if (latched && asked_for()) return;
  }
}

// A mistake of ours that no row can be blamed for is told, and all is begun anew, less and less
// often: neither the end of the service nor a loop of crashes.
void run_on() {
  const SystemClock clock;
  int failures = 0;
  while (true) {
    const Millis began = clock.steady();
    const auto failed = run_once();
    if (!failed) return;
    if (clock.steady() - began > healthy_after) failures = 0;
    const Millis pause = std::min(backoff(++failures, 0.5), longest_rest);
    Error reason = *failed;
    reason.message = "the worker failed and begins anew: " + reason.message;
    reason.hint = "It goes on by itself; if it does not, the server log says what to report.";
    log_error(LOG, reason);
    store_blocked(reason, pause);
    rest(pause);
  }
}

void serve(Datum) {
  WorkerStart start;
  memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof start);
  const WorkerStart* s = &start;
  pg_call([s] {
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    on_proc_exit(give_up_without_database, 0);
    BackgroundWorkerUnblockSignals();
    if (OidIsValid(s->database)) {
      BackgroundWorkerInitializeConnectionByOid(s->database, InvalidOid, 0);
    } else {
      BackgroundWorkerInitializeConnection(s->name, nullptr, 0);
    }
    connected = true;
    ProcessConfigFile(PGC_SIGHUP);
    pgstat_report_appname("stripe_sync worker");
    SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
    SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
    no_transaction_timeout();
    SetConfigOption("jit", "off", PGC_SUSET, PGC_S_OVERRIDE);
    SetConfigOption("plan_cache_mode", "auto", PGC_SUSET, PGC_S_OVERRIDE);  // for run_lookup()
    // Only numbers must not be lost (SpiPromoStore::number); the rest is found out again.
    SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
    SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
    SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
    SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
  });
  if (!take_worker_lock()) return;  // another serves this database
  const auto waited = in_transaction(
      [s] { pg_call([s] { wait_for_virtual_xid(s->creator_backend, s->creator_local_xid); }); });
  if (waited) log_error(LOG, *waited);
  // From here on: give up long before the application's deadlock detector would choose a victim, be
  // it after several waits in one of its triggers.
  pg_call([] { SetConfigOption("lock_timeout", "20ms", PGC_SUSET, PGC_S_OVERRIDE); });
  log_line(LOG, std::string("worker of database \"") + start.name + "\" started");
  run_on();
  log_line(LOG, std::string("worker of database \"") + start.name + "\" ended");
}

}  // namespace
}  // namespace stripe_sync::worker

extern "C" {
PGDLLEXPORT void stripe_sync_worker_main(Datum argument);
}

void stripe_sync_worker_main(Datum argument) {
  pg_worker_main(argument, stripe_sync::worker::serve);
  proc_exit(0);
}
