// What DNS may do to us. The test program's own getaddrinfo() stands before the system's; libcurl
// calls it in a thread of its own.

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>

#include <condition_variable>
#include <mutex>

#include "http_driver.hpp"

namespace {

constexpr const char* hanging_host = "hanging.test";

std::mutex mutex;
std::condition_variable changed;
bool hang = false;
int resolving = 0;
sigset_t mask_of_resolver;

int resolve_hanging() {
  std::unique_lock lock(mutex);
  ++resolving;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_of_resolver);
  changed.notify_all();
  // Bounded, so that a transport that waits for it fails instead of hanging.
  changed.wait_for(lock, std::chrono::seconds(3), [] { return !hang; });
  --resolving;
  changed.notify_all();
  return EAI_AGAIN;
}

}  // namespace

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** result) {
  if (node != nullptr && strcmp(node, hanging_host) == 0) return resolve_hanging();
  using Resolve = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto system_resolve = reinterpret_cast<Resolve>(dlsym(RTLD_NEXT, "getaddrinfo"));
  return system_resolve(node, service, hints, result);
}

namespace stripe_sync::http {
namespace {

using test::HttpDriver;

class Resolver : public testing::Test {
 protected:
  Resolver() {
    const std::lock_guard lock(mutex);
    hang = true;
  }
  // Left hanging, a thread would run on into the next test.
  ~Resolver() override {
    release();
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(10), [] { return resolving == 0; });
  }

  static void release() {
    const std::lock_guard lock(mutex);
    hang = false;
    changed.notify_all();
  }
  static int threads() {
    const std::lock_guard lock(mutex);
    return resolving;
  }
  static Request request() { return HttpDriver::get("https://" + std::string(hanging_host) + "/"); }
};

TEST_F(Resolver, FailureWasNeverSent) {
  HttpDriver driver;
  const std::uint64_t id = driver.transport->submit(request());
  ASSERT_TRUE(driver.run_until([] { return threads() == 1; }));
  release();
  const Outcome outcome = driver.outcome_of(id);
  EXPECT_TRUE(outcome.failure.never_sent);
  EXPECT_EQ(outcome.failure.message, "Could not resolve host: hanging.test");
}

TEST_F(Resolver, HangingDoesNotBlockTheTimeout) {
  HttpDriver driver;
  Request hanging = request();
  hanging.connect_timeout = Millis(200);
  const auto [outcome, took] = driver.timed(hanging);
  EXPECT_EQ(threads(), 1);
  EXPECT_TRUE(outcome.failure.never_sent) << outcome.failure.message;
  EXPECT_GE(took, Millis(190));
  EXPECT_LE(took, Millis(450));
  EXPECT_LE(driver.longest_call, Millis(150));
}

TEST_F(Resolver, HangingDoesNotBlockCancel) {
  HttpDriver driver;
  const std::uint64_t id = driver.transport->submit(request());
  ASSERT_TRUE(driver.run_until([] { return threads() == 1; }));
  driver.transport->cancel(id);
  EXPECT_EQ(threads(), 1);
  EXPECT_TRUE(driver.transport->sockets().empty());
}

TEST_F(Resolver, ThreadsTakeNoSignals) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  HttpDriver driver;
  driver.transport->submit(request());
  ASSERT_TRUE(driver.run_until([] { return threads() == 1; }));
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  const std::lock_guard lock(mutex);
  for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD, SIGQUIT}) {
    EXPECT_EQ(sigismember(&mask_of_resolver, number), 1) << number;
    EXPECT_EQ(sigismember(&after, number), sigismember(&before, number)) << number;
  }
}

}  // namespace
}  // namespace stripe_sync::http
