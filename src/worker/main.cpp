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
#include "pg/database_commands.hpp"
#include "pg/log.hpp"
#include "pg/start_worker.hpp"
#include "pg/wait.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
}

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

namespace {

constexpr Millis longest_rest{60'000};
constexpr Millis healthy_after{300'000};
constexpr int crashes_without_wait = 1;

bool connected = false;

// Plain C. Without a launcher, a worker whose database is gone must not be started again and again:
// only exit code 0 says so to the postmaster.
extern "C" void give_up_without_database(int, Datum) {
  if (!connected) _exit(0);
}

// Plain C. Registered before the connection is made, so that it is done last: the lock is free
// then.
extern "C" void tell_launcher(int, Datum) {
  wake_launcher();
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

// How often it was asked for something.
struct Requests {
  std::int64_t pushes, checks, diffs;

  bool exceeded_by(const Orders& orders) const {
    return orders.push_request > pushes || orders.check_request > checks ||
           orders.diff_request > diffs;
  }
};

// Ends early when somebody waits for the worker, asked for more than `known`, or wants none.
void rest(Millis length, const Requests& known) {
  const SystemClock clock;
  const Millis end = clock.steady() + length;
  while (clock.steady() < end) {
    const bool latched = wait_for_latch(end - clock.steady());
    if (told_to_end()) return;
    if (!latched) continue;
    const Orders orders = read_orders();
    if (!orders.extension || !orders.wanted || known.exceeded_by(orders)) return;
  }
}

// A row that crashes the worker takes the whole server along: less and less often. Nothing is
// touched before; whoever asked for something before the last crash is gone with it.
void wait_after_crashes() {
  const Orders orders = read_orders();
  const Millis pause = restart_delay(orders.starts - crashes_without_wait);
  if (pause == Millis(0)) return;
  const Error reason(
      errcode::internal,
      "the worker, or the server with it, crashed or was ended in the middle of something " +
          std::to_string(orders.starts) + " times in a row soon after it had started",
      "", "SELECT * FROM stripe_sync_promo(); tries at once; the server log says what to report.");
  log_error(LOG, reason);
  store_blocked(reason, pause);
  show_activity("waiting after a crash");
  rest(pause, {orders.push_request, orders.check_request, orders.diff_request});
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
    const Orders orders = read_orders();
    rest(pause, {orders.pushes_done, orders.checks_done, orders.diffs_done});
    if (told_to_end()) return;
  }
}

// What the launcher does not know when it starts a worker.
bool needed() {
  const Orders orders = read_orders();
  return orders.extension && orders.wanted && (orders.active || orders.misfit);
}

// A session that waits, or the one that attached a table. A restart is nobody's wish.
bool started_on_request(const WorkerStart& start) {
  return !start.by_launcher && MyBgworkerEntry->bgw_notify_pid != 0;
}

void serve(Datum) {
  WorkerStart start;
  memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof start);
  const WorkerStart* s = &start;
  pg_call([s] {
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    if (!library_preloaded()) on_proc_exit(give_up_without_database, 0);
    before_shmem_exit(tell_launcher, 0);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnectionByOid(s->database, InvalidOid, 0);
    connected = true;
    ProcessConfigFile(PGC_SIGHUP);
    pgstat_report_appname("stripe_sync worker");
    // Whoever waits for a transaction to end waits for long; the launcher asks again.
    SetConfigOption("lock_timeout", s->by_launcher ? "1s" : "0", PGC_SUSET, PGC_S_OVERRIDE);
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
  if (s->by_launcher && !needed()) return;
  if (!take_worker_lock()) return;  // another serves this database
  bool to_leave = false;
  const auto failed = in_transaction([&] {
    find_launcher();
    to_leave = database_command_waits();
  });
  if (failed) log_error(LOG, *failed);
  wake_launcher();
  if (to_leave) return;
  const auto waited = in_transaction(
      [s] { pg_call([s] { wait_for_virtual_xid(s->creator_backend, s->creator_local_xid); }); });
  if (waited) log_error(LOG, *waited);
  // From here on: give up long before the application's deadlock detector would choose a victim, be
  // it after several waits in one of its triggers.
  pg_call([] { SetConfigOption("lock_timeout", "20ms", PGC_SUSET, PGC_S_OVERRIDE); });
  log_line(LOG, std::string("worker of database \"") + start.name + "\" started");
  if (!started_on_request(start)) wait_after_crashes();
  const bool began = !told_to_end();
  if (began) {
    note_start();
    run_on();
  }
  before_end([&] {
    if (began) forget_starts();
    log_line(LOG, std::string("worker of database \"") + start.name + "\" ended");
  });
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
