#pragma once
// What the row and the statement trigger of a promo table have in common. An application's write
// never fails because of them: what goes wrong is a WARNING, and the worker's reconcile finds the
// change.

#include <string>
#include <vector>

#include "json/json.hpp"

#include "pg/boundary.hpp"
#include "pg/promo_table.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace stripe_sync::sql {

/// What stripe_sync.install_triggers() says in a trigger's arguments.
struct Arguments {
  std::vector<std::string> keys, watched, sync;
  std::string code, active;

  explicit Arguments(const Trigger* trigger) {
    if (trigger->tgnargs != 5) throw Error(errcode::internal, "wrong arguments of our trigger");
    keys = names(trigger->tgargs[0]);
    watched = names(trigger->tgargs[1]);
    sync = names(trigger->tgargs[2]);
    code = trigger->tgargs[3];
    active = trigger->tgargs[4];
    if (sync.size() != pg::SyncColumns::count) {
      throw Error(errcode::internal, "wrong arguments of our trigger");
    }
  }

  static std::vector<std::string> names(const char* json) {
    const auto parsed = json::Value::parse(json);
    if (!parsed) throw parsed.error();
    return pg::text_list(parsed.value());
  }
};

inline TriggerData* trigger_data(FunctionCallInfo fcinfo) {
  if (!CALLED_AS_TRIGGER(fcinfo)) {
    throw Error(errcode::usage, "this function can only be called by its trigger");
  }
  return reinterpret_cast<TriggerData*>(fcinfo->context);
}

}  // namespace stripe_sync::sql
