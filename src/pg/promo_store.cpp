#include "pg/promo_store.hpp"

#include "pg/fault.hpp"
#include "pg/log.hpp"
#include "pg/promo_state_sql.hpp"
#include "pg/role.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync::pg {

namespace {

constexpr Millis locked_row_again{250};
constexpr Millis locked_table_again{1'000};

void read_in_flight(const Text& text, PromoJob& job) {
  if (!text) return;
  const auto parsed = json::Value::parse(*text);
  if (!parsed) throw parsed.error();
  const json::Value& stored = parsed.value();
  const auto operation = Operation::parse(stored["operation"].dump());
  if (!operation) return;
  job.unsettled =
      Unsettled{*operation, std::nullopt, stored["looked"].boolean().value_or(false),
                stored["spent"].boolean().value_or(false), stored["sent_at"].integer().value_or(0)};
  job.number = stored["number"].integer().value_or(0);
}

// Who an error is about.
const std::string& subject_of(const PromoJob& job) {
  return job.code.empty() ? job.identity.row : job.code;
}

// What the row's owner reads in sync_error.
Text error_text(const Error& error) {
  if (error.message.empty()) return Text();
  std::string text = error.message;
  for (const std::string* more : {&error.detail, &error.hint}) {
    if (!more->empty()) text += "\n" + *more;
  }
  return text;
}

}  // namespace

bool may_pass(const Error& error) {
  return error.sqlstate == sqlstate("55P03") || error.sqlstate == sqlstate("40P01") ||
         error.sqlstate == sqlstate("40001");
}

void SpiPromoStore::set_identity(std::string installation, std::string account, std::string mode) {
  // They change only together with it.
  if (installation != installation_) {
    const auto failed = in_extension_transaction([&] { originals_ = promo_state::originals(); });
    if (failed) throw *failed;
  }
  installation_ = std::move(installation);
  account_ = std::move(account);
  mode_ = std::move(mode);
}

// False when the row must not be pushed now; `why` says so.
bool SpiPromoStore::load(const Rows& due, std::size_t i, PromoJob& job, Error& why) {
  job.generation = std::stoll(*due.at(i, 3));
  job.coupon_revision = std::stoll(*due.at(i, 4));
  if (due.at(i, 5)) job.used_before = std::stoll(*due.at(i, 5));
  job.attempts = std::stoi(*due.at(i, 6));
  job.deleted = *due.at(i, 7) == "t";
  if (due.at(i, 8)) job.observed = Observed::parse(*due.at(i, 8));
  if (job.observed.code) job.linked_code = job.observed.code->id;
  read_in_flight(due.at(i, 9), job);
  job.take_over = due.at(i, 23) == Text("t");
  if (due.at(i, 26) == Text("t") && job.observed.code && !job.unsettled)
    job.unsettled = unseen(*job.observed.code);
  if (job.observed.code) job.recorded = job.observed.code->id;
  job.holds = job.observed.sells();
  job.identity = Identity{installation_, due.at(i, 11).value_or(""), *due.at(i, 12),
                          due.at(i, 22).value_or(""), originals_};

  PromoTable* table = tables_.find(job.table, why);
  if (job.deleted) {
    job.settings = table != nullptr ? table->settings() : std::make_shared<const AttachSettings>();
    return true;
  }
  if (table == nullptr) return false;
  std::optional<PromoTable::Found> found;
  const auto failed =
      in_subtransaction([&] { table->as_owner([&] { found = table->read(job.key); }); });
  if (failed && may_pass(*failed)) {
    why = *failed;
    return false;
  }
  if (failed) {
    why = Error(errcode::usage, "the row of " + table->label() + " can't be read", failed->message,
                "SELECT * FROM stripe_sync_check();");
    return false;
  }
  if (!found) return false;
  job.settings = table->settings();
  job.row = found->row;
  job.row_hash = found->hash;
  if (due.at(i, 8)) return true;
  if (const auto unread = history_.recall(job, account_, mode_)) {
    why = *unread;
    return false;
  }
  return true;
}

// Where a row that was only touched stands already.
std::optional<Settled> unchanged(const Rows& due, std::size_t i, const PromoJob& job) {
  const Text& state = due.at(i, 14);
  const Text& hash = due.at(i, 15);
  const std::string* status = job.row.get(item::sync_status);
  const bool manual = status != nullptr && *status == "manual";
  if (!state || !hash || !job.row_hash || std::stoll(*hash) != *job.row_hash || manual) {
    return std::nullopt;
  }
  const auto known = state_of_name(*state);
  if (!known) return std::nullopt;
  Settled settled = promo_state::settled_of(
      *known, {due.at(i, 16), due.at(i, 17), due.at(i, 18), due.at(i, 19)}, due.at(i, 20));
  if (due.at(i, 21)) settled.wake_at = std::stoll(*due.at(i, 21));
  return settled;
}

// What other triggers made of the row within a statement is seen only now.
bool is_as_known(const Rows& due, std::size_t i, const PromoJob& job) {
  if (job.deleted) return true;
  const std::string* code = job.row.get(item::code);
  return (code == nullptr ? "" : *code) == job.code &&
         says_off(job.row) == (due.at(i, 24) == Text("t"));
}

// One due row: claimed, judged, and the judgement written.
std::optional<PromoStore::Claimed> SpiPromoStore::claim_row(const Rows& due, std::size_t i,
                                                            const Decide& decide) {
  PromoJob job;
  job.table = *due.at(i, 0);
  job.key = *due.at(i, 1);
  job.code = due.at(i, 2).value_or("");
  job.lease = promo_state::next_lease();
  promo_state::lease(job);
  Error why;
  Decision decision;
  if (load(due, i, job, why)) {
    if (!is_as_known(due, i, job)) {
      promo_state::correct(job);
      return std::nullopt;
    }
    const auto settled = unchanged(due, i, job);
    if (settled) {
      decision.settle = *settled;
    } else {
      decision = decide(job);
    }
    if (decision.leave) {
      put_back(job, Millis(0));
      return std::nullopt;
    }
  } else if (may_pass(why) || (why.message.empty() && promo_state::in_inbox(job))) {
    put_back(job, locked_table_again);
    return std::nullopt;
  } else if (why.message.empty() && due.at(i, 25)) {
    promo_state::append_gone(job, due.at(i, 25));
    put_back(job, locked_table_again);
    return std::nullopt;
  } else if (Error broken; !tables_.find(job.table, broken)) {
    decision.settle = Settled{PromoState::parked, broken, {}, std::nullopt};
  } else if (!why.message.empty()) {
    decision.retry = Decision::Retry{why, backoff(job.attempts, 0.5), true};
  } else {
    // No DELETE of it was seen: held until somebody says that it is meant.
    decision.settle =
        Settled{PromoState::missing,
                Error(errcode::usage, "the row vanished without our trigger seeing it deleted",
                      promo_state::missing_detail, promo_state::missing_hint),
                {},
                std::nullopt};
  }
  if (!decision.ends()) save_locked(job, decision);
  STRIPE_SYNC_FAULT("row");
  return Claimed{std::move(job), std::move(decision)};
}

// Nothing was found out about the row.
void SpiPromoStore::put_back(const PromoJob& job, Millis delay) {
  promo_state::Step step;
  step.state = "pending";
  step.due_in = delay;
  step.attempts = job.attempts;
  promo_state::write(job, step);
}

// A row that can't even be claimed must not stop the others for ever.
void SpiPromoStore::set_aside(const Rows& due, std::size_t i, const Error& why) {
  PromoJob job;
  job.table = *due.at(i, 0);
  job.key = *due.at(i, 1);
  job.code = due.at(i, 2).value_or(job.key);
  log_error(LOG, why);
  promo_state::set_aside(job, why);
}

// What became of it is not stored: as after a crash, it is found out again, less and less often.
Saved SpiPromoStore::give_up(const PromoJob& job, const Error& why) {
  log_error(LOG, why);
  const auto failed = in_extension_transaction([&] { promo_state::set_aside(job, why); });
  look_from_the_start();
  return failed ? Saved::failed : Saved::released;
}

PromoStore::Claims SpiPromoStore::claim(int limit, const Decide& decide) {
  return claim_locked([&] { return lock_due(static_cast<std::size_t>(limit)); }, decide);
}

PromoStore::Claims SpiPromoStore::claim_locked(const std::function<Rows()>& lock,
                                               const Decide& decide) {
  Claims claims;
  const auto failed = in_extension_transaction([&] {
    run_once("SET CONSTRAINTS ALL IMMEDIATE");
    tables_.refresh();
    const Rows due = lock();
    std::set<std::string> codes;
    for (std::size_t i = 0; i < due.size(); ++i) {
      if (!codes.insert(due.at(i, 13).value_or("")).second) continue;
      ++claims.rows;
      std::optional<Claimed> one;
      const auto unable =
          in_subtransaction([&] { as_errors([&] { one = claim_row(due, i, decide); }); });
      if (unable) set_aside(due, i, *unable);
      if (one) claims.jobs.push_back(std::move(*one));
    }
    STRIPE_SYNC_FAULT("claim");
  });
  if (failed) {
    log_error(LOG, *failed);
    claims = Claims();
  }
  STRIPE_SYNC_FAULT("claimed");
  return claims;
}

Saved SpiPromoStore::save(PromoJob& job, const Decision& decision) {
  Saved saved = Saved::busy;
  const PromoJob before = job;
  const auto failed = in_extension_transaction(
      [&] { as_errors([&] { saved = save_in_transaction(job, decision); }); });
  if (failed && may_pass(*failed)) {
    job.observed = before.observed;
    job.recorded = before.recorded;
    job.holds = before.holds;
    return Saved::busy;
  }
  if (failed) return give_up(job, *failed);
  STRIPE_SYNC_FAULT("saved");
  return saved;
}

Saved SpiPromoStore::save_in_transaction(PromoJob& job, const Decision& decision) {
  run_once("SET CONSTRAINTS ALL IMMEDIATE");
  tables_.refresh();
  const auto generation = promo_state::lock_leased(job);
  if (!generation) return Saved::lost;
  if (*generation != job.generation) {
    // What was decided on the old row is not sent.
    if (decision.send && decision.send->writes()) job.unsettled.reset();
    history_.record(job, account_, mode_);
    promo_state::let_go(job);
    look_from_the_start();
    tell(job);
    return Saved::released;
  }
  const Saved saved = save_locked(job, decision);
  STRIPE_SYNC_FAULT("save");
  return saved;
}

void SpiPromoStore::write(PromoJob& job, const promo_state::Step& step) {
  history_.record(job, account_, mode_);
  promo_state::write(job, step);
  tell(job);
}

// What others of the database learn from a step.
void SpiPromoStore::tell(PromoJob& job) {
  const std::string holds = job.observed.sells();
  if (!job.holds.empty() && !same_code(job.holds, holds)) promo_state::wake_for(job, job.holds);
  job.holds = holds;
}

bool SpiPromoStore::gives_up(const std::string& promotion_code, const std::string& text) {
  bool gives = false;
  const auto failed =
      in_extension_transaction([&] { gives = promo_state::gives_up(promotion_code, text); });
  if (failed) log_error(LOG, *failed);
  return gives;
}

void SpiPromoStore::number(PromoJob& job, const Operation& operation) {
  if (!operation.writes()) return;
  static Statement next{
      "SELECT o.n, stripe_sync.operation_key($1, $2, $3, o.n)"
      " FROM (SELECT CASE WHEN $4::bigint = 0 THEN nextval('stripe_sync.operation_number')"
      "   ELSE $4::bigint END) o(n)"};
  Rows rows;
  as_extension_owner(
      [&] { rows = next(installation_, account_, mode_, std::to_string(job.number)); });
  job.number = std::stoll(*rows.at(0, 0));
  job.idempotency_key = *rows.at(0, 1);
  // The one thing that must not be lost before the request is sent.
  pg_call([] { ForceSyncCommit(); });
}

// A promotion code has one row. What Stripe holds of its row's name can't tell two tables apart
// that had that name one after the other.
std::optional<Settled> taken_from_another(const PromoJob& job) {
  if (job.deleted || !job.observed.code || job.observed.code->id == job.linked_code) {
    return std::nullopt;
  }
  const Rows holder = promo_state::holder(job);
  if (holder.empty()) return std::nullopt;
  const std::string table = *holder.at(0, 0);
  const std::string row = table + "/" + *holder.at(0, 1);
  const std::string id = job.observed.code->id;
  return Settled{
      PromoState::conflict,
      Error(errcode::invalid_promo_code,
            "promotion code " + id + " belongs to another row of this database: " + row,
            "A promotion code is kept in step with one row.",
            "Give the row another code; or, if its table takes the place of the other: SELECT "
            "stripe_sync_detach(" +
                quote_literal(table) + ");"),
      {},
      std::nullopt};
}

Saved SpiPromoStore::save_locked(PromoJob& job, const Decision& decision) {
  if (const auto conflict = taken_from_another(job)) {
    // What is the other row's is forgotten; the row's own earlier codes count on.
    PromoJob own = job;
    own.observed.code.reset();
    own.observed.coupon.reset();
    own.unsettled.reset();
    return save_settled(own, *conflict);
  }
  if (decision.settle) return save_settled(job, *decision.settle);
  if (decision.retry) {
    save_retry(job, *decision.retry);
    return Saved::released;
  }
  promo_state::Step step;
  step.attempts = job.attempts;
  if (decision.new_coupon_id) {
    ++job.coupon_revision;
    step.state = "pending";
    step.due_in = Millis(0);
    write(job, step);
    return Saved::released;
  }
  if (decision.send) number(job, *decision.send);
  step.state = "sending";
  step.keep_lease = true;
  write(job, step);
  return Saved::ok;
}

// Shows an outcome in the row. What the row's table refuses becomes the outcome.
void SpiPromoStore::project(PromoJob& job, const PromoTable::Projection& projection,
                            Settled& outcome) {
  if (job.deleted) return;
  Error why;
  PromoTable* table = tables_.find(job.table, why);
  if (table == nullptr) return;
  bool locked = false;
  const auto failed = in_subtransaction([&] {
    table->as_owner([&] {
      const auto found = table->lock(job.key);
      // Somebody holds it, or it is not the row that was pushed: nothing is said about it yet.
      locked = found ? found->hash != job.row_hash : table->read(job.key).has_value();
      if (found && !locked) table->project(job.key, *found, projection);
    });
  });
  if (locked || (failed && may_pass(*failed))) {
    outcome.state = PromoState::retrying;
    outcome.reason = Error(errcode::usage, "the row is locked by another transaction",
                           "What became of it in Stripe is written when that ends.",
                           "Nothing to do; pg_locks and pg_stat_activity show who holds it.");
  } else if (failed) {
    outcome.state = PromoState::parked;
    outcome.reason =
        Error(errcode::usage, "the row's sync columns could not be written: " + failed->message,
              failed->detail.empty() ? "The table's own triggers or constraints refused it."
                                     : failed->detail,
              "Correct the table, then SELECT stripe_sync_retry(" + quote_literal(job.code) + ");");
  }
}

Saved SpiPromoStore::save_settled(PromoJob& job, const Settled& settled) {
  Settled outcome = settled;
  const std::string status = sync_status_of(settled.state);
  PromoTable::Projection projection;
  if (job.observed.coupon) projection.coupon_id = job.observed.coupon->id;
  if (job.observed.code) projection.promotion_code_id = job.observed.code->id;
  projection.status = status;
  projection.synced_now = status == "synced";
  projection.error = error_text(settled.reason);
  if (settled.state != PromoState::missing && settled.state != PromoState::excluded) {
    project(job, projection, outcome);
  }
  promo_state::Step step;
  step.state = state_name(outcome.state);
  step.attempted = true;
  step.synced = status == "synced";
  step.settled = outcome.state == settled.state && outcome.state != PromoState::missing &&
                 outcome.state != PromoState::excluded;
  step.unread = !job.deleted && !job.row_hash;
  if (outcome.state == PromoState::retrying) {
    step.due_in = locked_row_again;
  } else {
    step.due_at = outcome.wake_at;
  }
  step.reason = outcome.reason;
  step.warnings = outcome.warnings;
  write(job, step);
  if (!outcome.reason.message.empty() && outcome.state != PromoState::retrying) {
    promo_state::note_error(subject_of(job), outcome.reason);
  }
  return Saved::released;
}

void SpiPromoStore::save_retry(PromoJob& job, const Decision::Retry& retry) {
  Settled outcome;
  outcome.state = PromoState::retrying;
  PromoTable::Projection projection;
  projection.status = sync_status_of(outcome.state);
  projection.error = error_text(retry.reason);
  project(job, projection, outcome);
  promo_state::Step step;
  step.state = state_name(PromoState::retrying);
  step.attempted = true;
  step.attempts = job.attempts + (retry.counts ? 1 : 0);
  step.due_in = retry.delay;
  step.reason = retry.reason;
  write(job, step);
  promo_state::note_error(subject_of(job), retry.reason);
}

}  // namespace stripe_sync::pg
