#pragma once
// stripe.promo_history: every promotion code that a row ever had. The user's table: written as its
// owner, and whatever becomes of it keeps no code from being pushed.

#include <optional>
#include <string>

#include "sync/promo_store.hpp"

#include "pg/spi.hpp"

namespace stripe_sync::pg {

class PromoHistory {
 public:
  /// Adds what a step has replaced, and the present code where `recorded` is another. What may pass
  /// (a lock) is thrown; any other failure is counted in
  /// stripe_sync.error, and what is lacking is written with a later step of the row.
  void record(PromoJob& job, const std::string& account, const std::string& mode);

  /// The predecessors of a row of which nothing else is known: attached again, installed again.
  /// Without them its uses would be sold anew: why they can't be read, if so.
  std::optional<Error> recall(PromoJob& job, const std::string& account, const std::string& mode);

 private:
  void insert(const std::string& table, const PromoJob& job, const std::string& account,
              const std::string& mode, const Replaced& entry, bool over);

  MadeStatement insert_, select_;
};

}  // namespace stripe_sync::pg
