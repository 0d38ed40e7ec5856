#pragma once

namespace stripe_sync::worker {

/// One database's worker (README.md here): connected, with the worker lock, until it is told to
/// end.
void run_worker();

}  // namespace stripe_sync::worker
