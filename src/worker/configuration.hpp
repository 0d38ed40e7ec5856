#pragma once

#include "stripe/client.hpp"
#include "sync/promo_engine.hpp"

namespace stripe_sync::worker {

/// How Stripe is asked: settings and key as they are now.
struct Configuration {
  stripe::Config client;
  PromoEngine::Limits limits;
};
/// An error if nothing can be sent with them.
Result<Configuration> read_configuration();

}  // namespace stripe_sync::worker
