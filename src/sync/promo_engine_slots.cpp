// What the engine may do now, and when next.

#include <algorithm>

#include "sync/promo_engine.hpp"

namespace stripe_sync {

namespace {

// A request that takes so long gives its slot to another row; at most so many times max_parallel.
constexpr Millis slow_after{10'000};
constexpr int most_slow = 3;
// Rows that wait, for prices or to be saved, take no slot, but leases and memory.
constexpr std::size_t most_waiting = 16;
constexpr std::size_t most_unsaved = 64;

}  // namespace

// Why nothing may be sent, if so.
std::optional<Pause> PromoEngine::held() const {
  const Millis now = clock_.steady();
  if (blocked_) return Pause{*blocked_, now + Reach::shortest};
  if (auto limit = client_.limiter().pause()) return limit;
  return now < reach_.pause().until ? std::optional(reach_.pause()) : std::nullopt;
}

std::optional<Pause> PromoEngine::pause() const {
  if (auto limit = client_.limiter().pause()) return limit;
  return reach_.told();
}

bool PromoEngine::waits_to_write(const Active& active) const {
  return active.unsent() && active.operation->writes() && clock_.steady() >= writes_until_;
}

bool PromoEngine::wants_to_write() const {
  return !held() && std::any_of(jobs_.begin(), jobs_.end(),
                                [this](const auto& entry) { return waits_to_write(entry.second); });
}

bool PromoEngine::waits_for_token(Urgency urgency) const {
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const Active& active = entry.second;
    return active.unsent() && active.urgency() == urgency && !waits_to_write(active);
  });
}

std::vector<PromoEngine::JobId> PromoEngine::waiting() const {
  std::vector<JobId> ids;
  for (const auto& [id, active] : jobs_) {
    if (!active.operation) ids.push_back(id);
  }
  return ids;
}

int PromoEngine::slow() const {
  const Millis now = clock_.steady();
  const auto count = std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    return entry.second.sent && now - entry.second.sent_at >= slow_after;
  });
  return std::min(static_cast<int>(count), most_slow * limits_.max_parallel);
}

// Time until a slot is given to somebody else.
std::optional<Millis> PromoEngine::next_slow() const {
  std::optional<Millis> soonest;
  for (const auto& [id, active] : jobs_) {
    const Millis in = active.sent_at + slow_after - clock_.steady();
    if (active.sent && in > Millis(0) && (!soonest || in < *soonest)) soonest = in;
  }
  return soonest;
}

int PromoEngine::slots() const {
  return limits_.max_parallel + slow() - static_cast<int>(jobs_.size() - waiting().size());
}

int PromoEngine::room() const {
  if (waiting().size() >= most_waiting || saves_wait()) return 0;
  return slots() - (prices_.busy() ? 1 : 0) - (pass_.under_way() ? 1 : 0);
}

int PromoEngine::room_for_off() const {
  const auto before = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& entry) {
    return entry.second.unsent() && entry.second.is_off();
  });
  return limits_.max_parallel - in_flight() - static_cast<int>(before);
}

// If claim() can't: it takes them first.
bool PromoEngine::may_claim_off() const {
  if (!look_for_off_ || held() || saves_wait() || room_for_off() <= 0) return false;
  return room() <= 0 || client_.limiter().wait() > Millis(0);
}

bool PromoEngine::may_send(Urgency urgency) const {
  return in_flight() < limits_.max_parallel && client_.limiter().wait(urgency) <= Millis(0);
}

bool PromoEngine::saves_wait() const {
  return unsaved_.size() >= most_unsaved;
}

bool PromoEngine::may_resume() const {
  return !prices_.busy() && slots() > 0 && !waiting().empty();
}

std::optional<Millis> PromoEngine::wait() const {
  const Millis now = clock_.steady();
  std::optional<Millis> soonest;
  const auto consider = [&](Millis in) {
    in = std::max(in, Millis(0));
    if (!soonest || in < *soonest) soonest = in;
  };
  for (const Unsaved& unsaved : unsaved_) {
    if (!lacks_slot(unsaved)) consider(unsaved.at - now);
  }
  for (const auto& patience : {prices_.patience(), pass_.patience()}) {
    if (patience) consider(*patience);
  }
  if (blocked_) return soonest;

  const auto pause = held();
  const auto token = [&](Urgency urgency) {
    return std::max(client_.limiter().wait(urgency), pause ? pause->until - now : Millis(0));
  };
  const bool off = waits_for_token(Urgency::urgent), others = waits_for_token(Urgency::normal);
  if (in_flight() < limits_.max_parallel) {
    if (off) consider(token(Urgency::urgent));
    if (others || prices_.next_call() || pass_.next_call()) consider(token(Urgency::normal));
  }
  if (may_claim_off()) consider(token(Urgency::urgent));
  const bool wants_slot = off || others || claim_at_ || !unsaved_.empty() || !waiting().empty();
  if (const auto slot = next_slow(); slot && wants_slot) consider(*slot);
  if (claim_at_ && room() > 0) consider(std::max(*claim_at_ - now, token(Urgency::normal)));
  if (!pause && (may_resume() || may_compare())) consider(Millis(0));
  return soonest;
}

}  // namespace stripe_sync
