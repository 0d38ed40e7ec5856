#include "sync/foreign_writes.hpp"

#include <gtest/gtest.h>

namespace stripe_sync::testing {
namespace {

json::Value list(const std::string& events, bool more = false) {
  return json::Value::parse("{\"data\":[" + events + "],\"has_more\":" + (more ? "true" : "false") +
                            "}")
      .value();
}

std::string event(const std::string& id, const std::string& key, const std::string& installation) {
  return R"({"id":")" + id + R"(","request":{"id":"req_1","idempotency_key":)" + key +
         R"(},"data":{"object":{"id":"promo_)" + id + R"(","metadata":{)" +
         (installation.empty() ? "" : R"("stripe_sync_installation":")" + installation + "\"") +
         "}}}}";
}

TEST(ForeignWrites, OnlyKeysLikeOursOnObjectsOfOursCount) {
  const EventPage page(list(event("1", R"("stripe_sync-7-ab")", "me") + "," +
                            event("2", R"("stripe_sync-7-ab")", "another") + "," +
                            event("3", R"("stripe_sync-7-ab")", "") + "," +
                            event("4", "null", "me") + "," + event("5", R"("sdk-uuid")", "me")),
                       "me");
  ASSERT_EQ(page.writes.size(), 1u);
  EXPECT_EQ(page.writes[0].event, "1");
  EXPECT_EQ(page.writes[0].object, "promo_1");
  EXPECT_EQ(page.writes[0].key, "stripe_sync-7-ab");
  EXPECT_EQ(page.newest, "1");
  EXPECT_FALSE(page.more);
}

TEST(ForeignWrites, AnyAnswerIsRead) {
  for (const char* text :
       {"{}", "[]", "null", R"({"data":{}})", R"({"data":[]})",
        R"({"data":[null,1,"x",{},{"request":null,"data":null}]})",
        R"({"data":[{"id":1,"request":[],"data":{"object":3}}],"has_more":1})"}) {
    SCOPED_TRACE(text);
    const auto parsed = json::Value::parse(text);
    const EventPage page(parsed ? parsed.value() : json::Value(), "me");
    EXPECT_TRUE(page.writes.empty());
    EXPECT_TRUE(page.newest.empty());
    EXPECT_FALSE(page.more);
  }
  EXPECT_TRUE(EventPage(list(event("1", R"("k")", "me"), true), "me").more);
}

TEST(ForeignWrites, EventsAreReadFromAPlaceOn) {
  EXPECT_EQ(read_events("").params.back().first, "types[4]");
  const stripe::Params::value_type place{"ending_before", "evt_1"};
  EXPECT_EQ(read_events("evt_1").params.back(), place);
}

}  // namespace
}  // namespace stripe_sync::testing
