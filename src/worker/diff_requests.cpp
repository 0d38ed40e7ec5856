#include "worker/diff_requests.hpp"

#include <algorithm>

#include "pg/log.hpp"

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

void DiffRequests::begin(std::int64_t number) {
  reset();
  auto subjects = store_.wanted_by_diff();
  if (!subjects) return refuse_diffs(subjects.error(), number);
  number_ = number;
  const OtherRows others = {[this](const auto& promotion_code, const auto& text) {
                              return store_.gives_up(promotion_code, text);
                            },
                            [this](const PromoJob& job) { return store_.held_by_another(job); }};
  std::reverse(subjects.value().begin(), subjects.value().end());
  for (DiffSubject& subject : subjects.value()) diffs_.emplace_back(std::move(subject), others);
  go_on();
}

void DiffRequests::reset() {
  number_ = 0;
  request_.reset();
  prices_.emplace(clock_);
  diffs_.clear();
  found_.clear();
}

// A mistake of ours about one row is that row's trouble alone.
void DiffRequests::go_on() {
  while (!diffs_.empty()) {
    std::optional<Error> failed;
    try {
      if (as_errors([&] { return ask(); })) return;
    } catch (const Error& error) {
      if (error.is_fatal_to_run()) throw;
      failed = error;
    }
    conclude(failed);
  }
  finish();
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
  go_on();
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

void DiffRequests::finish() {
  if (const auto failed = store_diffs(found_, number_)) refuse_diffs(*failed, number_);
  reset();
  pg_call([] { SetLatch(MyLatch); });  // others may wait
}

}  // namespace stripe_sync::worker
