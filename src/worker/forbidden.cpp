#include "worker/forbidden.hpp"

#include "pg/standby.hpp"

namespace stripe_sync::worker {

std::optional<Error> misplaced(const Orders& orders, const Place& here) {
  const char* hint =
      "SELECT stripe_sync_rebind('new'); or ('keep') if the original is gone (moved, pg_upgrade).";
  if (!orders.place.same_database(here)) {
    return Error(errcode::usage, "this database is a copy of the one that was attached",
                 "Two databases would write to the same Stripe objects.", hint);
  }
  const bool another_timeline = orders.place.timeline != here.timeline;
  if (another_timeline && pg::was_standby()) return std::nullopt;
  if (another_timeline && orders.place.host == here.host) {
    return Error(errcode::usage, "this server was restored from a backup",
                 "What was pushed since the backup was made is not known here, and the original "
                 "may go on elsewhere.",
                 hint);
  }
  if (orders.place.host != here.host) {
    return Error(errcode::usage, "this database runs on another machine or in another directory",
                 "It was moved, copied or restored: it is not known to be a standby that was "
                 "promoted. Two databases would write to the same Stripe objects.",
                 hint);
  }
  return std::nullopt;
}

std::optional<Error> forbidden(const Orders& orders, const Place& here) {
  if (auto reason = misplaced(orders, here)) return reason;
  if (orders.rival) return written_by_another(*orders.rival);
  if (orders.paused) {
    return Error(errcode::usage, "writes to Stripe are paused",
                 "What is changed goes on being collected.", "SELECT stripe_sync_resume();");
  }
  return std::nullopt;
}

bool only_paused(const Orders& orders, const Place& here) {
  return orders.paused && !orders.rival && !misplaced(orders, here);
}

}  // namespace stripe_sync::worker
