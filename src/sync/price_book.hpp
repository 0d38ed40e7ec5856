#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "stripe/client.hpp"
#include "sync/promo_row.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Reads the prices that mappings ask for, once for all rows of a burst. The owner has them
/// forgotten: a price changed in Stripe must count for the next custom price.
class PriceBook {
 public:
  explicit PriceBook(const Clock& clock) : clock_(clock) {}

  const Catalog& catalog() const { return catalog_; }
  void want(const NeedPrices& need);
  /// The next list call to send, if something is wanted and none is under way.
  std::optional<stripe::Call> next_call() const;
  void sent(std::uint64_t id);
  const std::optional<std::uint64_t>& under_way() const { return under_way_; }
  /// Time until the call under way has been waited for long enough; nothing = none is.
  std::optional<Millis> patience() const;
  /// What is taken in the answer's place then.
  static stripe::Answer no_answer();
  /// Takes the answer to the call under way. An error if these prices could not be read: they, or
  /// all if it is not about them alone, are wanted no longer.
  std::optional<Error> take(const stripe::Answer& answer);
  bool busy() const { return !wanted_.empty(); }

  /// Forgets what was read; what is wanted stays wanted.
  void forget();
  /// The same if it was read more than a minute ago.
  void forget_old();

 private:
  struct Want {
    enum Kind { by_id, by_lookup_key, of_product, yearly } kind;
    std::string name;
    std::string after;         ///< page cursor
    std::vector<Price> found;  ///< by earlier pages; in the catalog only when whole
    bool operator==(const Want& other) const { return kind == other.kind && name == other.name; }
    bool refers() const { return kind == by_id || kind == by_lookup_key; }
  };
  enum class Stored { whole, more, unreadable };
  void add(Want::Kind kind, const std::string& name);
  Stored store(Want& want, const json::Value& body);
  Stored store_page(Want& want, const json::Value& body);

  const Clock& clock_;
  Catalog catalog_;
  std::optional<Millis> read_at_;
  std::vector<Want> wanted_;  ///< the first is the one under way
  std::optional<std::uint64_t> under_way_;
  Millis sent_at_{0};
};

}  // namespace stripe_sync
