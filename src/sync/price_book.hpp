#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "stripe/client.hpp"
#include "sync/promo_row.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Reads the prices that mappings ask for, once for all rows of a burst, and forgets them after a
/// minute: a price changed in Stripe must count for the next custom price.
class PriceBook {
 public:
  explicit PriceBook(const Clock& clock) : clock_(clock) {}

  const Catalog& catalog();
  void want(const NeedPrices& need);
  /// The next list call to send, if something is wanted and none is under way.
  std::optional<stripe::Call> next_call();
  void sent(std::uint64_t id) { under_way_ = id; }
  bool owns(std::uint64_t id) const { return under_way_ == id; }
  /// Takes the answer; an error if the prices could not be read.
  std::optional<Error> take(const stripe::Answer& answer);
  bool busy() const { return under_way_.has_value() || !wanted_.empty(); }
  void clear();

 private:
  struct Want {
    enum Kind { by_id, by_lookup_key, of_product, yearly } kind;
    std::string name;
    std::string after;         ///< page cursor
    std::vector<Price> found;  ///< by earlier pages; in the catalog only when whole
    bool operator==(const Want& other) const { return kind == other.kind && name == other.name; }
  };
  void add(Want::Kind kind, const std::string& name);
  void store(Want& want, const json::Value& body);

  const Clock& clock_;
  Catalog catalog_;
  std::optional<Millis> read_at_;
  std::vector<Want> wanted_;  ///< the first is the one under way
  std::optional<std::uint64_t> under_way_;
};

}  // namespace stripe_sync
