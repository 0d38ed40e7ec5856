// AFTER STATEMENT: appends a statement's changes to stripe_sync.promo_inbox, as the extension's
// owner, and wakes the worker at commit. Appending never waits and never conflicts, whatever the
// application's isolation level and timeouts.

#include "sql/promo_trigger.hpp"

#include "pg/log.hpp"
#include "pg/own_write.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "utils/hsearch.h"
#include "utils/rel.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;
using namespace stripe_sync::sql;

namespace {

std::string text_of(const char* alias, const std::string& column) {
  return std::string("format('%s', ") + alias + "." + quote_name(column) + ")";
}

// Rows that are there, unless nothing of them has changed.
std::string changed_sql(const Arguments& arguments) {
  const std::string off = arguments.active.empty()
                              ? "false"
                              : text_of("n", arguments.active) + " = ANY ('{f,false,0}')";
  return "SELECT 'changed' AS change, " + key_expression("n", arguments.keys) + " AS key, " +
         text_of("n", arguments.code) + " AS code, " + off + " AS off, nullif(" +
         text_of("n", arguments.sync[SyncColumns::promotion_code_id]) +
         ", '') AS promotion_code_id, NULL::bigint AS together FROM stripe_sync_new n WHERE " +
         text_of("n", arguments.sync[SyncColumns::status]) + " = ANY ('{pending,manual,\"\"}')";
}

// Keys that are gone; `together` counts those that a DELETE took.
std::string gone_sql(const Arguments& arguments, const char* together) {
  return "SELECT CASE WHEN " + text_of("o", arguments.sync[SyncColumns::status]) +
         " = 'manual' THEN 'left' ELSE 'deleted' END AS change, " +
         key_expression("o", arguments.keys) +
         " AS key, NULL AS code, NULL::boolean AS off, NULL AS promotion_code_id, " + together +
         " AS together FROM stripe_sync_old o";
}

std::string changes_sql(const TriggerData* trigger, const Arguments& arguments) {
  const TriggerEvent event = trigger->tg_event;
  if (TRIGGER_FIRED_BY_TRUNCATE(event)) {
    return "SELECT 'truncated' AS change, NULL AS key, NULL AS code, NULL::boolean AS off,"
           " NULL AS promotion_code_id, NULL::bigint AS together";
  }
  if (TRIGGER_FIRED_BY_DELETE(event)) {
    return gone_sql(arguments, "(SELECT count(*) FROM stripe_sync_old)");
  }
  if (TRIGGER_FIRED_BY_INSERT(event)) return changed_sql(arguments);
  return changed_sql(arguments) + " UNION ALL " + gone_sql(arguments, "NULL") + " WHERE " +
         key_expression("o", arguments.keys) + " NOT IN (SELECT " +
         key_expression("n", arguments.keys) + " FROM stripe_sync_new n)";
}

// $2 is the key of the worker's own write, which is no change.
std::string append_sql(const TriggerData* trigger) {
  return "INSERT INTO stripe_sync.promo_inbox"
         " (number, promo_table, change, key, code, off, promotion_code_id, together)"
         " SELECT (SELECT nextval('stripe_sync.change_number')), $1::oid, r.* FROM (" +
         changes_sql(trigger, Arguments(trigger->tg_trigger)) +
         ") r WHERE ($2 IS NULL OR r.key <> $2) AND (r.key IS NULL OR " + key_fits("r.key") + ")";
}

/// A plan by its trigger's oid: attaching again makes new triggers, so it never outlives its
/// columns.
struct KeptPlan {
  Oid trigger;
  SPIPlanPtr plan;
};

HTAB* kept_plans = nullptr;

SPIPlanPtr& plan_of(Oid trigger) {
  KeptPlan* kept = pg_call([=] {
    if (kept_plans == nullptr) {
      HASHCTL control = {};
      control.keysize = sizeof(Oid);
      control.entrysize = sizeof(KeptPlan);
      kept_plans = hash_create("stripe_sync trigger plans", 16, &control, HASH_ELEM | HASH_BLOBS);
    }
    bool found;
    KeptPlan* entry = static_cast<KeptPlan*>(hash_search(kept_plans, &trigger, HASH_ENTER, &found));
    if (!found) entry->plan = nullptr;
    return entry;
  });
  return kept->plan;
}

std::uint64_t append_changes(const TriggerData* trigger) {
  SPIPlanPtr& plan = plan_of(trigger->tg_trigger->tgoid);
  if (plan == nullptr) plan = keep_plan(append_sql(trigger), 2);
  const Oid table = RelationGetRelid(trigger->tg_relation);
  const bool ours = own_write != nullptr && own_write->table == table;
  return run_plan(plan, {std::to_string(table), ours ? Text(own_write->key) : Text()}).affected;
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_promo_after_statement) {
  TriggerData* trigger = trigger_data(fcinfo);
  const auto failed = in_subtransaction([&] {
    with_spi([&] {
      pg_call([=] { SPI_register_trigger_data(trigger); });
      std::uint64_t appended = 0;
      as_extension_owner([&] { appended = append_changes(trigger); });
      if (appended > 0) wake_worker_at_commit();
    });
  });
  if (failed) {
    log_error(WARNING, Error(failed->sqlstate, "a change of promo codes was not taken over yet",
                             failed->message, "It is found by the worker's next comparison."));
  }
  return PointerGetDatum(nullptr);
}
