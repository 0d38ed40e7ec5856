#include "pg/worker_lock.hpp"

#include "pg/boundary.hpp"
#include "pg/compat.hpp"

extern "C" {
#include "storage/lock.h"
#include "utils/timestamp.h"
}

namespace stripe_sync::pg {

namespace {

// "stry", 1, 3: the view stripe_sync.running_worker looks for the same numbers. (A lock of another
// method than the advisory locks' would not outlive a transaction's abort.)
constexpr uint32 lock_class = 1937011321;
constexpr uint32 lock_object = 1;
constexpr uint16 lock_part = 3;  // pg_advisory_lock uses 1 and 2

constexpr int seconds_between_searches = 1;

LOCKTAG lock_tag() {
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, lock_class, lock_object, lock_part);
  return tag;
}

// Process-wide memory of where the worker is; a PGPROC stays valid memory for ever, its pid tells
// whether it is still the same process.
bool is_worker = false;
PGPROC* worker_proc = nullptr;
int worker_pid = 0;
TimestampTz searched_at = 0;
bool wake_pending = false;

int find_worker_pid() {
  const LOCKTAG tag = lock_tag();
  LockData* locks = GetLockStatusData();
  for (int i = 0; i < locks->nelements; ++i) {
    const LockInstanceData& lock = locks->locks[i];
    if (lock.locktag.locktag_type == LOCKTAG_ADVISORY &&
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
    is_worker = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
    return is_worker;
  });
}

void keep_worker_lock() {
  if (!is_worker) return;
  const bool held = pg_call([] {
    const LOCKTAG tag = lock_tag();
    return lock_held_by_me(&tag, ExclusiveLock) ||
           LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
  });
  // Of the class that ends a run.
  if (!held) throw Error(sqlstate("57P01"), "another worker serves this database");
}

bool worker_runs() {
  return pg_call([] {
    find_worker();
    return known_worker_lives();
  });
}

bool wake_worker() {
  return pg_call([] {
    searched_at = 0;  // asked for: look now
    find_worker();
    if (!known_worker_lives()) return false;
    SetLatch(&worker_proc->procLatch);
    return true;
  });
}

// Looked for here, where a failure is the trigger's to catch, and not the application's. A worker
// that starts before the commit sees it in its first rounds.
void wake_worker_at_commit() {
  if (wake_pending && known_worker_lives()) return;
  pg_call([] { find_worker(); });
  wake_pending = true;
}

void init_wake() {
  RegisterXactCallback(at_transaction_end, nullptr);
}

}  // namespace stripe_sync::pg
