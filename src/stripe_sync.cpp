#include "pg/database_commands.hpp"
#include "pg/guc.hpp"
#include "pg/postgres.hpp"
#include "pg/shared_limiter.hpp"
#include "pg/start_worker.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

void _PG_init(void) {
  stripe_sync::pg::guc::define();
  stripe_sync::pg::init_wake();
  if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade) {
    stripe_sync::pg::register_launcher();
    stripe_sync::pg::watch_database_commands();
    stripe_sync::pg::request_shared_buckets();
  }
}
