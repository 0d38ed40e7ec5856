#pragma once

namespace stripe_sync::worker {

/// Serves this database until the worker is no longer wanted. What it throws leaves nothing behind:
/// it may be called again.
void run_worker();

}  // namespace stripe_sync::worker
