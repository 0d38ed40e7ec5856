#pragma once

namespace stripe_sync::pg {

/// Whether another server has sent WAL to this one since it was started: promoted, it takes the
/// other's place. (One that is restored from a backup begins a new timeline, too; but nobody
/// streams to it.)
bool was_standby();

}  // namespace stripe_sync::pg
