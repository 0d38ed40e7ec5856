#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "stripe/client.hpp"
#include "worker/worker_state.hpp"

namespace stripe_sync::worker {

/// Looks through Stripe's events for writes to our objects by another database that takes itself
/// for this one. What can't be read shows nothing.
class EventWatch {
 public:
  explicit EventWatch(stripe::Client& client) : client_(client) {}

  void begin(const Orders& orders, Millis now);
  bool under_way() const { return due_ || request_; }
  /// Asks for the next page, if that may be sent now.
  void pump();
  /// How long the owner may wait before pump() has something to do, answers aside.
  std::optional<Millis> wait() const;
  Millis since() const { return since_; }
  /// Forgets the look under way (another key).
  void reset() {
    request_.reset();
    due_ = false;
  }

  /// Takes the answer if it is this watch's: true. `rival` then says what shows another database,
  /// if something does.
  bool handle(std::uint64_t id, const stripe::Answer& answer, const Orders& orders,
              std::optional<std::string>& rival);

 private:
  void ask(const std::string& after);

  stripe::Client& client_;
  std::optional<std::uint64_t> request_;
  std::string after_;
  bool due_ = false;
  Millis since_{0};
};

}  // namespace stripe_sync::worker
