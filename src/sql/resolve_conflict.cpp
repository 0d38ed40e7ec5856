#include "sql/resolve_conflict.hpp"

#include <ctime>

#include "pg/boundary.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "sql/rights.hpp"
#include "sync/promo_reverse.hpp"

using namespace stripe_sync::pg;

namespace stripe_sync::sql {

namespace {

struct Conflict {
  std::string key;
  Observed observed;
  Text used_before;
};

PromoRow read_row(PromoTable& table, const std::string& key) {
  std::optional<PromoTable::Found> found;
  table.as_owner([&] { found = table.read(key); });
  if (found) return found->row;
  throw Error(errcode::usage, "the row of " + table.label() + " is gone", "",
              "SELECT * FROM stripe_sync_promo();");
}

// What is compared is what is written.
PromoRow lock_row(PromoTable& table, const std::string& key) {
  std::optional<PromoTable::Found> locked;
  table.as_owner([&] { locked = table.lock(key); });
  if (locked) return locked->row;
  read_row(table, key);
  throw Error(sqlstate("55P03"), "the row is being changed by another transaction", "",
              "Try again.");
}

void write_row(PromoTable& table, const Conflict& conflict) {
  require_change(table);
  const PromoRow row = lock_row(table, conflict.key);
  const Coupon& coupon = *conflict.observed.rival_coupon;
  const PromotionCode& code = *conflict.observed.rival;
  std::optional<std::int64_t> known;
  if (conflict.used_before) known = std::stoll(*conflict.used_before);
  const std::int64_t before = uses_before(row, known);
  const std::int64_t now = std::time(nullptr);
  auto items = items_from_stripe(row, *table.settings(), table.items(), coupon, code, before, now);
  if (!items) throw items.error();
  // Whatever the row says next, it says of this one.
  if (table.items().count(item::stripe_promotion_code_id) > 0)
    items.value()[item::stripe_promotion_code_id] = code.id;
  if (!items.value().empty()) {
    table.as_owner([&] {
      table.change(conflict.key, {items.value().begin(), items.value().end()});
    });
  }
  // A trigger, a rounding, a policy: what counts is what the row says now.
  const std::string differs =
      unlike_stripe(read_row(table, conflict.key), *table.settings(), coupon, code, before, now);
  if (differs.empty()) return;
  throw Error(
      errcode::usage, "the row of " + table.label() + " did not take Stripe's terms: " + differs,
      "A trigger or a column's type changed them.", "Correct the row by hand, or take 'db'.");
}

}  // namespace

void write_from_stripe(const std::string& code) {
  static Statement conflicts{
      "SELECT s.promo_table::oid, s.key, s.observed, s.used_before FROM stripe_sync.promo_state s"
      " WHERE s.state = 'conflict' AND s.code_key = stripe_sync.code_key($1)"
      " AND NOT EXISTS (SELECT FROM stripe_sync.promo_state o"
      "   WHERE o.promotion_code_id = s.observed #>> '{rival,id}' AND NOT o.deleted)"};
  Rows rows;
  as_extension_owner([&] { rows = conflicts(code); });
  PromoTables tables;
  tables.refresh();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Error why;
    PromoTable* table = tables.find(*rows.at(i, 0), why);
    if (table == nullptr) throw why;
    const Conflict conflict{*rows.at(i, 1), Observed::parse(rows.at(i, 2).value_or("{}")),
                            rows.at(i, 3)};
    if (conflict.observed.rival && conflict.observed.rival_coupon) write_row(*table, conflict);
  }
}

}  // namespace stripe_sync::sql
