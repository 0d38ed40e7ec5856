#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "sync/promo_diff.hpp"
#include "sync/promo_store.hpp"

#include "pg/promo_history.hpp"
#include "pg/promo_table.hpp"

namespace stripe_sync::pg {

/// The attached tables of this database, read anew when an attachment or its table has changed.
class PromoTables {
 public:
  /// To be called at the start of a transaction, before find().
  void refresh();
  /// Nothing if the table is not attached (any more) or can't be read as attached: `why` says so.
  PromoTable* find(const std::string& oid, Error& why);
  std::vector<std::string> oids() const;

 private:
  void read();

  struct Entry {
    std::string signature;
    std::unique_ptr<PromoTable> table;
    Error broken;
  };
  std::map<std::string, Entry> entries_;
  std::uint64_t changes_ = 0;  ///< of definitions, counted when they were read
  std::string versions_;       ///< of attachments
};

namespace promo_state {
struct Step;
}

/// PromoStore over SPI. Our own tables are used as the extension's owner, a user's as that table's
/// owner; nothing here waits for a lock.
class SpiPromoStore final : public PromoStore {
 public:
  Claims claim(int limit, const Decide& decide) override;
  Claims claim_off(int limit, const Decide& decide) override;
  std::size_t hold_unseen(std::size_t least) override;
  Claims claim_unseen(const std::vector<std::string>& texts, const Decide& decide) override;
  void release_unseen(bool seen_to) override;
  Saved save(PromoJob& job, const Decision& decision) override;
  bool gives_up(const std::string& promotion_code, const std::string& text) override;
  /// From then on claims begin where that row is, or where none was before now.
  std::optional<Millis> next_due() override;
  void retry_now() override;

  /// The promo codes that calls of stripe_sync_diff() wait for.
  Result<std::vector<DiffSubject>> wanted_by_diff();
  /// Why the promotion code just found for a row can't be its own, if so: another row has it.
  std::optional<Error> held_by_another(const PromoJob& job);

  /// Who this installation is to Stripe; part of every idempotency key. Reads whose promotion codes
  /// are never its own; throws if that can't be read.
  void set_identity(std::string installation, std::string account, std::string mode);

  /// Makes rows due again that a worker which is gone had claimed. False while the application
  /// holds some of them: to be called again.
  bool clear_leases();
  /// The clock was set back: what was put off or judged by what it said before is due now, and to
  /// be judged anew even if its row was only touched. False as with clear_leases().
  bool judge_again();

  /// Takes changes over from the inbox, so many that it is soon done; whether more wait.
  bool take_inbox();

  /// Whether a change was found since the last comparison that can't be taken over: the next finds
  /// it.
  bool has_set_aside() const { return set_aside_changes_; }

  /// Compares every attached table with what was taken from it: rows that changed, appeared or
  /// vanished without our triggers. False if the application's locks kept one from being compared.
  bool reconcile();

 private:
  bool take_changes(const Text& table);
  Rows lock_due(std::size_t limit);
  void look_from_the_start();
  Claims claim_locked(const std::function<Rows()>& lock, const Decide& decide);
  std::optional<Claimed> claim_row(const Rows& due, std::size_t i, const Decide& decide);
  void put_back(const PromoJob& job, Millis delay);
  void set_aside(const Rows& due, std::size_t i, const Error& why);
  bool load(const Rows& due, std::size_t i, PromoJob& job, Error& why);
  Saved save_in_transaction(PromoJob& job, const Decision& decision);
  Saved save_locked(PromoJob& job, const Decision& decision);
  Saved give_up(const PromoJob& job, const Error& why);
  Saved save_settled(PromoJob& job, const Settled& settled);
  void save_retry(PromoJob& job, const Decision::Retry& retry);
  void project(PromoJob& job, const PromoTable::Projection& projection, Settled& outcome);
  void write(PromoJob& job, const promo_state::Step& step);
  void tell(PromoJob& job);
  void number(PromoJob& job, const Operation& operation);

  PromoTables tables_;
  PromoHistory history_;
  /// Some tenths of a second's work: answers of Stripe's wait meanwhile.
  static constexpr int most_inbox_rows = 10'000;
  int inbox_rows_ = most_inbox_rows;  ///< taken over at a time: fewer while something is wrong
  bool set_aside_changes_ = false;
  /// Where claims begin: no row that is to be switched off, and no other, is due since before these
  /// times, as far as this process knows. Seconds, like the two below.
  std::string off_due_from_ = "-infinity", due_from_ = "-infinity";
  std::optional<std::string> held_since_;  ///< unseen rows that changed later are claimed
  std::string seen_to_ = "-infinity";      ///< those that changed earlier are not counted
  std::int64_t first_lease_ = 0;           ///< older ones are another worker's
  std::string installation_;
  std::shared_ptr<const std::set<std::string>> originals_;  ///< of the database it is a copy of
  std::string account_;
  std::string mode_;
};

/// Where a row ends whose promotion code another row has; nothing = it is its own.
std::optional<Settled> taken_from_another(const PromoJob& job);

/// Whether the same will succeed later: somebody's lock, a deadlock, a serialization failure.
bool may_pass(const Error& error);

/// Of rows that are deleted or missing, those that are in their table go on. Takes keys and returns
/// those found, as an array in text form.
Text take_back(PromoTable& table, const Text& keys);

}  // namespace stripe_sync::pg
