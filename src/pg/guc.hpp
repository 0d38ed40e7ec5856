#pragma once
// All settings, stripe_sync.*. None holds a secret: a value in postgresql.conf is readable by
// everybody until the library is loaded.

namespace stripe_sync::pg::guc {

extern char* databases;
extern char* api_base;
extern char* api_key_file;
extern char* vault_api_key;
extern char* ca_file;
extern char* mirror_schema;  ///< read in SQL
extern int max_parallel;
extern int rate_limit;
extern int reconcile_interval;
extern int poll_interval;    ///< seconds
extern int connect_timeout;  ///< milliseconds
extern int request_timeout;  ///< milliseconds
extern int table_timeout;    ///< milliseconds

/// Milliseconds. Tests set them, to be quick.
#if STRIPE_SYNC_TESTING
extern int restart_delay;
extern int well_after;
#else
constexpr int restart_delay = 5'000;
constexpr int well_after = 60'000;
#endif

/// Comparing a whole table may take so many times table_timeout.
constexpr int whole_table = 10;

/// Defines the settings; from _PG_init.
void define();

}  // namespace stripe_sync::pg::guc
