#pragma once

#include <cstdint>
#include <optional>

#include "pg/boundary.hpp"

extern "C" {
#include "nodes/execnodes.h"
#include "utils/relcache.h"
}

namespace stripe_sync::pg {

/// A row of stripe_sync.promo_inbox; texts in PostgreSQL's memory, nullptr = NULL. Plain data.
struct Change {
  const char* change;
  const char* key = nullptr;
  const char* code = nullptr;
  std::optional<bool> off{};
  const char* promotion_code_id = nullptr;
  std::optional<std::int64_t> together{};
};

/// Appends the changes of one statement to stripe_sync.promo_inbox, past planner and executor: to
/// start them takes longer than all the rest that a trigger does for a statement of one row. Asks
/// for no rights.
class InboxWriter {
 public:
  explicit InboxWriter(Oid promo_table) : promo_table_(promo_table) {}

  void append(const Change& change);
  /// To be called at the end; an error's rollback sees to the rest.
  void close();
  bool used() const { return state_ != nullptr; }

 private:
  void open();

  Oid promo_table_;
  Relation inbox_ = nullptr;
  EState* state_ = nullptr;
  ResultRelInfo* target_ = nullptr;
  TupleTableSlot* slot_ = nullptr;
  std::int64_t number_ = 0;
};

}  // namespace stripe_sync::pg
