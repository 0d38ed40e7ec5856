#pragma once
// What the row and the statement trigger of a promo table have in common. An application's write
// never fails because of them: what goes wrong is a WARNING, and the worker's reconcile finds the
// change.

#include <cstdlib>
#include <string>
#include <vector>

#include "pg/boundary.hpp"
#include "pg/promo_table.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace stripe_sync::sql {

/// What stripe_sync.install_triggers() says in a trigger's arguments: the columns of code and of
/// is_active ('' = none), the sync columns, how many make the key and which; of the row trigger,
/// all that are watched.
struct Arguments {
  std::string code, active;
  std::vector<std::string> sync, keys, watched;

  explicit Arguments(const Trigger* trigger) {
    char** next = trigger->tgargs;
    char** const end = next + trigger->tgnargs;
    constexpr int before_keys = 2 + pg::SyncColumns::count + 1;
    if (end - next < before_keys) throw wrong();
    code = *next++;
    active = *next++;
    for (int i = 0; i < pg::SyncColumns::count; ++i) sync.push_back(*next++);
    const int key_count = std::atoi(*next++);
    if (key_count < 1 || key_count > end - next) throw wrong();
    keys.assign(next, next + key_count);
    watched.assign(next + key_count, end);
  }

 private:
  static Error wrong() { return Error(errcode::internal, "wrong arguments of our trigger"); }
};

inline TriggerData* trigger_data(FunctionCallInfo fcinfo) {
  if (!CALLED_AS_TRIGGER(fcinfo)) {
    throw Error(errcode::usage, "this function can only be called by its trigger");
  }
  return reinterpret_cast<TriggerData*>(fcinfo->context);
}

}  // namespace stripe_sync::sql
