#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"

namespace stripe_sync::worker {

/// What the database says to the worker, read once per round.
struct Orders {
  bool extension = false;  ///< installed here
  bool wanted = true;      ///< not stopped by stripe_sync_stop()
  bool active = false;     ///< no longer dormant
  std::string installation;
  std::string account;  ///< remembered; empty = none yet
  std::string mode;
  std::string fingerprint;
  std::string sql_version;
  bool same_database = true;  ///< system identifier and database are those remembered
  std::int64_t push_request = 0, pushes_done = 0;
  std::int64_t check_request = 0, checks_done = 0;
  bool blocked = false;  ///< as stored
};

/// One transaction each; none holds it while waiting for anything.
Orders read_orders();
/// Of another account or mode than before nothing is known: all rows are looked at anew.
void store_account(const std::string& account, const std::string& mode,
                   const std::string& fingerprint);
/// Nothing = not blocked.
void store_blocked(const std::optional<Error>& reason, Millis retry_in);
void store_push_done(std::int64_t number);

struct Probe {
  std::string item;
  std::string status;  ///< ok, warn, fail
  std::string detail;
  std::string fix;
};
/// Replaces what was found earlier and says that request `number` is served.
void store_probes(const std::vector<Probe>& probes, std::int64_t number);

/// Forgets old errors.
void forget_errors();
void note_contact();

}  // namespace stripe_sync::worker
