#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sync/promo_plan.hpp"
#include "sync/promo_row.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// A claimed row: what it was when claimed, and how far its push has come. Lives in the worker's
/// memory while the push is under way; everything needed after a crash is in the row's state.
struct PromoJob {
  std::string table;  ///< oid of the promo table, as text
  std::string key;
  std::string code;
  std::int64_t lease = 0;
  std::int64_t generation = 0;
  std::int64_t coupon_revision = 1;
  std::optional<std::int64_t> used_before;
  int attempts = 0;

  PromoRow row;
  bool deleted = false;
  std::optional<std::int64_t> row_hash;
  std::shared_ptr<const AttachSettings> settings;
  Observed observed;
  std::string linked_code{};  ///< promotion code the row had when it was claimed
  Identity identity;

  std::optional<Unsettled> unsettled;
  std::optional<Refused> refused;
  bool take_over = false;       ///< a conflict was decided: the row is right
  bool text_looked = false;     ///< known for as long as the push lasts, as is `refused`
  std::string recorded;         ///< the promotion code that is in the history
  std::string holds;            ///< the text it was last known to sell in Stripe
  std::int64_t number = 0;      ///< operation number of `unsettled`, or of the write just decided
  bool first_send = false;      ///< nothing was ever sent under `number`
  std::string idempotency_key;  ///< of the write just decided; set by the store
  std::string action;           ///< what was done: created, updated, switched off ...
};

/// What is written for a job in one commit.
struct Decision {
  struct Retry {
    Error reason;
    Millis delay{0};
    bool counts = true;  ///< as an attempt of this row's own
  };
  /// At most one of these; none = the lease is kept and nothing is sent yet.
  std::optional<Operation> send;
  std::optional<Settled> settle;
  std::optional<Retry> retry;
  /// The next coupon takes another id: revision + 1; the row is due again at once.
  bool new_coupon_id = false;
  /// The row is let go of as it was, and still due: nothing can be said of it yet.
  bool leave = false;

  bool ends() const { return settle || retry || new_coupon_id; }
};

enum class Saved {
  ok,
  released,  ///< the row changed meanwhile, or was settled: the job is over
  busy,      ///< nothing could be written now: try again shortly
  failed,    ///< nothing can be written at all: try again, less and less often
  lost,      ///< the lease is another's: drop the job, write nothing
};

/// Where promo codes and their state live. Each call is one transaction, closed when it returns;
/// none waits for a lock of the application's.
class PromoStore {
 public:
  virtual ~PromoStore() = default;

  using Decide = std::function<Decision(PromoJob&)>;

  struct Claimed {
    PromoJob job;
    Decision decision;
  };
  struct Claims {
    std::vector<Claimed> jobs;
    int rows = 0;  ///< claimed in all; 0 = nothing due could be had
  };
  /// Claims up to `limit` due rows, switching off first, one per normalised code, and commits their
  /// leases and the numbers of the writes that `decide` wants sent. What ends a job is returned
  /// with it, to be saved by itself: that may run into the application's locks.
  virtual Claims claim(int limit, const Decide& decide) = 0;
  /// Only what is to be switched off.
  virtual Claims claim_off(int limit, const Decide& decide) = 0;

  /// Rows are unseen as long as nothing is known of them in Stripe and nothing was sent for them.
  /// If at least so many of them are due that have changed since the last time, claim() leaves them
  /// alone from now on; those to be switched off only for a minute. Returns how many; 0 = too few.
  /// Any will do if another worker held them and has not released them.
  virtual std::size_t hold_unseen(std::size_t least) = 0;
  /// Claims unseen rows of these texts (normalised).
  virtual Claims claim_unseen(const std::vector<std::string>& texts, const Decide& decide) = 0;
  /// claim() takes them again. `seen_to`: all that were held will not be counted the next time.
  virtual void release_unseen(bool seen_to) = 0;

  /// Commits what was learnt (observed, unsettled) and decided. Before a write is sent its number
  /// is taken and committed here.
  virtual Saved save(PromoJob& job, const Decision& decision) = 0;

  /// Whether the row of that promotion code is about to let go of a text: its push is due, and it
  /// is off or has another one by now.
  virtual bool gives_up(const std::string& promotion_code, const std::string& text) = 0;

  /// Time until a row is due; nothing = none waits.
  virtual std::optional<Millis> next_due() = 0;

  /// Makes rows that wait after a failure due now.
  virtual void retry_now() = 0;
};

}  // namespace stripe_sync
