#include "pg/spi.hpp"

#include <utility>

extern "C" {
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
}

namespace stripe_sync::pg {

namespace {

[[noreturn]] void throw_spi(const char* doing, int code) {
  throw Error(errcode::internal, std::string(doing) + " failed: " + SPI_result_code_string(code));
}

// A text datum in the current memory context.
Datum make_text(const char* data, std::size_t length) {
  return pg_call(
      [=] { return PointerGetDatum(cstring_to_text_with_len(data, static_cast<int>(length))); });
}

std::vector<Text> copy_row(SPITupleTable* table, std::uint64_t row) {
  const int columns = table->tupdesc->natts;
  std::vector<Text> values(columns);
  for (int column = 0; column < columns; ++column) {
    const char* value =
        pg_call([=] { return SPI_getvalue(table->vals[row], table->tupdesc, column + 1); });
    if (value != nullptr) values[column] = value;
  }
  return values;
}

// Gone with the SPI connection, unless it is kept.
SPIPlanPtr prepare(const std::string& sql, int arguments, int options) {
  const char* source = sql.c_str();
  SPIPlanPtr plan = pg_call([=] {
    Oid* types = static_cast<Oid*>(palloc(sizeof(Oid) * (arguments + 1)));
    for (int i = 0; i < arguments; ++i) types[i] = TEXTOID;
    SPIPlanPtr prepared = SPI_prepare_cursor(source, arguments, types, options);
    pfree(types);
    return prepared;
  });
  if (plan == nullptr) throw Error(errcode::internal, "a statement could not be prepared");
  return plan;
}

}  // namespace

Text text_or_null(const std::string& text) {
  return text.empty() ? Text() : Text(text);
}

SPIPlanPtr keep_plan(std::string_view sql, int arguments, int options) {
  SPIPlanPtr plan = prepare(std::string(sql), arguments, options);
  pg_call([=] { SPI_keepplan(plan); });
  return plan;
}

Rows run_plan(SPIPlanPtr plan, const std::vector<Text>& arguments, int most) {
  std::vector<Datum> values;
  std::string nulls;
  for (const Text& argument : arguments) {
    values.push_back(argument ? make_text(argument->data(), argument->size()) : Datum(0));
    nulls.push_back(argument ? ' ' : 'n');
  }
  Datum* data = values.data();
  const char* flags = nulls.c_str();
  const int code = pg_call([=] { return SPI_execute_plan(plan, data, flags, false, most); });
  if (code < 0) throw_spi("a statement", code);

  Rows rows;
  rows.affected = SPI_processed;
  SPITupleTable* table = SPI_tuptable;
  if (table != nullptr) {
    rows.rows_.reserve(table->numvals);
    for (std::uint64_t row = 0; row < table->numvals; ++row) {
      rows.rows_.push_back(copy_row(table, row));
    }
    pg_call([=] { SPI_freetuptable(table); });
  }
  return rows;
}

// The settings are those of the planning alone; on failure the (sub)transaction's abort restores
// them. Not to be compiled: what is planned against settings looks expensive.
Rows run_lookup(SPIPlanPtr& plan, std::string_view sql, const std::vector<Text>& arguments,
                int most) {
  if (plan == nullptr) {
    plan = keep_plan(sql, static_cast<int>(arguments.size()), CURSOR_OPT_GENERIC_PLAN);
  }
  SPIPlanPtr kept = plan;
  pg_call([=] {
    const int nest_level = NewGUCNestLevel();
    for (const char* off : {"enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"}) {
      set_config_option(off, "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    }
    CachedPlan* planned = SPI_plan_get_cached_plan(kept);
    if (planned != nullptr) ReleaseCachedPlan(planned, CurrentResourceOwner);
    AtEOXact_GUC(false, nest_level);
  });
  return run_plan(plan, arguments, most);
}

void MadeStatement::forget() {
  if (plan_ != nullptr) SPI_freeplan(std::exchange(plan_, nullptr));
}

Rows MadeStatement::operator()(const std::string& sql, const std::vector<Text>& arguments) {
  if (sql != sql_) forget();
  sql_ = sql;
  return run_lookup(plan_, sql, arguments);
}

Rows run_once(const std::string& sql, const std::vector<Text>& arguments) {
  SPIPlanPtr plan = prepare(sql, static_cast<int>(arguments.size()), 0);
  Rows rows = run_plan(plan, arguments);
  pg_call([=] { SPI_freeplan(plan); });
  return rows;
}

std::string quote_name(const std::string& name) {
  const char* source = name.c_str();
  return pg_call([=] { return quote_identifier(source); });
}

std::string quote_literal(const std::string& text) {
  const char* source = text.c_str();
  return pg_call([=] { return quote_literal_cstr(source); });
}

std::string text_argument(FunctionCallInfo fcinfo, int n) {
  const Datum datum = fcinfo->args[n].value;
  return pg_call([=] { return text_to_cstring(DatumGetTextPP(datum)); });
}

Datum text_datum(std::string_view text) {
  return make_text(text.data(), text.size());
}

}  // namespace stripe_sync::pg
