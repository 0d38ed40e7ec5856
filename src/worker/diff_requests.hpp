#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/clock.hpp"
#include "stripe/client.hpp"
#include "sync/price_book.hpp"
#include "sync/promo_diff.hpp"
#include "worker/worker_state.hpp"

#include "pg/promo_store.hpp"

namespace stripe_sync::worker {

/// Serves stripe_sync_diff(): compares the codes that are waited for one after the other, one
/// request after the other.
class DiffRequests {
 public:
  DiffRequests(stripe::Client& client, pg::SpiPromoStore& store, const Clock& clock)
      : client_(client), store_(store), clock_(clock) {}

  /// All that is asked for up to request `number`.
  void begin(std::int64_t number);
  bool under_way() const { return number_ != 0; }
  /// Forgets what is under way (another key): to be begun anew.
  void reset();
  /// True if the answer was one of these; once all are there, stores what was found.
  bool handle(std::uint64_t id, const stripe::Answer& answer);

 private:
  void go_on();
  bool ask();
  std::optional<Error> take(const stripe::Answer& answer);
  void conclude(std::optional<Error> error);
  void finish();

  stripe::Client& client_;
  pg::SpiPromoStore& store_;
  const Clock& clock_;
  std::optional<PriceBook> prices_;
  std::int64_t number_ = 0;
  std::vector<PromoDiff> diffs_;  ///< the last is the one under way
  std::vector<DiffOfRow> found_;
  std::optional<std::uint64_t> request_;
};

}  // namespace stripe_sync::worker
