#include "pg/start_worker.hpp"

#include <algorithm>
#include <cstring>

#include "pg/compat.hpp"
#include "pg/guc.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "commands/dbcommands.h"
#include "postmaster/bgworker.h"
}

namespace stripe_sync::pg {

namespace {

constexpr int restart_seconds = 5;
constexpr int most_doublings = 6;  // to 5 min

bool preloaded = false;

// Plain C, as all of this: also called from _PG_init.
void describe(BackgroundWorker* process, const char* type, const char* function) {
  memset(process, 0, sizeof *process);
  process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  process->bgw_start_time = BgWorkerStart_RecoveryFinished;
  process->bgw_restart_time = restart_seconds;
  strlcpy(process->bgw_library_name, "stripe_sync", sizeof process->bgw_library_name);
  strlcpy(process->bgw_function_name, function, sizeof process->bgw_function_name);
  strlcpy(process->bgw_type, type, sizeof process->bgw_type);
}

BackgroundWorkerHandle* register_worker(const WorkerStart* start) {
  BackgroundWorker worker;
  describe(&worker, "stripe_sync worker", "stripe_sync_worker_main");
  snprintf(worker.bgw_name, sizeof worker.bgw_name, "stripe_sync worker %s", start->name);
  if (preloaded) worker.bgw_restart_time = BGW_NEVER_RESTART;  // the launcher does
  worker.bgw_notify_pid = MyProcPid;
  static_assert(sizeof(WorkerStart) <= BGW_EXTRALEN);
  memcpy(worker.bgw_extra, start, sizeof *start);
  BackgroundWorkerHandle* handle;
  return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : nullptr;
}

bool start_and_wait(const WorkerStart* start) {
  BackgroundWorkerHandle* handle = register_worker(start);
  pid_t pid;
  return handle != nullptr && WaitForBackgroundWorkerStartup(handle, &pid) != BGWH_POSTMASTER_DIED;
}

}  // namespace

void start_worker(StartWorker when) {
  if (worker_runs()) return;
  WorkerStart start = {};
  start.database = MyDatabaseId;
  if (when == StartWorker::after_commit)
    current_virtual_xid(&start.creator_backend, &start.creator_local_xid);
  WorkerStart* s = &start;
  const bool started = pg_call([s] {
    strlcpy(s->name, get_database_name(s->database), NAMEDATALEN);
    return start_and_wait(s);
  });
  if (!started) {
    throw Error(
        errcode::usage, "no worker could be started: all background worker slots are taken",
        "max_worker_processes limits them.",
        "Raise max_worker_processes and restart the server, then SELECT stripe_sync_start();");
  }
}

BackgroundWorkerHandle* launch_worker(Oid database, const char* name) {
  WorkerStart start = {};
  start.database = database;
  start.by_launcher = true;
  strlcpy(start.name, name, NAMEDATALEN);
  const WorkerStart* s = &start;
  return pg_call([s] { return register_worker(s); });
}

void register_launcher() {
  preloaded = true;
  BackgroundWorker launcher;
  describe(&launcher, "stripe_sync launcher", "stripe_sync_launcher_main");
  strlcpy(launcher.bgw_name, launcher.bgw_type, sizeof launcher.bgw_name);
  RegisterBackgroundWorker(&launcher);
}

bool library_preloaded() {
  return preloaded;
}

Millis restart_delay(int failures) {
  if (failures <= 0) return Millis(0);
  const int doublings = std::min(failures - 1, most_doublings);
  return std::min(Millis(guc::restart_delay) * (1 << doublings), Millis(guc::restart_delay) * 60);
}

}  // namespace stripe_sync::pg
