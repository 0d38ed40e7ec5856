#pragma once

#include "core/clock.hpp"

#include "pg/boundary.hpp"

struct BackgroundWorkerHandle;

namespace stripe_sync::pg {

enum class StartWorker {
  now,           ///< for a call that waits for it
  after_commit,  ///< it looks at nothing before the calling transaction has ended
};

/// What a worker is started with (bgw_extra). Plain data.
struct WorkerStart {
  Oid database;
  char name[NAMEDATALEN];
  bool by_launcher;     ///< which does not know whether the database needs one
  int creator_backend;  ///< of the transaction to wait for; 0 = none
  unsigned creator_local_xid;
};

/// Starts a worker for this database unless one runs. SY004 when there is no free slot.
void start_worker(StartWorker when);

/// The launcher starts one, and is told when it begins and ends; nothing when there is no free
/// slot. Outside a transaction: the handle is the caller's to free.
BackgroundWorkerHandle* launch_worker(Oid database, const char* name);

/// Registers the launcher; from _PG_init when preloaded.
void register_launcher();

/// Whether every process of this server has the library from the server's start; then the launcher
/// starts workers again, else the postmaster does.
bool library_preloaded();

/// Before a start after so many failures in a row: 5 s doubling to 5 min; 0 = none.
Millis restart_delay(int failures);

}  // namespace stripe_sync::pg
