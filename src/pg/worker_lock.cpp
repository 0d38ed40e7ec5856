#include "pg/worker_lock.hpp"

#include "pg/boundary.hpp"
#include "pg/compat.hpp"

extern "C" {
#include "catalog/pg_extension.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/timestamp.h"
}

namespace stripe_sync::pg {

namespace {

// A part of an object that does not exist: no command locks it. (An advisory lock could be let go
// by pg_advisory_unlock_all() in a trigger that our own write fires.) The view
// stripe_sync.running_worker looks for the same numbers.
constexpr Oid lock_class = ExtensionRelationId;
constexpr Oid lock_object = 1;
constexpr uint16 lock_part = 3;

constexpr int seconds_between_searches = 1;

LOCKTAG lock_tag() {
  LOCKTAG tag;
  SET_LOCKTAG_OBJECT(tag, MyDatabaseId, lock_class, lock_object, lock_part);
  return tag;
}

// Process-wide memory of where the worker is; a PGPROC stays valid memory for ever, its pid tells
// whether it is still the same process.
PGPROC* worker_proc = nullptr;
int worker_pid = 0;
TimestampTz searched_at = 0;
bool wake_pending = false;

int find_worker_pid() {
  const LOCKTAG tag = lock_tag();
  LockData* locks = GetLockStatusData();
  for (int i = 0; i < locks->nelements; ++i) {
    const LockInstanceData& lock = locks->locks[i];
    if (lock.locktag.locktag_type == LOCKTAG_OBJECT &&
        lock.locktag.locktag_field1 == tag.locktag_field1 &&
        lock.locktag.locktag_field2 == lock_class && lock.locktag.locktag_field3 == lock_object &&
        lock.locktag.locktag_field4 == lock_part && lock.holdMask != 0) {
      return lock.pid;
    }
  }
  return 0;
}

bool known_worker_lives() {
  return worker_proc != nullptr && worker_proc->pid == worker_pid;
}

// Reading all locks is not for every statement of a database without a worker.
void find_worker() {
  if (known_worker_lives()) return;
  const TimestampTz now = GetCurrentTimestamp();
  if (!TimestampDifferenceExceeds(searched_at, now, seconds_between_searches * 1000)) return;
  searched_at = now;
  worker_pid = find_worker_pid();
  worker_proc = worker_pid != 0 ? BackendPidGetProc(worker_pid) : nullptr;
}

// Plain C: a session's lock of this kind outlives its process unless it is let go.
extern "C" void release_worker_lock(int, Datum) {
  AbortOutOfAnyTransaction();
  const LOCKTAG tag = lock_tag();
  LockRelease(&tag, ExclusiveLock, true);
}

// Plain C: runs at commit, where nothing may fail.
extern "C" void at_transaction_end(XactEvent event, void*) {
  if (event == XACT_EVENT_COMMIT && wake_pending && known_worker_lives()) {
    SetLatch(&worker_proc->procLatch);
  }
  if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) {
    wake_pending = false;
  }
}

}  // namespace

bool take_worker_lock() {
  return pg_call([] {
    const LOCKTAG tag = lock_tag();
    if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL) return false;
    before_shmem_exit(release_worker_lock, 0);
    return true;
  });
}

bool worker_runs() {
  return pg_call([] {
    find_worker();
    return known_worker_lives();
  });
}

bool wake_worker() {
  return pg_call([] {
    find_worker();
    if (!known_worker_lives()) return false;
    SetLatch(&worker_proc->procLatch);
    return true;
  });
}

void wake_worker_at_commit() {
  if (wake_pending) return;
  pg_call([] { find_worker(); });
  wake_pending = true;
}

void init_wake() {
  RegisterXactCallback(at_transaction_end, nullptr);
}

}  // namespace stripe_sync::pg
