// Of the store, what is only looked at: nothing is claimed.

#include "pg/promo_state_sql.hpp"
#include "pg/promo_store.hpp"
#include "pg/role.hpp"

namespace stripe_sync::pg {

Result<std::vector<DiffSubject>> SpiPromoStore::wanted_by_diff() {
  std::vector<DiffSubject> subjects;
  const auto failed = in_extension_transaction([&] {
    tables_.refresh();
    const Rows rows = promo_state::wanted_by_diff();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto text = [&](std::size_t column) { return rows.at(i, column).value_or(""); };
      DiffSubject subject;
      PromoJob& job = subject.job;
      job.table = text(0);
      job.key = text(1);
      job.code = text(2);
      subject.code_key = text(13);
      subject.state = state_of_name(text(10)).value_or(PromoState::pending);
      subject.reason = Error(sqlstate_of_text(text(16)), text(17), text(18), text(19));
      const auto coupon_ids = json::Value::parse(text(27));
      if (coupon_ids) subject.coupon_ids = text_list(coupon_ids.value());
      Error why;
      if (!load(rows, i, job, why)) {
        subject.unread = why.message.empty() ? Error(errcode::usage, "the row is not in its table",
                                                     "", "SELECT * FROM stripe_sync_promo();")
                                             : why;
      }
      subjects.push_back(std::move(subject));
    }
  });
  if (failed) return *failed;
  return subjects;
}

std::optional<Error> SpiPromoStore::held_by_another(const PromoJob& job) {
  std::optional<Settled> conflict;
  const auto failed = in_extension_transaction([&] { conflict = taken_from_another(job); });
  if (failed) throw *failed;
  return conflict ? std::optional(conflict->reason) : std::nullopt;
}

}  // namespace stripe_sync::pg
