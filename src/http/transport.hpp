#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "core/no_postgres.hpp"

namespace stripe_sync::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  ///< GET, POST, DELETE
  std::string url;
  Headers headers;
  std::string body;
  Millis connect_timeout{10'000};
  Millis timeout{80'000};  ///< of the whole exchange
  std::size_t max_body = 4u << 20;
  std::string ca_file;  ///< certificate authorities to trust; empty = the system's
};

struct Response {
  long status = 0;
  Headers headers;  ///< names in lower case
  std::string body;
  /// The request went out more than once: a kept connection turned out to be closed.
  bool sent_again = false;
  std::optional<std::string> header(std::string_view lower_case_name) const;
};

/// How an exchange ended without a whole response.
struct Failure {
  std::string message;
  /// The server can't have seen the request (name, connect or TLS failure): safe to send again.
  bool never_sent = false;
};

struct Outcome {
  std::uint64_t id = 0;
  std::optional<Response> response;
  Failure failure;  ///< means something only without a response
};

enum Readiness : unsigned { readable = 1, writable = 2 };

struct Socket {
  int fd;
  unsigned interest;  ///< Readiness bits
};

/// Many HTTP exchanges at once, driven by the owner's event loop. Never blocks, never calls back.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Starts an exchange. The id comes back in its Outcome.
  virtual std::uint64_t submit(Request request) = 0;
  /// Sockets to wait for; valid until the next call of any other method.
  virtual const std::vector<Socket>& sockets() const = 0;
  /// True once after the set of sockets changed.
  virtual bool take_sockets_changed() = 0;
  /// How long the owner may wait before calling on_timeout(); nothing = for ever.
  virtual std::optional<Millis> timeout() const = 0;
  virtual void on_ready(int fd, unsigned readiness) = 0;
  virtual void on_timeout() = 0;
  /// The next finished exchange, if any.
  virtual std::optional<Outcome> take() = 0;
  /// Exchanges not yet taken.
  virtual std::size_t in_flight() const = 0;
  /// Drops an exchange; no Outcome follows.
  virtual void cancel(std::uint64_t id) = 0;
};

}  // namespace stripe_sync::http
