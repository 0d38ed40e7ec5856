#include "sync/money.hpp"

#include "sql/call.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;

STRIPE_SYNC_FUNCTION(stripe_sync_money) {
  const auto currency = normalise_currency(text_argument(fcinfo, 1));
  if (!currency) throw currency.error();
  std::string number = money_text(PG_GETARG_INT64(0), currency.value());
  number.resize(number.find(' '));
  const char* digits = number.c_str();
  return pg_call([=] {
    return DirectFunctionCall3(numeric_in, CStringGetDatum(digits), ObjectIdGetDatum(InvalidOid),
                               Int32GetDatum(-1));
  });
}
