#pragma once
// Our own write of a promo row, known to our triggers by this variable of the process and never by
// a setting, which anybody could set.

#include "pg/promo_table.hpp"

namespace stripe_sync::pg {

struct OwnWrite {
  Oid table;
  const char* key;                       ///< as in stripe_sync.promo_state
  const std::vector<std::string>* keys;  ///< texts of its columns
  struct Value {
    bool set;          ///< else the column keeps its old value
    const char* text;  ///< nullptr = NULL
  } values[SyncColumns::count];
};

/// The write under way in this process; nullptr outside PromoTable::project.
extern const OwnWrite* own_write;

}  // namespace stripe_sync::pg
