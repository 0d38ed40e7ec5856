#pragma once

#include <cstdint>

#include "sync/promo_store.hpp"

#include "core/no_postgres.hpp"

// A claimed row as plans are made for it.

namespace stripe_sync {

/// What a plan for the row is made from now, as far as prices are known.
Situation situation_of(const PromoJob& job, const Catalog& catalog, std::int64_t now);

/// absorb() with what it makes of the situation taken into the job.
Effect absorb_into(PromoJob& job, Situation situation, const Operation& operation,
                   const stripe::Answer& answer);

}  // namespace stripe_sync
