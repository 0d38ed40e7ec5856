#pragma once
// Named points at which a test can let the worker die or fail; nothing in other builds.

#if STRIPE_SYNC_TESTING

namespace stripe_sync::pg {

/// Looks into the file stripe_sync.fault of the data directory for "POINT SKIP ACTION". After SKIP
/// passes the file is removed and the action done: kill (SIGKILL, as a crash), shutdown (immediate,
/// of the whole server), error (an Error), exception (the standard library's). With crash (SIGKILL)
/// the file stays.
void fault(const char* point);

}  // namespace stripe_sync::pg

#define STRIPE_SYNC_FAULT(point) ::stripe_sync::pg::fault(point)
#else
#define STRIPE_SYNC_FAULT(point) static_cast<void>(0)
#endif
