#include "pg/inbox_writer.hpp"

#include <cstring>

extern "C" {
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"
}

namespace stripe_sync::pg {

namespace {

/// In the table's order; a later version may add columns that can be NULL.
enum Column {
  number,
  promo_table,
  change_kind,
  key,
  code,
  off,
  promotion_code_id,
  together,
  changed_at,
  changed_by,
  columns,
};
constexpr const char* column_names[columns] = {
    "number", "promo_table",       "change",   "key",        "code",
    "off",    "promotion_code_id", "together", "changed_at", "changed_by"};

Oid find_inbox() {
  const Oid oid = pg_call(
      [] { return get_relname_relid("promo_inbox", get_namespace_oid("stripe_sync", true)); });
  if (!OidIsValid(oid)) {
    throw Error(sqlstate("42P01"), "relation \"stripe_sync.promo_inbox\" does not exist");
  }
  return oid;
}

// Of what hangs on it nothing is run: it would be with the rights of whoever writes a promo code.
void check_layout(Relation inbox) {
  const TupleDesc tuple = RelationGetDescr(inbox);
  bool same = tuple->natts >= columns && inbox->trigdesc == nullptr &&
              (tuple->constr == nullptr || tuple->constr->num_check == 0);
  for (int i = 0; same && i < columns; ++i) {
    same = std::strcmp(NameStr(TupleDescAttr(tuple, i)->attname), column_names[i]) == 0;
  }
  if (!same) {
    throw Error(errcode::usage,
                "stripe_sync.promo_inbox is not as this version of the library made it", "",
                "ALTER EXTENSION stripe_sync UPDATE;");
  }
}

void set(TupleTableSlot* slot, Column column, Datum value) {
  slot->tts_values[column] = value;
  slot->tts_isnull[column] = false;
}

void set_text(TupleTableSlot* slot, Column column, const char* text) {
  if (text != nullptr) set(slot, column, CStringGetTextDatum(text));
}

}  // namespace

// The number is taken here, while the statement holds its row locks, as stripe_sync.change_number()
// has it.
void InboxWriter::open() {
  const Oid table = find_inbox();
  inbox_ = pg_call([=] { return table_open(table, RowExclusiveLock); });
  check_layout(inbox_);
  number_ = pg_call([] { return static_cast<std::int64_t>(GetXLogInsertRecPtr()); });
  state_ = pg_call([] { return CreateExecutorState(); });
  const Relation inbox = inbox_;
  target_ = pg_call([=] {
    ResultRelInfo* target = makeNode(ResultRelInfo);
    InitResultRelInfo(target, inbox, 0, nullptr, 0);
    ExecOpenIndices(target, false);
    return target;
  });
  slot_ = pg_call([=] { return table_slot_create(inbox, nullptr); });
}

void InboxWriter::append(const Change& change) {
  if (!used()) open();
  const Change* c = &change;
  const InboxWriter* w = this;
  pg_call([=] {
    const MemoryContext before = MemoryContextSwitchTo(GetPerTupleMemoryContext(w->state_));
    TupleTableSlot* slot = ExecClearTuple(w->slot_);
    std::memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
    set(slot, number, Int64GetDatum(w->number_));
    set(slot, promo_table, ObjectIdGetDatum(w->promo_table_));
    set_text(slot, change_kind, c->change);
    set_text(slot, key, c->key);
    set_text(slot, code, c->code);
    if (c->off) set(slot, off, BoolGetDatum(*c->off));
    set_text(slot, promotion_code_id, c->promotion_code_id);
    if (c->together) set(slot, together, Int64GetDatum(*c->together));
    set(slot, changed_at, TimestampTzGetDatum(GetCurrentTimestamp()));
    set(slot, changed_by, FullTransactionIdGetDatum(GetTopFullTransactionId()));
    ExecStoreVirtualTuple(slot);
    MemoryContextSwitchTo(before);
    ExecSimpleRelationInsert(w->target_, w->state_, slot);
    ResetPerTupleExprContext(w->state_);
  });
}

void InboxWriter::close() {
  if (!used()) return;
  const InboxWriter* w = this;
  pg_call([=] {
    ExecDropSingleTupleTableSlot(w->slot_);
    ExecCloseIndices(w->target_);
    FreeExecutorState(w->state_);
    table_close(w->inbox_, NoLock);
  });
}

}  // namespace stripe_sync::pg
