#include "worker/worker_state.hpp"

#include "pg/log.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

namespace {

// A transaction of the extension owner's; a failure is logged, the next round tries again.
template <class F>
std::optional<Error> in_own_transaction(const F& f) {
  const auto failed = in_extension_transaction([&] { as_extension_owner(f); });
  if (failed) log_error(LOG, *failed);
  return failed;
}

std::string json_or_null(const std::optional<std::string>& text) {
  return text && !text->empty() ? json::quote(printable(*text)) : "null";
}

std::string line_json(const DiffOfRow& diff, const DiffLine& line) {
  return "{\"code_key\":" + json::quote(diff.code_key) + ",\"promo_table\":" + diff.table +
         ",\"key\":" + json::quote(diff.key) +
         ",\"step\":" + (line.step > 0 ? std::to_string(line.step) : "null") +
         ",\"action\":" + json_or_null(line.action) + ",\"field\":" + json_or_null(line.field) +
         ",\"database\":" + json_or_null(line.database) +
         ",\"stripe\":" + json_or_null(line.stripe) + ",\"why\":" + json_or_null(line.why) +
         ",\"next\":" + json_or_null(line.next);
}

std::string error_json(const DiffOfRow& diff, const Error& error) {
  return line_json(diff, {0, "", "", {}, {}, error.message, error.hint}) +
         ",\"sqlstate\":" + json::quote(sqlstate_text(error.sqlstate)) +
         ",\"detail\":" + json_or_null(error.detail);
}

}  // namespace

Orders read_orders() {
  // By the columns that every version has.
  static Statement fits{
      "SELECT m.reason, m.fix, w.wanted FROM stripe_sync.misfit m CROSS JOIN stripe_sync.worker w"};
  static Statement select{
      "SELECT w.wanted, i.id, i.account, i.mode, i.key_fingerprint,"
      " i.system_identifier, i.database, i.host, i.timeline,"
      " p.last_value, w.pushes_done, k.last_value, w.checks_done, w.blocked_since IS NOT NULL,"
      " w.paused_since IS NOT NULL, i.rival, i.newest_event, d.last_value, w.diffs_done,"
      " w.starts"
      " FROM stripe_sync.worker w CROSS JOIN stripe_sync.push_request p"
      " CROSS JOIN stripe_sync.check_request k CROSS JOIN stripe_sync.diff_request d"
      " LEFT JOIN stripe_sync.installation i ON true"};
  Orders orders;
  const auto failed = in_extension_transaction([&] {
    orders.extension = true;
    Rows rows;
    as_extension_owner([&] { rows = fits(); });
    if (!rows.empty()) {
      orders.misfit = Error(errcode::usage, *rows.at(0, 0), "", *rows.at(0, 1));
      orders.wanted = *rows.at(0, 2) == "t";
      return;
    }
    as_extension_owner([&] { rows = select(); });
    if (rows.empty()) return;
    const auto text = [&](int column) { return rows.at(0, column).value_or(""); };
    orders.wanted = text(0) == "t";
    orders.active = rows.at(0, 1).has_value();
    orders.installation = text(1);
    orders.account = text(2);
    orders.mode = text(3);
    orders.fingerprint = text(4);
    orders.place = {text(5), text(6), text(7), text(8)};
    orders.push_request = std::stoll(text(9));
    orders.pushes_done = std::stoll(text(10));
    orders.check_request = std::stoll(text(11));
    orders.checks_done = std::stoll(text(12));
    orders.blocked = text(13) == "t";
    orders.paused = text(14) == "t";
    orders.rival = rows.at(0, 15);
    orders.newest_event = text(16);
    orders.diff_request = std::stoll(text(17));
    orders.diffs_done = std::stoll(text(18));
    orders.starts = std::stoi(text(19));
  });
  if (failed) {
    log_error(LOG, *failed);
    orders.extension = true;
    orders.active = false;
  }
  return orders;
}

std::optional<Place> read_place() {
  static Statement select{
      "SELECT h.system_identifier, h.database, h.host, h.timeline FROM stripe_sync.here() h"};
  std::optional<Place> place;
  in_own_transaction([&] {
    const Rows rows = select();
    const auto text = [&](int column) { return rows.at(0, column).value_or(""); };
    place = Place{text(0), text(1), text(2), text(3)};
  });
  return place;
}

void store_place(const Place& place) {
  static Statement update{"UPDATE stripe_sync.installation SET host = $1, timeline = $2::integer"};
  in_own_transaction([&] { update(place.host, place.timeline); });
}

void store_account(const std::string& account, const std::string& mode,
                   const std::string& fingerprint) {
  static Statement forget{
      "SELECT stripe_sync.forget_stripe() FROM stripe_sync.installation i"
      " WHERE i.mode <> $2 OR i.account <> $1"};
  static Statement update{
      "UPDATE stripe_sync.installation SET account = $1, mode = $2, key_fingerprint = $3"
      " WHERE (account, mode, key_fingerprint) IS DISTINCT FROM ($1, $2, $3)"};
  in_own_transaction([&] {
    forget(text_or_null(account), mode);
    update(text_or_null(account), mode, fingerprint);
  });
}

void store_blocked(const std::optional<Error>& reason, std::optional<Millis> retry_in) {
  static Statement update{
      "UPDATE stripe_sync.worker SET blocked_sqlstate = $1, blocked_message = $2,"
      " blocked_detail = $3, blocked_hint = $4,"
      " blocked_since = CASE WHEN $2 IS NOT NULL THEN coalesce(blocked_since, now()) END,"
      " blocked_until = now() + make_interval(secs => $5::bigint / 1000.0)"};
  in_own_transaction([&] {
    if (reason) {
      update(sqlstate_text(reason->sqlstate), reason->message, text_or_null(reason->detail),
             text_or_null(reason->hint),
             retry_in ? Text(std::to_string(retry_in->count())) : Text());
    } else {
      update(Text(), Text(), Text(), Text(), Text());
    }
  });
}

void store_rate(double requests_per_second) {
  static Statement update{"UPDATE stripe_sync.worker SET requests_per_second = $1::real"};
  in_own_transaction([&] { update(std::to_string(requests_per_second)); });
}

void note_start() {
  static Statement update{"UPDATE stripe_sync.worker SET starts = starts + 1"};
  in_own_transaction([&] {
    update();
    pg_call([] { ForceSyncCommit(); });
  });
}

void forget_starts() {
  static Statement update{"UPDATE stripe_sync.worker SET starts = 0 WHERE starts > 0"};
  in_own_transaction([&] { update(); });
}

void store_push_done(std::int64_t number) {
  static Statement update{
      "UPDATE stripe_sync.worker SET pushes_done = $1::bigint WHERE pushes_done < $1::bigint"};
  in_own_transaction([&] { update(std::to_string(number)); });
}

void store_probes(const std::vector<Probe>& probes, std::int64_t number) {
  static Statement clear{"DELETE FROM stripe_sync.probe"};
  static Statement insert{
      "INSERT INTO stripe_sync.probe (item, status, detail, fix, checked_at)"
      " VALUES ($1, $2, $3, $4, clock_timestamp())"
      " ON CONFLICT (item) DO NOTHING"};
  static Statement done{
      "UPDATE stripe_sync.worker SET checks_done = $1::bigint WHERE checks_done < $1::bigint"};
  in_own_transaction([&] {
    clear();
    for (const Probe& probe : probes) {
      insert(probe.item, probe.status, probe.detail, text_or_null(probe.fix));
    }
    done(std::to_string(number));
  });
}

std::optional<Error> store_diffs(const std::vector<DiffOfRow>& diffs, std::int64_t number) {
  static Statement store{"SELECT stripe_sync.store_diffs($1::bigint, $2::jsonb)"};
  std::string lines;
  const auto add = [&](const std::string& line) {
    lines += (lines.empty() ? "" : ",") + line + "}";
  };
  for (const DiffOfRow& diff : diffs) {
    if (diff.error) add(error_json(diff, *diff.error));
    for (const DiffLine& line : diff.lines) add(line_json(diff, line));
  }
  return in_own_transaction([&] { store(std::to_string(number), "[" + lines + "]"); });
}

std::optional<Error> refuse_diffs(const Error& reason, std::int64_t number) {
  static Statement refuse{"SELECT stripe_sync.refuse_diffs($1::bigint, $2, $3, $4, $5)"};
  return in_own_transaction([&] {
    refuse(std::to_string(number), sqlstate_text(reason.sqlstate), reason.message,
           text_or_null(reason.detail), text_or_null(reason.hint));
  });
}

std::optional<std::string> store_events(const EventPage& page) {
  static Statement update{
      "UPDATE stripe_sync.installation i SET newest_event = $1, rival = coalesce(i.rival,"
      " (SELECT format('%s was written to under idempotency key %s (event %s), which is none of "
      "this database''s.', w.object, w.key, w.event)"
      "  FROM jsonb_to_recordset($2::jsonb) w(event text, object text, key text)"
      "  WHERE NOT stripe_sync.gave_out(w.key) LIMIT 1))"
      " RETURNING i.rival"};
  std::string writes;
  for (const EventPage::Write& write : page.writes) {
    writes += (writes.empty() ? "" : ",") + ("{\"event\":" + json::quote(write.event)) +
              ",\"object\":" + json::quote(write.object) + ",\"key\":" + json::quote(write.key) +
              "}";
  }
  std::optional<std::string> rival;
  if (page.newest.empty()) return rival;
  in_own_transaction([&] { rival = update(page.newest, "[" + writes + "]").single(); });
  return rival;
}

void store_rival(const std::string& shown) {
  static Statement update{"UPDATE stripe_sync.installation SET rival = coalesce(rival, $1)"};
  in_own_transaction([&] { update(shown); });
}

void forget_old() {
  static Statement errors{
      "DELETE FROM stripe_sync.error WHERE last_at < now() - interval '30 days'"};
  static Statement deleted{
      "DELETE FROM stripe_sync.promo_state WHERE deleted AND state IN ('synced', 'excluded')"
      // one that was left to the user keeps what is unknown of it, for a row that comes back
      " AND next_attempt IS NULL AND lease IS NULL AND (in_flight IS NULL OR state = 'excluded')"
      " AND greatest(changed_at, synced_at) < now() - interval '30 days'"};
  static Statement diffs{"SELECT stripe_sync.forget_diffs()"};
  in_own_transaction([&] {
    errors();
    deleted();
    diffs();
  });
}

void note_contact() {
  static Statement update{"UPDATE stripe_sync.worker SET last_contact = now()"};
  in_own_transaction([&] { update(); });
}

}  // namespace stripe_sync::worker
