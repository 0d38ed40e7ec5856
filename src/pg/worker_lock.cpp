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

// No database: the launcher's.
LOCKTAG lock_tag(Oid database) {
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, database, lock_class, lock_object, lock_part);
  return tag;
}

bool take_lock(const LOCKTAG* tag) {
  return LockAcquire(tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

bool is_held_worker_lock(const LockInstanceData& lock) {
  const LOCKTAG& tag = lock.locktag;
  return tag.locktag_type == LOCKTAG_ADVISORY && tag.locktag_field2 == lock_class &&
         tag.locktag_field3 == lock_object && tag.locktag_field4 == lock_part && lock.holdMask != 0;
}

// A PGPROC stays valid memory for ever, its pid tells whether it is still the same process.
struct Process {
  PGPROC* proc;
  int pid;

  bool lives() const { return proc != nullptr && proc->pid == pid; }
  void wake() const { SetLatch(&proc->procLatch); }
};

// Process-wide memory of where they are.
bool is_worker = false;
Process worker = {};
Process launcher = {};
TimestampTz searched_at = 0;
bool wake_pending = false;

Process find_process(Oid database) {
  const int pid = find_worker_pid(database);
  return {pid != 0 ? BackendPidGetProc(pid) : nullptr, pid};
}

// Reading all locks is not for every statement of a database without a worker.
void find_worker() {
  if (worker.lives()) return;
  const TimestampTz now = GetCurrentTimestamp();
  if (!TimestampDifferenceExceeds(searched_at, now, seconds_between_searches * 1000)) return;
  searched_at = now;
  worker = find_process(MyDatabaseId);
}

// Plain C: runs at commit, where nothing may fail.
extern "C" void at_transaction_end(XactEvent event, void*) {
  if (event == XACT_EVENT_COMMIT && wake_pending && worker.lives()) worker.wake();
  if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) {
    wake_pending = false;
  }
}

}  // namespace

bool take_worker_lock() {
  return pg_call([] {
    const LOCKTAG tag = lock_tag(MyDatabaseId);
    is_worker = take_lock(&tag);
    return is_worker;
  });
}

void keep_worker_lock() {
  if (!is_worker) return;
  const bool held = pg_call([] {
    const LOCKTAG tag = lock_tag(MyDatabaseId);
    return lock_held_by_me(&tag, ExclusiveLock) || take_lock(&tag);
  });
  // Of the class that ends a run.
  if (!held) throw Error(sqlstate("57P01"), "another worker serves this database");
}

bool worker_runs() {
  return pg_call([] {
    find_worker();
    return worker.lives();
  });
}

bool wake_worker() {
  return pg_call([] {
    searched_at = 0;  // asked for: look now
    find_worker();
    if (!worker.lives()) return false;
    worker.wake();
    return true;
  });
}

// Looked for here, where a failure is the trigger's to catch, and not the application's. A worker
// that starts before the commit sees it in its first rounds.
void wake_worker_at_commit() {
  if (wake_pending && worker.lives()) return;
  pg_call([] { find_worker(); });
  wake_pending = true;
}

void init_wake() {
  RegisterXactCallback(at_transaction_end, nullptr);
}

int find_worker_pid(Oid database) {
  const LockData* locks = GetLockStatusData();
  for (int i = 0; i < locks->nelements; ++i) {
    const LockInstanceData& lock = locks->locks[i];
    if (is_held_worker_lock(lock) && lock.locktag.locktag_field1 == database) return lock.pid;
  }
  return 0;
}

std::vector<Oid> served_databases() {
  const LockData* locks = pg_call([] { return GetLockStatusData(); });
  std::vector<Oid> served;
  for (int i = 0; i < locks->nelements; ++i) {
    const LockInstanceData& lock = locks->locks[i];
    if (is_held_worker_lock(lock)) served.push_back(lock.locktag.locktag_field1);
  }
  return served;
}

bool take_launcher_lock() {
  return pg_call([] {
    const LOCKTAG tag = lock_tag(InvalidOid);
    return take_lock(&tag);
  });
}

void find_launcher() {
  launcher = pg_call([] { return find_process(InvalidOid); });
}

void wake_launcher() {
  if (launcher.lives()) launcher.wake();
}

}  // namespace stripe_sync::pg
