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

// So that a successor finishes what a worker that is killed has begun.
void note_comparing(bool comparing) {
  static Statement update{"UPDATE stripe_sync.worker SET comparing = $1::boolean"};
  as_extension_owner([&] { update(comparing ? "true" : "false"); });
}

}  // namespace

Rows SpiPromoStore::lock_due(std::size_t limit) {
  Rows rows = promo_state::lock_due(true, limit, off_due_from_, held_since_);
  if (rows.size() < limit) {
    rows.add(promo_state::lock_due(false, limit - rows.size(), due_from_, held_since_));
  }
  return rows;
}

PromoStore::Claims SpiPromoStore::claim_off(int limit, const Decide& decide) {
  const auto most = static_cast<std::size_t>(limit);
  return claim_locked([&] { return promo_state::lock_due(true, most, off_due_from_, held_since_); },
                      decide);
}

// What anybody's snapshot still sees stays in the index that claims go by. While one lasts, as that
// of stripe_sync_wait() or of a dump, each claim would have to pass by all that is done: it begins
// where something was left after the last one.
std::optional<Millis> SpiPromoStore::next_due() {
#define FIRST_DUE(off, from)                                                       \
  "(SELECT s.next_attempt FROM stripe_sync.promo_state s WHERE s.next_attempt >= " \
  "to_timestamp(" from "::float8) AND s.lease IS NULL AND " off                    \
  "s.off ORDER BY s.next_attempt LIMIT 1)"
  static Lookup select{
      "SELECT ceil(extract(epoch FROM least(f.off_due, f.due) - f.now) * 1000)::bigint,"
      " extract(epoch FROM least(f.off_due, f.now)), extract(epoch FROM least(f.due, f.now))"
      " FROM (SELECT " FIRST_DUE("", "$1") ", " FIRST_DUE(
          "NOT ", "$2") ", clock_timestamp()) f(off_due, due, now)"};
  std::optional<Millis> due;
  const auto failed = in_extension_transaction([&] {
    Rows rows;
    as_extension_owner([&] { rows = select(off_due_from_, due_from_); });
    if (rows.single()) due = Millis(std::stoll(*rows.single()));
    off_due_from_ = *rows.at(0, 1);
    due_from_ = *rows.at(0, 2);
  });
  if (failed) log_error(LOG, *failed);
  return due;
}

// Something may be due that was under way, or in another session's hands, when it was last asked.
void SpiPromoStore::look_from_the_start() {
  off_due_from_ = due_from_ = "-infinity";
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

// By the index that claims go by, only those that have become due since.
#define NEW_UNSEEN(off, from)                                                             \
  " FROM stripe_sync.promo_state s WHERE " off                                            \
  " s.off AND s.next_attempt > to_timestamp($1::float8)"                                  \
  " AND s.next_attempt >= to_timestamp(" from                                             \
  "::float8) AND s.next_attempt <= clock_timestamp()"                                     \
  " AND s.lease IS NULL AND s.observed IS NULL AND s.in_flight IS NULL AND NOT s.deleted" \
  " AND s.changed_at > to_timestamp($1::float8)"
#define UNSEEN_OFF NEW_UNSEEN("", "$2")
#define UNSEEN_OTHERS NEW_UNSEEN("NOT", "$3")
#define COMPARING "SELECT (SELECT w.comparing FROM stripe_sync.worker w)"

// There are few at almost every claim: how many, is asked when there are not.
std::size_t SpiPromoStore::hold_unseen(std::size_t least) {
  static Lookup some{COMPARING UNSEEN_OFF " UNION ALL " COMPARING UNSEEN_OTHERS};
  static constexpr const char* count =
      "SELECT (SELECT count(*)" UNSEEN_OFF ") + (SELECT count(*)" UNSEEN_OTHERS
      ")"
      ", extract(epoch FROM clock_timestamp())";
  std::size_t unseen = 0;
  const auto failed = in_extension_transaction([&] {
    as_extension_owner([&] {
      const Rows found = some.first(static_cast<int>(least), seen_to_, off_due_from_, due_from_);
      const bool interrupted = found.single() == Text("t");
      const bool hold = found.size() >= (interrupted ? 1 : least);
      if (hold != interrupted) note_comparing(hold);
      if (!hold) return;
      const Rows counted = run_once(count, {seen_to_, off_due_from_, due_from_});
      unseen = std::stoull(*counted.at(0, 0));
      if (unseen > 0) held_since_ = counted.at(0, 1);
    });
  });
  if (failed) log_error(LOG, *failed);
  return held_since_ ? unseen : 0;
}

PromoStore::Claims SpiPromoStore::claim_unseen(const std::vector<std::string>& texts,
                                               const Decide& decide) {
  return claim_locked([&] { return promo_state::lock_unseen(texts); }, decide);
}

void SpiPromoStore::release_unseen(bool seen_to) {
  if (seen_to && held_since_) seen_to_ = *held_since_;
  held_since_.reset();
  const auto failed = in_extension_transaction([&] { note_comparing(false); });
  if (failed) log_error(LOG, *failed);
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
