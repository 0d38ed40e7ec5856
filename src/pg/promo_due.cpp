// Of the store, when rows are due, and what a worker that is gone has left claimed.

#include "pg/log.hpp"
#include "pg/promo_state_sql.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"

namespace stripe_sync::pg {

namespace {

void run_as_owner(const char* sql) {
  as_extension_owner([&] { run_once(sql); });
}

}  // namespace

std::optional<Millis> SpiPromoStore::next_due() {
  static Statement select{
      "SELECT ceil(extract(epoch FROM least("
      "(SELECT s.next_attempt FROM stripe_sync.promo_state s WHERE s.next_attempt IS NOT NULL"
      "  AND s.lease IS NULL AND s.off ORDER BY s.next_attempt LIMIT 1),"
      "(SELECT s.next_attempt FROM stripe_sync.promo_state s WHERE s.next_attempt IS NOT NULL"
      "  AND s.lease IS NULL AND NOT s.off ORDER BY s.next_attempt LIMIT 1))"
      " - clock_timestamp()) * 1000)::bigint"};
  std::optional<Millis> due;
  const auto failed = in_extension_transaction([&] {
    Rows rows;
    as_extension_owner([&] { rows = select(); });
    if (rows.single()) due = Millis(std::stoll(*rows.single()));
  });
  if (failed) log_error(LOG, *failed);
  return due;
}

void SpiPromoStore::retry_now() {
  const auto failed = in_extension_transaction([&] {
    run_as_owner(
        "UPDATE stripe_sync.promo_state SET next_attempt = clock_timestamp() WHERE ctid IN"
        " (SELECT s.ctid FROM stripe_sync.promo_state s WHERE s.state = 'retrying'"
        "  AND s.next_attempt > clock_timestamp() FOR UPDATE SKIP LOCKED)");
  });
  if (failed) log_error(LOG, *failed);
}

// One under way is judged at its end.
#define JUDGED_BY_ANOTHER_CLOCK                                                           \
  " FROM stripe_sync.promo_state s"                                                       \
  " WHERE s.state NOT IN ('missing', 'excluded') AND (s.attempted_at > clock_timestamp()" \
  "   OR s.state = 'pending' AND s.next_attempt > clock_timestamp())"                     \
  " AND (s.settled IS NOT NULL OR"                                                        \
  "   s.lease IS NULL AND (s.next_attempt IS NULL OR s.next_attempt > clock_timestamp()))"

bool SpiPromoStore::judge_again() {
  static Statement judge{
      "UPDATE stripe_sync.promo_state SET settled = NULL, next_attempt = clock_timestamp()"
      " WHERE ctid IN (SELECT s.ctid" JUDGED_BY_ANOTHER_CLOCK " FOR UPDATE SKIP LOCKED)"};
  static Statement left{"SELECT 1" JUDGED_BY_ANOTHER_CLOCK " LIMIT 1"};
  bool done = false;
  const auto failed = in_extension_transaction([&] {
    as_extension_owner([&] {
      judge();
      done = left().empty();
    });
  });
  if (failed) log_error(LOG, *failed);
  return done && !failed;
}

bool SpiPromoStore::clear_leases() {
  static Statement clear{
      // A change that was taken over meanwhile has said what the row's state is.
      "UPDATE stripe_sync.promo_state SET lease = NULL,"
      " state = CASE state WHEN 'sending' THEN 'pending' ELSE state END,"
      " next_attempt = CASE state WHEN 'sending' THEN clock_timestamp() ELSE next_attempt END"
      " WHERE ctid IN (SELECT s.ctid FROM stripe_sync.promo_state s"
      "   WHERE s.lease < $1::bigint FOR UPDATE SKIP LOCKED)"};
  static Statement left{"SELECT 1 FROM stripe_sync.promo_state WHERE lease < $1::bigint LIMIT 1"};
  bool cleared = false;
  const auto failed = in_extension_transaction([&] {
    if (first_lease_ == 0) first_lease_ = promo_state::next_lease();
    as_extension_owner([&] {
      clear(std::to_string(first_lease_));
      cleared = left(std::to_string(first_lease_)).empty();
    });
  });
  if (failed) log_error(LOG, *failed);
  return cleared && !failed;
}

}  // namespace stripe_sync::pg
