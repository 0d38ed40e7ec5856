#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/clock.hpp"
#include "stripe/client.hpp"
#include "sync/price_book.hpp"
#include "sync/promo_diff.hpp"
#include "sync/reach.hpp"
#include "worker/worker_state.hpp"

#include "pg/promo_store.hpp"

namespace stripe_sync::worker {

/// Serves stripe_sync_diff(): compares the codes that are waited for one after the other, one
/// request after the other, each when it may be sent.
class DiffRequests {
 public:
  DiffRequests(stripe::Client& client, pg::SpiPromoStore& store, const Clock& clock)
      : client_(client), store_(store), clock_(clock) {}

  /// All that is asked for up to request `number`.
  void begin(std::int64_t number);
  bool under_way() const { return number_ != 0; }
  /// Forgets what is under way (another key): to be begun anew.
  void reset();
  /// Sends the next request, if it may be sent now; once all is found, stores it.
  void pump();
  /// How long the owner may wait before pump() has something to do, answers aside.
  std::optional<Millis> wait() const;
  /// True if the answer was one of these.
  bool handle(std::uint64_t id, const stripe::Answer& answer);

 private:
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
  Millis store_at_{0};  ///< what was found: later, once that has failed
  std::optional<std::uint64_t> request_;
};

}  // namespace stripe_sync::worker
