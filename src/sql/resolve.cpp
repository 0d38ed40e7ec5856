#include "pg/boundary.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "sql/call.hpp"
#include "sql/resolve_conflict.hpp"

using namespace stripe_sync;
using namespace stripe_sync::pg;

namespace {

// A row that is in its table is not missing: nobody decides over its head.
void take_back_held(const Text& code) {
  static Statement held{
      "SELECT s.promo_table::oid, array_agg(s.key)::text FROM stripe_sync.promo_state s"
      " WHERE s.state = 'missing' AND ($1 IS NULL OR s.code_key = stripe_sync.code_key($1))"
      " GROUP BY s.promo_table"};
  Rows rows;
  as_extension_owner([&] { rows = held(code); });
  PromoTables tables;
  tables.refresh();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Error gone_or_broken;
    PromoTable* table = tables.find(*rows.at(i, 0), gone_or_broken);
    if (table != nullptr) take_back(*table, rows.at(i, 1));
  }
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_resolve) {
  const Text code = sql::argument_text(fcinfo, 0), take = sql::argument_text(fcinfo, 1);
  const std::string caller = std::to_string(pg_call([] { return GetUserId(); }));
  static Statement resolve{"SELECT * FROM stripe_sync.resolve($1, $2, $3::oid)"};
  Rows done;
  with_spi([&] {
    take_back_held(code);
    if (code && take == Text("stripe")) sql::write_from_stripe(*code);
    as_extension_owner([&] { done = resolve(code, take, caller); });
  });
  sql::return_rows(fcinfo, done);
  return Datum(0);
}
