#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "sync/promo_store.hpp"

#include "core/no_postgres.hpp"

// A claimed row as plans are made for it.

namespace stripe_sync {

/// What a plan for the row is made from now, as far as prices are known.
Situation situation_of(const PromoJob& job, const Catalog& catalog, std::int64_t now);

/// absorb() with what it makes of the situation, and what was done, taken into the job.
Effect absorb_into(PromoJob& job, Situation situation, const Operation& operation,
                   const stripe::Answer& answer);

/// The first promotion code in the way whose row is about to let go of the text.
std::optional<std::string> about_to_be_free(
    const Effect& conflict, const std::function<bool(const std::string& promotion_code)>& gives_up);

}  // namespace stripe_sync
