// The inbox, as the worker takes it over (sql/install/35_inbox.sql does it).

#include <algorithm>

#include "pg/log.hpp"
#include "pg/promo_state_sql.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"

namespace stripe_sync::pg {

namespace {

Rows tables_with_changes() {
  static Statement select{
      "SELECT a.promo_table::oid FROM stripe_sync.attachment a WHERE EXISTS"
      " (SELECT FROM stripe_sync.promo_inbox i WHERE i.promo_table = a.promo_table)"};
  return select();
}

// What the server lacks (disk, memory, connections) says nothing about a change.
bool is_its_own(const Error& error) {
  const std::string code = sqlstate_text(error.sqlstate);
  return !may_pass(error) && code.rfind("53", 0) != 0 && code.rfind("58", 0) != 0;
}

// The comparison finds what it was.
void set_aside_oldest(const Text& table, const Error& why) {
  static Statement forget{
      "DELETE FROM stripe_sync.promo_inbox i WHERE i.promo_table = $1::oid AND i.number ="
      " (SELECT min(o.number) FROM stripe_sync.promo_inbox o WHERE o.promo_table = $1::oid)"};
  forget(table);
  promo_state::note_error("worker", why);
}

}  // namespace

// What can't be taken over is found by taking less, and must not be in the way of the rest.
bool SpiPromoStore::take_changes(const Text& table) {
  static Statement take{"SELECT stripe_sync.take_changes($1::oid, $2::integer)"};
  bool more = false;
  const auto failed = in_subtransaction(
      [&] { more = take(table, std::to_string(inbox_rows_)).single() == Text("t"); });
  if (!failed) {
    inbox_rows_ = std::min(inbox_rows_ * 2, most_inbox_rows);
    return more;
  }
  if (may_pass(*failed)) return false;
  log_error(LOG, *failed);
  if (!is_its_own(*failed)) return false;
  if (inbox_rows_ == 1) {
    set_aside_oldest(table, *failed);
    set_aside_changes_ = true;
  }
  inbox_rows_ = std::max(inbox_rows_ / 2, 1);
  return true;
}

bool SpiPromoStore::take_inbox() {
  look_from_the_start();  // other sessions make rows due, too
  bool more = false;
  const auto failed = in_extension_transaction([&] {
    as_extension_owner([&] {
      const Rows tables = tables_with_changes();
      for (std::size_t i = 0; i < tables.size(); ++i) more = take_changes(tables.at(i, 0)) || more;
    });
  });
  if (failed) log_error(LOG, *failed);
  return more && !failed;
}

}  // namespace stripe_sync::pg
