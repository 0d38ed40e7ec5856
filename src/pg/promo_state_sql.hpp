#pragma once
// Statements on stripe_sync.promo_state; each is run as the extension's owner.

#include <cstdint>

#include "sync/promo_store.hpp"

#include "pg/spi.hpp"

namespace stripe_sync::pg::promo_state {

/// A reason as it is stored; no message = none.
struct StoredReason {
  const Text& sqlstate;
  const Text& message;
  const Text& detail;
  const Text& hint;
};
/// Where a row stood when it settled, as stored; `warnings` a JSON array.
Settled settled_of(PromoState state, const StoredReason& reason, const Text& warnings);

/// What a row that is missing says besides its reason: its code is held until somebody decides.
/// (In the same words as sql/install/35_inbox.sql.)
inline constexpr const char* missing_detail = "Its code in Stripe is left as it is.";
inline constexpr const char* missing_hint =
    "Insert the row again; if all that is missing is meant to be gone: SELECT * FROM "
    "stripe_sync_resolve(NULL, 'db');";

/// Due rows that are to be switched off, or the others, longest due first, locked; columns as read
/// by SpiPromoStore::load. At most one row of a normalised code is under way, and what switches off
/// goes before what else waits for the code. Those that are due since before `from` are left out,
/// and unseen rows that have not changed since `held_since`, if that is given; both in seconds.
Rows lock_due(bool off, std::size_t limit, const std::string& from, const Text& held_since);
/// The same of unseen rows of these texts.
Rows lock_unseen(const std::vector<std::string>& texts);

/// Rows of the codes that calls of stripe_sync_diff() wait for, what switches off first. The same
/// columns, then a JSON array of the coupon ids after the next one. A missing row reads as deleted.
Rows wanted_by_diff();

/// Promotion codes of the database that this one was copied from; null = none.
std::shared_ptr<const std::set<std::string>> originals();

/// Puts a fencing token on a row.
void lease(const PromoJob& job);

/// The promo row is not what its state says of code and off, by which claims are ordered: the state
/// takes them from the row that was read, and is due again.
void correct(const PromoJob& job);

/// Appends that the row is gone, as what happened first: whoever makes it again has the last word.
void append_gone(const PromoJob& job, const Text& change);

/// Generation of a row under our lease, locked; nothing if it is no longer ours.
std::optional<std::int64_t> lock_leased(const PromoJob& job);

/// Whether a change of the row waits in the inbox: it may say why the row is gone.
bool in_inbox(const PromoJob& job);

/// Table and key of another row that holds the promotion code seen for this one; else empty.
Rows holder(const PromoJob& job);

std::int64_t next_lease();

/// What becomes of a row at the end of a step; the rest is taken from the job.
struct Step {
  std::string state;
  bool keep_lease = false;
  std::optional<Millis> due_in;        ///< relative, or
  std::optional<std::int64_t> due_at;  ///< Unix seconds; neither = not due
  bool attempted = false;
  bool synced = false;
  bool settled = false;  ///< the same row leads here again
  bool unread = false;   ///< the row could not be read: the next comparison takes it as changed
  int attempts = 0;
  Error reason;  ///< empty message = none
  std::vector<std::string> warnings;
};
void write(const PromoJob& job, const Step& step);

/// Takes what was learnt, and the lease off a row that has changed meanwhile: its state and when it
/// is due were said with the change.
void let_go(const PromoJob& job);

/// Lets go of a row that nothing can be said about but why: tried again later, and later each time,
/// unless it has changed meanwhile.
void set_aside(const PromoJob& job, const Error& why);

/// The row no longer sells that text in Stripe: others that wait for it are due.
void wake_for(const PromoJob& job, const std::string& text);
bool gives_up(const std::string& promotion_code, const std::string& text);

/// Counts a failure in stripe_sync.error.
void note_error(const std::string& subject, const Error& error);

}  // namespace stripe_sync::pg::promo_state
