#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace stripe_sync::test {

/// A TCP socket listening on a free port of 127.0.0.1.
class Listener {
 public:
  explicit Listener(int backlog = 64) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    if (fd_ < 0 || bind(fd_, raw, size) != 0 || listen(fd_, backlog) != 0 ||
        getsockname(fd_, raw, &size) != 0) {
      throw std::runtime_error("no loopback socket");
    }
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { close(fd_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int fd() const { return fd_; }
  int port() const { return port_; }
  std::string url(const std::string& path, const char* scheme = "http") const {
    return std::string(scheme) + "://127.0.0.1:" + std::to_string(port_) + path;
  }

 private:
  int fd_;
  int port_ = 0;
};

/// An HTTP/1.1 server in threads of its own. A script says, per request, what bytes go out and what
/// becomes of the connection.
class LoopbackServer {
 public:
  struct Request {
    std::string head;  ///< request line and header lines as received
    std::string body;
    std::string target() const {
      const std::size_t begin = head.find(' ') + 1;
      return head.substr(begin, head.find(' ', begin) - begin);
    }
  };

  enum class Then { keep, close, reset };

  class Connection {
   public:
    explicit Connection(int fd) : fd_(fd) {}
    void send(const std::string& bytes) const {
      std::size_t sent = 0;
      while (sent < bytes.size()) {
        const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) return;
        sent += static_cast<std::size_t>(n);
      }
    }
    void ok(const std::string& body, const std::string& headers = "") const {
      send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers +
           "\r\n" + body);
    }
    /// Keeps the client waiting until it has gone or the server is torn down.
    void stall() const {
      char byte;
      while (recv(fd_, &byte, 1, 0) > 0) {
      }
    }

   private:
    int fd_;
  };

  using Script = std::function<Then(const Request&, Connection&)>;

  explicit LoopbackServer(Script script)
      : script_(std::move(script)), acceptor_([this] { accept_all(); }) {}

  ~LoopbackServer() {
    shutdown(listener_.fd(), SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
  }

  std::string url(const std::string& path) const { return listener_.url(path); }

  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  int connections() const {
    const std::lock_guard lock(mutex_);
    return connections_;
  }
  /// True once all of the server's connections are closed on this side.
  bool all_closed() const {
    const std::lock_guard lock(mutex_);
    return open_.empty();
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard lock(mutex_);
      ++connections_;
      open_.push_back(fd);
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    Connection connection(fd);
    std::string buffer;
    Request request;
    Then then = Then::keep;
    while (then == Then::keep && read_request(fd, buffer, request)) {
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      then = script_(request, connection);
    }
    if (then == Then::reset) {
      const linger now{1, 0};
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    const std::lock_guard lock(mutex_);
    open_.remove(fd);
    close(fd);
  }

  static bool read_request(int fd, std::string& buffer, Request& request) {
    std::size_t end = std::string::npos;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      if (!read_more(fd, buffer)) return false;
    }
    request.head = buffer.substr(0, end + 2);
    buffer.erase(0, end + 4);
    const std::size_t at = request.head.find("\r\nContent-Length: ");
    const std::size_t length =
        at == std::string::npos ? 0 : std::strtoul(request.head.c_str() + at + 18, nullptr, 10);
    while (buffer.size() < length) {
      if (!read_more(fd, buffer)) return false;
    }
    request.body = buffer.substr(0, length);
    buffer.erase(0, length);
    return true;
  }

  static bool read_more(int fd, std::string& buffer) {
    char bytes[65536];
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    buffer.append(bytes, static_cast<std::size_t>(n));
    return true;
  }

  Script script_;
  Listener listener_;
  mutable std::mutex mutex_;
  std::list<int> open_;
  std::vector<Request> requests_;
  int connections_ = 0;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

// Scripts.

/// Sends these bytes to every request.
inline LoopbackServer::Script always(std::string bytes, LoopbackServer::Then then) {
  return [bytes, then](const LoopbackServer::Request&, LoopbackServer::Connection& connection) {
    connection.send(bytes);
    return then;
  };
}

inline LoopbackServer::Then say_ok(const LoopbackServer::Request&,
                                   LoopbackServer::Connection& connection) {
  connection.ok("{}");
  return LoopbackServer::Then::keep;
}

inline LoopbackServer::Then never_answer(const LoopbackServer::Request&,
                                         LoopbackServer::Connection& connection) {
  connection.stall();
  return LoopbackServer::Then::close;
}

}  // namespace stripe_sync::test
