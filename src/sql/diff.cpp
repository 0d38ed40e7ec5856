#include "pg/boundary.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "sql/call.hpp"

extern "C" {
#include "storage/lock.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;

namespace {

// The view stripe_sync.diff_wanted looks for this number; pg_advisory_lock uses 1 and 2.
constexpr uint16 lock_part = 4;

LOCKTAG tag_of(std::int64_t number) {
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
                       static_cast<uint32>(static_cast<std::uint64_t>(number) >> 32),
                       static_cast<uint32>(number), lock_part);
  return tag;
}

std::int64_t lock_of(const Text& code_key) {
  static Statement number{"SELECT stripe_sync.diff_lock(i.id, $1) FROM stripe_sync.installation i"};
  return std::stoll(number(code_key).single().value_or("0"));  // dormant: ask_worker() says so
}

// The worker compares every code for which such a lock is held. However the call ends, so does the
// lock.
void lock(std::int64_t number) {
  pg_call([=] {
    const LOCKTAG tag = tag_of(number);
    LockAcquire(&tag, ShareLock, false, false);
  });
}

void unlock(std::int64_t number) {
  pg_call([=] {
    const LOCKTAG tag = tag_of(number);
    LockRelease(&tag, ShareLock, false);
  });
}

Rows diff_of(const Text& code_key) {
  static Statement visible{
      "SELECT 1 FROM stripe_sync.promo_current c WHERE c.code_key = $1 AND NOT c.at_commit LIMIT "
      "1"};
  static Statement ask{"SELECT stripe_sync.ask_worker('stripe_sync.diff_request', 'diffs_done')"};
  static Statement found{
      "SELECT d.step, d.action, d.field, d.database, d.stripe, d.why, d.next, d.promo_table::oid,"
      "  d.key, d.sqlstate, d.detail FROM stripe_sync.diff d WHERE d.code_key = $1"
      "  AND NOT EXISTS (SELECT FROM stripe_sync.promo_current c WHERE c.promo_table = "
      "d.promo_table"
      "    AND c.key = d.key AND c.at_commit)"
      " ORDER BY d.sqlstate IS NULL, d.line"};
  if (visible(code_key).empty()) return {};
  const std::int64_t number = lock_of(code_key);
  lock(number);
  ask();
  Rows rows = found(code_key);
  unlock(number);
  if (rows.empty() || !rows.at(0, 9)) return rows;
  throw Error(sqlstate_of_text(*rows.at(0, 9)), rows.at(0, 5).value_or(""),
              rows.at(0, 10).value_or(""), rows.at(0, 6).value_or(""));
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_diff) {
  const Text code = sql::argument_text(fcinfo, 0);
  static Statement require{"SELECT stripe_sync.require_code($1)"};
  static Statement key{"SELECT stripe_sync.code_key($1)"};
  static Statement at_commit{
      "SELECT c.promo_table::oid, c.key FROM stripe_sync.promo_current c"
      " WHERE c.code_key = $1 AND c.at_commit ORDER BY 1, 2"};
  Rows result;
  with_spi([&] {
    as_extension_owner([&] {
      require(code);
      const Text code_key = key(code).single();
      result = diff_of(code_key);
      const Rows own = at_commit(code_key);
      for (std::size_t i = 0; i < own.size(); ++i) {
        result.add({Text(), Text("at commit"), Text(), Text(), Text(),
                    Text("written by this transaction: it can be compared when that has ended"),
                    Text("COMMIT;"), own.at(i, 0), own.at(i, 1)});
      }
      if (result.empty()) {
        throw Error(errcode::usage, "the promo code changed while Stripe was asked",
                    "Its row was given another code, or is forgotten.",
                    "SELECT * FROM stripe_sync_diff(" + quote_literal(code.value_or("")) + ");");
      }
    });
  });
  sql::return_rows(fcinfo, result);
  return Datum(0);
}
