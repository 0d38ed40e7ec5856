#include "worker/event_watch.hpp"

namespace stripe_sync::worker {

void EventWatch::begin(const Orders& orders, Millis now) {
  since_ = now;
  ask(orders.newest_event);
}

void EventWatch::ask(const std::string& after) {
  after_ = after;
  due_ = true;
  pump();
}

void EventWatch::pump() {
  if (!due_ || client_.limiter().wait() > Millis(0)) return;
  due_ = false;
  request_ = client_.send(read_events(after_), "read events");
}

std::optional<Millis> EventWatch::wait() const {
  return due_ ? std::optional(client_.limiter().wait()) : std::nullopt;
}

bool EventWatch::handle(std::uint64_t id, const stripe::Answer& answer, const Orders& orders,
                        std::optional<std::string>& rival) {
  if (request_ != id) return false;
  request_.reset();
  if (answer.ok()) {
    const EventPage page(answer.body, orders.installation);
    rival = store_events(page);
    const bool forward = !after_.empty() && page.newest != after_;
    if (!rival && page.more && forward && !page.newest.empty()) ask(page.newest);
  } else if (answer.code == "resource_missing" && !after_.empty()) {
    ask("");  // older than Stripe keeps events, or another account's
  }
  return true;
}

}  // namespace stripe_sync::worker
