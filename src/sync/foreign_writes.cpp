#include "sync/foreign_writes.hpp"

#include <utility>

#include "sync/promo_requests.hpp"

namespace stripe_sync {

namespace {

constexpr std::string_view key_prefix = "stripe_sync-";

}  // namespace

Error written_by_another(std::string shown) {
  return Error(errcode::usage, "another database writes to Stripe as this installation",
               std::move(shown),
               "SELECT stripe_sync_rebind('new'); in the copy, or ('keep') once no other is left.");
}

stripe::Call read_events(const std::string& after) {
  stripe::Call call{"GET", "/v1/events", {{"limit", "100"}}, {}};
  int n = 0;
  for (const char* type : {"coupon.created", "coupon.updated", "coupon.deleted",
                           "promotion_code.created", "promotion_code.updated"}) {
    call.params.emplace_back("types[" + std::to_string(n++) + "]", type);
  }
  if (!after.empty()) call.params.emplace_back("ending_before", after);
  return call;
}

EventPage::EventPage(const json::Value& list, const std::string& installation)
    : newest(list["data"][0]["id"].text_or("")), more(list["has_more"].boolean().value_or(false)) {
  const json::Value events = list["data"];
  for (std::size_t i = 0; i < events.size(); ++i) {
    const json::Value object = events[i]["data"]["object"];
    const std::string key = events[i]["request"]["idempotency_key"].text_or("");
    if (key.rfind(key_prefix, 0) == 0 &&
        object["metadata"][installation_mark].text_or("") == installation) {
      writes.push_back({events[i]["id"].text_or(""), object["id"].text_or(""), key});
    }
  }
}

}  // namespace stripe_sync
