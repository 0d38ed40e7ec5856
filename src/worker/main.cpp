// How a worker process begins and ends.

#include <unistd.h>

#include <cstring>
#include <string>

#include "worker/worker.hpp"

#include "pg/boundary.hpp"
#include "pg/compat.hpp"
#include "pg/log.hpp"
#include "pg/start_worker.hpp"
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

bool connected = false;

// Plain C. A worker whose database is gone must not be started again and again: only exit code 0
// says so to the postmaster.
extern "C" void give_up_without_database(int, Datum) {
  if (!connected) _exit(0);
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
  run_worker();
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
