#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sql/promo_trigger.hpp"

#include "pg/inbox_writer.hpp"

extern "C" {
#include "utils/tuplestore.h"
}

namespace stripe_sync::sql {

/// The rows that a statement left or those that it found, one after the other, as far as changes
/// are told by them. Texts of a row last until the next.
class Transition {
 public:
  enum class Rows { old_rows, new_rows };
  Transition(const TriggerData* trigger, Rows rows);

  bool next();
  /// To be called at the end; an error's rollback sees to the rest.
  void close();

  std::int64_t size() const;
  /// As key_expression() has it.
  const char* key() const { return key_; }
  const char* status() const { return text_of(status_); }
  /// Of new rows: what is told of this one.
  pg::Change changed() const;

 private:
  /// With its type's output function. Plain data.
  struct Column {
    int number = 0;  ///< 0 = there is none
    FmgrInfo output;
  };
  Column find(const std::string& name) const;
  const char* text_of(const Column& column) const;
  const char* text_of_keys() const;

  Tuplestorestate* rows_;
  TupleDesc tuple_;
  int pointer_;
  TupleTableSlot* slot_;
  MemoryContext memory_;  ///< of one row
  std::vector<Column> keys_;
  Column status_, code_, active_, promotion_code_id_;
  const char* key_ = nullptr;
};

}  // namespace stripe_sync::sql
