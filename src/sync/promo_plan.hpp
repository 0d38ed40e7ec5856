#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "json/json.hpp"
#include "stripe/client.hpp"
#include "sync/promo_row.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Stripe's coupon as last seen. Reads both shapes (before and after 2025-09-30.clover).
struct Coupon {
  std::string id;
  bool valid = true;
  CouponTerms terms;
  bool products_known = false;  ///< applies_to is hidden unless expanded
  std::string name;
  std::map<std::string, std::string, std::less<>> metadata;
  /// Limits and currencies that only somebody else's coupon has: no row can ask for them.
  std::optional<std::int64_t> redeem_by;
  std::optional<std::int64_t> max_redemptions;
  std::vector<std::string> other_currencies;
  /// Somebody else made it: the row's description when it was adopted. As long as the row has that,
  /// the coupon keeps its name; it may serve other codes, too.
  std::optional<std::string> adopted_for;
  /// Bore the row's mark: its name is the row's to write, also when the row goes on under another
  /// key. A coupon that serves codes of several rows is named by one.
  bool own = false;
  json::Value raw;  ///< the object it was read from

  static std::optional<Coupon> from(const json::Value& object);
};

struct PromotionCode {
  std::string id;
  std::string code;
  std::string coupon;
  bool active = false;
  std::optional<std::int64_t> expires_at;
  std::optional<std::int64_t> max_redemptions;
  std::int64_t times_redeemed = 0;
  std::string customer;  ///< or customer account
  bool first_time_only = false;
  std::optional<std::int64_t> minimum_amount;
  std::string minimum_amount_currency;
  std::vector<std::string> other_minimum_currencies;
  std::map<std::string, std::string, std::less<>> metadata;
  /// Stripe made it otherwise than asked, or refused to switch it on again: only another can serve.
  bool dead = false;
  bool making_room = false;  ///< was active, and switched off for its successor
  json::Value raw;

  static std::optional<PromotionCode> from(const json::Value& object);
};

/// A promotion code of the row's that another has replaced: switched off for good.
struct Predecessor {
  std::string id;
  std::int64_t redeemed = 0;
};

/// What the history is to say of a promotion code that was replaced.
struct Replaced {
  PromotionCode code;
  std::optional<Coupon> coupon;
  std::string why;
  std::int64_t revision = 1;  ///< of the row's promotion codes
};

/// What Stripe was last seen to hold for a row.
struct Observed {
  std::optional<Coupon> coupon;  ///< of `code`; without a code: made for the first one
  std::optional<PromotionCode> code;
  std::optional<Coupon> next_coupon;  ///< made for the code's successor
  std::vector<Predecessor> predecessors;
  std::vector<Replaced> replaced;  ///< of these, what is not in the history yet
  bool untold = false;             ///< nor is `code`: it could not be written
  /// The promotion code id that the row carries and that is not this row's in Stripe (unknown
  /// there, or another row's): not asked again.
  std::string unknown_code;
  /// Whose code and terms stand in the way: a conflict's other side.
  std::optional<PromotionCode> rival;
  std::optional<Coupon> rival_coupon;

  /// The text that can be redeemed in Stripe; empty = none.
  std::string sells() const { return code && code->active ? code->code : std::string(); }
  /// Of all predecessors: no longer left for the code.
  std::int64_t redeemed_before() const;

  /// {"coupon": {...}, "promotion_code": {...}} as stored with the row's state.
  std::string dump() const;
  static Observed parse(std::string_view text);
};

/// Who we are to Stripe: marks both objects, so that a lost answer can be found again.
struct Identity {
  std::string installation;  ///< metadata[stripe_sync_installation]
  std::string row;           ///< metadata[stripe_sync_row]: "public.promo_codes/42"
  std::string coupon_id;     ///< id the next new coupon gets
  std::string copy_of{};     ///< installation this database was copied from; empty = none
  /// The promotion codes it had then: what it adopted bears no mark. Null = none.
  std::shared_ptr<const std::set<std::string>> originals{};
};

/// One Stripe request of a plan.
struct Operation {
  enum class Kind {
    create_coupon,
    update_coupon,
    create_code,
    update_code,
    read_coupon,  ///< GET /v1/coupons/{id}, expanded
    read_code,    ///< GET /v1/promotion_codes/{id}, coupon expanded
    find_code,    ///< list by text: who holds it
  };
  Kind kind = Kind::create_coupon;
  stripe::Call call;  ///< without the idempotency key
  std::string what;   ///< for messages: "create coupon BETA50-3fa2c1"

  bool writes() const { return kind <= Kind::update_code; }
  bool same_request(const Operation& other) const;
  std::string dump() const;  ///< JSON, as stored while the outcome is unknown
  static std::optional<Operation> parse(std::string_view text);
};
const char* kind_name(Operation::Kind kind);

/// A write whose outcome must be found out before anything else is sent.
struct Unsettled {
  Operation operation;
  /// Stripe's refusal, when it refused for a reason that needs a look (id or text taken): what the
  /// row is parked with if the look explains nothing. Not kept: the next push asks anew.
  std::optional<Error> refusal;
  bool looked = false;  ///< looked since; the write was found not to have been done
  bool spent = false;   ///< Stripe holds its number for another request: take a new one
  /// Unix seconds; for as long as an answer is waited for after it, Stripe may still do it.
  std::int64_t sent_at = 0;
};

/// A promotion code that Stripe will not make as it is asked, and why. Known only for as long as
/// one push lasts: the next one tries again.
struct Refused {
  Operation operation;
  Error reason;
};

/// A term on both sides.
struct Difference {
  std::string field;
  std::string database;
  std::string stripe;
  std::string text() const { return field + ": database " + database + ", Stripe " + stripe; }
};
/// "discount: database 50 %, Stripe 40 %; duration: ...".
std::string side_by_side(const std::vector<Difference>& differences);

/// States of a row (docs/promo-codes.md); `sync_status` is their projection.
enum class PromoState {
  pending,
  sending,
  retrying,
  synced,
  scheduled,
  exhausted,
  expired,
  parked,
  conflict,
  missing,
  excluded,
};
const char* state_name(PromoState state);
std::optional<PromoState> state_of_name(std::string_view name);
/// What the row's sync_status shows: pending, synced, error or manual.
const char* sync_status_of(PromoState state);

/// Everything a plan is made from.
struct Situation {
  PromoRow row;
  bool deleted = false;  ///< the row is gone: only switching off is left
  Mapped mapped = Parked{};
  Observed observed;
  Identity identity;
  std::optional<Unsettled> unsettled;
  std::optional<Refused> refused;
  bool take_over = false;    ///< a conflict was decided: the row is right
  bool text_taken = false;   ///< somebody was seen to sell the row's text
  bool text_looked = false;  ///< who sells the row's text is known
  /// Uses before the first push. `mapped` is made with these and those of all predecessors. Lowered
  /// by absorb() when a code is adopted, by the uses that it has counted itself.
  std::int64_t used_before = 0;
  std::int64_t now = 0;
  std::int64_t sent_at = 0;        ///< when the write was sent that absorb() gets the answer to
  std::int64_t answer_within = 0;  ///< seconds; who has sent something waits no longer
};

/// Where a row stands when its plan has nothing (more) to send.
struct Settled {
  PromoState state = PromoState::synced;
  Error reason;  ///< empty message = none
  std::vector<std::string> warnings;
  std::optional<std::int64_t> wake_at;  ///< Unix seconds: start or expiry, when to look again
};

/// The ordered requests that turn observed into desired, and where that leads.
struct Plan {
  std::vector<Operation> operations;
  Settled end;
  /// The coupon of that id holds other terms: a new one needs another id.
  bool needs_new_coupon_id = false;
};

/// Pure. Carried out one operation at a time: after each answer absorb() is called and the plan
/// made anew. With NeedPrices (or a Parked without a reason) only looks and switching off are
/// planned; with nothing of these left the end is pending: read the prices and ask again.
Plan plan_promo(const Situation& situation);

/// What an answer did to a row.
struct Effect {
  enum class Next {
    go_on,     ///< plan again, now
    retry,     ///< plan again after a pause (reason says why); the outcome may be unknown
    wait,      ///< look again after retry_after: what is not there may still come
    parked,    ///< refused for good: reason
    conflict,  ///< the code is somebody else's in Stripe, with other terms: reason
    blocked,   ///< nothing can be sent for any row (401, 403 ...): reason
    salt,      ///< another object has our coupon id: take the next revision's id
  };
  Next next = Next::go_on;
  Error reason{};
  /// Of a conflict: all promotion codes in the way. Another row may be about to let go of one: that
  /// it is another row's, its mark need not say.
  std::vector<std::string> held_by{};
  Millis retry_after{0};
  /// The write was not executed (429, never sent): the same number may be used again.
  bool keep_number = false;
};

/// Takes an answer into observed and unsettled. Every unknown outcome leaves an Unsettled. Needs
/// `mapped` too: whether a write was done, and whether a found code is adopted, is told by what the
/// row asks for. A replayed answer to a first send is to be passed as Verdict::unknown.
Effect absorb(Situation& situation, const Operation& operation, const stripe::Answer& answer);

/// Differences between what the row asks for and what Stripe holds that can't be changed in place.
/// Compared at Stripe's precision.
std::vector<Difference> differing_terms(const Desired& desired, const Coupon& coupon,
                                        const PromotionCode& code);

}  // namespace stripe_sync
