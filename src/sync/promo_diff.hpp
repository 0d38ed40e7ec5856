#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sync/promo_store.hpp"

#include "core/no_postgres.hpp"

// What a push would do about a promo code, seen against Stripe as it is now, and none of it done.

namespace stripe_sync {

/// One field of an operation; or of what stands in a push's way.
struct DiffLine {
  int step = 0;        ///< the operation's number in its plan; 0 = it is none
  std::string action;  ///< what the operation does; else none, conflict, parked, missing or manual
  std::string field;
  std::optional<std::string> database;  ///< nothing = the row does not say
  std::optional<std::string> stripe;    ///< nothing = not in Stripe
  std::string why;
  std::string next{};  ///< the command that goes on from here; empty = none
};

/// The plan of a situation, operation by operation and field by field; if it has none, where the
/// row stands. Pure.
std::vector<DiffLine> diff_lines(const Situation& situation, const Plan& plan);

/// A promo code as it is known here.
struct DiffSubject {
  std::string code_key;
  PromoJob job;  ///< of a missing row: as if it were deleted
  PromoState state = PromoState::pending;
  Error unread{};                         ///< why the row can't be read; no message = it was
  Error reason{};                         ///< of a parked one, as it was told then
  std::vector<std::string> coupon_ids{};  ///< that coupons made later would get, in their order
};

/// What only the other rows tell.
struct OtherRows {
  /// Whether the row of a promotion code is about to let go of a text (PromoStore::gives_up).
  std::function<bool(const std::string& promotion_code, const std::string& text)> give_up;
  /// Why the promotion code just found can't be this row's, if so: another one has it.
  std::function<std::optional<Error>(const PromoJob& job)> hold;
};

/// Finds out by reading alone: the looks of a push and those that a push saves itself, because it
/// goes by what was last seen or lets a refusal tell.
class PromoDiff {
 public:
  PromoDiff(DiffSubject subject, OtherRows others)
      : subject_(std::move(subject)), others_(std::move(others)) {}

  /// What has to be read next; neither = all is known.
  struct Wants {
    std::optional<Operation> look;
    std::optional<NeedPrices> prices;
  };
  Wants next(const Catalog& catalog, std::int64_t now);
  /// Takes the answer to the look that was wanted. An error if nothing can be said without it.
  std::optional<Error> take(const stripe::Answer& answer);

  const DiffSubject& subject() const { return subject_; }
  /// Once all is known.
  const std::vector<DiffLine>& lines() const { return lines_; }

 private:
  void begin();
  std::optional<Operation> remembered();
  std::optional<Operation> look();
  std::optional<Operation> coupon_wanted();
  std::optional<Operation> text_wanted();
  void resolve(const Effect& effect, const stripe::Answer& answer, const PromoJob& before);
  void show(std::size_t operations);
  void decide();
  void suppose(std::string what);
  void conclude(const char* action, const std::string& why, std::string next = {});
  void add_rival();
  bool needs_coupon_id() const;
  void take_next_coupon_id();
  std::string command(const char* call, const char* more = "") const;

  DiffSubject subject_;
  OtherRows others_;
  bool begun_ = false;
  bool decided_ = false;
  Situation situation_;
  Plan plan_;
  std::optional<Operation> look_;
  int looks_ = 0;
  bool code_read_ = false;  ///< of what was last seen
  bool next_coupon_read_ = false;
  std::vector<Operation> asked_;            ///< looks for ids and texts that a write would claim
  std::optional<std::size_t> before_text_;  ///< operations before the one whose text is looked for
  std::vector<Operation> shown_;
  std::optional<bool> was_in_step_;  ///< by what was last seen
  std::optional<PromotionCode> rival_;
  std::optional<Coupon> rival_coupon_;
  bool off_supposed_ = false;
  std::string supposed_;  ///< what the plan takes for granted: "if is_active were false"
  std::vector<DiffLine> lines_;
};

}  // namespace stripe_sync
