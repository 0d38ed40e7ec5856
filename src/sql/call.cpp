#include "sql/call.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/lsyscache.h"
}

using namespace stripe_sync::pg;

namespace stripe_sync::sql {

Text argument_text(FunctionCallInfo fcinfo, int n) {
  if (fcinfo->args[n].isnull) return Text();
  const Datum value = fcinfo->args[n].value;
  const char* text = pg_call([=] {
    Oid output;
    bool varlena;
    getTypeOutputInfo(get_fn_expr_argtype(fcinfo->flinfo, n), &output, &varlena);
    return OidOutputFunctionCall(output, value);
  });
  return Text(text);
}

void return_rows(FunctionCallInfo fcinfo, const Rows& rows) {
  pg_call([=] { InitMaterializedSRF(fcinfo, 0); });
  const ReturnSetInfo* result = reinterpret_cast<const ReturnSetInfo*>(fcinfo->resultinfo);
  AttInMetadata* columns = pg_call([=] { return TupleDescGetAttInMetadata(result->setDesc); });
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::vector<char*> values;
    for (int column = 0; column < result->setDesc->natts; ++column) {
      const Text& value = rows.at(row, column);
      values.push_back(value ? const_cast<char*>(value->c_str()) : nullptr);
    }
    char** texts = values.data();
    pg_call([=] {
      HeapTuple tuple = BuildTupleFromCStrings(columns, texts);
      tuplestore_puttuple(result->setResult, tuple);
      heap_freetuple(tuple);
    });
  }
}

}  // namespace stripe_sync::sql
