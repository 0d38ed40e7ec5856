#pragma once

#include <optional>

#include "worker/worker_state.hpp"

namespace stripe_sync::worker {

/// Why this database must not be served at all: nothing is written to Stripe, nor to a table.
std::optional<Error> misplaced(const Orders& orders, const Place& here);

/// Why nothing is written to Stripe, whatever the key.
std::optional<Error> forbidden(const Orders& orders, const Place& here);

/// For no other reason than stripe_sync_pause(): what is read is this database's all the same.
bool only_paused(const Orders& orders, const Place& here);

}  // namespace stripe_sync::worker
