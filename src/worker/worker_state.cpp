#include "worker/worker_state.hpp"

#include "pg/log.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

namespace {

// A transaction of the extension owner's; a failure is logged, the next round tries again.
template <class F>
void in_own_transaction(const F& f) {
  const auto failed = in_extension_transaction([&] { as_extension_owner(f); });
  if (failed) log_error(LOG, *failed);
}

Text text_or_null(const std::string& text) {
  return text.empty() ? Text() : Text(text);
}

}  // namespace

Orders read_orders() {
  static Statement select{
      "SELECT w.wanted, i.id, i.account, i.mode, i.key_fingerprint, e.extversion,"
      " i.system_identifier, i.database, i.host, i.timeline,"
      " p.last_value, w.pushes_done, k.last_value, w.checks_done, w.blocked_since IS NOT NULL,"
      " w.paused_since IS NOT NULL"
      " FROM stripe_sync.worker w CROSS JOIN stripe_sync.push_request p"
      " CROSS JOIN stripe_sync.check_request k"
      " JOIN pg_extension e ON e.extname = 'stripe_sync'"
      " LEFT JOIN stripe_sync.installation i ON true"};
  Orders orders;
  const auto failed = in_extension_transaction([&] {
    orders.extension = true;
    Rows rows;
    as_extension_owner([&] { rows = select(); });
    if (rows.empty()) return;
    const auto text = [&](int column) { return rows.at(0, column).value_or(""); };
    orders.wanted = text(0) == "t";
    orders.active = rows.at(0, 1).has_value();
    orders.installation = text(1);
    orders.account = text(2);
    orders.mode = text(3);
    orders.fingerprint = text(4);
    orders.sql_version = text(5);
    orders.place = {text(6), text(7), text(8), text(9)};
    orders.push_request = std::stoll(text(10));
    orders.pushes_done = std::stoll(text(11));
    orders.check_request = std::stoll(text(12));
    orders.checks_done = std::stoll(text(13));
    orders.blocked = text(14) == "t";
    orders.paused = text(15) == "t";
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

void forget_old() {
  static Statement errors{
      "DELETE FROM stripe_sync.error WHERE last_at < now() - interval '30 days'"};
  static Statement deleted{
      "DELETE FROM stripe_sync.promo_state WHERE deleted AND state IN ('synced', 'excluded')"
      " AND next_attempt IS NULL AND lease IS NULL AND in_flight IS NULL"
      " AND greatest(changed_at, synced_at) < now() - interval '30 days'"};
  in_own_transaction([&] {
    errors();
    deleted();
  });
}

void note_contact() {
  static Statement update{"UPDATE stripe_sync.worker SET last_contact = now()"};
  in_own_transaction([&] { update(); });
}

}  // namespace stripe_sync::worker
