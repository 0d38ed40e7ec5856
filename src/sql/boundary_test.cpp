// Proofs of the exception boundary, callable from SQL in test builds only.
#if STRIPE_SYNC_TESTING

#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "pg/boundary.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "utils/memutils.h"
}

using namespace stripe_sync;
using namespace stripe_sync::pg;

namespace {

int live_objects = 0;

/// Counts itself: a destructor that a longjmp skipped shows as a number above zero.
struct Counted {
  Counted() { ++live_objects; }
  ~Counted() { --live_objects; }
  std::string text = std::string(100, 'x');
};

std::string describe(const Error& error) {
  return sqlstate_text(error.sqlstate) + "|" + error.message + "|" + error.detail + "|" +
         error.hint + "|live " + std::to_string(live_objects);
}

void throw_kind(const std::string& kind) {
  const Counted alive;
  if (kind == "error") throw Error(errcode::refused, "a message", "a detail", "a hint");
  if (kind == "bad_alloc") throw std::bad_alloc();
  if (kind == "length_error") throw std::length_error("too long");
  if (kind == "int") throw 42;
  if (kind == "long") throw Error(errcode::usage, std::string(5000, 'm'), std::string(5000, 'd'));
}

}  // namespace

STRIPE_SYNC_FUNCTION(stripe_sync_test_throw) {
  throw_kind(text_argument(fcinfo, 0));
  PG_RETURN_VOID();
}

STRIPE_SYNC_FUNCTION(stripe_sync_test_live) {
  PG_RETURN_INT32(live_objects);
}

// Runs SQL in a subtransaction with objects alive above it; tells the error that came back.
STRIPE_SYNC_FUNCTION(stripe_sync_test_catch) {
  const std::string sql = text_argument(fcinfo, 0);
  std::string result = "no error";
  with_spi([&] {
    const auto failed = in_subtransaction([&] {
      const Counted alive;
      const auto more = std::make_unique<Counted>();
      run_once(sql);
    });
    if (failed) result = describe(*failed);
  });
  return text_datum(result);
}

// The same without a subtransaction: the error goes on to PostgreSQL.
STRIPE_SYNC_FUNCTION(stripe_sync_test_pass) {
  const std::string sql = text_argument(fcinfo, 0);
  Text result;
  with_spi([&] {
    const Counted alive;
    result = run_once(sql).single();
  });
  return text_datum(result.value_or("null"));
}

// Bytes by which the memory contexts grew over `times` subtransactions, every `nth` failing.
STRIPE_SYNC_FUNCTION(stripe_sync_test_growth) {
  const int times = PG_GETARG_INT32(0), nth = PG_GETARG_INT32(1);
  std::int64_t before = 0, after = 0;
  with_spi([&] {
    for (int i = 0; i <= times; ++i) {
      // The first rounds fill caches.
      if (i == times / 2) before = MemoryContextMemAllocated(TopMemoryContext, true);
      const auto failed = in_subtransaction([&] {
        const Counted alive;
        pg_call([=] {
          if (i % nth == 0)
            ereport(ERROR, (::errcode(ERRCODE_DIVISION_BY_ZERO), errmsg("round %d", i)));
        });
      });
      if (failed && failed->sqlstate != sqlstate("22012")) throw *failed;
    }
    after = MemoryContextMemAllocated(TopMemoryContext, true);
  });
  PG_RETURN_INT64(after - before);
}

#endif
