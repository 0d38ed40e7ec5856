#pragma once
// stripe.promo_history: every promotion code that a row ever had. The user's table: written as its
// owner, and whatever becomes of it keeps no code from being pushed.

#include <string>

#include "sync/promo_store.hpp"

namespace stripe_sync::pg {

/// Adds what a step has replaced, and the present code where `recorded` is another. In a
/// subtransaction; a failure is counted in stripe_sync.error.
void record_history(PromoJob& job, const std::string& account, const std::string& mode);

/// The predecessors of a row of which nothing else is known: attached again, installed again.
void recall_history(PromoJob& job, const std::string& account, const std::string& mode);

}  // namespace stripe_sync::pg
