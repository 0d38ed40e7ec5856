#include "pg/guc.hpp"

#include <climits>

#include "pg/postgres.hpp"

extern "C" {
#include "utils/guc.h"
#include "utils/varlena.h"
}

namespace stripe_sync::pg::guc {

char* databases;
char* api_base;
char* api_key_file;
char* vault_api_key;
char* ca_file;
char* mirror_schema;
int max_parallel;
int rate_limit;
int reconcile_interval;
int poll_interval;
int connect_timeout;
int request_timeout;
int table_timeout;
#if STRIPE_SYNC_TESTING
int restart_delay = 5'000;
int well_after = 60'000;
#endif

namespace {

// Plain C, as every GUC hook.
bool check_names(char** value, void**, GucSource) {
  char* list = pstrdup(*value);
  List* names = NIL;
  const bool valid = SplitIdentifierString(list, ',', &names);
  if (!valid) GUC_check_errdetail("It must be a list of database names, separated by commas.");
  list_free(names);
  pfree(list);
  return valid;
}

void define_text(const char* name, const char* what, char** variable, const char* initial,
                 GucContext context, int flags) {
  DefineCustomStringVariable(name, what, nullptr, variable, initial, context, flags, nullptr,
                             nullptr, nullptr);
}

void define_int(const char* name, const char* what, int* variable, int initial, int least, int most,
                int flags) {
  DefineCustomIntVariable(name, what, nullptr, variable, initial, least, most, PGC_SIGHUP, flags,
                          nullptr, nullptr, nullptr);
}

}  // namespace

// What names a database, a host, a file or a secret is not shown to everybody.
void define() {
  DefineCustomStringVariable(
      "stripe_sync.databases",
      "Databases whose workers are started by themselves, separated by commas; none: all.", nullptr,
      &databases, "", PGC_SIGHUP, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY, check_names, nullptr,
      nullptr);
  define_text("stripe_sync.api_base", "Base URL of Stripe's API; http only to this machine.",
              &api_base, "https://api.stripe.com", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
  define_text("stripe_sync.api_key_file",
              "File that holds the Stripe key; readable by the server's user only.", &api_key_file,
              "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
  define_text("stripe_sync.vault_api_key", "Name of the Supabase Vault secret that holds the key.",
              &vault_api_key, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
  define_text("stripe_sync.ca_file", "Certificate authorities to trust instead of the system's.",
              &ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
  define_text("stripe_sync.mirror_schema", "Schema of the tables that we make and the user keeps.",
              &mirror_schema, "stripe", PGC_SIGHUP, 0);
  define_int("stripe_sync.max_parallel", "Requests to Stripe under way at once.", &max_parallel, 4,
             1, 64, 0);
  define_int("stripe_sync.rate_limit",
             "Requests a second; 0 = 20 with a live key, 10 with a test key.", &rate_limit, 0, 0,
             1000, 0);
  define_int("stripe_sync.reconcile_interval",
             "Time between comparisons of attached tables with what was taken from them.",
             &reconcile_interval, 300, 1, INT_MAX, GUC_UNIT_S);
  define_int("stripe_sync.poll_interval",
             "Time between looks at Stripe's events, while something is sent.", &poll_interval, 300,
             1, INT_MAX, GUC_UNIT_S);
  define_int("stripe_sync.connect_timeout", "Time to reach Stripe.", &connect_timeout, 10'000, 100,
             INT_MAX, GUC_UNIT_MS);
  define_int("stripe_sync.request_timeout", "Time for one whole request.", &request_timeout, 80'000,
             100, INT_MAX, GUC_UNIT_MS);
  define_int("stripe_sync.table_timeout",
             "Time for reading or writing one row of a promo table, with its triggers.",
             &table_timeout, 10'000, 100, INT_MAX / whole_table, GUC_UNIT_MS);
#if STRIPE_SYNC_TESTING
  define_int("stripe_sync.test_restart_delay", "Wait before the second restart.", &restart_delay,
             restart_delay, 1, INT_MAX, GUC_UNIT_MS | GUC_SUPERUSER_ONLY);
  define_int("stripe_sync.test_well_after", "Life after which a worker is well.", &well_after,
             well_after, 1, INT_MAX, GUC_UNIT_MS | GUC_SUPERUSER_ONLY);
#endif
  MarkGUCPrefixReserved("stripe_sync");
}

}  // namespace stripe_sync::pg::guc
