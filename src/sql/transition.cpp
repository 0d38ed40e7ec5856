#include "sql/transition.hpp"

#include <cstring>

extern "C" {
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

using namespace stripe_sync::pg;

namespace stripe_sync::sql {

namespace {

bool means_off(const char* text) {
  for (const char* off : {"f", "false", "0"}) {
    if (std::strcmp(text, off) == 0) return true;
  }
  return false;
}

}  // namespace

Transition::Transition(const TriggerData* trigger, Rows rows)
    : rows_(rows == Rows::old_rows ? trigger->tg_oldtable : trigger->tg_newtable),
      tuple_(RelationGetDescr(trigger->tg_relation)) {
  if (rows_ == nullptr) throw Error(errcode::internal, "our trigger has no transition table");
  Tuplestorestate* store = rows_;
  const TupleDesc tuple = tuple_;
  pointer_ = pg_call([=] {
    const int pointer = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);
    tuplestore_select_read_pointer(store, pointer);
    tuplestore_rescan(store);
    return pointer;
  });
  slot_ = pg_call([=] { return MakeSingleTupleTableSlot(tuple, &TTSOpsMinimalTuple); });
  memory_ = pg_call([] {
    return AllocSetContextCreate(CurrentMemoryContext, "stripe_sync changed row",
                                 ALLOCSET_SMALL_SIZES);
  });
  const Arguments arguments(trigger->tg_trigger);
  for (const std::string& name : arguments.keys) keys_.push_back(find(name));
  status_ = find(arguments.sync[SyncColumns::status]);
  if (rows == Rows::old_rows) return;
  code_ = find(arguments.code);
  if (!arguments.active.empty()) active_ = find(arguments.active);
  promotion_code_id_ = find(arguments.sync[SyncColumns::promotion_code_id]);
}

Transition::Column Transition::find(const std::string& name) const {
  Column column;
  const char* wanted = name.c_str();
  const TupleDesc tuple = tuple_;
  column.number = pg_call([=] { return SPI_fnumber(tuple, wanted); });
  if (column.number <= 0) {
    throw Error(sqlstate("42703"), "column \"" + name + "\" does not exist");
  }
  Column* found = &column;
  pg_call([=] {
    Oid output;
    bool varlena;
    getTypeOutputInfo(TupleDescAttr(tuple, found->number - 1)->atttypid, &output, &varlena);
    fmgr_info(output, &found->output);
  });
  return column;
}

bool Transition::next() {
  const Transition* t = this;
  const bool found = pg_call([=] {
    CHECK_FOR_INTERRUPTS();
    MemoryContextReset(t->memory_);
    tuplestore_select_read_pointer(t->rows_, t->pointer_);
    return tuplestore_gettupleslot(t->rows_, true, false, t->slot_);
  });
  if (found) key_ = keys_.size() == 1 ? text_of(keys_[0]) : text_of_keys();
  return found;
}

void Transition::close() {
  const Transition* t = this;
  pg_call([=] {
    ExecDropSingleTupleTableSlot(t->slot_);
    MemoryContextDelete(t->memory_);
  });
}

std::int64_t Transition::size() const {
  return tuplestore_tuple_count(rows_);
}

Change Transition::changed() const {
  Change change{"changed", key_, text_of(code_), false, text_of(promotion_code_id_)};
  if (active_.number > 0) change.off = means_off(text_of(active_));
  if (*change.promotion_code_id == '\0') change.promotion_code_id = nullptr;
  return change;
}

const char* Transition::text_of(const Column& column) const {
  const Transition* t = this;
  FmgrInfo* output = const_cast<FmgrInfo*>(&column.output);
  const int number = column.number;
  return pg_call([=] {
    const MemoryContext before = MemoryContextSwitchTo(t->memory_);
    bool null;
    const Datum value = slot_getattr(t->slot_, number, &null);
    const char* text = null ? "" : OutputFunctionCall(output, value);
    MemoryContextSwitchTo(before);
    return text;
  });
}

const char* Transition::text_of_keys() const {
  const char* texts[INDEX_MAX_KEYS];
  const int count = static_cast<int>(keys_.size());
  for (int i = 0; i < count; ++i) texts[i] = text_of(keys_[i]);
  const char* const* t = texts;
  const MemoryContext memory = memory_;
  return pg_call([=]() -> const char* {
    const MemoryContext before = MemoryContextSwitchTo(memory);
    Datum values[INDEX_MAX_KEYS];
    for (int i = 0; i < count; ++i) values[i] = CStringGetTextDatum(t[i]);
    ArrayType* array = construct_array(values, count, TEXTOID, -1, false, TYPALIGN_INT);
    const char* text = OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(array));
    MemoryContextSwitchTo(before);
    return text;
  });
}

}  // namespace stripe_sync::sql
