#pragma once
// One worker per database: it holds a lock for as long as it lives. The same lock tells others
// which process that is, so that its latch can be set at commit. No SQL command takes it.

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

}  // namespace stripe_sync::pg
