#include "pg/promo_history.hpp"

#include "pg/guc.hpp"
#include "pg/log.hpp"
#include "pg/promo_state_sql.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "pg/time_limit.hpp"

namespace stripe_sync::pg {

namespace {

struct HistoryTable {
  Oid oid;
  std::string name;  ///< quoted
};

HistoryTable named(const Rows& rows) {
  return {static_cast<Oid>(std::stoul(*rows.at(0, 0))), *rows.at(0, 1)};
}

HistoryTable history_table() {
  static Statement ensure{
      "SELECT h.t::oid, format('%I.%I', n.nspname, c.relname) FROM stripe_sync.ensure_history() "
      "h(t)"
      " JOIN pg_class c ON c.oid = h.t JOIN pg_namespace n ON n.oid = c.relnamespace"};
  Rows rows;
  as_extension_owner([&] { rows = ensure(); });
  return named(rows);
}

// Its owner's triggers run, too: only for so long.
template <class F>
void as_history_owner(const HistoryTable& history, const F& f) {
  const Millis limit{guc::table_timeout};
  as_keeper(table_owner(history.oid), [&] {
    if (!in_time(limit, f)) throw out_of_time(history.name, limit);
  });
}

std::string table_of(const PromoJob& job) {
  return job.identity.row.substr(0, job.identity.row.size() - job.key.size() - 1);
}

}  // namespace

void PromoHistory::insert(const std::string& table, const PromoJob& job, const std::string& account,
                          const std::string& mode, const Replaced& entry, bool over) {
  Observed terms;
  terms.coupon = entry.coupon;
  terms.code = entry.code;
  insert_(
      "INSERT INTO " + table +
          " AS h (promotion_code_id, coupon_id, promo_table, key, code, revision, terms,"
          " times_redeemed, created_at, replaced_at, why_replaced, account, mode) VALUES"
          " ($1, $2, $3, $4, $5, $6::pg_catalog.int4, $7::pg_catalog.jsonb, $8::pg_catalog.int8,"
          " pg_catalog.clock_timestamp(),"
          " CASE WHEN $9::pg_catalog.bool THEN pg_catalog.clock_timestamp() END, $10, $11, $12)"
          " ON CONFLICT (promotion_code_id) DO UPDATE SET promo_table = excluded.promo_table,"
          " key = excluded.key, times_redeemed = excluded.times_redeemed, terms = excluded.terms,"
          " replaced_at = excluded.replaced_at, why_replaced = excluded.why_replaced",
      {entry.code.id, entry.code.coupon, table_of(job), job.key, entry.code.code,
       std::to_string(entry.revision), terms.dump(), std::to_string(entry.code.times_redeemed),
       over ? "true" : "false", text_or_null(entry.why), text_or_null(account),
       text_or_null(mode)});
}

void PromoHistory::record(PromoJob& job, const std::string& account, const std::string& mode) {
  Observed& seen = job.observed;
  const bool another = seen.code && (seen.untold || seen.code->id != job.recorded);
  if (seen.replaced.empty() && !another) return;
  const auto failed = in_subtransaction([&] {
    const HistoryTable history = history_table();
    as_history_owner(history, [&] {
      for (const Replaced& entry : seen.replaced)
        insert(history.name, job, account, mode, entry, true);
      const auto revision = static_cast<std::int64_t>(seen.predecessors.size()) + 1;
      if (another)
        insert(history.name, job, account, mode, {*seen.code, seen.coupon, "", revision}, false);
    });
  });
  if (failed && may_pass(*failed)) throw *failed;
  if (failed) {
    log_error(LOG, *failed);
    promo_state::note_error("history", *failed);
    seen.untold = another;
    return;
  }
  seen.replaced.clear();
  seen.untold = false;
  if (seen.code) job.recorded = seen.code->id;
}

std::optional<Error> PromoHistory::recall(PromoJob& job, const std::string& account,
                                          const std::string& mode) {
  static Statement find{
      "SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n"
      "   ON n.oid = c.relnamespace"
      " WHERE n.nspname = coalesce(nullif(current_setting('stripe_sync.mirror_schema', true), ''),"
      "   'stripe') AND c.relname = 'promo_history'"};
  Rows found;
  as_extension_owner([&] { found = find(); });
  if (found.empty()) return std::nullopt;
  const HistoryTable history = named(found);
  return in_subtransaction([&] {
    as_history_owner(history, [&] {
      const Rows rows =
          select_("SELECT h.promotion_code_id, h.times_redeemed FROM " + history.name +
                      " h WHERE h.promo_table OPERATOR(pg_catalog.=) $1"
                      " AND h.key OPERATOR(pg_catalog.=) $2"
                      " AND h.account IS NOT DISTINCT FROM $3"
                      " AND h.mode IS NOT DISTINCT FROM $4"
                      " AND h.replaced_at IS NOT NULL ORDER BY h.revision",
                  {table_of(job), job.key, text_or_null(account), text_or_null(mode)});
      for (std::size_t i = 0; i < rows.size(); ++i)
        job.observed.predecessors.push_back({*rows.at(i, 0), std::stoll(*rows.at(i, 1))});
    });
  });
}

}  // namespace stripe_sync::pg
