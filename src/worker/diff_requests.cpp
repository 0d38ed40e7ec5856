#include "worker/diff_requests.hpp"

#include <algorithm>

#include "pg/log.hpp"

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

namespace {

constexpr Millis store_again{2'000};

// What ends so is no row's trouble: the next request would end the same way.
bool concerns_all(const stripe::Answer& answer) {
  return answer.verdict == stripe::Verdict::unauthorized || Reach::passes(answer);
}

}  // namespace

void DiffRequests::begin(std::int64_t number) {
  reset();
  auto subjects = store_.wanted_by_diff();
  if (!subjects) {
    refuse_diffs(subjects.error(), number);
    return;
  }
  number_ = number;
  const OtherRows others = {[this](const auto& promotion_code, const auto& text) {
                              return store_.gives_up(promotion_code, text);
                            },
                            [this](const PromoJob& job) { return store_.held_by_another(job); }};
  std::reverse(subjects.value().begin(), subjects.value().end());
  for (DiffSubject& subject : subjects.value()) diffs_.emplace_back(std::move(subject), others);
}

void DiffRequests::reset() {
  number_ = 0;
  store_at_ = Millis(0);
  request_.reset();
  prices_.emplace(clock_);
  diffs_.clear();
  found_.clear();
}

// A mistake of ours about one row is that row's trouble alone.
void DiffRequests::pump() {
  if (!under_way() || request_) return;
  while (!diffs_.empty()) {
    if (client_.limiter().wait() > Millis(0)) return;
    std::optional<Error> failed;
    try {
      if (as_errors([&] { return ask(); })) return;
    } catch (const Error& error) {
      if (error.is_fatal_to_run()) throw;
      failed = error;
    }
    conclude(failed);
  }
  if (clock_.steady() >= store_at_) finish();
}

std::optional<Millis> DiffRequests::wait() const {
  if (!under_way() || request_) return std::nullopt;
  return diffs_.empty() ? store_at_ - clock_.steady() : client_.limiter().wait();
}

// False when nothing has to be read any more.
bool DiffRequests::ask() {
  const auto wants = diffs_.back().next(prices_->catalog(), clock_.unix_seconds());
  if (wants.look) {
    request_ = client_.send(wants.look->call, wants.look->what);
  } else if (wants.prices) {
    prices_->want(*wants.prices);
    const auto call = prices_->next_call();
    if (!call) throw Error(errcode::internal, "prices are wanted that were read");
    request_ = client_.send(*call, "read prices");
    prices_->sent(*request_);
  }
  return request_.has_value();
}

bool DiffRequests::handle(std::uint64_t id, const stripe::Answer& answer) {
  if (request_ != id) return false;
  request_.reset();
  std::optional<Error> failed;
  try {
    failed = as_errors([&] { return take(answer); });
  } catch (const Error& error) {
    if (error.is_fatal_to_run()) throw;
    failed = error;
  }
  if (failed) conclude(failed);
  while (failed && concerns_all(answer) && !diffs_.empty()) conclude(failed);
  return true;
}

std::optional<Error> DiffRequests::take(const stripe::Answer& answer) {
  if (prices_->under_way()) return prices_->take(answer);
  return diffs_.back().take(answer);
}

void DiffRequests::conclude(std::optional<Error> error) {
  PromoDiff& diff = diffs_.back();
  const DiffSubject& subject = diff.subject();
  if (error) error->message = "Stripe can't be compared with: " + error->message;
  found_.push_back({subject.code_key, subject.job.table, subject.job.key,
                    error ? std::vector<DiffLine>() : diff.lines(), error});
  diffs_.pop_back();
}

// What was found is kept until it can be stored: Stripe is not asked again.
void DiffRequests::finish() {
  auto failed = store_diffs(found_, number_);
  if (failed) failed = refuse_diffs(*failed, number_);
  if (failed) {
    store_at_ = clock_.steady() + store_again;
    return;
  }
  reset();
  pg_call([] { SetLatch(MyLatch); });  // others may wait
}

}  // namespace stripe_sync::worker
