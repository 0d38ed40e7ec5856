#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "stripe/client.hpp"
#include "sync/code_pass.hpp"
#include "sync/price_book.hpp"
#include "sync/promo_store.hpp"
#include "sync/reach.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Pushes promo codes: claims due rows, carries out their plans over the client, writes outcomes
/// back through the store. Owns no connection and no database; pump() and handle() never wait.
class PromoEngine {
 public:
  struct Limits {
    int max_parallel = 4;  ///< requests under way, but for slow ones
  };
  /// Uniform draws in [0, 1) for the jitter.
  using Uniform = std::function<double()>;

  PromoEngine(PromoStore& store, stripe::Client& client, const Clock& clock, Uniform uniform);

  void set_limits(const Limits& limits);

  /// Something may be due: the next pump() asks the store.
  void look_for_due() {
    claim_at_ = Millis(0);
    look_for_off_ = true;
  }
  /// Claims and sends what may be sent now.
  void pump();
  /// Takes an answer that belongs to a push or to what is read for many; false if it is somebody
  /// else's.
  bool handle(std::uint64_t id, const stripe::Answer& answer);

  /// How long the owner may wait before pump() has something to do, answers aside.
  std::optional<Millis> wait() const;

  /// Why nothing can be sent for any row (wrong key), if so. The owner clears it when the cause may
  /// be gone.
  const std::optional<Error>& blocked() const { return blocked_; }
  /// Sends nothing more, what is decided included. What is under way ends as ever.
  void block(const Error& reason);
  /// Tries again at once; only what Stripe asked to wait for is still waited for.
  void unblock();

  /// Whose objects were read is not known any more: what was read for many rows is forgotten, and
  /// writes wait.
  void distrust();
  /// Writes wait from then on: whoever owns the engine looks first for somebody else's
  /// (sync/foreign_writes.hpp). Never, unless this is called.
  void allow_writes(Millis until) { writes_until_ = until; }
  /// A write waits for that alone.
  bool wants_to_write() const;
  /// What showed that another database writes under our numbers; the engine has blocked itself.
  std::optional<std::string> take_rival() { return std::exchange(rival_, std::nullopt); }
  /// Why nothing is sent for a while, if so; the end may have passed, the next try tells.
  std::optional<Pause> pause() const;
  double rate() const { return client_.limiter().rate(); }

  /// Stripe answers again after not having been reached.
  bool take_recovered() { return reach_.take_recovered(); }

  std::size_t jobs() const { return jobs_.size() + unsaved_.size(); }

 private:
  using JobId = std::uint64_t;
  struct Active {
    PromoJob job;
    std::optional<Operation> operation;  ///< decided or under way; nothing = waits for prices
    Millis decided_at;
    bool sent = false;
    Millis sent_at{0};

    bool unsent() const { return operation && !sent; }
    bool is_off() const { return job.deleted || says_off(job.row); }
    /// Something is on sale that must not be, or may be: it is looked for.
    Urgency urgency() const {
      const bool sells = job.observed.code && job.observed.code->active;
      const bool look = job.unsettled && operation && !operation->writes();
      return is_off() && (sells || look) ? Urgency::urgent : Urgency::normal;
    }
  };
  /// What could not be written: to be saved later.
  struct Unsaved {
    PromoJob job;
    Decision decision;
    Millis at;
    Millis wait;
  };
  Decision decide(PromoJob& job);
  Decision decide_after(PromoJob& job, const Operation& operation, const stripe::Answer& answer);
  Decision::Retry retry(const PromoJob& job, const Operation& operation, const Error& reason,
                        const stripe::Answer& answer);
  Decision::Retry put_off(const Pause& pause) const;
  template <class F>
  Decision contained(PromoJob& job, const F& judge);

  std::optional<Pause> held() const;
  bool waits_to_write(const Active& active) const;
  bool waits_for_token(Urgency urgency) const;
  std::vector<JobId> waiting() const;  ///< for prices
  int slots() const;                   ///< free ones; a row that waits for prices takes none
  int room() const;                    ///< for rows to be claimed
  int room_for_off() const;            ///< what is not sent yet makes room for them
  bool may_claim_off() const;
  bool may_send(Urgency urgency = Urgency::normal) const;
  int slow() const;  ///< requests that have given their slot to others
  std::optional<Millis> next_slow() const;
  int in_flight() const {
    return static_cast<int>(sent_.size()) + (prices_.under_way() ? 1 : 0) +
           (pass_.under_way() ? 1 : 0) - slow();
  }
  bool may_resume() const;
  bool saves_wait() const;  ///< too many do
  /// Its request could not be sent soon, and the row may change until then.
  bool lacks_slot(const Unsaved& unsaved) const { return unsaved.decision.send && slots() <= 0; }

  void claim();
  void claim_off();
  void take_on(PromoStore::Claims claims);
  void send_decided();
  void send_jobs(Urgency urgency);
  void resume_priced();
  void review_unsent();
  void put_back(PromoJob job, const Pause& pause);
  void save_unsaved();
  void give_up_waiting();
  void take_prices(const stripe::Answer& answer);
  void begin_pass();
  void end_pass();
  void take_page(const stripe::Answer& answer);
  bool may_compare() const;
  void compare_with_page();
  Decision compare(PromoJob& job);
  void carry_on(PromoJob job, const Decision& decision, Millis waited = Millis(0));
  void note(const std::string& who, const stripe::Answer& answer);
  Situation situation(const PromoJob& job) const;
  Active take_out(JobId id);

  PromoStore& store_;
  stripe::Client& client_;
  const Clock& clock_;
  Uniform uniform_;
  Limits limits_;
  PriceBook prices_;
  CodePass pass_;
  Millis pass_at_{0};  ///< none is begun before

  JobId next_job_ = 1;
  std::map<JobId, Active> jobs_;
  std::map<std::uint64_t, JobId> sent_;  ///< request id -> job
  std::vector<Unsaved> unsaved_;

  std::optional<Error> blocked_;
  Reach reach_;
  std::optional<std::string> rival_;
  Millis writes_until_ = Millis::max();
  Pause no_prices_;
  Permissions permissions_;
  int price_failures_ = 0;

  std::optional<Millis> claim_at_{Millis(0)};  ///< nothing = nothing is due
  bool look_for_off_ = true;                   ///< something may have to be switched off
};

}  // namespace stripe_sync
