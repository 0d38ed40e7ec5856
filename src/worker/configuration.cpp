#include "worker/configuration.hpp"

#include "pg/api_key.hpp"
#include "pg/guc.hpp"

namespace stripe_sync::worker {

namespace guc = pg::guc;

Result<Configuration> read_configuration() {
  const auto base = stripe::check_api_base(guc::api_base);
  if (!base) return base.error();
  const auto key = pg::read_api_key();
  if (!key) return key.error();
  const auto mode = stripe::mode_of_key(key.value());
  if (!mode) return mode.error();
  Configuration found;
  found.client.api_base = base.value();
  found.client.key = key.value();
  found.client.user_agent = "stripe_sync/" STRIPE_SYNC_VERSION;
  found.client.ca_file = guc::ca_file;
  found.client.connect_timeout = Millis(guc::connect_timeout);
  found.client.request_timeout = Millis(guc::request_timeout);
  found.limits.max_parallel = guc::max_parallel;
  found.client.rate_per_second = guc::rate_limit > 0                  ? guc::rate_limit
                                 : mode.value() == stripe::Mode::live ? 20
                                                                      : 10;
  return found;
}

}  // namespace stripe_sync::worker
