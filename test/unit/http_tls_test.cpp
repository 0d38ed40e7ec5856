#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "http_driver.hpp"
#include "loopback_server.hpp"

extern char** environ;

namespace stripe_sync::http {
namespace {

using test::HttpDriver;
using test::Listener;

/// Starts a program of the PATH, its output thrown away.
pid_t start(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  if (posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid = -1;
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

/// `openssl s_server -www` with a self-signed certificate for the given name.
class TlsServer {
 public:
  explicit TlsServer(const std::string& name) {
    std::string pattern = (std::filesystem::temp_directory_path() / "stripe_sync.XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) return;
    directory_ = pattern;
    const pid_t maker =
        start({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=" + name,
               "-keyout", key(), "-out", certificate()});
    int status = -1;
    if (maker < 0 || waitpid(maker, &status, 0) < 0 || status != 0) return;
    {
      const Listener free_port;
      port_ = free_port.port();
    }
    server_ = start({"openssl", "s_server", "-accept", "127.0.0.1:" + std::to_string(port_),
                     "-cert", certificate(), "-key", key(), "-www"});
  }
  ~TlsServer() {
    if (server_ > 0) {
      kill(server_, SIGKILL);
      waitpid(server_, nullptr, 0);
    }
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  bool runs() const { return server_ > 0; }
  std::string certificate() const { return directory_ + "/cert.pem"; }
  std::string url() const { return "https://127.0.0.1:" + std::to_string(port_) + "/"; }

 private:
  std::string key() const { return directory_ + "/key.pem"; }
  std::string directory_;
  int port_ = 0;
  pid_t server_ = -1;
};

/// Asks until the server is up: a refused connection says that it is still starting.
Outcome ask(const TlsServer& server, const std::string& ca_file = "") {
  HttpDriver driver(CurlOptions{});
  Request request = HttpDriver::get(server.url());
  request.ca_file = ca_file;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  Outcome outcome;
  do {
    outcome = driver.run(request);
  } while (!outcome.response && std::chrono::steady_clock::now() < end &&
           outcome.failure.message.find("onnect to 127.0.0.1") != std::string::npos);
  return outcome;
}

TEST(Tls, CertificateIsVerified) {
  const TlsServer server("IP:127.0.0.1");
  ASSERT_TRUE(server.runs()) << "no openssl";
  const Outcome untrusted = ask(server);
  EXPECT_FALSE(untrusted.response);
  EXPECT_TRUE(untrusted.failure.never_sent);
  EXPECT_NE(untrusted.failure.message.find("certificate"), std::string::npos)
      << untrusted.failure.message;
  const Outcome trusted = ask(server, server.certificate());
  ASSERT_TRUE(trusted.response) << trusted.failure.message;
  EXPECT_EQ(trusted.response->status, 200);
}

TEST(Tls, NameIsVerified) {
  const TlsServer server("DNS:other.test");
  ASSERT_TRUE(server.runs()) << "no openssl";
  const Outcome outcome = ask(server, server.certificate());
  EXPECT_FALSE(outcome.response);
  EXPECT_TRUE(outcome.failure.never_sent) << outcome.failure.message;
}

TEST(Tls, AbsentAuthoritiesAreAFailure) {
  const Listener listener;
  HttpDriver driver(CurlOptions{});
  Request request = HttpDriver::get(listener.url("/", "https"));
  request.ca_file = "/nonexistent.pem";
  request.timeout = Millis(2000);
  const Outcome outcome = driver.run(request);
  EXPECT_FALSE(outcome.response);
  EXPECT_TRUE(outcome.failure.never_sent) << outcome.failure.message;
}

TEST(Tls, PlainServerOnTheOtherSide) {
  const Listener listener;
  std::thread server([&] {
    const int fd = accept(listener.fd(), nullptr, nullptr);
    const std::string greeting = "HTTP/1.1 400 Bad Request\r\n\r\n";
    EXPECT_EQ(send(fd, greeting.data(), greeting.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(greeting.size()));
    close(fd);
  });
  HttpDriver driver;
  const Outcome outcome = driver.run(HttpDriver::get(listener.url("/", "https")));
  server.join();
  EXPECT_FALSE(outcome.response);
  EXPECT_TRUE(outcome.failure.never_sent) << outcome.failure.message;
}

TEST(Tls, StalledHandshakeIsAConnectTimeout) {
  const Listener listener;  // connects, never says a word
  HttpDriver driver;
  Request request = HttpDriver::get(listener.url("/", "https"));
  request.connect_timeout = Millis(300);
  const auto [outcome, took] = driver.timed(request);
  EXPECT_FALSE(outcome.response);
  EXPECT_TRUE(outcome.failure.never_sent) << outcome.failure.message;
  EXPECT_GE(took, Millis(290));
  EXPECT_LE(took, Millis(550));
}

}  // namespace
}  // namespace stripe_sync::http
