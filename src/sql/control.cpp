#include <filesystem>
#include <fstream>

#include "pg/boundary.hpp"
#include "pg/compat.hpp"
#include "pg/spi.hpp"
#include "pg/start_worker.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "miscadmin.h"
}

using namespace stripe_sync::pg;

namespace {

// Without one (containers often have none) the data directory alone has to do.
std::string machine_id() {
  std::string id;
  for (const char* file : {"/etc/machine-id", "/var/lib/dbus/machine-id"}) {
    if (std::getline(std::ifstream(file), id)) break;
  }
  return id;
}

std::string data_directory() {
  std::error_code failed;
  const auto real = std::filesystem::canonical(DataDir, failed);
  return failed ? DataDir : real.string();
}

}  // namespace

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

STRIPE_SYNC_FUNCTION(stripe_sync_nap) {
  const long milliseconds = PG_GETARG_INT32(0);
  pg_call([=] {
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds, wait_event());
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  });
  PG_RETURN_VOID();
}

STRIPE_SYNC_FUNCTION(stripe_sync_host) {
  // A bytea is made like a text, and need not be valid in any encoding.
  return text_datum(machine_id() + '\n' + data_directory());
}

STRIPE_SYNC_FUNCTION(stripe_sync_library_version) {
  return text_datum(STRIPE_SYNC_VERSION);
}
