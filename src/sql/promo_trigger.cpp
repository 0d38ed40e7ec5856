// The triggers on a promo table. An application's write never fails because of them: what goes
// wrong is a WARNING, and the worker's reconcile finds the change.

#include <string>
#include <vector>

#include "json/json.hpp"

#include "pg/boundary.hpp"
#include "pg/log.hpp"
#include "pg/own_write.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "access/htup_details.h"
#include "commands/trigger.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;

namespace {

/// What stripe_sync.install_triggers() says in a trigger's arguments.
struct Arguments {
  std::vector<std::string> keys, watched, sync;
  std::string code, active;

  explicit Arguments(const Trigger* trigger) {
    if (trigger->tgnargs != 5) throw Error(errcode::internal, "wrong arguments of our trigger");
    keys = list(trigger->tgargs[0]);
    watched = list(trigger->tgargs[1]);
    sync = list(trigger->tgargs[2]);
    code = trigger->tgargs[3];
    active = trigger->tgargs[4];
    if (sync.size() != SyncColumns::count) {
      throw Error(errcode::internal, "wrong arguments of our trigger");
    }
  }

  static std::vector<std::string> list(const char* json) {
    const auto parsed = json::Value::parse(json);
    if (!parsed) throw parsed.error();
    return text_list(parsed.value());
  }
};

int attribute(TupleDesc tuple, const std::string& column) {
  const char* name = column.c_str();
  return pg_call([=] { return SPI_fnumber(tuple, name); });
}

/// Where a trigger's columns stand in its relation; kept for the length of a statement. Plain data.
struct Columns {
  static constexpr int most = 32;
  int watched[most];
  int watched_count;
  int sync[SyncColumns::count];
  int key;         ///< of a single-column key; 0 = composite
  bool generated;  ///< a watched column is computed after BEFORE triggers
};

void fill_columns(Columns& columns, const TriggerData* trigger) {
  const Arguments arguments(trigger->tg_trigger);
  const TupleDesc tuple = trigger->tg_relation->rd_att;
  for (const std::string& column : arguments.watched) {
    const int number = attribute(tuple, column);
    if (number <= 0 || columns.watched_count == Columns::most) continue;
    if (TupleDescAttr(tuple, number - 1)->attgenerated != '\0') {
      columns.generated = true;
    } else {
      columns.watched[columns.watched_count++] = number;
    }
  }
  for (int i = 0; i < SyncColumns::count; ++i) {
    columns.sync[i] = attribute(tuple, arguments.sync[i]);
  }
  if (arguments.keys.size() == 1) columns.key = attribute(tuple, arguments.keys[0]);
}

const Columns& columns_of(FunctionCallInfo fcinfo, const TriggerData* trigger) {
  FmgrInfo* function = fcinfo->flinfo;
  if (function->fn_extra == nullptr) {
    Columns* columns = static_cast<Columns*>(
        pg_call([=] { return MemoryContextAllocZero(function->fn_mcxt, sizeof(Columns)); }));
    fill_columns(*columns, trigger);
    function->fn_extra = columns;
  }
  return *static_cast<const Columns*>(function->fn_extra);
}

struct Value {
  Datum datum;
  bool null;
};

Value value_of(HeapTuple row, TupleDesc tuple, int number) {
  return pg_call([=] {
    Value value;
    value.datum = heap_getattr(row, number, tuple, &value.null);
    return value;
  });
}

// Bytes, not a type's own equality, which could be anybody's function: too much of a difference
// costs one look, too little would lose a change.
bool differs(HeapTuple before, HeapTuple after, TupleDesc tuple, int number) {
  if (number <= 0) return false;
  const Value a = value_of(before, tuple, number), b = value_of(after, tuple, number);
  if (a.null || b.null) return a.null != b.null;
  const Form_pg_attribute column = TupleDescAttr(tuple, number - 1);
  const bool by_value = column->attbyval;
  const int length = column->attlen;
  return !pg_call([=] { return datum_image_eq(a.datum, b.datum, by_value, length); });
}

std::string text_of(HeapTuple row, TupleDesc tuple, int number) {
  if (number <= 0) return "";
  const char* text = pg_call([=] { return SPI_getvalue(row, tuple, number); });
  return text == nullptr ? "" : text;
}

/// New values for some columns of a row.
class Replacement {
 public:
  explicit Replacement(TupleDesc tuple) : tuple_(tuple) {}

  void set_text(int number, const char* text) {
    if (number <= 0) return;
    const Form_pg_attribute column = TupleDescAttr(tuple_, number - 1);
    const Oid type = column->atttypid;
    Datum datum = 0;
    if (text != nullptr) {
      datum = pg_call([=] {
        Oid input, parameter;
        getTypeInputInfo(type, &input, &parameter);
        return OidInputFunctionCall(input, const_cast<char*>(text), parameter, -1);
      });
    }
    set(number, {datum, text == nullptr});
  }

  void set(int number, Value value) {
    if (number <= 0) return;
    numbers_.push_back(number);
    values_.push_back(value.datum);
    nulls_.push_back(value.null);
  }

  HeapTuple apply(HeapTuple row) {
    if (numbers_.empty()) return row;
    const TupleDesc tuple = tuple_;
    int* numbers = numbers_.data();
    Datum* values = values_.data();
    const std::vector<char> nulls(nulls_.begin(), nulls_.end());
    const bool* flags = reinterpret_cast<const bool*>(nulls.data());
    const int count = static_cast<int>(numbers_.size());
    return pg_call([=] {
      return heap_modify_tuple_by_cols(row, tuple, count, numbers, values,
                                       const_cast<bool*>(flags));
    });
  }

 private:
  TupleDesc tuple_;
  std::vector<int> numbers_;
  std::vector<Datum> values_;
  std::vector<char> nulls_;
};

bool is_own_row(HeapTuple row, TupleDesc tuple, const Columns& columns) {
  if (own_write == nullptr) return false;
  return columns.key <= 0 || text_of(row, tuple, columns.key) == own_write->key;
}

HeapTuple impose_own(const TriggerData* trigger, const Columns& columns) {
  const TupleDesc tuple = trigger->tg_relation->rd_att;
  Replacement replacement(tuple);
  for (int i = 0; i < SyncColumns::count; ++i) {
    const int number = columns.sync[i];
    if (own_write->values[i].set) {
      replacement.set_text(number, own_write->values[i].text);
    } else if (number > 0) {
      replacement.set(number, value_of(trigger->tg_trigtuple, tuple, number));
    }
  }
  return replacement.apply(trigger->tg_newtuple);
}

bool is_sync(const Columns& columns, int number) {
  for (int sync : columns.sync) {
    if (sync == number) return true;
  }
  return false;
}

bool watched_changed(const TriggerData* trigger, const Columns& columns) {
  const TupleDesc tuple = trigger->tg_relation->rd_att;
  const auto changed = [&](int number) {
    return differs(trigger->tg_trigtuple, trigger->tg_newtuple, tuple, number);
  };
  for (int i = 0; i < columns.watched_count; ++i) {
    if (changed(columns.watched[i])) return true;
  }
  if (!columns.generated) return false;
  for (int number = 1; number <= tuple->natts; ++number) {
    const Form_pg_attribute column = TupleDescAttr(tuple, number - 1);
    const bool skip = column->attisdropped || column->attgenerated != '\0';
    if (!skip && !is_sync(columns, number) && changed(number)) return true;
  }
  return false;
}

HeapTuple before_row(FunctionCallInfo fcinfo, const TriggerData* trigger) {
  const Columns& columns = columns_of(fcinfo, trigger);
  const TupleDesc tuple = trigger->tg_relation->rd_att;
  const bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
  const HeapTuple row = update ? trigger->tg_newtuple : trigger->tg_trigtuple;
  if (update && is_own_row(row, tuple, columns)) return impose_own(trigger, columns);

  const int status = columns.sync[SyncColumns::status];
  const bool left_alone = text_of(row, tuple, status) == "manual";
  if (left_alone || (update && !watched_changed(trigger, columns))) return row;
  Replacement replacement(tuple);
  replacement.set_text(status, "pending");
  replacement.set(columns.sync[SyncColumns::error], {0, true});
  return replacement.apply(row);
}

// ---- AFTER STATEMENT -------------------------------------------------------------------------

const char* changed_state =
    "state = 'pending', attempts = 0, next_attempt = clock_timestamp(),"
    " changed_at = clock_timestamp(), changed_by = pg_current_xact_id(),"
    " generation = s.generation + 1";

std::string mark_sql(const Arguments& arguments, bool update) {
  const std::string key = key_expression("n", arguments.keys);
  const std::string active =
      arguments.active.empty() ? "'t'" : "format('%s', n." + quote_name(arguments.active) + ")";
  std::string rows = "SELECT " + key + " AS key, format('%s', n." + quote_name(arguments.code) +
                     ") AS code, " + active +
                     " = ANY ('{f,false,0}') AS off, false AS deleted FROM stripe_sync_new n"
                     " WHERE format('%s', n." +
                     quote_name(arguments.sync[SyncColumns::status]) +
                     ") = ANY ('{pending,manual,\"\"}')";
  if (update) {
    rows += " UNION ALL SELECT gone.key, NULL, true, true FROM (SELECT " +
            key_expression("o", arguments.keys) + " FROM stripe_sync_old o EXCEPT SELECT " + key +
            " FROM stripe_sync_new n) gone(key)";
  }
  return "INSERT INTO stripe_sync.promo_state AS s (promo_table, key, code, off, deleted, "
         "changed_by)"
         " SELECT $1::oid, r.key, r.code, r.off, r.deleted, pg_current_xact_id() FROM (" +
         rows +
         ") r WHERE r.key IS DISTINCT FROM $2 ON CONFLICT (promo_table, key) DO UPDATE SET"
         " code = coalesce(excluded.code, s.code), off = excluded.off,"
         " deleted = excluded.deleted, " +
         changed_state;
}

// More than ten rows and a fifth of the table at once may be a mistake: held until confirmed.
std::string delete_sql(const Arguments& arguments) {
  return "WITH gone AS MATERIALIZED (SELECT " + key_expression("o", arguments.keys) +
         " AS key FROM stripe_sync_old o), bulk AS MATERIALIZED (SELECT CASE WHEN count(*) > 10 "
         "THEN"
         " count(*) * 5 > (SELECT count(*) FROM stripe_sync.promo_state a"
         "   WHERE a.promo_table = $1::oid AND NOT a.deleted) ELSE false END AS held FROM gone)"
         " UPDATE stripe_sync.promo_state s SET deleted = NOT bulk.held, off = true,"
         " attempts = 0, changed_at = clock_timestamp(), changed_by = pg_current_xact_id(),"
         " generation = s.generation + 1,"
         " state = CASE WHEN s.state = 'excluded' THEN s.state WHEN bulk.held THEN 'missing'"
         "   ELSE 'pending' END,"
         " next_attempt = CASE WHEN s.state <> 'excluded' AND NOT bulk.held THEN clock_timestamp() "
         "END,"
         " reason = CASE WHEN bulk.held THEN 'deleted together with a large part of its table' END"
         " FROM gone, bulk WHERE s.promo_table = $1::oid AND s.key = gone.key"
         " AND gone.key IS DISTINCT FROM $2";
}

std::string truncate_sql() {
  return "UPDATE stripe_sync.promo_state s SET state = 'missing', next_attempt = NULL,"
         " changed_at = clock_timestamp(), changed_by = pg_current_xact_id(),"
         " generation = s.generation + 1, reason = 'the table was truncated'"
         " WHERE s.promo_table = $1::oid AND NOT s.deleted AND s.state <> 'excluded'"
         " AND $2::text IS NULL";
}

std::string statement_sql(const TriggerData* trigger) {
  const Arguments arguments(trigger->tg_trigger);
  if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event)) return mark_sql(arguments, false);
  if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)) return mark_sql(arguments, true);
  if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event)) return delete_sql(arguments);
  return truncate_sql();
}

/// Plans by trigger oid: attaching again makes new triggers, so a plan never outlives its columns.
struct KeptPlan {
  Oid trigger;
  SPIPlanPtr plan;
};

HTAB* kept_plans = nullptr;

KeptPlan* kept_plan(Oid trigger) {
  return pg_call([=] {
    if (kept_plans == nullptr) {
      HASHCTL control = {};
      control.keysize = sizeof(Oid);
      control.entrysize = sizeof(KeptPlan);
      kept_plans = hash_create("stripe_sync trigger plans", 16, &control, HASH_ELEM | HASH_BLOBS);
    }
    bool found;
    KeptPlan* entry = static_cast<KeptPlan*>(hash_search(kept_plans, &trigger, HASH_ENTER, &found));
    if (!found) entry->plan = nullptr;
    return entry;
  });
}

void after_statement(TriggerData* trigger) {
  with_spi([&] {
    pg_call([=] { SPI_register_trigger_data(trigger); });
    std::uint64_t marked = 0;
    as_extension_owner([&] {
      KeptPlan* kept = kept_plan(trigger->tg_trigger->tgoid);
      if (kept->plan == nullptr) kept->plan = keep_plan(statement_sql(trigger), 2);
      const Text own = own_write == nullptr ? Text() : Text(own_write->key);
      marked = run_plan(kept->plan, {std::to_string(RelationGetRelid(trigger->tg_relation)), own})
                   .affected;
    });
    if (marked > 0) wake_worker_at_commit();
  });
}

TriggerData* trigger_data(FunctionCallInfo fcinfo) {
  if (!CALLED_AS_TRIGGER(fcinfo)) {
    throw Error(errcode::usage, "this function can only be called by its trigger");
  }
  return reinterpret_cast<TriggerData*>(fcinfo->context);
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_promo_before_row) {
  return PointerGetDatum(before_row(fcinfo, trigger_data(fcinfo)));
}

STRIPE_SYNC_FUNCTION(stripe_sync_promo_after_statement) {
  TriggerData* trigger = trigger_data(fcinfo);
  if (const auto failed = in_subtransaction([&] { after_statement(trigger); })) {
    log_error(WARNING, Error(failed->sqlstate, "a change of promo codes was not taken over yet",
                             failed->message, "It is found by the worker's next comparison."));
  }
  return PointerGetDatum(nullptr);
}
