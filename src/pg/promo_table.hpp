#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "json/json.hpp"
#include "sync/promo_row.hpp"

#include "pg/compat.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "pg/time_limit.hpp"

namespace stripe_sync::pg {

/// Names of the columns we write back to, in the order used everywhere.
struct SyncColumns {
  static constexpr int coupon_id = 0, promotion_code_id = 1, status = 2, synced_at = 3, error = 4;
  static constexpr int count = 5;
};

/// SQL of a row's key as text: the column's text, or an array's of several. Only output functions
/// run: a user's cast could do anything.
std::string key_expression(const std::string& alias, const std::vector<std::string>& columns);

/// Bytes of the longest key that can be one of promo_state's, whose index holds up to 2.7 kB: rows
/// with longer ones are left out.
constexpr std::size_t longest_key = 2000;
/// SQL of whether a key is one.
std::string key_fits(const std::string& key);

/// Strings of a JSON array.
std::vector<std::string> text_list(const json::Value& array);

/// A user's promo table as attached, with the statements that read and write it: to be run
/// as_owner(). They name everything in full.
class PromoTable {
 public:
  /// From the attachment's row; reads the columns' types. `label` is schema.table, unquoted.
  PromoTable(Oid oid, std::string name, std::string label, const json::Value& columns,
             std::vector<std::string> keys, AttachSettings settings);
  ~PromoTable();
  PromoTable(const PromoTable&) = delete;
  PromoTable& operator=(const PromoTable&) = delete;

  Oid oid() const { return oid_; }
  const std::string& label() const { return label_; }
  const std::shared_ptr<const AttachSettings>& settings() const { return settings_; }

  /// Runs `f`, which reads or writes the table, with its owner's rights; in the worker only for so
  /// long (stripe_sync.table_timeout), since code of the owner's may run. `times`: a multiple of
  /// it.
  template <class F>
  void as_owner(const F& f, int times = 1) {
    as_role(table_owner(oid_), [&] {
      if (!in_background_worker()) return f();
      const Millis limit = time_limit() * times;
      const bool ended = in_time(limit, f);
      took_too_long_ = ended ? 0 : took_too_long_ + 1;
      if (!ended) throw out_of_time(label_, limit);
    });
  }

  struct Found {
    PromoRow row;  ///< sync_status and the ids among it
    std::int64_t hash = 0;
    std::string sync_error;
    std::vector<std::string> keys;  ///< texts of the key's columns
  };
  /// The row as committed now; nothing if there is none.
  std::optional<Found> read(const std::string& key);
  /// The same, locked; nothing if there is none or somebody else holds it.
  std::optional<Found> lock(const std::string& key);

  /// What the row shall show. Nothing = that column keeps its value.
  struct Projection {
    Text coupon_id;
    Text promotion_code_id;
    std::string status;
    bool synced_now = false;
    Text error;  ///< NULL when nothing: always written
  };
  /// Writes the sync columns; the row must be locked. Writes nothing if it shows this already.
  void project(const std::string& key, const Found& found, const Projection& projection);

  /// Writes items of a row as whoever runs it would, our triggers' work included; nothing = NULL.
  void change(const std::string& key, const std::vector<std::pair<std::string, Text>>& values);

  /// The column that holds an item, as the user wrote it; empty = the table has none.
  std::string column_of(const std::string& item) const;
  /// Those that have a column.
  std::set<std::string> items() const;

  /// Every row whose key fits: keys, codes, off flags and hashes, as four arrays in text form; and
  /// how many others there are.
  std::vector<Text> all_rows();
  /// Those of these keys that the table holds; arrays in text form.
  Text held_of(const Text& wanted);

 private:
  struct Column {
    std::string name;  ///< quoted
    std::string type;
    int limit = 0;  ///< characters, of varchar and char; 0 = none
    std::string raw_name;
    std::string base;  ///< type that a domain is made of; else the type
  };
  void load_types(const json::Value& columns);
  Millis time_limit() const;
  std::string item_expression(const std::string& item) const;
  std::string hash_expression() const;
  std::string key_condition() const;
  std::string select_list() const;
  std::optional<Found> fetch(SPIPlanPtr& plan, const char* locking, const std::string& key);

  Oid oid_;
  std::string name_;
  std::string label_;
  std::vector<std::string> keys_;
  std::vector<std::string> items_;  ///< order of the select list
  std::map<std::string, Column, std::less<>> columns_;
  std::vector<std::string> key_types_;
  std::shared_ptr<const AttachSettings> settings_;
  int took_too_long_ = 0;  ///< times in a row
  SPIPlanPtr read_ = nullptr;
  SPIPlanPtr lock_ = nullptr;
  SPIPlanPtr project_ = nullptr;
  SPIPlanPtr held_ = nullptr;
};

}  // namespace stripe_sync::pg
