#include <gtest/gtest.h>

#include "http_driver.hpp"
#include "loopback_server.hpp"

namespace stripe_sync::http {
namespace {

using test::always;
using test::HttpDriver;
using test::LoopbackServer;
using test::never_answer;
using test::say_ok;
using Then = LoopbackServer::Then;
using Connection = LoopbackServer::Connection;

TEST(Curl, Get) {
  LoopbackServer server(
      always("HTTP/1.1 404 Not Found\r\nRequest-ID: req_1\r\nX-EMPTY:\r\n"
             "X-Blank:  a b \r\nContent-Length: 5\r\n\r\nhello",
             Then::keep));
  HttpDriver driver;
  Request request = HttpDriver::get(server.url("/v1/a?x[]=1"));
  request.headers = {{"Authorization", "Bearer sk_test_x"}, {"Stripe-Version", "2026"}};
  const Outcome outcome = driver.run(request);
  ASSERT_TRUE(outcome.response) << outcome.failure.message;
  EXPECT_EQ(outcome.response->status, 404);
  EXPECT_EQ(outcome.response->body, "hello");
  EXPECT_EQ(outcome.response->header("request-id"), "req_1");
  EXPECT_EQ(outcome.response->header("x-empty"), "");
  EXPECT_EQ(outcome.response->header("x-blank"), "a b");
  EXPECT_EQ(outcome.response->header("absent"), std::nullopt);

  const std::string head = server.requests().at(0).head;
  EXPECT_EQ(head.substr(0, 29), "GET /v1/a?x[]=1 HTTP/1.1\r\nHos");
  EXPECT_NE(head.find("\r\nAuthorization: Bearer sk_test_x\r\n"), std::string::npos);
  EXPECT_NE(head.find("\r\nStripe-Version: 2026\r\n"), std::string::npos);
  EXPECT_EQ(driver.transport->in_flight(), 0u);
}

TEST(Curl, PathsAreSentAsTheyAre) {
  LoopbackServer server(say_ok);
  HttpDriver driver;
  ASSERT_TRUE(driver.run(HttpDriver::get(server.url("/v1/coupons/../%2E%2E/x"))).response);
  EXPECT_EQ(server.requests().at(0).target(), "/v1/coupons/../%2E%2E/x");
}

TEST(Curl, PostSendsItsBodyAtOnce) {
  LoopbackServer server(say_ok);
  HttpDriver driver;
  Request request = HttpDriver::get(server.url("/v1/coupons"));
  request.method = "POST";
  request.body = std::string(3'000'000, 'x') + std::string("\0end", 4);
  ASSERT_TRUE(driver.run(request).response);
  const LoopbackServer::Request seen = server.requests().at(0);
  EXPECT_EQ(seen.head.substr(0, 5), "POST ");
  EXPECT_EQ(seen.head.find("Expect"), std::string::npos);
  EXPECT_TRUE(seen.body == request.body);

  request.body.clear();
  ASSERT_TRUE(driver.run(request).response);
  EXPECT_NE(server.requests().at(1).head.find("\r\nContent-Length: 0\r\n"), std::string::npos);
}

TEST(Curl, DeleteAfterPostOnTheSameHandle) {
  LoopbackServer server(say_ok);
  HttpDriver driver;
  Request request = HttpDriver::get(server.url("/v1/coupons"));
  request.method = "POST";
  request.body = "a=b";
  request.headers = {{"Idempotency-Key", "k"}};
  ASSERT_TRUE(driver.run(request).response);
  request = HttpDriver::get(server.url("/v1/coupons/X"));
  request.method = "DELETE";
  ASSERT_TRUE(driver.run(request).response);
  ASSERT_TRUE(driver.run(HttpDriver::get(server.url("/v1/coupons"))).response);
  const auto seen = server.requests();
  EXPECT_EQ(seen[1].head.substr(0, 24), "DELETE /v1/coupons/X HTT");
  EXPECT_EQ(seen[1].head.find("Idempotency-Key"), std::string::npos);
  EXPECT_EQ(seen[1].body, "");
  EXPECT_EQ(seen[2].head.substr(0, 4), "GET ");
}

TEST(Curl, ConnectionsAreKept) {
  LoopbackServer server(say_ok);
  HttpDriver driver;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(driver.run(HttpDriver::get(server.url("/"))).response);
  EXPECT_EQ(server.connections(), 1);
}

TEST(Curl, AKeptConnectionThatWasClosedIsReplaced) {
  LoopbackServer server(always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Then::close));
  HttpDriver driver;
  for (int i = 1; i <= 3; ++i) {
    Request request = HttpDriver::get(server.url("/"));
    request.method = "POST";
    request.body = "a=b";
    const Outcome outcome = driver.run(request);
    ASSERT_TRUE(outcome.response) << outcome.failure.message;
    EXPECT_EQ(server.connections(), i);
    ASSERT_TRUE(driver.run_until([&] { return server.all_closed(); }));
  }
}

TEST(Curl, ARequestThatWentOutTwiceSaysSo) {
  LoopbackServer server(
      [served = 0](const LoopbackServer::Request&, Connection& connection) mutable {
        if (++served == 2) return Then::close;  // has seen the request, and does not answer
        connection.ok("{}");
        return Then::keep;
      });
  HttpDriver driver;
  for (const bool again : {false, true, false}) {
    const Outcome outcome = driver.run(HttpDriver::get(server.url("/")));
    ASSERT_TRUE(outcome.response) << outcome.failure.message;
    EXPECT_EQ(outcome.response->sent_again, again);
  }
  EXPECT_EQ(server.requests().size(), 4u);
}

TEST(Curl, AResentRequestIsNeverCalledUnsent) {
  // The second request reaches the server, which drops it and goes away: libcurl sends it again,
  // can't connect, and must not conclude that nothing was sent.
  auto server = std::make_unique<LoopbackServer>(
      [served = 0](const LoopbackServer::Request&, Connection& connection) mutable {
        if (++served == 2) return Then::close;
        connection.ok("{}");
        return Then::keep;
      });
  HttpDriver driver;
  ASSERT_TRUE(driver.run(HttpDriver::get(server->url("/"))).response);
  const std::uint64_t id = driver.transport->submit(HttpDriver::get(server->url("/")));
  // Nothing is read by the transport while the server takes the request and is torn down.
  driver.transport->on_timeout();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (server->requests().size() < 2 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  ASSERT_EQ(server->requests().size(), 2u);
  server.reset();
  const Outcome outcome = driver.outcome_of(id);
  EXPECT_FALSE(outcome.response);
  EXPECT_FALSE(outcome.failure.never_sent) << outcome.failure.message;
}

TEST(Curl, ManyAtOnce) {
  constexpr int many = 12;
  std::mutex mutex;
  std::condition_variable all_here;
  int here = 0;
  // Nobody is answered before everybody has asked.
  LoopbackServer server([&](const LoopbackServer::Request& request, Connection& connection) {
    std::unique_lock lock(mutex);
    if (++here == many) all_here.notify_all();
    all_here.wait_for(lock, std::chrono::seconds(10), [&] { return here == many; });
    connection.ok(request.target());
    return Then::keep;
  });
  HttpDriver driver;
  std::map<std::uint64_t, std::string> asked;
  for (int i = 0; i < many; ++i) {
    const std::string path = "/" + std::to_string(i);
    asked[driver.transport->submit(HttpDriver::get(server.url(path)))] = path;
  }
  EXPECT_EQ(asked.size(), static_cast<std::size_t>(many));
  EXPECT_EQ(driver.transport->in_flight(), static_cast<std::size_t>(many));
  ASSERT_TRUE(driver.run_until([&] { return driver.outcomes.size() == many; }));
  for (const auto& [id, path] : asked) {
    ASSERT_TRUE(driver.outcomes[id].response) << driver.outcomes[id].failure.message;
    EXPECT_EQ(driver.outcomes[id].response->body, path);
  }
  EXPECT_EQ(driver.transport->in_flight(), 0u);
}

TEST(Curl, AStalledExchangeHoldsBackNoOther) {
  LoopbackServer server([](const LoopbackServer::Request& request, Connection& connection) {
    return request.target() == "/slow" ? never_answer(request, connection)
                                       : say_ok(request, connection);
  });
  HttpDriver driver;
  const std::uint64_t slow = driver.transport->submit(HttpDriver::get(server.url("/slow")));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(driver.run(HttpDriver::get(server.url("/"))).response);
  EXPECT_EQ(driver.outcomes.count(slow), 0u);
  EXPECT_EQ(driver.transport->in_flight(), 1u);
}

TEST(Curl, LargeBody) {
  const std::string body(4u << 20, 'b');
  LoopbackServer server([&](const LoopbackServer::Request&, Connection& connection) {
    connection.ok(body);
    return Then::keep;
  });
  HttpDriver driver;
  const Outcome outcome = driver.run(HttpDriver::get(server.url("/")));
  ASSERT_TRUE(outcome.response) << outcome.failure.message;
  EXPECT_TRUE(outcome.response->body == body);
}

TEST(Curl, BodyCap) {
  LoopbackServer server([](const LoopbackServer::Request& request, Connection& connection) {
    connection.ok(std::string(request.target() == "/fits" ? 1000 : 1001, 'x'));
    return Then::keep;
  });
  HttpDriver driver;
  Request request = HttpDriver::get(server.url("/fits"));
  request.max_body = 1000;
  EXPECT_TRUE(driver.run(request).response);
  request.url = server.url("/exceeds");
  const Outcome outcome = driver.run(request);
  EXPECT_FALSE(outcome.response);
  EXPECT_EQ(outcome.failure.message, "the answer is too large (more than 1000 bytes)");
  EXPECT_FALSE(outcome.failure.never_sent);
}

TEST(Curl, HeaderCap) {
  LoopbackServer server([](const LoopbackServer::Request&, Connection& connection) {
    connection.send("HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 1000; ++i) connection.send("X: " + std::string(1000, 'x') + "\r\n");
    connection.stall();
    return Then::close;
  });
  HttpDriver driver;
  const Outcome outcome = driver.run(HttpDriver::get(server.url("/")));
  EXPECT_FALSE(outcome.response);
}

TEST(Curl, InterimAnswersAreDropped) {
  LoopbackServer server(
      always("HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n"
             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
             Then::keep));
  HttpDriver driver;
  const Outcome outcome = driver.run(HttpDriver::get(server.url("/")));
  ASSERT_TRUE(outcome.response) << outcome.failure.message;
  EXPECT_EQ(outcome.response->status, 200);
  EXPECT_EQ(outcome.response->header("x-interim"), std::nullopt);
}

TEST(Curl, RedirectsAreNotFollowed) {
  LoopbackServer server(always(
      "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", Then::keep));
  HttpDriver driver;
  const Outcome outcome = driver.run(HttpDriver::get(server.url("/")));
  ASSERT_TRUE(outcome.response) << outcome.failure.message;
  EXPECT_EQ(outcome.response->status, 302);
  EXPECT_EQ(outcome.response->header("location"), "/elsewhere");
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(Curl, HeadersCannotBringOthers) {
  LoopbackServer server(say_ok);
  HttpDriver driver;
  for (const std::string& value :
       {std::string("a\r\nX-Evil: 1"), std::string("a\nX-Evil: 1"), std::string("a\0b", 3)}) {
    Request request = HttpDriver::get(server.url("/"));
    request.headers = {{"Idempotency-Key", value}};
    const Outcome outcome = driver.run(request);
    EXPECT_FALSE(outcome.response);
    EXPECT_TRUE(outcome.failure.never_sent);
  }
  EXPECT_EQ(server.connections(), 0);
}

TEST(Curl, Cancel) {
  LoopbackServer server([](const LoopbackServer::Request& request, Connection& connection) {
    return request.target() == "/slow" ? never_answer(request, connection)
                                       : say_ok(request, connection);
  });
  HttpDriver driver;
  const std::uint64_t running = driver.transport->submit(HttpDriver::get(server.url("/slow")));
  ASSERT_TRUE(driver.run_until([&] { return server.requests().size() == 1; }));
  driver.transport->cancel(running);
  EXPECT_EQ(driver.transport->in_flight(), 0u);
  EXPECT_TRUE(driver.transport->sockets().empty());
  EXPECT_TRUE(driver.run_until([&] { return server.all_closed(); }));

  const std::uint64_t untouched = driver.transport->submit(HttpDriver::get(server.url("/")));
  driver.transport->cancel(untouched);
  driver.transport->cancel(untouched);
  driver.transport->cancel(12345);
  EXPECT_TRUE(driver.run(HttpDriver::get(server.url("/"))).response);
  EXPECT_EQ(driver.outcomes.count(running) + driver.outcomes.count(untouched), 0u);
}

TEST(Curl, CancelOfAFinishedExchange) {
  HttpDriver driver;
  Request request = HttpDriver::get("http://127.0.0.1/");
  request.headers = {{"X", "\n"}};
  const std::uint64_t id = driver.transport->submit(request);
  EXPECT_EQ(driver.transport->in_flight(), 1u);
  EXPECT_EQ(driver.transport->timeout(), Millis(0));
  driver.transport->cancel(id);
  EXPECT_EQ(driver.transport->in_flight(), 0u);
  EXPECT_FALSE(driver.transport->take());
}

TEST(Curl, TornDownWhileBusy) {
  LoopbackServer server(never_answer);
  HttpDriver driver;
  for (int i = 0; i < 3; ++i) driver.transport->submit(HttpDriver::get(server.url("/")));
  ASSERT_TRUE(driver.run_until([&] { return server.requests().size() == 3; }));
  driver.transport.reset();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!server.all_closed() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(server.all_closed());
}

TEST(Curl, IdleWaitsForEver) {
  HttpDriver driver;
  EXPECT_EQ(driver.transport->timeout(), std::nullopt);
  EXPECT_TRUE(driver.transport->sockets().empty());
  EXPECT_FALSE(driver.transport->take());
}

}  // namespace
}  // namespace stripe_sync::http
