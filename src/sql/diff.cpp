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

LOCKTAG lock_of(std::int64_t hash) {
  LOCKTAG tag;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
                       static_cast<uint32>(static_cast<std::uint64_t>(hash) >> 32),
                       static_cast<uint32>(hash), lock_part);
  return tag;
}

std::int64_t hash_of(const Text& code_key) {
  static Statement hash{"SELECT hashtextextended($1 COLLATE \"C\", 0)"};
  return std::stoll(*hash(code_key).single());
}

// The worker compares every code for which such a lock is held. However the call ends, so does the
// lock.
void lock(std::int64_t hash) {
  pg_call([=] {
    const LOCKTAG tag = lock_of(hash);
    LockAcquire(&tag, ShareLock, false, false);
  });
}

void unlock(std::int64_t hash) {
  pg_call([=] {
    const LOCKTAG tag = lock_of(hash);
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
  const std::int64_t hash = hash_of(code_key);
  lock(hash);
  ask();
  Rows rows = found(code_key);
  unlock(hash);
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
    });
  });
  sql::return_rows(fcinfo, result);
  return Datum(0);
}
