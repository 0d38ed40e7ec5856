#include "pg/boundary.hpp"
#include "pg/guc.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "pg/start_worker.hpp"
#include "pg/worker_lock.hpp"
#include "sql/call.hpp"
#include "sync/money.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;
using namespace stripe_sync::sql;

namespace {

// Attaching makes the worker read and write the table for good: its owner's decision alone.
// A dropped table's is the extension's.
void require_owner(Oid table) {
  const bool exists = pg_call([=] { return get_rel_relkind(table) != '\0'; });
  const Oid owner_role = exists ? table_owner(table) : extension_owner();
  const bool owner = pg_call([=] { return has_privs_of_role(GetUserId(), owner_role); });
  if (owner) return;
  throw Error(sqlstate("42501"), "must be owner of the promo table",
              "Attaching lets the worker read and write it.", "Call it as the table's owner.");
}

// The type of the status column, its length, and the CHECK constraints on it alone; nothing if it
// is yet to be added.
Rows status_column(Oid table, const Text& map) {
  static Statement select{
      "SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(c.conbin, c.conrelid)"
      " FROM pg_attribute a LEFT JOIN pg_constraint c ON c.conrelid = a.attrelid"
      "   AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum]"
      " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
      "   AND a.attname = coalesce($2::jsonb ->> 'sync_status', 'sync_status')"};
  Rows rows;
  as_extension_owner([&] { rows = select(std::to_string(table), map); });
  return rows;
}

// The trigger writes one of these words within the application's own statement, which must never
// fail. Types and constraints may run the owner's code: as the owner.
void check_status_column(Oid table, const Text& map) {
  const Rows constraints = status_column(table, map);
  for (std::size_t i = 0; i < constraints.size(); ++i) {
    const std::string column = quote_name(*constraints.at(i, 0));
    for (const std::string word : {"pending", "synced", "error", "manual"}) {
      bool fits = false;
      const auto failed = in_subtransaction([&] {
        as_role(table_owner(table), [&] {
          const Rows tried =
              run_once("SELECT pg_catalog.format('%s', t." + column + ") OPERATOR(pg_catalog.=) '" +
                       word + "' AND COALESCE((" + constraints.at(i, 2).value_or("true") +
                       "), true) FROM (SELECT '" + word + "'::" + *constraints.at(i, 1) + " AS " +
                       column + ") t");
          fits = tried.single() == Text("t");
        });
      });
      if (fits) continue;
      throw Error(
          errcode::usage, "column " + column + " can't hold the status '" + word + "'",
          failed ? failed->message
                 : "Its type is " + *constraints.at(i, 1) +
                       (constraints.at(i, 2) ? ", and it must fit " + *constraints.at(i, 2) : "") +
                       ".",
          "Name another column: map => '{\"sync_status\": \"...\"}'; it is added if it does "
          "not exist.");
    }
  }
}

// The rows that are there already, even if nothing of them has changed: the settings may have.
void queue_rows(Oid table) {
  PromoTables tables;
  tables.refresh();
  Error why;
  PromoTable* attached = tables.find(std::to_string(table), why);
  if (attached == nullptr) throw why;
  static Statement append{
      "INSERT INTO stripe_sync.promo_inbox (number, promo_table, change, key, code, off)"
      " SELECT (SELECT stripe_sync.change_number()), $1::oid, 'attached', r.*"
      " FROM unnest($2::text[], $3::text[], $4::boolean[]) r"};
  std::vector<Text> rows;
  attached->as_owner([&] { rows = attached->all_rows(); }, guc::whole_table);
  as_extension_owner([&] { append(std::to_string(table), rows[0], rows[1], rows[2]); });
}

void check_settings(FunctionCallInfo fcinfo) {
  if (const Text currency = argument_text(fcinfo, 1)) {
    const auto known = normalise_currency(*currency);
    if (!known) {
      throw Error(errcode::usage, known.error().message, known.error().detail, "currency => 'usd'");
    }
  }
  if (const Text duration = argument_text(fcinfo, 2)) {
    if (*duration != "once" && *duration != "repeating" && *duration != "forever") {
      throw Error(errcode::usage,
                  "duration must be once, repeating or forever, not \"" + *duration + "\"", "",
                  "duration => 'once'");
    }
  }
  if (const Text months = argument_text(fcinfo, 3)) {
    if (std::stoi(*months) <= 0) {
      throw Error(errcode::usage, "duration_in_months must be positive", "",
                  "duration_in_months => 3");
    }
  }
}

Oid table_argument(FunctionCallInfo fcinfo) {
  if (fcinfo->args[0].isnull) throw Error(errcode::usage, "promo_table must not be null");
  return DatumGetObjectId(fcinfo->args[0].value);
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_attach) {
  const Oid table = table_argument(fcinfo);
  require_owner(table);
  check_settings(fcinfo);
  const bool dry_run = !fcinfo->args[9].isnull && DatumGetBool(fcinfo->args[9].value);
  static Statement attach{
      "SELECT * FROM stripe_sync.attach_table($1::oid::regclass, lower(btrim($2)), $3, $4::integer,"
      " $5, $6, $7::text[], $8::jsonb, coalesce($9::boolean, false), coalesce($10::boolean, "
      "false))"};
  Rows report;
  with_spi([&] {
    check_status_column(table, argument_text(fcinfo, 7));
    as_extension_owner([&] {
      report = attach(std::to_string(table), argument_text(fcinfo, 1), argument_text(fcinfo, 2),
                      argument_text(fcinfo, 3), argument_text(fcinfo, 4), argument_text(fcinfo, 5),
                      argument_text(fcinfo, 6), argument_text(fcinfo, 7), argument_text(fcinfo, 8),
                      argument_text(fcinfo, 9));
    });
    if (dry_run) return;
    queue_rows(table);
    start_worker(StartWorker::after_commit);
    wake_worker_at_commit();
  });
  return_rows(fcinfo, report);
  return Datum(0);
}

STRIPE_SYNC_FUNCTION(stripe_sync_detach) {
  const Oid table = table_argument(fcinfo);
  require_owner(table);
  static Statement detach{"SELECT stripe_sync.detach_table($1::oid::regclass)"};
  with_spi([&] { as_extension_owner([&] { detach(std::to_string(table)); }); });
  return Datum(0);
}
