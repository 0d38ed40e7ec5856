#pragma once
// The only place where PostgreSQL's longjmp and C++ exceptions meet.
//
//   pg_call            PostgreSQL -> C++: an ERROR becomes a thrown Error
//   pg_entry           C++ -> PostgreSQL: whatever was thrown becomes an ERROR
//   in_transaction     a transaction of the worker's own
//   in_subtransaction  something that may fail without failing the whole
//
// Between the two no C++ exception crosses a PostgreSQL frame, and no longjmp a C++ destructor.

#include <optional>
#include <type_traits>

#include "core/error.hpp"

#include "pg/postgres.hpp"

#include <setjmp.h>

namespace stripe_sync::pg {

/// Restores PostgreSQL's error stacks when its frame is left, however that happens.
class ErrorStacks {
 public:
  ErrorStacks()
      : exception_(PG_exception_stack),
        context_(error_context_stack),
        memory_(CurrentMemoryContext) {}
  ~ErrorStacks() { restore(); }
  ErrorStacks(const ErrorStacks&) = delete;
  ErrorStacks& operator=(const ErrorStacks&) = delete;

  void restore() const noexcept {
    PG_exception_stack = exception_;
    error_context_stack = context_;
  }
  MemoryContext memory() const { return memory_; }

 private:
  sigjmp_buf* exception_;
  ErrorContextCallback* context_;
  MemoryContext memory_;
};

/// Turns the ERROR just caught into a thrown Error; `memory` is the context to return to.
[[noreturn]] void throw_pg_error(MemoryContext memory);

/// Calls into PostgreSQL. Needed for everything that can ereport, palloc included. `f` may hold
/// only plain data and must not create an object with a destructor nor throw.
template <class F>
auto pg_call(const F& f) -> decltype(f()) {
  using R = decltype(f());
  static_assert(std::is_trivially_destructible_v<F>, "captures must be plain data");
  static_assert(std::is_void_v<R> || std::is_trivially_copyable_v<R>, "result must be plain data");

  const ErrorStacks stacks;
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    stacks.restore();
    throw_pg_error(stacks.memory());
  }
  PG_exception_stack = &here;
  return f();
}

/// Runs a function's body; what it throws is reported as an ERROR once nothing is alive any more.
Datum pg_entry(FunctionCallInfo fcinfo, Datum (*body)(FunctionCallInfo));

/// The same for a background worker's main function.
void pg_worker_main(Datum argument, void (*body)(Datum));

/// Runs `f` in a transaction of its own with SPI connected (worker only). An Error aborts it and is
/// returned, unless it must end the run.
template <class F>
std::optional<Error> in_transaction(const F& f);

/// Runs `f` in a subtransaction; an Error rolls it back and is returned, unless it must end the
/// run.
template <class F>
std::optional<Error> in_subtransaction(const F& f);

namespace detail {
void start_transaction();
void commit_transaction();
void abort_transaction();

struct Subtransaction {
  MemoryContext memory;
  ResourceOwner owner;
};
Subtransaction start_subtransaction();
void commit_subtransaction(const Subtransaction& before);
void abort_subtransaction(const Subtransaction& before);
}  // namespace detail

template <class F>
std::optional<Error> in_transaction(const F& f) {
  std::optional<Error> failed;
  try {
    detail::start_transaction();
    f();
    detail::commit_transaction();
    return failed;
  } catch (const Error& error) {
    failed = error;
  } catch (...) {
    detail::abort_transaction();
    throw;
  }
  detail::abort_transaction();
  if (failed->is_fatal_to_run()) throw *failed;
  return failed;
}

template <class F>
std::optional<Error> in_subtransaction(const F& f) {
  const detail::Subtransaction before = detail::start_subtransaction();
  std::optional<Error> failed;
  try {
    f();
    detail::commit_subtransaction(before);
    return failed;
  } catch (const Error& error) {
    failed = error;
  } catch (...) {
    detail::abort_subtransaction(before);
    throw;
  }
  detail::abort_subtransaction(before);
  if (failed->is_fatal_to_run()) throw *failed;
  return failed;
}

}  // namespace stripe_sync::pg

/// Defines an SQL-callable function: declaration, finfo record and guarded entry; the body follows.
#define STRIPE_SYNC_FUNCTION(name)                         \
  static Datum name##_body(FunctionCallInfo fcinfo);       \
  extern "C" {                                             \
  PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                \
  PG_FUNCTION_INFO_V1(name);                               \
  Datum name(PG_FUNCTION_ARGS) {                           \
    return stripe_sync::pg::pg_entry(fcinfo, name##_body); \
  }                                                        \
  }                                                        \
  static Datum name##_body([[maybe_unused]] FunctionCallInfo fcinfo)
