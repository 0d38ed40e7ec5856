#include <gtest/gtest.h>

#include <deque>

#include "stripe/client.hpp"

namespace stripe_sync::stripe {
namespace {

/// Keeps requests and gives back prepared outcomes.
class FakeTransport final : public http::Transport {
 public:
  std::uint64_t submit(http::Request request) override {
    requests.push_back(std::move(request));
    return requests.size();
  }
  const std::vector<http::Socket>& sockets() const override { return none_; }
  bool take_sockets_changed() override { return false; }
  std::optional<Millis> timeout() const override { return std::nullopt; }
  void on_ready(int, unsigned) override {}
  void on_timeout() override {}
  std::optional<http::Outcome> take() override {
    if (outcomes.empty()) return std::nullopt;
    http::Outcome outcome = std::move(outcomes.front());
    outcomes.pop_front();
    return outcome;
  }
  std::size_t in_flight() const override { return requests.size(); }
  void cancel(std::uint64_t id) override { cancelled.push_back(id); }

  std::vector<http::Request> requests;
  std::deque<http::Outcome> outcomes;
  std::vector<std::uint64_t> cancelled;

 private:
  std::vector<http::Socket> none_;
};

Config config() {
  Config config;
  config.key = "sk_test_abcdefgh";
  config.user_agent = "stripe_sync/1.0";
  config.connect_timeout = Millis(11);
  config.request_timeout = Millis(22);
  return config;
}

class ClientTest : public ::testing::Test {
 protected:
  FakeTransport transport;
  SystemClock clock;
  LocalLimiter limiter{clock};
  Client client{transport, limiter};
};

TEST_F(ClientTest, Post) {
  client.configure(config());
  client.send({"POST", "/v1/coupons", {{"id", "X 1"}, {"metadata[a]", ""}}, "key-1"}, "create");
  const http::Request& request = transport.requests.at(0);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.url, "https://api.stripe.com/v1/coupons");
  EXPECT_EQ(request.body, "id=X%201&metadata[a]=");
  EXPECT_EQ(request.connect_timeout, Millis(11));
  EXPECT_EQ(request.timeout, Millis(22));
  EXPECT_EQ(request.headers, (http::Headers{{"Authorization", "Bearer sk_test_abcdefgh"},
                                            {"Stripe-Version", api_version},
                                            {"User-Agent", "stripe_sync/1.0"},
                                            {"Content-Type", "application/x-www-form-urlencoded"},
                                            {"Idempotency-Key", "key-1"}}));
}

TEST_F(ClientTest, GetAndDeleteAskInTheQuery) {
  client.configure(config());
  client.send({"GET", "/v1/prices", {{"expand[]", "data.tiers"}, {"limit", "100"}}, {}}, "list");
  client.send({"DELETE", "/v1/coupons/X", {}, "ignored"}, "delete");
  client.send({"GET", "/v1/subscription_items?subscription=sub_1", {{"limit", "100"}}, {}}, "list");
  EXPECT_EQ(transport.requests[0].url,
            "https://api.stripe.com/v1/prices?expand[]=data.tiers&limit=100");
  EXPECT_EQ(transport.requests[1].url, "https://api.stripe.com/v1/coupons/X");
  EXPECT_EQ(transport.requests[2].url,
            "https://api.stripe.com/v1/subscription_items?subscription=sub_1&limit=100");
  for (const http::Request& request : transport.requests) {
    EXPECT_EQ(request.body, "");
    EXPECT_EQ(request.headers.size(), 3u);
  }
}

TEST_F(ClientTest, PathCannotExtendTheHost) {
  client.configure(config());
  client.send({"GET", ".evil.example/v1", {}, {}}, "x");
  client.send({"GET", "@evil.example", {}, {}}, "x");
  EXPECT_EQ(transport.requests[0].url, "https://api.stripe.com/.evil.example/v1");
  EXPECT_EQ(transport.requests[1].url, "https://api.stripe.com/@evil.example");
}

TEST_F(ClientTest, AnswersCarryTheirRequestsNames) {
  client.configure(config());
  const auto first = client.send({"GET", "/v1/a", {}, {}}, "read A");
  const auto second = client.send({"GET", "/v1/b", {}, {}}, "read B");
  transport.outcomes.push_back({second, std::nullopt, {"no route", true}});
  transport.outcomes.push_back({first, http::Response{200, {}, "{\"id\":\"a\"}"}, {}});
  auto answer = client.take();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->first, second);
  EXPECT_EQ(answer->second.error.message, "Stripe could not be reached to read B: no route");
  answer = client.take();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->first, first);
  EXPECT_EQ(answer->second.body["id"].text(), "a");
  EXPECT_FALSE(client.take());
}

TEST_F(ClientTest, Cancel) {
  client.configure(config());
  const auto id = client.send({"GET", "/v1/a", {}, {}}, "read A");
  client.cancel(id);
  EXPECT_EQ(transport.cancelled, std::vector<std::uint64_t>{id});
}

TEST_F(ClientTest, NeverSendsAKeyInTheClear) {
  Config bad = config();
  bad.api_base = "http://api.stripe.com";
  EXPECT_THROW(client.configure(bad), Error);
  bad = config();
  bad.key = "sk_test_x\r\nX-Evil: 1";
  client.configure(config());
  EXPECT_THROW(client.configure(bad), Error);
  client.send({"GET", "/v1/a", {}, {}}, "read A");
  EXPECT_EQ(transport.requests[0].headers[0].second, "Bearer sk_test_abcdefgh");
}

TEST_F(ClientTest, Reconfigured) {
  client.configure(config());
  Config other = config();
  other.api_base = "http://LOCALHOST:12111/";
  other.key = "rk_test_other";
  client.configure(other);
  EXPECT_EQ(client.config().api_base, "http://localhost:12111");
  client.send({"GET", "/v1/a", {}, {}}, "read A");
  EXPECT_EQ(transport.requests[0].url, "http://localhost:12111/v1/a");
  EXPECT_EQ(transport.requests[0].headers[0].second, "Bearer rk_test_other");
}

}  // namespace
}  // namespace stripe_sync::stripe
