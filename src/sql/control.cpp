#include "pg/boundary.hpp"
#include "pg/compat.hpp"
#include "pg/spi.hpp"
#include "pg/start_worker.hpp"
#include "pg/worker_lock.hpp"

using namespace stripe_sync::pg;

STRIPE_SYNC_FUNCTION(stripe_sync_ensure_worker) {
  start_worker(PG_GETARG_BOOL(0) ? StartWorker::after_commit : StartWorker::now);
  PG_RETURN_VOID();
}

STRIPE_SYNC_FUNCTION(stripe_sync_wake_worker) {
  if (PG_GETARG_BOOL(0)) {
    wake_worker_at_commit();
    PG_RETURN_BOOL(true);
  }
  PG_RETURN_BOOL(wake_worker());
}

STRIPE_SYNC_FUNCTION(stripe_sync_pause_ms) {
  const long milliseconds = PG_GETARG_INT32(0);
  pg_call([=] {
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds, wait_event());
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  });
  PG_RETURN_VOID();
}

STRIPE_SYNC_FUNCTION(stripe_sync_library_version) {
  return text_datum(STRIPE_SYNC_VERSION);
}
