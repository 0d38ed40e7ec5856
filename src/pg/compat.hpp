#pragma once
// Every difference between PostgreSQL versions, and nothing else.

#include "pg/postgres.hpp"

extern "C" {
#include "catalog/pg_database.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/guc.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#include "utils/wait_event.h"
}

#ifndef DATCONNLIMIT_INVALID_DB  // before 15.4 no database was marked so
#define DATCONNLIMIT_INVALID_DB (-2)
#endif

namespace stripe_sync::pg {

inline WaitEventSet* create_wait_event_set(MemoryContext context [[maybe_unused]], int events) {
#if PG_VERSION_NUM >= 170000
  return CreateWaitEventSet(nullptr, events);
#else
  return CreateWaitEventSet(context, events);
#endif
}

inline uint32 wait_event() {
#if PG_VERSION_NUM >= 170000
  static uint32 number = 0;
  if (number == 0) number = WaitEventExtensionNew("StripeSyncWorker");
  return number;
#else
  return PG_WAIT_EXTENSION;
#endif
}

inline bool in_background_worker() {
#if PG_VERSION_NUM >= 170000
  return AmBackgroundWorkerProcess();
#else
  return IsBackgroundWorker;
#endif
}

/// Lifts the limit that a database may put on whole transactions.
inline void no_transaction_timeout() {
#if PG_VERSION_NUM >= 170000
  SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

inline bool lock_held_by_me(const LOCKTAG* tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
  return LockHeldByMe(tag, mode, false);
#else
  return LockHeldByMe(tag, mode);
#endif
}

inline bool owns_database(Oid database, Oid role) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(DatabaseRelationId, database, role);
#else
  return pg_database_ownercheck(database, role);
#endif
}

/// The calling transaction, for somebody else to wait for.
inline void current_virtual_xid(int* backend, unsigned* local) {
#if PG_VERSION_NUM >= 170000
  *backend = MyProc->vxid.procNumber;
  *local = MyProc->vxid.lxid;
#else
  *backend = MyProc->backendId;
  *local = MyProc->lxid;
#endif
}

/// Waits until that transaction has ended.
inline void wait_for_virtual_xid(int backend, unsigned local) {
  VirtualTransactionId id;
#if PG_VERSION_NUM >= 170000
  id.procNumber = backend;
#else
  id.backendId = backend;
#endif
  id.localTransactionId = local;
  if (VirtualTransactionIdIsValid(id)) VirtualXactLock(id, true);
}

}  // namespace stripe_sync::pg
