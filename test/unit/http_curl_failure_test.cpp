// What keeps an answer from arriving, and whether the request can have been seen.

#include <gtest/gtest.h>

#include "http_driver.hpp"
#include "loopback_server.hpp"

namespace stripe_sync::http {
namespace {

using test::always;
using test::HttpDriver;
using test::Listener;
using test::LoopbackServer;
using test::never_answer;
using test::say_ok;
using Then = LoopbackServer::Then;
using Connection = LoopbackServer::Connection;

void expect_about(Millis measured, Millis expected) {
  EXPECT_GE(measured, expected - Millis(10));
  EXPECT_LE(measured, expected + Millis(250));
}

struct Breakage {
  const char* name;
  const char* bytes;
  Then then;
};

class BrokenAnswer : public testing::TestWithParam<Breakage> {};

TEST_P(BrokenAnswer, IsAFailureWithUnknownOutcome) {
  LoopbackServer server(always(GetParam().bytes, GetParam().then));
  HttpDriver driver;
  const Outcome outcome = driver.run(HttpDriver::get(server.url("/")));
  EXPECT_FALSE(outcome.response);
  EXPECT_FALSE(outcome.failure.never_sent);
  EXPECT_FALSE(outcome.failure.message.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, BrokenAnswer,
    testing::Values(
        Breakage{"closed", "", Then::close}, Breakage{"reset", "", Then::reset},
        Breakage{"closed in header", "HTTP/1.1 200 OK\r\nContent-Le", Then::close},
        Breakage{"closed after status", "HTTP/1.1 404 Not Found\r\n", Then::close},
        Breakage{"truncated", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Then::close},
        Breakage{"reset in body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Then::reset},
        Breakage{"truncated chunk",
                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf", Then::close},
        Breakage{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", Then::close}),
    [](const auto& param_info) {
      std::string name = param_info.param.name;
      for (char& c : name) {
        if (c == ' ') c = '_';
      }
      return name;
    });

TEST(CurlFailure, TimeoutBeforeHeaders) {
  LoopbackServer server(never_answer);
  HttpDriver driver;
  Request request = HttpDriver::get(server.url("/"));
  request.timeout = Millis(300);
  const auto [outcome, took] = driver.timed(request);
  EXPECT_FALSE(outcome.response);
  EXPECT_FALSE(outcome.failure.never_sent);
  EXPECT_NE(outcome.failure.message.find("timed out"), std::string::npos);
  expect_about(took, Millis(300));
}

TEST(CurlFailure, NoTimeoutIsNotForEver) {
  LoopbackServer server(never_answer);
  HttpDriver driver;
  Request request = HttpDriver::get(server.url("/"));
  request.timeout = Millis(0);
  EXPECT_FALSE(driver.run(request).response);
}

TEST(CurlFailure, TimeoutInBody) {
  LoopbackServer server([](const LoopbackServer::Request&, Connection& connection) {
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    connection.stall();
    return Then::close;
  });
  HttpDriver driver;
  Request request = HttpDriver::get(server.url("/"));
  request.timeout = Millis(300);
  const auto [outcome, took] = driver.timed(request);
  EXPECT_FALSE(outcome.response);
  EXPECT_FALSE(outcome.failure.never_sent);
  expect_about(took, Millis(300));
}

TEST(CurlFailure, ConnectTimeout) {
  // A listener nobody accepts from, its queue full: further connects are left without answer.
  Listener full(0);
  std::vector<std::unique_ptr<HttpDriver>> crowd;
  HttpDriver driver;
  Request request = HttpDriver::get(full.url("/"));
  request.connect_timeout = Millis(300);
  request.timeout = Millis(400);
  bool unsent = false;
  for (int i = 0; i < 4 && !unsent; ++i) {
    const std::uint64_t id = driver.transport->submit(request);
    const Outcome outcome = driver.outcome_of(id);
    ASSERT_FALSE(outcome.response);
    unsent = outcome.failure.never_sent;
    // Those that found room in the queue did send their request; they stay open in the crowd.
    crowd.push_back(std::make_unique<HttpDriver>());
    crowd.back()->transport->submit(HttpDriver::get(full.url("/")));
    crowd.back()->transport->on_timeout();
  }
  ASSERT_TRUE(unsent);
  const auto [outcome, took] = driver.timed(request);
  EXPECT_TRUE(outcome.failure.never_sent) << outcome.failure.message;
  expect_about(took, Millis(300));
}

TEST(CurlFailure, ClosedPort) {
  std::string url;
  {
    const Listener listener;
    url = listener.url("/");
  }
  HttpDriver driver;
  const Outcome outcome = driver.run(HttpDriver::get(url));
  EXPECT_FALSE(outcome.response);
  EXPECT_TRUE(outcome.failure.never_sent);
  EXPECT_NE(outcome.failure.message.find("127.0.0.1"), std::string::npos);
}

TEST(CurlFailure, RefusedUrls) {
  LoopbackServer server(say_ok);
  HttpDriver strict(CurlOptions{});
  for (const std::string& url :
       {server.url("/"), std::string("file:///etc/passwd"), std::string("ftp://127.0.0.1/"),
        std::string("nonsense://x"), std::string("https://a b/"), std::string("")}) {
    const Outcome outcome = strict.run(HttpDriver::get(url));
    EXPECT_FALSE(outcome.response) << url;
    EXPECT_TRUE(outcome.failure.never_sent) << url << ": " << outcome.failure.message;
  }
  EXPECT_EQ(server.connections(), 0);
}

}  // namespace
}  // namespace stripe_sync::http
