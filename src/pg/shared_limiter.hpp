#pragma once

#include <memory>

#include "stripe/limiter.hpp"

namespace stripe_sync::pg {

/// Asks the server for the memory of the buckets; once, from _PG_init when preloaded.
void request_shared_buckets();

/// What all databases of this server share that have the same key and address; if the library was
/// not preloaded, there is no memory to share, and each has its own.
std::unique_ptr<stripe::Limiter> make_limiter(const Clock& clock);

}  // namespace stripe_sync::pg
