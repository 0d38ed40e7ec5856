// Of the engine, how many rows of which nothing is known yet are compared with all that Stripe
// holds, page by page, and those that are in step already adopted without a request of their own.

#include <algorithm>

#include "sync/promo_compare.hpp"
#include "sync/promo_engine.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_situation.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {

namespace {

constexpr std::size_t least_rows = 100;
constexpr Millis pass_again{300'000};  // after one that was refused or got no answer
// Some hundredths of a second's work: what is to be switched off waits meanwhile.
constexpr std::size_t most_at_once = 25;

}  // namespace

void PromoEngine::begin_pass() {
  if (pass_.on() || clock_.steady() < pass_at_) return;
  const std::size_t rows = store_.hold_unseen(least_rows);
  if (rows > 0) pass_.begin(rows);
}

void PromoEngine::end_pass() {
  if (!pass_.on()) return;
  if (pass_.under_way()) client_.cancel(*pass_.under_way());
  store_.release_unseen(pass_.done());
  pass_.end();
  look_for_due();
}

void PromoEngine::distrust() {
  allow_writes(Millis::min());
  end_pass();
  pass_.forget();
}

void PromoEngine::take_page(const stripe::Answer& answer) {
  note("promotion codes", answer);
  if (pass_.take(answer)) return;
  // All wait then; this page is the next to be asked for.
  if (answer.verdict == stripe::Verdict::unavailable || answer.limits_all()) return;
  if (answer.verdict == stripe::Verdict::unauthorized) blocked_ = answer.error;
  end_pass();
  pass_at_ = clock_.steady() + pass_again;
}

bool PromoEngine::may_compare() const {
  return pass_.has_texts() && !held() && !prices_.busy() && !saves_wait();
}

void PromoEngine::compare_with_page() {
  if (may_compare()) {
    const auto claim_at = claim_at_;
    const auto texts = pass_.take_texts(most_at_once);
    auto claims = store_.claim_unseen(texts, [this](PromoJob& job) { return compare(job); });
    if (claims.rows > 0) pass_.helped();
    for (auto& [job, decision] : claims.jobs) carry_on(std::move(job), decision);
    claim_at_ = claim_at;  // they had no slot that is free now
  }
  if (pass_.done()) end_pass();
}

// One of the rows that the page at hand may be about. It ends here if it needs nothing from Stripe,
// or if the page shows that it is in step; else it is left as it was: nothing is sent, and nobody
// is told of a conflict, by the word of a page.
Decision PromoEngine::compare(PromoJob& job) {
  PromoJob alone = job;
  Decision decision = decide(alone);
  if (decision.settle) {
    job = std::move(alone);
    return decision;
  }
  Decision left;
  left.leave = true;
  const std::string text = lowered(job.code);
  const Situation now = situation(job);
  const NeedPrices* need = std::get_if<NeedPrices>(&now.mapped);
  if (need && clock_.steady() >= no_prices_.until) {
    prices_.want(*need);
    pass_.put_back(text);
  }
  if (job.deleted || !std::holds_alternative<Desired>(now.mapped)) return left;
  const std::string carried = carried_code(now);
  const Operation look = carried.empty() ? find_code(job.code) : read_code(carried);
  const auto answer = pass_.answer(look);
  if (!answer) return left;
  PromoJob found = job;
  const Effect effect = absorb_into(found, now, look, *answer);
  if (carried.empty() && !ordered_off(now) &&
      (found.observed.code || effect.next == Effect::Next::conflict))
    pass_.set_taken(text);
  if (effect.next != Effect::Next::go_on || !found.observed.code) return left;
  decision = decide(found);
  if (!decision.settle) return left;
  job = std::move(found);
  return decision;
}

}  // namespace stripe_sync
