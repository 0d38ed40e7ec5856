#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "stripe/client.hpp"
#include "worker/worker_state.hpp"

namespace stripe_sync::worker {

/// Whose account the key opens, asked once per key before anything is pushed.
class AccountCheck {
 public:
  explicit AccountCheck(stripe::Client& client) : client_(client) {}

  void begin();
  bool under_way() const { return request_.has_value(); }
  bool verified() const { return verified_; }
  /// Nothing is known any more (other key).
  void reset();

  /// Takes the answer if it is this check's: true. `failure` then says why nothing may be pushed.
  bool handle(std::uint64_t id, const stripe::Answer& answer, const Orders& orders,
              std::optional<Error>& failure);

  const std::string& account() const { return account_; }
  const std::string& mode() const { return mode_; }
  /// The key may not read its account: known as Stripe names it in refusing, else by the
  /// fingerprint of the key.
  bool account_hidden() const { return hidden_; }

 private:
  std::optional<Error> compare(const Orders& orders) const;

  stripe::Client& client_;
  std::optional<std::uint64_t> request_;
  bool verified_ = false;
  bool hidden_ = false;
  std::string account_;
  std::string mode_;
};

/// What the key may do, asked one request after the other for stripe_sync_check().
class PermissionCheck {
 public:
  explicit PermissionCheck(stripe::Client& client) : client_(client) {}

  void begin(std::int64_t number, const AccountCheck& account);
  /// Nothing can be asked; `item` is what that shows in.
  void refuse(std::int64_t number, const std::string& item, const Error& reason);
  bool under_way() const { return number_ != 0; }
  /// True if the answer was this check's; once all are there, stores what was found.
  bool handle(std::uint64_t id, const stripe::Answer& answer);

 private:
  void ask();
  void finish();

  stripe::Client& client_;
  std::int64_t number_ = 0;
  std::size_t next_ = 0;
  std::optional<std::uint64_t> request_;
  std::vector<Probe> found_;
};

}  // namespace stripe_sync::worker
