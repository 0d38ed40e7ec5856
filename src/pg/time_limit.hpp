#pragma once
// What a table's owner hung onto it (triggers, constraints, functions of an index) runs in the
// worker: it may never end, and may raise any error.

#include "core/clock.hpp"
#include "core/error.hpp"

#include "pg/boundary.hpp"

namespace stripe_sync::pg {

namespace detail {
void start_time_limit(Millis limit);
/// Whether time was up.
bool end_time_limit();
}  // namespace detail

/// Runs `f` for so long at most; code that catches the cancel is cancelled again. False when time
/// was up before it ended: the surrounding (sub)transaction must then fail. An Error that says that
/// this process shall end is not believed: its real end is none. One at a time.
template <class F>
bool in_time(Millis limit, const F& f) {
  detail::start_time_limit(limit);
  std::optional<Error> failed;
  try {
    f();
  } catch (const Error& error) {
    failed = error;
  } catch (...) {
    detail::end_time_limit();
    throw;
  }
  const bool up = detail::end_time_limit();
  if (failed && !up) {
    if (failed->is_fatal_to_run()) failed->sqlstate = errcode::usage;
    throw *failed;
  }
  return !failed;
}

/// What is thrown then.
Error out_of_time(const std::string& table, Millis limit);

}  // namespace stripe_sync::pg
