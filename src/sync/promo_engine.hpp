#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "stripe/client.hpp"
#include "sync/price_book.hpp"
#include "sync/promo_store.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Pushes promo codes: claims due rows, carries out their plans over the client, writes outcomes
/// back through the store. Owns no connection and no database; pump() and handle() never wait.
class PromoEngine {
 public:
  struct Limits {
    int max_parallel = 4;
    double rate_per_second = 10;
  };
  /// Uniform draws in [0, 1) for the jitter.
  using Uniform = std::function<double()>;

  PromoEngine(PromoStore& store, stripe::Client& client, const Clock& clock, Uniform uniform);

  void set_limits(const Limits& limits);

  /// Something may be due: the next pump() asks the store.
  void look_for_due() { claim_at_ = Millis(0); }
  /// Claims and sends what may be sent now.
  void pump();
  /// Takes an answer that belongs to a push or a price list; false if it is somebody else's.
  bool handle(std::uint64_t id, const stripe::Answer& answer);

  /// How long the owner may wait before pump() has something to do, answers aside.
  std::optional<Millis> wait();

  /// Why nothing can be sent for any row (wrong key, missing permission), if so. The owner clears
  /// it when the cause may be gone.
  const std::optional<Error>& blocked() const { return blocked_; }
  void unblock();

  /// Stripe answers 2xx again after not having been reached.
  bool take_recovered();

  std::size_t jobs() const { return jobs_.size() + unsaved_.size(); }

 private:
  using JobId = std::uint64_t;
  struct Active {
    PromoJob job;
    std::optional<Operation> operation;  ///< decided or under way
    bool sent = false;
    bool wants_prices = false;
  };

  Decision decide(PromoJob& job);
  Decision decide_after(PromoJob& job, const Operation& operation, const stripe::Answer& answer);
  void claim();
  void send_decided();
  void take_answer(Active active, const stripe::Answer& answer);
  void carry_on(PromoJob job, const Decision& decision);
  void resume_priced();
  void save_unsaved();
  void note_reachability(const stripe::Answer& answer);
  Situation situation(const PromoJob& job);

  PromoStore& store_;
  stripe::Client& client_;
  const Clock& clock_;
  Uniform uniform_;
  Limits limits_;
  TokenBucket bucket_;
  PriceBook prices_;

  JobId next_job_ = 1;
  std::map<JobId, Active> jobs_;
  std::map<std::uint64_t, JobId> sent_;                 ///< request id -> job
  std::vector<std::pair<PromoJob, Decision>> unsaved_;  ///< the application holds their state
  Millis save_at_{0};
  std::optional<Error> blocked_;
  Millis paused_until_{0};
  int failures_ = 0;  ///< answers in a row that never came
  bool recovered_ = false;
  std::optional<Millis> claim_at_{Millis(0)};  ///< nothing = nothing is due
};

}  // namespace stripe_sync
