#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "http/curl_multi.hpp"

namespace stripe_sync::test {

/// Drives a transport as the worker does: waits for its sockets and its timeout, and looks at the
/// set of sockets again only after it was said to have changed.
class HttpDriver {
 public:
  explicit HttpDriver(http::CurlOptions options = {.allow_plain_http = true})
      : transport(http::make_curl_transport(options)) {}

  static http::Request get(std::string url) {
    http::Request request;
    request.method = "GET";
    request.url = std::move(url);
    return request;
  }

  /// Runs until the condition holds; false after ten seconds.
  bool run_until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      step();
    }
    return true;
  }

  http::Outcome outcome_of(std::uint64_t id) {
    EXPECT_TRUE(run_until([&] { return outcomes.count(id) != 0; })) << "no outcome";
    return outcomes[id];
  }

  http::Outcome run(http::Request request) { return outcome_of(transport->submit(request)); }

  /// As run(), with the time it took.
  std::pair<http::Outcome, Millis> timed(http::Request request) {
    const auto begin = std::chrono::steady_clock::now();
    http::Outcome outcome = run(std::move(request));
    return {std::move(outcome),
            std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - begin)};
  }

  std::unique_ptr<http::Transport> transport;
  std::map<std::uint64_t, http::Outcome> outcomes;
  Millis longest_call{0};  ///< of the transport's: it must never block

 private:
  void step() {
    if (transport->take_sockets_changed()) refresh();
    const auto timeout = transport->timeout();
    // What the tests await may also happen elsewhere: never wait for long.
    const int wait = static_cast<int>(std::min(timeout.value_or(Millis(20)), Millis(20)).count());
    const int ready = poll(fds_.data(), fds_.size(), wait);
    const auto begin = std::chrono::steady_clock::now();
    if (ready > 0) {
      dispatch();
    } else if (timeout && transport->timeout() == Millis(0)) {
      transport->on_timeout();
    }
    const auto took = std::chrono::steady_clock::now() - begin;
    longest_call = std::max(longest_call, std::chrono::duration_cast<Millis>(took));
    while (auto outcome = transport->take()) outcomes[outcome->id] = *outcome;
  }

  void refresh() {
    fds_.clear();
    for (const http::Socket& socket : transport->sockets()) {
      const short events =
          static_cast<short>(((socket.interest & http::readable) != 0 ? POLLIN : 0) |
                             ((socket.interest & http::writable) != 0 ? POLLOUT : 0));
      fds_.push_back({socket.fd, events, 0});
    }
  }

  void dispatch() {
    const std::vector<pollfd> ready = fds_;
    for (const pollfd& fd : ready) {
      // A closed socket in the set was not announced as a change.
      ASSERT_EQ(fd.revents & POLLNVAL, 0) << "stale socket " << fd.fd;
      const unsigned bits =
          ((fd.revents & (POLLIN | POLLHUP | POLLERR)) != 0 ? http::readable : 0u) |
          ((fd.revents & (POLLOUT | POLLERR)) != 0 ? http::writable : 0u);
      if (bits != 0) transport->on_ready(fd.fd, bits);
      if (transport->take_sockets_changed()) {
        refresh();
        return;
      }
    }
  }

  std::vector<pollfd> fds_;
};

}  // namespace stripe_sync::test
