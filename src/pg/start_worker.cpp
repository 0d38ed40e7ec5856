#include "pg/start_worker.hpp"

#include <cstring>

#include "pg/compat.hpp"
#include "pg/guc.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "commands/dbcommands.h"
#include "postmaster/bgworker.h"
#include "utils/varlena.h"
}

namespace stripe_sync::pg {

namespace {

constexpr int restart_seconds = 5;

bool preloaded = false;

// Plain C: also called from _PG_init.
void describe(BackgroundWorker* worker, const WorkerStart* start) {
  memset(worker, 0, sizeof *worker);
  worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker->bgw_restart_time = restart_seconds;
  strlcpy(worker->bgw_library_name, "stripe_sync", sizeof worker->bgw_library_name);
  strlcpy(worker->bgw_function_name, "stripe_sync_worker_main", sizeof worker->bgw_function_name);
  strlcpy(worker->bgw_type, "stripe_sync worker", sizeof worker->bgw_type);
  snprintf(worker->bgw_name, sizeof worker->bgw_name, "stripe_sync worker %s", start->name);
  static_assert(sizeof(WorkerStart) <= BGW_EXTRALEN);
  memcpy(worker->bgw_extra, start, sizeof *start);
}

bool launch(const WorkerStart* start) {
  BackgroundWorker worker;
  describe(&worker, start);
  worker.bgw_notify_pid = MyProcPid;
  BackgroundWorkerHandle* handle;
  if (!RegisterDynamicBackgroundWorker(&worker, &handle)) return false;
  pid_t pid;
  return WaitForBackgroundWorkerStartup(handle, &pid) != BGWH_POSTMASTER_DIED;
}

}  // namespace

void start_worker(StartWorker when) {
  if (worker_runs()) return;
  WorkerStart start = {};
  start.database = MyDatabaseId;
  if (when == StartWorker::after_commit)
    current_virtual_xid(&start.creator_backend, &start.creator_local_xid);
  const WorkerStart* s = &start;
  const bool started = pg_call([s] {
    snprintf(const_cast<char*>(s->name), NAMEDATALEN, "%s", get_database_name(s->database));
    return launch(s);
  });
  if (!started) {
    throw Error(
        errcode::usage, "no worker could be started: all background worker slots are taken",
        "max_worker_processes limits them.",
        "Raise max_worker_processes and restart the server, then SELECT stripe_sync_start();");
  }
}

void register_static_workers() {
  preloaded = true;
  char* list = pstrdup(guc::databases);
  List* names = NIL;
  if (!SplitIdentifierString(list, ',', &names)) return;  // refused when it was set
  ListCell* cell;
  foreach (cell, names) {
    WorkerStart start = {};
    strlcpy(start.name, static_cast<const char*>(lfirst(cell)), NAMEDATALEN);
    BackgroundWorker worker;
    describe(&worker, &start);
    RegisterBackgroundWorker(&worker);
  }
}

bool library_preloaded() {
  return preloaded;
}

}  // namespace stripe_sync::pg
