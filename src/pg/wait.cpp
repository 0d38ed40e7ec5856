#include "pg/wait.hpp"

#include <algorithm>

#include "pg/compat.hpp"

extern "C" {
#include "utils/backend_status.h"
}

namespace stripe_sync::pg {

namespace {

constexpr int most_events = 32;

uint32 wanted(unsigned interest) {
  return ((interest & http::readable) ? WL_SOCKET_READABLE : 0) |
         ((interest & http::writable) ? WL_SOCKET_WRITEABLE : 0);
}

unsigned readiness(uint32 events) {
  return ((events & WL_SOCKET_READABLE) ? http::readable : 0u) |
         ((events & WL_SOCKET_WRITEABLE) ? http::writable : 0u);
}

// Plain C, as are all that call it.
void take_interrupts() {
  ResetLatch(MyLatch);
  if (!ProcDiePending) CHECK_FOR_INTERRUPTS();
}

}  // namespace

void show_activity(const char* phase) {
  pg_call([phase] { pgstat_report_activity(STATE_RUNNING, phase); });
}

bool wait_for_latch(Millis timeout) {
  const long milliseconds = static_cast<long>(std::max<Millis::rep>(timeout.count(), 0));
  return pg_call([milliseconds] {
    pgstat_report_activity(STATE_IDLE, nullptr);
    const int events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                                 milliseconds, wait_event());
    take_interrupts();
    return (events & WL_LATCH_SET) != 0;
  });
}

bool told_to_end() {
  return ProcDiePending;
}

namespace detail {

bool set_end_aside() {
  const bool told = ProcDiePending;
  ProcDiePending = false;
  return told;
}

void end_as_told() {
  pg_call([] {
    ProcDiePending = true;
    InterruptPending = true;
    CHECK_FOR_INTERRUPTS();
  });
}

}  // namespace detail

Waiter::~Waiter() {
  // Only closes a descriptor; the server's memory goes with the process in any case.
  if (events_ != nullptr) FreeWaitEventSet(events_);
}

void Waiter::rebuild() {
  WaitEventSet* old = events_;
  events_ = nullptr;
  const auto& sockets = transport_.sockets();
  const http::Socket* first = sockets.data();
  const std::size_t count = sockets.size();
  events_ = pg_call([=] {
    if (old != nullptr) FreeWaitEventSet(old);
    WaitEventSet* set = create_wait_event_set(TopMemoryContext, static_cast<int>(count) + 2);
    AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
    AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
    for (std::size_t i = 0; i < count; ++i) {
      AddWaitEventToSet(set, wanted(first[i].interest), first[i].fd, nullptr, nullptr);
    }
    return set;
  });
}

bool Waiter::wait(Millis timeout) {
  Assert(!IsTransactionState());
  if (transport_.take_sockets_changed() || events_ == nullptr) rebuild();
  if (const auto soon = transport_.timeout()) timeout = std::min(timeout, *soon);

  WaitEvent happened[most_events];
  WaitEvent* out = happened;
  WaitEventSet* set = events_;
  const long milliseconds = static_cast<long>(std::max<Millis::rep>(timeout.count(), 0));
  const int count = pg_call([=] {
    pgstat_report_activity(STATE_IDLE, nullptr);
    const int n = WaitEventSetWait(set, milliseconds, out, most_events, wait_event());
    take_interrupts();
    return n;
  });
  bool latched = false;
  for (int i = 0; i < count; ++i) {
    if (happened[i].events & WL_LATCH_SET) latched = true;
    if (happened[i].events & WL_SOCKET_MASK) {
      transport_.on_ready(happened[i].fd, readiness(happened[i].events));
    }
  }
  if (const auto due = transport_.timeout(); due && *due <= Millis(0)) transport_.on_timeout();
  return latched;
}

}  // namespace stripe_sync::pg
