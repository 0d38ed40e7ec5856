#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

#include "pg/boundary.hpp"

namespace stripe_sync::pg {

/// A parameter or column in its text form; nothing = NULL.
using Text = std::optional<std::string>;
/// Nothing if it is empty.
Text text_or_null(const std::string& text);

/// A statement's result, copied out of PostgreSQL's memory.
class Rows {
 public:
  std::size_t size() const { return rows_.size(); }
  bool empty() const { return rows_.empty(); }
  const Text& at(std::size_t row, std::size_t column) const { return rows_.at(row).at(column); }
  void add(std::vector<Text> row) { rows_.push_back(std::move(row)); }
  void add(Rows rows) {
    std::move(rows.rows_.begin(), rows.rows_.end(), std::back_inserter(rows_));
  }
  /// First column of the first row.
  Text single() const { return rows_.empty() ? Text() : rows_[0].at(0); }
  std::uint64_t affected = 0;

 private:
  friend Rows run_plan(SPIPlanPtr plan, const std::vector<Text>& arguments, int most);
  std::vector<std::vector<Text>> rows_;
};

/// Prepares a statement whose parameters are all text ($1::bigint where another type is meant) and
/// keeps it for the life of the process.
SPIPlanPtr keep_plan(std::string_view sql, int arguments, int options = 0);

/// Runs a kept plan in the surrounding SPI connection, until there are so many rows; 0 = all.
Rows run_plan(SPIPlanPtr plan, const std::vector<Text>& arguments, int most = 0);

/// A fixed statement, prepared on first use. Names in it are qualified: it runs under any
/// search_path.
struct Statement {
  const char* sql;
  SPIPlanPtr plan = nullptr;

  template <class... Arguments>
  Rows operator()(const Arguments&... arguments) {
    if (plan == nullptr) plan = keep_plan(sql, sizeof...(arguments));
    return run_plan(plan, std::vector<Text>{Text(arguments)...});
  }
};

/// Runs a statement that finds few rows, and is planned once, to go by indexes: what the planner
/// knows of a table is of a while ago, and tables of codes grow from nothing in a second. Prepares
/// it first if that has not been done.
Rows run_lookup(SPIPlanPtr& plan, std::string_view sql, const std::vector<Text>& arguments,
                int most = 0);

/// A fixed statement of that kind.
struct Lookup {
  const char* sql;
  SPIPlanPtr plan = nullptr;

  template <class... Arguments>
  Rows operator()(const Arguments&... arguments) {
    return first(0, arguments...);
  }
  /// What comes after so many rows is neither read nor locked; 0 = nothing comes after.
  template <class... Arguments>
  Rows first(int most, const Arguments&... arguments) {
    return run_lookup(plan, sql, std::vector<Text>{Text(arguments)...}, most);
  }
};

/// A statement whose text is made, as for a table of any name: kept for as long as it is the same.
class MadeStatement {
 public:
  MadeStatement() = default;
  MadeStatement(const MadeStatement&) = delete;
  MadeStatement& operator=(const MadeStatement&) = delete;
  ~MadeStatement() { forget(); }
  Rows operator()(const std::string& sql, const std::vector<Text>& arguments);

 private:
  void forget();

  std::string sql_;
  SPIPlanPtr plan_ = nullptr;
};

/// Prepares, runs and forgets: utility statements and SQL made for one table.
Rows run_once(const std::string& sql, const std::vector<Text>& arguments = {});

/// Connects to SPI for the length of a call from SQL; the failure path is PostgreSQL's.
template <class F>
void with_spi(const F& f) {
  pg_call([] { SPI_connect(); });
  f();
  pg_call([] { SPI_finish(); });
}

/// An identifier or literal, quoted as SQL needs it.
std::string quote_name(const std::string& name);
std::string quote_literal(const std::string& text);

std::string text_argument(FunctionCallInfo fcinfo, int n);
Datum text_datum(std::string_view text);

}  // namespace stripe_sync::pg
