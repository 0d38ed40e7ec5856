#include "pg/shared_limiter.hpp"

#include <type_traits>

#include "pg/boundary.hpp"

extern "C" {
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
}

namespace stripe_sync::pg {

namespace {

constexpr const char* memory_name = "stripe_sync token buckets";
constexpr const char* tranche_name = "stripe_sync";

struct Slot {
  std::uint64_t who = 0;  ///< a hash; nothing else of a key is in here
  Millis used{0};
  TokenBucket bucket;
};

/// Fixed, and without a pointer. With more keys than slots the one least recently used is
/// forgotten, and begins anew.
struct Buckets {
  Slot slots[64];
};
static_assert(std::is_trivially_copyable_v<Buckets>);

Buckets* buckets = nullptr;
LWLock* lock = nullptr;
shmem_request_hook_type next_request = nullptr;
shmem_startup_hook_type next_startup = nullptr;

// Plain C, as every hook.
extern "C" void request_memory() {
  if (next_request != nullptr) next_request();
  RequestAddinShmemSpace(MAXALIGN(sizeof(Buckets)));
  RequestNamedLWLockTranche(tranche_name, 1);
}

// Anew after a crash, too.
extern "C" void find_memory() {
  if (next_startup != nullptr) next_startup();
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  bool found;
  buckets = static_cast<Buckets*>(ShmemInitStruct(memory_name, sizeof(Buckets), &found));
  if (!found) {
    for (Slot& slot : buckets->slots) slot = Slot();
  }
  lock = &GetNamedLWLockTranche(tranche_name)->lock;
  LWLockRelease(AddinShmemInitLock);
}

Slot& slot_of(std::uint64_t who) noexcept {
  Slot* oldest = buckets->slots;
  for (Slot& slot : buckets->slots) {
    if (slot.who == who) return slot;
    if (slot.used < oldest->used) oldest = &slot;
  }
  *oldest = Slot{who, Millis(0), {}};
  return *oldest;
}

class SharedLimiter final : public stripe::Limiter {
 public:
  using Limiter::Limiter;

 protected:
  // Between taking the lock and releasing it nothing can fail.
  void exclusively(std::uint64_t who, Millis now, const Step& step) override {
    const Step* s = &step;
    pg_call([=] {
      LWLockAcquire(lock, LW_EXCLUSIVE);
      Slot& slot = slot_of(who);
      slot.used = now;
      (*s)(slot.bucket);
      LWLockRelease(lock);
    });
  }
};

}  // namespace

void request_shared_buckets() {
  next_request = shmem_request_hook;
  shmem_request_hook = request_memory;
  next_startup = shmem_startup_hook;
  shmem_startup_hook = find_memory;
}

std::unique_ptr<stripe::Limiter> make_limiter(const Clock& clock) {
  if (buckets == nullptr) return std::make_unique<stripe::LocalLimiter>(clock);
  return std::make_unique<SharedLimiter>(clock);
}

}  // namespace stripe_sync::pg
