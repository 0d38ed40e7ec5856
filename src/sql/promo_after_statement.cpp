// AFTER STATEMENT: takes a statement's changes into stripe_sync.promo_state, as the extension's
// owner, and wakes the worker at commit.

#include "sql/promo_trigger.hpp"

#include "pg/compat.hpp"
#include "pg/log.hpp"
#include "pg/own_write.hpp"
#include "pg/promo_state_sql.hpp"
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

unsigned moved_in = 0;  // local transaction id

unsigned local_transaction() {
  int backend;
  unsigned local;
  current_virtual_xid(&backend, &local);
  return local;
}

const char* changed_state =
    "state = 'pending', attempts = 0, next_attempt = clock_timestamp(),"
    " changed_at = clock_timestamp(), changed_by = pg_current_xact_id(),"
    " generation = s.generation + 1";

std::string status_of(const char* alias, const Arguments& arguments) {
  return std::string("format('%s', ") + alias + "." +
         quote_name(arguments.sync[SyncColumns::status]) + ")";
}

// What a statement did to rows: those to look at, and keys that are gone. Rows left to the user are
// not gone.
std::string changes_sql(const Arguments& arguments, bool moved) {
  const std::string key = key_expression("n", arguments.keys);
  const std::string active =
      arguments.active.empty() ? "'t'" : "format('%s', n." + quote_name(arguments.active) + ")";
  std::string rows = "SELECT " + key + " AS key, format('%s', n." + quote_name(arguments.code) +
                     ") AS code, " + active +
                     " = ANY ('{f,false,0}') AS off, false AS deleted, format('%s', n." +
                     quote_name(arguments.sync[SyncColumns::promotion_code_id]) +
                     ") AS carried FROM stripe_sync_new n WHERE " + status_of("n", arguments) +
                     " = ANY ('{pending,manual,\"\"}')";
  if (moved) {
    rows += " UNION ALL SELECT gone.key, NULL, true, true, NULL FROM (SELECT " +
            key_expression("o", arguments.keys) + " FROM stripe_sync_old o WHERE " +
            status_of("o", arguments) + " <> 'manual' EXCEPT SELECT " + key +
            " FROM stripe_sync_new n) gone(key)";
  }
  return rows;
}

std::string mark_sql(const Arguments& arguments, bool moved) {
  return "INSERT INTO stripe_sync.promo_state AS s (promo_table, key, code, off, deleted, "
         "changed_by)"
         " SELECT $1::oid, r.key, r.code, r.off, r.deleted, pg_current_xact_id() FROM (" +
         changes_sql(arguments, moved) +
         ") r LEFT JOIN stripe_sync.promo_state p ON r.deleted AND p.promo_table = $1::oid"
         " AND p.key = r.key WHERE r.key IS DISTINCT FROM $2 AND (NOT r.deleted OR p.key IS NOT "
         "NULL)"
         " ON CONFLICT (promo_table, key) DO UPDATE SET"
         " code = coalesce(excluded.code, s.code), off = excluded.off,"
         " deleted = excluded.deleted, " +
         changed_state +
         // once a transaction is enough: each version would lengthen the way to the next
         " WHERE (s.changed_by, s.state, s.off, s.deleted, s.code) IS DISTINCT FROM"
         " (excluded.changed_by, 'pending', excluded.off, excluded.deleted,"
         " coalesce(excluded.code, s.code))";
}

// Appends only: never waits and never conflicts, whatever the application's isolation level and
// timeouts. The worker takes it into promo_state.
std::string inbox_sql(const Arguments& arguments, bool deletes, bool moved) {
  const std::string rows =
      deletes ? "SELECT " + key_expression("o", arguments.keys) +
                    " AS key, NULL AS code, true AS off, true AS deleted, NULL AS carried"
                    " FROM stripe_sync_old o WHERE " +
                    status_of("o", arguments) + " <> 'manual'"
              : changes_sql(arguments, moved);
  return "INSERT INTO stripe_sync.promo_inbox (promo_table, key, code, off, deleted, "
         "promotion_code_id)"
         " SELECT $1::oid, r.key, r.code, r.off, r.deleted, nullif(r.carried, '') FROM (" +
         rows + ") r WHERE r.key IS DISTINCT FROM $2";
}

// Old and new keys of rows that go on under another key: changed in place, or deleted and inserted
// again with their ids.
std::string moves_sql(const Arguments& arguments, bool update) {
  const std::string id = quote_name(arguments.sync[SyncColumns::promotion_code_id]);
  const std::string new_key = key_expression("n", arguments.keys);
  const std::string pairs =
      update ? "SELECT " + key_expression("o", arguments.keys) + " AS old_key, " + new_key +
                   " AS new_key FROM stripe_sync_old o JOIN stripe_sync_new n ON format('%s', o." +
                   id + ") = format('%s', n." + id + ") WHERE n." + id + " IS NOT NULL"
             : "SELECT p.key AS old_key, " + new_key +
                   " AS new_key FROM stripe_sync_new n JOIN stripe_sync.promo_state p"
                   " ON p.promo_table = $1::oid AND p.deleted"
                   " AND p.promotion_code_id = format('%s', n." +
                   id + ")";
  return "(SELECT * FROM (" + pairs + ") x WHERE x.old_key <> x.new_key)";
}

// Their state goes along, or a code that works would be switched off and made anew. Keys may be
// exchanged: what stands in the way makes place first, as a row that is gone, and the others pass
// through names that no key has.
std::string move_sql(const Arguments& arguments, bool update) {
  const std::string moves = moves_sql(arguments, update);
  const std::string changed = changed_state;
  return "UPDATE stripe_sync.promo_state s SET deleted = true, off = true,"
         " key = s.key || ' before ' || nextval('stripe_sync.lease_number'), lease = NULL,"
         " settled = NULL, " +
         changed + " FROM " + moves +
         " m WHERE s.promo_table = $1::oid AND s.key = m.new_key AND $2::text IS NULL"
         " AND NOT EXISTS (SELECT FROM " +
         moves +
         " w WHERE w.old_key = s.key);"
         " UPDATE stripe_sync.promo_state s SET key = chr(1) || m.new_key, deleted = false,"
         " lease = NULL, settled = NULL, " +
         changed + " FROM " + moves +
         " m WHERE s.promo_table = $1::oid AND s.key = m.old_key AND $2::text IS NULL;"
         " UPDATE stripe_sync.promo_state s SET key = substr(s.key, 2)"
         " WHERE s.promo_table = $1::oid AND s.key >= chr(1) AND s.key < chr(2)"
         " AND $2::text IS NULL";
}

std::string held() {
  return " settled = NULL, sqlstate = 'SY004', detail = " +
         quote_literal(promo_state::missing_detail) +
         ", hint = " + quote_literal(promo_state::missing_hint) + ", reason = ";
}

// Rows left to the user stay so. More than ten rows and a fifth of the table at once may be a
// mistake: held until confirmed.
std::string delete_sql(const Arguments& arguments) {
  return "WITH gone AS MATERIALIZED (SELECT " + key_expression("o", arguments.keys) + " AS key, " +
         status_of("o", arguments) +
         " = 'manual' AS manual FROM stripe_sync_old o), bulk AS MATERIALIZED"
         " (SELECT CASE WHEN count(*) > 10 THEN count(*) * 5 > (SELECT count(*)"
         "   FROM stripe_sync.promo_state a WHERE a.promo_table = $1::oid AND NOT a.deleted)"
         "   ELSE false END AS held FROM gone), fate AS MATERIALIZED"
         " (SELECT gone.key, CASE WHEN gone.manual THEN 'excluded' WHEN bulk.held THEN 'missing'"
         "   ELSE 'pending' END AS state FROM gone, bulk)"
         " UPDATE stripe_sync.promo_state s SET deleted = f.state <> 'missing', off = true,"
         " attempts = 0, changed_at = clock_timestamp(), changed_by = pg_current_xact_id(),"
         " generation = s.generation + 1, state = f.state,"
         " next_attempt = CASE WHEN f.state = 'pending' THEN clock_timestamp() END,"
         " warnings = CASE WHEN f.state = 'excluded' AND s.observed #>> '{promotion_code,active}' "
         "= 'true'"
         "   THEN ARRAY['the row is deleted, its promotion code ' || s.promotion_code_id ||"
         "     ' is still active in Stripe: sync_status was manual'] END," +
         held() +
         "CASE WHEN f.state = 'missing' THEN 'deleted together with a large part of its table' END"
         " FROM fate f WHERE s.promo_table = $1::oid AND s.key = f.key"
         " AND f.key IS DISTINCT FROM $2";
}

std::string truncate_sql() {
  return "UPDATE stripe_sync.promo_state s SET state = 'missing', next_attempt = NULL,"
         " changed_at = clock_timestamp(), changed_by = pg_current_xact_id(),"
         " generation = s.generation + 1," +
         held() +
         "'the table was truncated' WHERE s.promo_table = $1::oid AND NOT s.deleted"
         " AND s.state <> 'excluded' AND $2::text IS NULL";
}

/// Plans by trigger oid: attaching again makes new triggers, so a plan never outlives its columns.
struct KeptPlans {
  Oid trigger;
  SPIPlanPtr usual;
  SPIPlanPtr move;        ///< of rows that go on under another key
  SPIPlanPtr mark_moved;  ///< what is then left of the keys before
  SPIPlanPtr inbox;       ///< what can't go into promo_state now
};

HTAB* kept_plans = nullptr;

KeptPlans* plans_of(Oid trigger) {
  return pg_call([=] {
    if (kept_plans == nullptr) {
      HASHCTL control = {};
      control.keysize = sizeof(Oid);
      control.entrysize = sizeof(KeptPlans);
      kept_plans = hash_create("stripe_sync trigger plans", 16, &control, HASH_ELEM | HASH_BLOBS);
    }
    bool found;
    KeptPlans* entry =
        static_cast<KeptPlans*>(hash_search(kept_plans, &trigger, HASH_ENTER, &found));
    if (!found) entry->usual = entry->move = entry->mark_moved = entry->inbox = nullptr;
    return entry;
  });
}

std::string usual_sql(const TriggerData* trigger, const Arguments& arguments) {
  if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event)) return delete_sql(arguments);
  if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event)) return truncate_sql();
  return mark_sql(arguments, false);
}

/// Runs a plan; its SQL is made only when it is not kept yet.
template <class Make>
std::uint64_t run_kept(SPIPlanPtr& plan, const TriggerData* trigger, const Make& make) {
  if (plan == nullptr) plan = keep_plan(make(Arguments(trigger->tg_trigger)), 2);
  const Oid table = RelationGetRelid(trigger->tg_relation);
  const bool ours = own_write != nullptr && own_write->table == table;
  return run_plan(plan, {std::to_string(table), ours ? Text(own_write->key) : Text()}).affected;
}

std::uint64_t take_changes(const TriggerData* trigger) {
  KeptPlans* plans = plans_of(trigger->tg_trigger->tgoid);
  const bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
  const bool may_move = update || TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
  if (!may_move || !rows_may_have_moved()) {
    return run_kept(plans->usual, trigger,
                    [&](const Arguments& a) { return usual_sql(trigger, a); });
  }
  const std::uint64_t moved =
      run_kept(plans->move, trigger, [&](const Arguments& a) { return move_sql(a, update); });
  return moved + run_kept(plans->mark_moved, trigger,
                          [&](const Arguments& a) { return mark_sql(a, update); });
}

// Changes of a key are taken in their order: behind what waits in the inbox for this table, later
// ones wait too. (Writers of one row follow each other, and this statement sees what they left.)
bool inbox_waits(const TriggerData* trigger) {
  static Statement select{
      "SELECT 1 FROM stripe_sync.promo_inbox WHERE promo_table = $1::oid LIMIT 1"};
  bool waits = false;
  with_spi([&] {
    as_extension_owner(
        [&] { waits = !select(std::to_string(RelationGetRelid(trigger->tg_relation))).empty(); });
  });
  return waits;
}

std::uint64_t append_changes(const TriggerData* trigger) {
  KeptPlans* plans = plans_of(trigger->tg_trigger->tgoid);
  const bool deletes = TRIGGER_FIRED_BY_DELETE(trigger->tg_event);
  const bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
  return run_kept(plans->inbox, trigger,
                  [&](const Arguments& a) { return inbox_sql(a, deletes, update); });
}

void after_statement(TriggerData* trigger, std::uint64_t (*take)(const TriggerData*)) {
  with_spi([&] {
    pg_call([=] { SPI_register_trigger_data(trigger); });
    std::uint64_t marked = 0;
    as_extension_owner([&] { marked = take(trigger); });
    if (marked > 0) wake_worker_at_commit();
  });
}

}  // namespace

void stripe_sync::sql::note_moved_row() {
  moved_in = local_transaction();
}

bool stripe_sync::sql::rows_may_have_moved() {
  return moved_in == local_transaction();
}

STRIPE_SYNC_FUNCTION(stripe_sync_promo_after_statement) {
  TriggerData* trigger = trigger_data(fcinfo);
  const bool truncate = TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event);
  // Under one snapshot for the whole transaction an update of what the worker has touched since
  // would fail, at the commit even: the application's write must not.
  std::optional<Error> failed;
  bool append = IsolationUsesXactSnapshot() && !truncate;
  if (!append) {
    failed = in_subtransaction([&] {
      append = !truncate && inbox_waits(trigger);
      if (!append) after_statement(trigger, take_changes);
    });
  }
  if (append || (failed && !truncate)) {
    failed = in_subtransaction([&] { after_statement(trigger, append_changes); });
  }
  if (failed) {
    log_error(WARNING, Error(failed->sqlstate, "a change of promo codes was not taken over yet",
                             failed->message, "It is found by the worker's next comparison."));
  }
  return PointerGetDatum(nullptr);
}
