#include "worker/worker.hpp"

#include <memory>
#include <random>

#include "http/curl_multi.hpp"
#include "worker/account.hpp"
#include "worker/comparison.hpp"
#include "worker/configuration.hpp"
#include "worker/diff_requests.hpp"
#include "worker/event_watch.hpp"
#include "worker/forbidden.hpp"
#include "worker/notice.hpp"
#include "worker/worker_state.hpp"

#include "pg/api_key.hpp"
#include "pg/boundary.hpp"
#include "pg/fault.hpp"
#include "pg/guc.hpp"
#include "pg/log.hpp"
#include "pg/promo_store.hpp"
#include "pg/shared_limiter.hpp"
#include "pg/start_worker.hpp"
#include "pg/wait.hpp"

extern "C" {
#include "postmaster/interrupt.h"
}

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

namespace {

constexpr Millis longest_wait{5'000};  // a net: COMMIT PREPARED, for one, wakes nobody
constexpr Millis blocked_retry_least{30'000};
constexpr Millis forget_every{3'600'000};
constexpr Millis contact_noted_every{30'000};
constexpr Millis events_patience{5'000};  // then writes go on without having looked
// For so long sessions may believe that no worker runs, and wake none.
constexpr Millis newcomer_for{2'000};

class Worker {
 public:
  Worker();
  void run();

 private:
  bool round();
  void reload();
  void configure();
  void unusable(const Error& reason);
  void check_key();
  bool stand_aside();
  bool serves() const;
  void look_again();
  Error why_not() const;
  void serve_push(std::int64_t number);
  void serve_check(std::int64_t number);
  void serve_diff(std::int64_t number);
  void compare_if_due();
  void block(const Error& reason);
  void unblock();
  void distrust();
  void look_for_rivals();
  void allow_writes();
  void take_answers();
  Millis wait_time();

  SystemClock clock_;
  std::mt19937_64 random_{std::random_device{}()};
  std::unique_ptr<http::Transport> transport_;
  std::unique_ptr<stripe::Limiter> limiter_;
  stripe::Client client_;
  SpiPromoStore store_;
  PromoEngine engine_;
  AccountCheck account_;
  PermissionCheck permissions_;
  EventWatch events_;
  DiffRequests diffs_;
  Comparison comparison_;
  Waiter waiter_;

  Orders orders_;
  std::optional<Place> here_;
  bool forbidden_ = false;
  bool fitted_ = false;
  std::string key_;
  std::string key_stamp_;
  std::optional<Error> blocked_;
  Notice notice_;
  int blocks_ = 0;
  Millis retry_blocked_at_{0};
  const Millis began_{clock_.steady()};
  std::optional<Millis> forgot_at_;
  Millis contact_noted_at_{-contact_noted_every};
  ClockWatch clock_watch_{clock_};
  bool leases_cleared_ = false;
  bool judged_again_ = false;
  bool configured_ = false;
  std::int64_t push_served_ = 0;  ///< waits for the key to be verified
  std::int64_t check_served_ = 0;
  std::int64_t diff_served_ = 0;
};

Worker::Worker()
    : transport_(http::make_curl_transport({.allow_plain_http = true})),  // to this machine alone
      limiter_(make_limiter(clock_)),
      client_(*transport_, *limiter_),
      engine_(store_, client_, clock_,
              [this] { return std::uniform_real_distribution<double>(0, 1)(random_); }),
      account_(client_),
      permissions_(client_),
      events_(client_),
      diffs_(client_, store_, clock_),
      comparison_(store_, clock_),
      waiter_(*transport_) {
  distrust();
}

// Whose key it is, and whether nobody else writes as this database, is to be asked again.
void Worker::distrust() {
  account_.reset();
  events_.reset();
  engine_.distrust();
}

// Nothing can be sent with what is configured.
void Worker::unusable(const Error& reason) {
  key_.clear();
  account_.reset();
  block(reason);
}

// Takes settings and key; a changed key has to be verified before anything is pushed with it.
void Worker::configure() {
  configured_ = true;
  key_stamp_ = api_key_file_stamp();
  const auto found = read_configuration();
  if (!found) return unusable(found.error());
  const stripe::Config& config = found.value().client;
  if (config.key != key_ || config.api_base != client_.config().api_base) {
    distrust();
    diffs_.reset();
    key_ = config.key;
  }
  client_.configure(config);
  engine_.set_limits(found.value().limits);
}

void Worker::block(const Error& reason) {
  // An outage ends by itself; a wrong key is somebody's to change.
  const Millis grown = backoff(++blocks_, 0.5);
  Millis retry = reason.sqlstate == errcode::network ? std::min(grown, blocked_retry_least)
                                                     : std::max(grown, blocked_retry_least);
  if (const auto limit = limiter_->pause()) retry = std::max(retry, limit->until - clock_.steady());
  retry_blocked_at_ = clock_.steady() + retry;
  if (!blocked_ || blocked_->message != reason.message) log_error(LOG, reason);
  blocked_ = reason;
  notice_.forget();
  if (orders_.active) store_blocked(reason, forbidden_ ? std::nullopt : std::optional(retry));
}

void Worker::unblock() {
  if (!blocked_ && !orders_.blocked) return;
  blocked_.reset();
  blocks_ = 0;
  orders_.blocked = false;
  store_blocked(std::nullopt, Millis(0));
  engine_.unblock();
  store_.retry_now();
}

// Asks Stripe whose key this is, when that is not known and may be asked now.
void Worker::check_key() {
  const auto reason = forbidden(orders_, *here_);
  const bool was_forbidden = std::exchange(forbidden_, reason.has_value());
  if (reason) {
    distrust();
    engine_.block(*reason);
    if (!blocked_ || blocked_->message != reason->message) block(*reason);
    return;
  }
  if (was_forbidden) retry_blocked_at_ = Millis(0);
  if (account_.verified() || account_.under_way()) return;
  if (blocked_) {
    if (clock_.steady() < retry_blocked_at_ || limiter_->pause()) return;
    configure();
  }
  if (!key_.empty()) account_.begin();
}

// Somebody waits for an answer of Stripe's: what keeps requests from being sent may be gone.
void Worker::look_again() {
  configure();
  if (!blocked_ || key_.empty()) return;
  account_.reset();
  retry_blocked_at_ = Millis(0);
  check_key();
}

void Worker::serve_push(std::int64_t number) {
  if (push_served_ < number) {
    push_served_ = number;
    look_again();
    comparison_.hasten();
    if (!forbidden_) store_.retry_now();
  }
  if (account_.under_way()) return;
  if (!misplaced(orders_, *here_)) compare_if_due();
  if (!forbidden_) engine_.unblock();
  if (!blocked_) notice_.give(engine_, clock_.steady());
  store_push_done(number);
  orders_.pushes_done = number;
}

void Worker::serve_check(std::int64_t number) {
  if (check_served_ < number) {
    check_served_ = number;
    configure();
    if (!key_.empty() && !forbidden_) {
      account_.reset();
      account_.begin();
    }
  }
  if (account_.under_way() || permissions_.under_way()) return;
  if (account_.verified()) {
    // A permission may have been given.
    engine_.unblock();
    store_.retry_now();
    permissions_.begin(number, account_);
  } else {
    permissions_.refuse(number, forbidden_ ? "writes" : "key", why_not());
    orders_.checks_done = number;
  }
}

// Reading does no harm while writes are paused, with a key that is known to be the right one.
void Worker::serve_diff(std::int64_t number) {
  if (diff_served_ < number) {
    diff_served_ = number;
    look_again();
  }
  if (account_.under_way()) return;
  const bool known_key = !key_.empty() && orders_.fingerprint == stripe::key_fingerprint(key_);
  if (account_.verified()) {
    diffs_.begin(number);
  } else if (known_key && only_paused(orders_, *here_)) {
    store_.set_identity(orders_.installation, orders_.account, orders_.mode);
    diffs_.begin(number);
  } else {
    refuse_diffs(why_not(), number);
    orders_.diffs_done = number;
  }
}

// Why Stripe is not asked.
Error Worker::why_not() const {
  return blocked_.value_or(Error(errcode::network, "Stripe could not be asked"));
}

void Worker::compare_if_due() {
  if (comparison_.make_if_due()) engine_.look_for_due();
}

void Worker::reload() {
  if (ConfigReloadPending) {
    ConfigReloadPending = false;
    pg_call([] { ProcessConfigFile(PGC_SIGHUP); });
    configured_ = false;
    engine_.allow_writes(Millis::min());  // poll_interval may be a shorter one
  }
  if (!configured_ || api_key_file_stamp() != key_stamp_) {
    configure();
    if (blocked_) retry_blocked_at_ = Millis(0);
  }
}

// The library does not fit the extension: no table is looked at. False when this worker shall end.
bool Worker::stand_aside() {
  const Error& reason = *orders_.misfit;
  if (!blocked_ || blocked_->message != reason.message) {
    log_error(LOG, reason);
    store_blocked(reason, std::nullopt);
  }
  if (!library_preloaded()) {
    // Another process loads it anew: started again by itself once, then by whoever asks for it.
    if (fitted_) throw Error(sqlstate("57P01"), "the extension was updated");
    return false;
  }
  forbidden_ = true;
  blocked_ = reason;
  distrust();
  engine_.block(reason);
  return true;
}

// False when this worker shall end.
bool Worker::round() {
  const Orders before = std::exchange(orders_, read_orders());
  if (!orders_.extension || !orders_.wanted) return false;
  if (orders_.misfit) return stand_aside();
  fitted_ = true;
  if (orders_.starts > 0 && clock_.steady() - began_ > Millis(guc::well_after)) forget_starts();
  if (orders_.active && !here_) here_ = read_place();  // for good: a server does not move
  if (!orders_.active || !here_) return true;
  if (before.installation != orders_.installation ||  // stripe_sync_rebind(), or created anew
      (!before.fingerprint.empty() && orders_.fingerprint.empty())) {
    distrust();
    diffs_.reset();
    retry_blocked_at_ = Millis(0);
  }
  reload();
  check_key();
  // A copy may be in the middle of being restored: nothing of it is written, not even locally.
  const bool at_home = !misplaced(orders_, *here_);
  if (at_home) {
    if (orders_.place != *here_) store_place(*here_);  // a standby was promoted
    if (!leases_cleared_) leases_cleared_ = store_.clear_leases();
    if (clock_watch_.set_back()) judged_again_ = false;
    if (!judged_again_) judged_again_ = store_.judge_again();
    if (store_.take_inbox()) {
      // The rest in the next round, at once; until then too little is known to compare with.
      pg_call([] { SetLatch(MyLatch); });
      engine_.look_for_due();
      return true;
    }
  }
  if (orders_.check_request > orders_.checks_done && !permissions_.under_way()) {
    serve_check(orders_.check_request);
  }
  if (orders_.push_request > orders_.pushes_done) serve_push(orders_.push_request);
  if (orders_.diff_request > orders_.diffs_done && !diffs_.under_way()) {
    serve_diff(orders_.diff_request);
  }
  if (!at_home) return true;
  compare_if_due();
  if (!forgot_at_ || clock_.steady() - *forgot_at_ > forget_every) {
    forgot_at_ = clock_.steady();
    forget_old();
  }
  engine_.look_for_due();
  return true;
}

// Before the first write after a while.
void Worker::look_for_rivals() {
  events_.pump();
  if (!engine_.wants_to_write()) return;
  const Millis now = clock_.steady();
  if (!events_.under_way()) {
    events_.begin(orders_, now);
  } else if (now - events_.since() >= events_patience) {
    allow_writes();
  }
}

void Worker::allow_writes() {
  engine_.allow_writes(clock_.steady() + Millis(1000LL * guc::poll_interval));
}

void Worker::take_answers() {
  while (auto answered = client_.take()) {
    const auto& [id, answer] = *answered;
    STRIPE_SYNC_FAULT("answered");
    if (answer.status != 0 && clock_.steady() > contact_noted_at_ + contact_noted_every) {
      contact_noted_at_ = clock_.steady();
      note_contact();
    }
    std::optional<Error> failure;
    if (account_.handle(id, answer, orders_, failure)) {
      if (failure) {
        block(*failure);
      } else {
        store_.set_identity(orders_.installation, account_.account(), account_.mode());
        unblock();
      }
      pg_call([] { SetLatch(MyLatch); });  // what waited for this goes on in a round
    } else if (events_.handle(id, answer, orders_, orders_.rival)) {
      if (!events_.under_way() && !orders_.rival) allow_writes();
    } else if (!permissions_.handle(id, answer) && !diffs_.handle(id, answer)) {
      engine_.handle(id, answer);
    }
  }
  if (const auto shown = engine_.take_rival()) {
    store_rival(*shown);
    orders_.rival = shown;
  }
  if (orders_.rival && !forbidden_) check_key();
  if (engine_.blocked() && !blocked_) {
    account_.reset();
    block(*engine_.blocked());
  }
  if (engine_.take_recovered()) store_.retry_now();
}

// Outcomes are written also while nothing may be sent.
bool Worker::serves() const {
  return orders_.active && (engine_.blocked() || (account_.verified() && !blocked_));
}

Millis Worker::wait_time() {
  const bool newcomer = clock_.steady() - began_ < newcomer_for;
  Millis wait = newcomer ? newcomer_for / 2 : longest_wait;
  if (const auto engine = engine_.wait(); engine && serves()) wait = std::min(wait, *engine);
  if (events_.under_way() && engine_.wants_to_write()) {
    wait = std::min(wait, events_.since() + events_patience - clock_.steady());
  }
  if (const auto due = comparison_.wait(); due && orders_.active) wait = std::min(wait, *due);
  if (const auto due = events_.wait(); due && serves()) wait = std::min(wait, *due);
  if (const auto due = diffs_.wait(); due && orders_.active) wait = std::min(wait, *due);
  if (blocked_ && !forbidden_ && !account_.under_way()) {
    wait = std::min(wait, retry_blocked_at_ - clock_.steady());
  }
  return std::max(wait, Millis(0));
}

void Worker::run() {
  Millis look_at{0};
  while (!told_to_end()) {
    if (const Millis now = clock_.steady(); now >= look_at) {
      show_activity("taking orders and changes");
      if (!round()) return;
      look_at = now + longest_wait;
    }
    // What the application committed is known by now: an answer is judged by it.
    show_activity("pushing");
    take_answers();
    if (orders_.active && !blocked_) notice_.give(engine_, clock_.steady());
    if (orders_.active) diffs_.pump();
    if (serves()) {
      engine_.pump();
      look_for_rivals();
    }
    STRIPE_SYNC_FAULT("sent");
    const Millis until = clock_.steady() + wait_time();
    if (waiter_.wait(until - clock_.steady()) || clock_.steady() >= until) look_at = Millis(0);
  }
}

}  // namespace

void run_worker() {
  // On the heap: a FATAL leaves by proc_exit without unwinding.
  std::make_unique<Worker>()->run();
}

}  // namespace stripe_sync::worker
