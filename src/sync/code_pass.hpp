#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "json/json.hpp"
#include "stripe/client.hpp"
#include "sync/promo_plan.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// One walk over all promotion codes in Stripe, for many rows of which nothing is known yet: a page
/// says of up to 100 what would else take a request each. Holds one page at a time, so that its
/// memory does not grow with the account, and nothing it says is old.
class CodePass {
 public:
  explicit CodePass(const Clock& clock) : clock_(clock) {}

  /// The more rows, the more pages may be in vain: an account with millions of codes must not hold
  /// up some hundred rows.
  void begin(std::size_t rows);
  /// Rows wait for it.
  bool on() const { return on_; }
  /// All pages have been read and used, or too many in vain.
  bool done() const { return on_ && !under_way_ && texts_.empty() && !more_; }
  void end();
  /// Forgets also which texts were found taken.
  void forget();

  /// The page to be read next, when nothing is left to be done with the one at hand.
  std::optional<stripe::Call> next_call() const;
  void sent(std::uint64_t id);
  const std::optional<std::uint64_t>& under_way() const { return under_way_; }
  /// Time until the call under way has been waited for long enough; nothing = none is.
  std::optional<Millis> patience() const;
  /// What is taken in the answer's place then.
  static stripe::Answer no_answer();
  /// Takes the answer to the call under way; false if it is no page. It can be asked for again.
  bool take(const stripe::Answer& answer);

  /// Whether rows are to be compared with the page at hand.
  bool has_texts() const { return !texts_.empty(); }
  /// Texts of the page, as codes are compared, up to so many: each is given out once. None if the
  /// page has become too old, which is read again then.
  std::vector<std::string> take_texts(std::size_t most);
  /// To be given out once more.
  void put_back(const std::string& text) { texts_.push_back(text); }
  /// The page was of use.
  void helped() { helped_ = true; }
  /// What Stripe would answer to a look for a promotion code by id or for those of a text, as far
  /// as the page at hand tells; nothing = the page does not show it.
  std::optional<stripe::Answer> answer(const Operation& look) const;

  /// Texts that are sold in Stripe, but not as their rows say: their rows look before they make
  /// anything.
  void set_taken(const std::string& text) { taken_.insert(text); }
  bool is_taken(const std::string& text) const { return taken_.count(text) > 0; }

 private:
  bool store(const json::Value& body);

  const Clock& clock_;
  bool on_ = false;
  std::string after_;  ///< cursor of the page at hand, or to be read
  std::string next_;   ///< of the one after it
  bool more_ = false;  ///< another is to be read
  std::size_t in_vain_ = 0;
  std::size_t most_in_vain_ = 0;
  std::vector<json::Value> page_;
  Millis read_at_{0};
  bool helped_ = true;
  std::vector<std::string> texts_;
  std::set<std::string> taken_;
  std::optional<std::uint64_t> under_way_;
  Millis sent_at_{0};
};

}  // namespace stripe_sync
