// BEFORE ROW: marks an inserted or changed row pending, and holds our own write against what the
// application's triggers made of it.

#include "sql/promo_trigger.hpp"

#include "pg/own_write.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/partition.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;
using namespace stripe_sync::sql;

namespace {

int attribute(TupleDesc tuple, const std::string& column) {
  const char* name = column.c_str();
  return pg_call([=] { return SPI_fnumber(tuple, name); });
}

/// Where a trigger's columns stand in its relation; kept for the length of a statement. Plain data.
struct Columns {
  static constexpr int most = 32;
  int sync[SyncColumns::count];
  bool whole;  ///< the rest, too, which only updates ask for
  int watched[most];
  int watched_count;
  int keys[INDEX_MAX_KEYS];
  int key_count;
  bool generated;  ///< a watched column is computed after BEFORE triggers
};

void fill_rest(Columns& columns, const Arguments& arguments, TupleDesc tuple) {
  for (const std::string& column : arguments.watched) {
    const int number = attribute(tuple, column);
    if (number <= 0 || columns.watched_count == Columns::most) continue;
    if (TupleDescAttr(tuple, number - 1)->attgenerated != '\0') {
      columns.generated = true;
    } else {
      columns.watched[columns.watched_count++] = number;
    }
  }
  for (const std::string& key : arguments.keys) {
    columns.keys[columns.key_count++] = attribute(tuple, key);
  }
  columns.whole = true;
}

// An INSERT may turn into an UPDATE (ON CONFLICT).
const Columns& columns_of(FunctionCallInfo fcinfo, const TriggerData* trigger) {
  FmgrInfo* function = fcinfo->flinfo;
  Columns* columns = static_cast<Columns*>(function->fn_extra);
  const bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
  if (columns != nullptr && (columns->whole || !update)) return *columns;
  const Arguments arguments(trigger->tg_trigger);
  const TupleDesc tuple = trigger->tg_relation->rd_att;
  if (columns == nullptr) {
    columns = static_cast<Columns*>(
        pg_call([=] { return MemoryContextAllocZero(function->fn_mcxt, sizeof(Columns)); }));
    for (int i = 0; i < SyncColumns::count; ++i) {
      columns->sync[i] = attribute(tuple, arguments.sync[i]);
    }
    function->fn_extra = columns;
  }
  if (update) fill_rest(*columns, arguments, tuple);
  return *columns;
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
      const auto read = [&] {
        datum = pg_call([=] {
          Oid input, parameter;
          getTypeInputInfo(type, &input, &parameter);
          return OidInputFunctionCall(input, const_cast<char*>(text), parameter, -1);
        });
      };
      // A domain or enum may refuse since it was attached: then the row stays as it is, and the
      // comparison of the worker's finds the change.
      if (type == TEXTOID || type == VARCHAROID) {
        read();
      } else if (in_subtransaction(read)) {
        return;
      }
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

Oid attached_root(Relation relation) {
  const Oid oid = RelationGetRelid(relation);
  if (!relation->rd_rel->relispartition) return oid;
  return pg_call([=] { return llast_oid(get_partition_ancestors(oid)); });
}

bool is_own_row(const TriggerData* trigger, HeapTuple row, TupleDesc tuple,
                const Columns& columns) {
  if (own_write == nullptr || own_write->table != attached_root(trigger->tg_relation)) return false;
  for (int i = 0; i < columns.key_count; ++i) {
    if (text_of(row, tuple, columns.keys[i]) != (*own_write->keys)[i]) return false;
  }
  return true;
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

bool key_changed(const TriggerData* trigger, const Columns& columns) {
  const TupleDesc tuple = trigger->tg_relation->rd_att;
  for (int i = 0; i < columns.key_count; ++i) {
    if (differs(trigger->tg_trigtuple, trigger->tg_newtuple, tuple, columns.keys[i])) return true;
  }
  return false;
}

HeapTuple before_row(FunctionCallInfo fcinfo, const TriggerData* trigger) {
  const Columns& columns = columns_of(fcinfo, trigger);
  const TupleDesc tuple = trigger->tg_relation->rd_att;
  const bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
  const HeapTuple row = update ? trigger->tg_newtuple : trigger->tg_trigtuple;
  if (update && is_own_row(trigger, row, tuple, columns)) return impose_own(trigger, columns);

  const int status = columns.sync[SyncColumns::status];
  const std::string shown = text_of(row, tuple, status);
  const bool left_alone = shown == "manual";
  // What was changed while it was manual was looked at by nobody.
  const bool changed = !update || text_of(trigger->tg_trigtuple, tuple, status) == "manual" ||
                       key_changed(trigger, columns) || watched_changed(trigger, columns);
  if (left_alone || !changed) return row;
  Replacement replacement(tuple);
  const int error = columns.sync[SyncColumns::error];
  if (shown != "pending") replacement.set_text(status, "pending");
  if (error > 0 && !value_of(row, tuple, error).null) replacement.set(error, {0, true});
  return replacement.apply(row);
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_promo_before_row) {
  return PointerGetDatum(before_row(fcinfo, trigger_data(fcinfo)));
}
