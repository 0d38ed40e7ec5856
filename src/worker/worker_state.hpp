#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "sync/foreign_writes.hpp"
#include "sync/promo_diff.hpp"

namespace stripe_sync::worker {

/// What tells a database from a copy of it: server and database, and where the server runs.
struct Place {
  std::string system_identifier;
  std::string database;
  std::string host;
  std::string timeline;

  bool same_database(const Place& other) const {
    return system_identifier == other.system_identifier && database == other.database;
  }
  bool operator==(const Place&) const = default;
};

/// What the database says to the worker, read once per round.
struct Orders {
  bool extension = false;  ///< installed here
  bool wanted = true;      ///< not stopped by stripe_sync_stop()
  bool paused = false;     ///< by stripe_sync_pause()
  bool active = false;     ///< no longer dormant
  std::string installation;
  std::string account;  ///< remembered; empty = none yet
  std::string mode;
  std::string fingerprint;
  std::optional<std::string> rival;  ///< what showed another database that writes as this one
  std::string newest_event;          ///< looked at
  std::optional<Error> misfit;       ///< the library does not fit: nothing else is known
  Place place;                       ///< remembered
  std::int64_t push_request = 0, pushes_done = 0;
  std::int64_t check_request = 0, checks_done = 0;
  std::int64_t diff_request = 0, diffs_done = 0;
  bool blocked = false;  ///< as stored
  int starts = 0;        ///< noted, and not forgotten
};

/// One transaction each; none holds it while waiting for anything.
Orders read_orders();
/// Where this database is; nothing if that can't be told now.
std::optional<Place> read_place();
void store_place(const Place& place);
/// Of another account or mode than before nothing is known: all rows are looked at anew.
void store_account(const std::string& account, const std::string& mode,
                   const std::string& fingerprint);
/// No reason = not blocked; no `retry_in` = until somebody does something.
void store_blocked(const std::optional<Error>& reason, std::optional<Millis> retry_in);
/// Requests a second that are sent at most, at the moment.
void store_rate(double requests_per_second);

/// Survives a crash: told from an end in order by not being forgotten.
void note_start();
void forget_starts();

void store_push_done(std::int64_t number);

struct Probe {
  std::string item;
  std::string status;  ///< ok, warn, fail
  std::string detail;
  std::string fix;
};
/// Replaces what was found earlier and says that request `number` is served.
void store_probes(const std::vector<Probe>& probes, std::int64_t number);

/// What was found for stripe_sync_diff() about a row.
struct DiffOfRow {
  std::string code_key;
  std::string table;  ///< oid
  std::string key;
  std::vector<DiffLine> lines;
  std::optional<Error> error;  ///< why there are none
};
/// For whoever waits; what was found before is removed. Request `number` is served, unless that
/// fails.
std::optional<Error> store_diffs(const std::vector<DiffOfRow>& diffs, std::int64_t number);
/// Nothing can be found about any code that is waited for. Request `number` is served, unless that
/// fails.
std::optional<Error> refuse_diffs(const Error& reason, std::int64_t number);

/// Keeps the place in Stripe's events; returns what shows another database, if something does.
std::optional<std::string> store_events(const EventPage& page);
void store_rival(const std::string& shown);

/// Removes errors, and deleted rows that ask nothing more of Stripe, 30 days after the last of
/// them.
void forget_old();
void note_contact();

}  // namespace stripe_sync::worker
