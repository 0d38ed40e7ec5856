#pragma once

#include "pg/boundary.hpp"

namespace stripe_sync::pg {

enum class StartWorker {
  now,           ///< for a call that waits for it
  after_commit,  ///< it looks at nothing before the calling transaction has ended
};

/// What a worker is started with (bgw_extra). Plain data.
struct WorkerStart {
  Oid database;  ///< InvalidOid: by name, from stripe_sync.databases
  char name[NAMEDATALEN];
  int creator_backend;  ///< of the transaction to wait for; 0 = none
  unsigned creator_local_xid;
};

/// Starts a dynamic worker for this database unless one runs. SY004 when there is no free slot.
void start_worker(StartWorker when);

/// Registers a worker for each database of stripe_sync.databases; from _PG_init when preloaded.
void register_static_workers();

/// Whether every process of this server has the library from the server's start.
bool library_preloaded();

}  // namespace stripe_sync::pg
