#include "pg/standby.hpp"

#include "pg/postgres.hpp"

extern "C" {
#include "replication/walreceiver.h"
}

namespace stripe_sync::pg {

// Kept over promotion, as all of the receiver's memory; a receiver that reached nobody leaves it
// empty.
bool was_standby() {
  SpinLockAcquire(&WalRcv->mutex);
  const XLogRecPtr end = WalRcv->latestWalEnd;
  SpinLockRelease(&WalRcv->mutex);
  return !XLogRecPtrIsInvalid(end);
}

}  // namespace stripe_sync::pg
