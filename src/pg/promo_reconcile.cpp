// Local reconcile: what fired no trigger (disabled triggers, replica role, restore, writes to a
// partition) is found by comparing rows with state. No request to Stripe.

#include "json/json.hpp"

#include "pg/guc.hpp"
#include "pg/log.hpp"
#include "pg/promo_state_sql.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"

namespace stripe_sync::pg {

namespace {

void take_changed(Oid table, const std::vector<Text>& rows) {
  static Statement insert{
      "INSERT INTO stripe_sync.promo_state AS s (promo_table, key, code, off)"
      " SELECT $1::oid, r.key, r.code, r.off"
      " FROM unnest($2::text[], $3::text[], $4::boolean[], $5::bigint[]) r(key, code, off, hash)"
      " LEFT JOIN stripe_sync.promo_state p ON p.promo_table = $1::oid AND p.key = r.key"
      " WHERE p.key IS NULL OR NOT p.deleted AND (p.state = 'missing' OR"
      "   p.row_hash IS DISTINCT FROM r.hash AND p.state NOT IN ('pending', 'sending', 'retrying'))"
      " ON CONFLICT (promo_table, key) DO UPDATE SET code = excluded.code, off = excluded.off,"
      "   state = 'pending', settled = NULL, attempts = 0, next_attempt = clock_timestamp(),"
      "   changed_at = clock_timestamp(), generation = s.generation + 1"};
  as_extension_owner([&] { insert(std::to_string(table), rows[0], rows[1], rows[2], rows[3]); });
}

// Keys of state rows that contradict the rows read: gone from the table, or back in it.
Text contradictions(Oid table, const Text& keys) {
  static Statement select{
      "SELECT array_agg(s.key)::text FROM stripe_sync.promo_state s"
      " LEFT JOIN (SELECT DISTINCT u.key COLLATE \"C\" FROM unnest($2::text[]) u(key)) k(key)"
      "   ON k.key = s.key WHERE s.promo_table = $1::oid AND"
      " CASE WHEN s.deleted THEN k.key IS NOT NULL"
      " ELSE s.state NOT IN ('missing', 'excluded') AND k.key IS NULL END"};
  Text contradicting;
  as_extension_owner([&] { contradicting = select(std::to_string(table), keys).single(); });
  return contradicting;
}

void mark_missing(Oid table, const Text& keys, const Text& there) {
  static Statement update{
      "UPDATE stripe_sync.promo_state s SET state = 'missing', settled = NULL, next_attempt = NULL,"
      " sqlstate = $4, reason = $5, detail = $6, hint = $7, generation = s.generation + 1"
      " FROM (SELECT u.key COLLATE \"C\" FROM unnest($2::text[]) u(key)"
      "   EXCEPT SELECT t.key COLLATE \"C\" FROM unnest($3::text[]) t(key)) gone(key)"
      " WHERE s.promo_table = $1::oid AND s.key = gone.key AND NOT s.deleted"
      "   AND s.seen_gone IS NULL AND NOT EXISTS (SELECT FROM stripe_sync.promo_change c"
      "     WHERE c.promo_table = s.promo_table AND c.key = s.key)"};
  as_extension_owner([&] {
    update(std::to_string(table), keys, there, sqlstate_text(errcode::usage),
           "the row vanished without our trigger seeing it deleted", promo_state::missing_detail,
           promo_state::missing_hint);
  });
}

void mark_back(Oid table, const Text& there) {
  static Statement update{
      "UPDATE stripe_sync.promo_state s SET deleted = false, off = false, state = 'pending',"
      " settled = NULL, next_attempt = clock_timestamp(), generation = s.generation + 1"
      " FROM unnest($2::text[]) t(key)"
      " WHERE s.promo_table = $1::oid AND s.key = t.key COLLATE \"C\""
      "   AND (s.deleted OR s.state = 'missing')"};
  as_extension_owner([&] { update(std::to_string(table), there); });
}

void mark_dropped_tables() {
  static Statement update{
      "UPDATE stripe_sync.promo_state s SET state = 'missing', next_attempt = NULL, sqlstate = $1,"
      " reason = 'the promo table no longer exists', detail = $2, hint = $3"
      " WHERE s.state NOT IN ('missing', 'excluded') AND NOT s.deleted AND NOT EXISTS"
      "   (SELECT FROM pg_class c WHERE c.oid = s.promo_table)"};
  as_extension_owner([&] {
    update(sqlstate_text(errcode::usage), promo_state::missing_detail, promo_state::missing_hint);
  });
}

// What was still being written while its table was detached.
void forget_detached() {
  static Statement forget{
      "DELETE FROM stripe_sync.promo_inbox i WHERE NOT EXISTS"
      "  (SELECT FROM stripe_sync.attachment a WHERE a.promo_table = i.promo_table)"};
  as_extension_owner([&] { forget(); });
}

void forget_replaced() {
  static Statement forget{"SELECT stripe_sync.forget_replaced()"};
  as_extension_owner([&] { forget(); });
}

}  // namespace

Text take_back(PromoTable& table, const Text& keys) {
  Text there;
  table.as_owner([&] { there = table.held_of(keys); }, guc::whole_table);
  mark_back(table.oid(), there);
  return there;
}

namespace {

void reconcile_table(PromoTable& table) {
  std::vector<Text> rows;
  table.as_owner([&] { rows = table.all_rows(); }, guc::whole_table);
  if (rows[4] != Text("0")) {
    promo_state::note_error(
        "worker",
        Error(errcode::usage, table.label() + " has rows with keys of more than 2000 bytes",
              "They are left out: " + *rows[4] + ".", "Give them shorter keys."));
  }
  take_changed(table.oid(), rows);
  // The rows were read under an older snapshot than the state: each contradiction is looked at
  // once more before it is believed.
  const Text suspects = contradictions(table.oid(), rows[0]);
  if (suspects) mark_missing(table.oid(), suspects, take_back(table, suspects));
}

}  // namespace

bool SpiPromoStore::reconcile() {
  set_aside_changes_ = false;
  bool whole = true;
  std::vector<std::string> oids;
  auto failed = in_extension_transaction([&] {
    tables_.refresh();
    mark_dropped_tables();
    forget_detached();
    forget_replaced();
    oids = tables_.oids();
  });
  if (failed) log_error(LOG, *failed);
  for (const std::string& oid : oids) {
    failed = in_extension_transaction([&] {
      run_once("SET CONSTRAINTS ALL IMMEDIATE");
      tables_.refresh();
      Error why;
      PromoTable* table = tables_.find(oid, why);
      if (table != nullptr) {
        reconcile_table(*table);
      } else if (!why.message.empty()) {
        throw why;
      }
    });
    if (!failed) continue;
    whole = whole && !may_pass(*failed);
    if (may_pass(*failed)) continue;
    log_error(LOG, *failed);
    const Error error = *failed;
    in_extension_transaction([&] { promo_state::note_error("worker", error); });
  }
  return whole;
}

}  // namespace stripe_sync::pg
