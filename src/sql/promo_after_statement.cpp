// AFTER STATEMENT: appends a statement's changes to stripe_sync.promo_inbox and wakes the worker at
// commit. Appending never waits and never conflicts, whatever the application's isolation level and
// timeouts.

#include <cstring>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "sql/transition.hpp"

#include "pg/log.hpp"
#include "pg/own_write.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "utils/rel.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;
using namespace stripe_sync::sql;

namespace {

constexpr std::size_t most_new_keys = 500'000;

/// A statement's way into the inbox.
class Changes {
 public:
  explicit Changes(const TriggerData* trigger)
      : trigger_(trigger), table_(RelationGetRelid(trigger->tg_relation)), inbox_(table_) {}

  /// False: there was nothing to tell.
  bool append() {
    const TriggerEvent event = trigger_->tg_event;
    if (TRIGGER_FIRED_BY_TRUNCATE(event)) {
      inbox_.append({"truncated"});
    } else if (TRIGGER_FIRED_BY_DELETE(event)) {
      append_deleted();
    } else if (TRIGGER_FIRED_BY_INSERT(event)) {
      append_inserted();
    } else {
      append_updated();
    }
    const bool appended = inbox_.used();
    inbox_.close();
    return appended;
  }

 private:
  // Rows with longer keys are left out; the worker's own write is no change.
  bool counts(const char* key) const {
    const bool ours =
        own_write != nullptr && own_write->table == table_ && std::strcmp(own_write->key, key) == 0;
    return !ours && std::strlen(key) <= longest_key;
  }

  void append(const Change& change) {
    if (counts(change.key)) inbox_.append(change);
  }

  void append_gone(const char* key, bool manual, std::optional<std::int64_t> together) {
    Change change{manual ? "left" : "deleted", key};
    change.together = together;
    append(change);
  }

  // The row trigger has left another status where nothing of a row has changed.
  void append_changed(const Transition& row) {
    const std::string_view status = row.status();
    if (status == "pending" || status == "manual" || status.empty()) append(row.changed());
  }

  void append_inserted() {
    Transition rows(trigger_, Transition::Rows::new_rows);
    while (rows.next()) append_changed(rows);
    rows.close();
  }

  void append_deleted() {
    Transition rows(trigger_, Transition::Rows::old_rows);
    while (rows.next()) append_gone(rows.key(), is_manual(rows), rows.size());
    rows.close();
  }

  // A key that no row has any more is gone. The rows stand in the same order on both sides, mostly.
  // What would take much memory is left to the comparison.
  void append_updated() {
    Transition before(trigger_, Transition::Rows::old_rows);
    Transition after(trigger_, Transition::Rows::new_rows);
    std::map<std::string, bool> keys_before;  ///< whether manual
    std::set<std::string> keys_after;
    while (after.next()) {
      const bool both = before.next();
      if (!both || std::strcmp(before.key(), after.key()) != 0) {
        if (both) keys_before[before.key()] = is_manual(before);
        keys_after.insert(after.key());
        if (keys_after.size() > most_new_keys) {
          throw Error(errcode::usage, "more keys have changed at once than can be followed");
        }
      }
      append_changed(after);
    }
    while (before.next()) keys_before[before.key()] = is_manual(before);
    for (const auto& [key, manual] : keys_before) {
      if (keys_after.count(key) == 0) append_gone(key.c_str(), manual, std::nullopt);
    }
    before.close();
    after.close();
  }

  static bool is_manual(const Transition& row) { return std::strcmp(row.status(), "manual") == 0; }

  const TriggerData* trigger_;
  Oid table_;
  InboxWriter inbox_;
};

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_promo_after_statement) {
  const TriggerData* trigger = trigger_data(fcinfo);
  const auto failed = in_subtransaction([&] {
    as_errors([&] {
      if (Changes(trigger).append()) wake_worker_at_commit();
    });
  });
  if (failed) {
    log_error(WARNING, Error(failed->sqlstate, "a change of promo codes was not taken over yet",
                             failed->message, "It is found by the worker's next comparison."));
  }
  return PointerGetDatum(nullptr);
}
