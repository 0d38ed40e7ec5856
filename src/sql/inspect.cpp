// stripe_sync_inspect() and stripe_sync_fix(): rows as they are now, judged as the worker judges
// them.

#include "sync/promo_inspect.hpp"

#include "core/clock.hpp"
#include "pg/boundary.hpp"
#include "pg/log.hpp"
#include "pg/promo_state_sql.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "sql/call.hpp"
#include "sql/rights.hpp"
#include "sync/promo_text.hpp"

using namespace stripe_sync;
using namespace stripe_sync::pg;

namespace {

/// Rows with this code, or without any if it is blank; all rows if there is no `code`.
Rows known_rows(const Text& code) {
  static Statement select{
      "SELECT c.promo_table::oid, c.key, c.state, s.row_hash, s.used_before, s.observed, s.settled,"
      "  s.sqlstate, s.reason, s.detail, s.hint, to_jsonb(s.warnings), c.code"
      " FROM stripe_sync.promo_current c LEFT JOIN stripe_sync.promo_state s"
      "   ON s.promo_table = c.promo_table AND s.key = c.key"
      " WHERE NOT c.deleted"
      "   AND ($1 IS NULL OR c.code_key = $2 OR $2 = '' AND c.code_key IS NULL)"
      " ORDER BY c.promo_table::oid, c.code, c.key"};
  static Statement key{"SELECT stripe_sync.code_key($1)"};
  Rows rows;
  as_extension_owner([&] { rows = select(code, key(code).single()); });
  return rows;
}

/// One of known_rows() beside the row itself.
struct Known {
  const Rows& rows;
  std::size_t i;

  const Text& column(int n) const { return rows.at(i, n); }
  const std::string& key() const { return *column(1); }
  bool judged(const PromoTable::Found& found) const {
    return column(3) && std::stoll(*column(3)) == found.hash;
  }
  /// Settled by the worker with the row as it was then.
  bool settled() const {
    const auto state = column(2) ? state_of_name(*column(2)) : std::nullopt;
    const std::string shown = state ? sync_status_of(*state) : "";
    return shown == "synced" || state == PromoState::parked || state == PromoState::conflict;
  }
};

std::optional<Settled> verdict(const Known& known, const PromoTable::Found& found) {
  const auto state = known.column(6) ? state_of_name(*known.column(6)) : std::nullopt;
  if (!state || !known.judged(found)) return std::nullopt;
  return promo_state::settled_of(
      *state, {known.column(7), known.column(8), known.column(9), known.column(10)},
      known.column(11));
}

Examined examined(const Known& known, const PromoTable& table, const PromoTable::Found& found) {
  Examined examined;
  examined.row = found.row;
  examined.settings = *table.settings();
  if (known.column(5)) examined.observed = Observed::parse(*known.column(5));
  std::optional<std::int64_t> used_before;
  if (known.column(4)) used_before = std::stoll(*known.column(4));
  examined.used_before = uses_before(found.row, used_before) + examined.observed.redeemed_before();
  examined.now = SystemClock().unix_seconds();
  examined.verdict = verdict(known, found);
  return examined;
}

/// A value as a person writes it.
Text shown_value(const PromoRow& row, const std::string& item) {
  const std::string* value = row.get(item);
  if (value == nullptr) return Text();
  const bool time = item == item::starts_at || item == item::expires_at;
  const auto seconds = time ? unix_time(*value) : std::nullopt;
  return seconds ? time_text(*seconds) : *value;
}

/// The attached tables, for the length of a call.
class Attached {
 public:
  Attached() { tables_.refresh(); }
  /// Throws if the table can't be used as it is attached.
  PromoTable& of(const Known& known) {
    Error why;
    PromoTable* table = tables_.find(*known.column(0), why);
    if (table == nullptr) throw why;
    return *table;
  }

 private:
  PromoTables tables_;
};

std::vector<Finding> findings(const Known& known, PromoTable& table,
                              const PromoTable::Found& found) {
  std::vector<Finding> list = findings_of(examined(known, table, found));
  if (known.settled() && !known.judged(found)) {
    list.push_back({Finding::Severity::warning, "",
                    "the row was changed without its triggers: the worker has not seen it yet",
                    "It compares all rows when it starts, and from time to time.",
                    "SELECT * FROM stripe_sync_check();", false});
  }
  return list;
}

void add_findings(Rows& result, const Known& known, Attached& attached) {
  const auto add = [&](const Finding& finding, const std::string& column, const Text& value) {
    result.add({known.column(0), known.key(), Text(severity_name(finding.severity)),
                text_or_null(column), value, finding.what, text_or_null(finding.detail),
                text_or_null(finding.remedy), Text(finding.fixable ? "true" : "false")});
  };
  const auto failed = in_subtransaction([&] {
    PromoTable& table = attached.of(known);
    std::optional<PromoTable::Found> found;
    table.as_owner([&] { found = table.read(known.key()); });
    if (!found) return;
    for (const Finding& finding : findings(known, table, *found)) {
      add(finding, table.column_of(finding.column), shown_value(found->row, finding.column));
    }
  });
  if (failed) {
    add({Finding::Severity::error, "", failed->message, failed->detail, failed->hint, false}, "",
        Text());
  }
}

// --- fix ----------------------------------------------------------------------------------------

struct Fix {
  bool named;  ///< the code was given
  bool apply;
  Rows result;
};

void carry_out(const Repair& repair, const Known& known, PromoTable& table) {
  std::vector<std::pair<std::string, Text>> values;
  for (const Repair::Change& change : repair.changes) {
    values.emplace_back(change.column, change.value);
  }
  table.as_owner([&] { table.change(known.key(), values); });
}

void fix_row(Fix& fix, const Known& known, Attached& attached) {
  PromoTable& table = attached.of(known);
  std::optional<PromoTable::Found> found;
  table.as_owner([&] { found = table.read(known.key()); });
  if (!found) return;
  const std::vector<Repair> repairs = repairs_of(examined(known, table, *found));
  if (fix.apply && !repairs.empty()) sql::require_change(table);
  for (const Repair& repair : repairs) {
    const bool now = fix.apply && (fix.named || !repair.touches_money);
    Text outcome(fix.apply ? "left: it touches money, name the code" : "would be changed");
    const std::string* code = found->row.get(item::code);
    Text next =
        "SELECT * FROM stripe_sync_fix(" + quote_literal(code ? *code : "") + ", apply => true);";
    if (now) {
      const auto failed = in_subtransaction([&] {
        // What was judged is what is changed.
        std::optional<PromoTable::Found> locked;
        table.as_owner([&] { locked = table.lock(known.key()); });
        if (!locked || locked->hash != found->hash) {
          throw Error(sqlstate("55P03"), "the row is being changed by another transaction", "",
                      "Try again.");
        }
        carry_out(repair, known, table);
      });
      outcome = failed ? "failed: " + failed->message : "changed";
      next = failed ? text_or_null(failed->hint) : Text();
    }
    for (const Repair::Change& change : repair.changes) {
      fix.result.add({code ? Text(*code) : Text(), known.column(0), known.key(),
                      table.column_of(change.column), shown_value(found->row, change.column),
                      change.value, repair.why, outcome, next});
    }
  }
}

// Among all, a row that can't be had is not in the way of the others.
void try_row(Fix& fix, const Known& known, Attached& attached) {
  const auto failed = in_subtransaction([&] { fix_row(fix, known, attached); });
  if (!failed) return;
  if (fix.named) throw *failed;
  fix.result.add({known.column(12), known.column(0), known.key(), Text(), Text(), Text(), Text(),
                  "failed: " + failed->message, text_or_null(failed->hint)});
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_row_findings) {
  const Text code = sql::argument_text(fcinfo, 0);
  Rows result;
  with_spi([&] {
    const Rows rows = known_rows(code.value_or(""));
    Attached attached;
    for (std::size_t i = 0; i < rows.size(); ++i) add_findings(result, {rows, i}, attached);
  });
  sql::return_rows(fcinfo, result);
  return Datum(0);
}

STRIPE_SYNC_FUNCTION(stripe_sync_fix) {
  const Text code = sql::argument_text(fcinfo, 0), apply = sql::argument_text(fcinfo, 1);
  Fix fix{code.has_value(), apply == Text("t"), {}};
  static Statement require{"SELECT stripe_sync.require_code($1)"};
  with_spi([&] {
    if (fix.named) as_extension_owner([&] { require(code); });
    const Rows rows = known_rows(code);
    Attached attached;
    for (std::size_t i = 0; i < rows.size(); ++i) try_row(fix, {rows, i}, attached);
  });
  if (fix.result.empty()) {
    log_line(NOTICE, fix.named ? "nothing of this code can be fixed without you: "
                                 "SELECT * FROM stripe_sync_inspect(" +
                                     quote_literal(*code) + ");"
                               : "no row needs a fix that can be made without you");
  }
  sql::return_rows(fcinfo, fix.result);
  return Datum(0);
}
