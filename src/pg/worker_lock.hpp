#pragma once
// One worker per database: it holds a lock for as long as it lives. The same lock tells others
// which process that is, so that its latch can be set at commit. No SQL command takes it. The
// launcher holds that of no database.

#include <vector>

#include "pg/postgres.hpp"

namespace stripe_sync::pg {

/// Takes the lock for the life of this process; false if another worker of this database has it.
bool take_worker_lock();

/// In the worker, at the start of a transaction: takes the lock again if a trigger fired by our
/// write has let it go (pg_advisory_unlock_all); ends the process if another worker was quicker.
void keep_worker_lock();

/// Whether this database has a worker.
bool worker_runs();

/// Sets the latch of this database's worker; false if none runs. Finds it anew at most once a
/// second when there is none.
bool wake_worker();

/// The same once the current transaction has committed.
void wake_worker_at_commit();

/// Registers the transaction callback; once, from _PG_init.
void init_wake();

/// The databases that have a worker. In a transaction, whose memory it takes.
std::vector<Oid> served_databases();

/// Process of that database's worker, 0 if it has none. Plain C.
int find_worker_pid(Oid database);

/// The launcher's take_worker_lock(): it serves no database.
bool take_launcher_lock();

/// In a worker, in a transaction: finds the launcher, if there is one, for wake_launcher().
void find_launcher();

/// Sets its latch: that this worker serves, or ends, is something to look at. Plain C.
void wake_launcher();

}  // namespace stripe_sync::pg
