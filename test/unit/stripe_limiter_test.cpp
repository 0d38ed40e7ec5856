#include <gtest/gtest.h>

#include <map>

#include "fake_world.hpp"

// Who asks with the same key keeps to one limit.

namespace stripe_sync::testing {
namespace {

/// As processes share them.
using Buckets = std::map<std::uint64_t, TokenBucket>;

class SharingLimiter final : public stripe::Limiter {
 public:
  SharingLimiter(const Clock& clock, Buckets& buckets) : Limiter(clock), buckets_(buckets) {}

 protected:
  void exclusively(std::uint64_t who, Millis, const Step& step) override { step(buckets_[who]); }

 private:
  Buckets& buckets_;
};

struct Asker {
  FakeClock& clock;
  FakeStripe stripe;
  FakeTransport transport{clock, stripe};
  SharingLimiter limiter;
  stripe::Client client{transport, limiter};

  Asker(FakeClock& of, Buckets& buckets, const std::string& key = "sk_test_0123456789",
        const std::string& api_base = "https://api.stripe.com")
      : clock(of), limiter(of, buckets) {
    stripe.now = [this] { return clock.stripes_seconds(); };
    stripe::Config config;
    config.key = key;
    config.api_base = api_base;
    client.configure(config);
  }
  int send_what_may_be() {
    int sent = 0;
    for (; limiter.wait() <= Millis(0); ++sent) client.send({"GET", "/v1/coupons", {}, ""}, "read");
    return sent;
  }
  void answer(const Fate& fate) {
    transport.fate = [fate](const Received&) { return fate; };
    client.send({"GET", "/v1/coupons", {}, ""}, "read");
    clock.advance(fate.latency);
    while (client.take()) {
    }
  }
};

TEST(Limiter, TwoShareOneRate) {
  FakeClock clock;
  Buckets buckets;
  Asker one(clock, buckets), two(clock, buckets);
  EXPECT_EQ(one.send_what_may_be(), 10);
  EXPECT_EQ(two.send_what_may_be(), 0);
  int sent = 0;
  for (int i = 0; i < 1'000; ++i, clock.advance(Millis(10)))
    sent += two.send_what_may_be() + one.send_what_may_be();
  EXPECT_GE(sent, 99);
  EXPECT_LE(sent, 100);
}

TEST(Limiter, AnotherKeyOrServerIsAnothersLimit) {
  FakeClock clock;
  Buckets buckets;
  Asker one(clock, buckets), other_key(clock, buckets, "sk_test_abcdefghij");
  Asker other_server(clock, buckets, "sk_test_0123456789", "https://stripe.example");
  one.answer(limited("60"));
  EXPECT_EQ(one.send_what_may_be(), 0);
  EXPECT_EQ(other_key.send_what_may_be(), 10);
  EXPECT_EQ(other_server.send_what_may_be(), 10);
  EXPECT_FALSE(other_key.limiter.pause());
}

TEST(Limiter, WhatOneIsToldHoldsForAll) {
  FakeClock clock;
  Buckets buckets;
  Asker one(clock, buckets), two(clock, buckets);
  one.answer(limited("30"));
  const Millis until = clock.steady() + Millis(30'000);
  for (Asker* asker : {&one, &two}) {
    EXPECT_EQ(asker->limiter.wait(), Millis(30'000));
    ASSERT_TRUE(asker->limiter.pause());
    EXPECT_EQ(asker->limiter.pause()->until, until);
    EXPECT_EQ(asker->limiter.pause()->reason.sqlstate, errcode::rate_limited);
    EXPECT_NE(asker->limiter.pause()->reason.message.find("limits requests"), std::string::npos);
    EXPECT_DOUBLE_EQ(asker->limiter.rate(), 5);
  }
  EXPECT_NE(two.limiter.pause()->reason.detail.find("another worker"), std::string::npos);
  one.answer(limited());  // a shorter one ends nothing
  clock.advance(until - clock.steady());
  EXPECT_FALSE(one.limiter.pause());
  EXPECT_EQ(two.send_what_may_be() + one.send_what_may_be(), 5);
}

TEST(Limiter, ALockedObjectLimitsNobody) {
  FakeClock clock;
  Buckets buckets;
  Asker one(clock, buckets);
  one.answer(limited("60", "lock_timeout"));
  EXPECT_FALSE(one.limiter.pause());
  EXPECT_DOUBLE_EQ(one.limiter.rate(), 10);
}

TEST(Limiter, AnotherKeyBeginsAnew) {
  FakeClock clock;
  stripe::LocalLimiter limiter(clock);
  limiter.configure(1, 10);
  limiter.limit(Error(errcode::rate_limited, "too many"), Millis(60'000));
  limiter.configure(1, 20);
  EXPECT_EQ(limiter.wait(), Millis(60'000));
  EXPECT_DOUBLE_EQ(limiter.rate(), 10);
  limiter.configure(2, 20);
  EXPECT_EQ(limiter.wait(), Millis(0));
  EXPECT_DOUBLE_EQ(limiter.rate(), 20);
}

}  // namespace
}  // namespace stripe_sync::testing
