#include <gtest/gtest.h>

#include "core/token_bucket.hpp"

namespace stripe_sync {
namespace {

int take_all(TokenBucket& bucket, double rate, Millis now) {
  int taken = 0;
  for (; bucket.wait(rate, now) <= Millis(0); ++taken) bucket.take(rate, now);
  return taken;
}

/// As if Stripe had limited one request, without asking for a pause.
void limit(TokenBucket& bucket, double rate, Millis now) {
  bucket.limit(rate, now, now);
}

TEST(TokenBucket, BurstThenRate) {
  TokenBucket bucket;
  EXPECT_EQ(take_all(bucket, 10, Millis(0)), 10);
  EXPECT_EQ(bucket.wait(10, Millis(0)), Millis(100));
  EXPECT_EQ(bucket.wait(10, Millis(40)), Millis(60));
  EXPECT_EQ(bucket.wait(10, Millis(99)), Millis(1));
  EXPECT_EQ(take_all(bucket, 10, Millis(100)), 1);
  EXPECT_EQ(take_all(bucket, 10, Millis(600'000)), 10);
}

TEST(TokenBucket, WaitIsEnough) {
  TokenBucket bucket;
  Millis now(0);
  int taken = 0;
  for (; now < Millis(10'000); now += bucket.wait(7, now)) taken += take_all(bucket, 7, now);
  EXPECT_GE(taken, 70);
  EXPECT_LE(taken, 77);
}

TEST(TokenBucket, SlowRateStillGivesOne) {
  TokenBucket bucket;
  EXPECT_EQ(take_all(bucket, 0.5, Millis(0)), 1);
  EXPECT_EQ(bucket.wait(0.5, Millis(0)), Millis(2'000));
  TokenBucket none;
  EXPECT_EQ(take_all(none, 0, Millis(0)), 1);
  EXPECT_LE(none.wait(0, Millis(0)), Millis(100'000));
}

TEST(TokenBucket, TimeNeverGoesBack) {
  TokenBucket bucket;
  EXPECT_EQ(take_all(bucket, 10, Millis(1'000)), 10);
  EXPECT_EQ(take_all(bucket, 10, Millis(0)), 0);
  EXPECT_EQ(take_all(bucket, 10, Millis(1'100)), 1);
}

TEST(TokenBucket, WhoMayNotWaitIsCountedToo) {
  TokenBucket bucket;
  for (int i = 0; i < 15; ++i) bucket.take(10, Millis(0));
  EXPECT_EQ(bucket.wait(10, Millis(0)), Millis(600));
}

TEST(TokenBucket, WhatIsUrgentGoesBeforeAllElse) {
  TokenBucket bucket;
  for (const double rate : {10.0, 0.5}) {
    const Millis now(static_cast<int>(1'000'000 / rate));  // full
    take_all(bucket, rate, now);
    EXPECT_EQ(bucket.wait(rate, now, Urgency::urgent), Millis(0));
    bucket.take(rate, now);
    const Millis token(static_cast<int>(1'000 / rate));
    EXPECT_EQ(bucket.wait(rate, now, Urgency::urgent), token);
    EXPECT_EQ(bucket.wait(rate, now), 2 * token);
  }
  bucket.limit(10, Millis(3'000'000), Millis(3'060'000));
  EXPECT_EQ(bucket.wait(10, Millis(3'000'000), Urgency::urgent), Millis(60'000));
}

TEST(TokenBucket, EachGoesByARateOfItsOwn) {
  TokenBucket bucket;
  EXPECT_EQ(take_all(bucket, 20, Millis(0)), 20);
  EXPECT_EQ(bucket.wait(20, Millis(0)), Millis(50));
  EXPECT_EQ(bucket.wait(5, Millis(0)), Millis(200));
  EXPECT_EQ(take_all(bucket, 5, Millis(60'000)), 5);
}

TEST(TokenBucket, HalvedOncePerSign) {
  TokenBucket bucket;
  limit(bucket, 20, Millis(0));
  limit(bucket, 20, Millis(999));
  EXPECT_DOUBLE_EQ(bucket.rate(20), 10);
  EXPECT_DOUBLE_EQ(bucket.rate(8), 4);
  limit(bucket, 20, Millis(1'000));
  EXPECT_DOUBLE_EQ(bucket.rate(20), 5);
  EXPECT_EQ(take_all(bucket, 20, Millis(1'000)), 5);
}

TEST(TokenBucket, NeverHalvedToNothing) {
  TokenBucket bucket;
  for (int i = 0; i < 50; ++i) limit(bucket, 16, Millis(i * 1'000));
  EXPECT_DOUBLE_EQ(bucket.rate(16), 1);
}

TEST(TokenBucket, RegainsATenthPerQuietMinute) {
  TokenBucket bucket;
  limit(bucket, 20, Millis(0));
  const auto rate_at = [&](int milliseconds) {
    bucket.take(20, Millis(milliseconds));
    return bucket.rate(20);
  };
  EXPECT_DOUBLE_EQ(rate_at(59'999), 10);
  EXPECT_DOUBLE_EQ(rate_at(60'000), 12);
  EXPECT_DOUBLE_EQ(rate_at(179'000), 14);
  EXPECT_DOUBLE_EQ(rate_at(3'600'000), 20);
}

TEST(TokenBucket, ALimitHoldsAsLongAsTheLongest) {
  TokenBucket bucket;
  bucket.limit(10, Millis(0), Millis(60'000));
  bucket.limit(10, Millis(10), Millis(1'000));
  EXPECT_EQ(bucket.limited_until(), Millis(60'000));
  EXPECT_EQ(bucket.wait(10, Millis(1'000)), Millis(59'000));
  EXPECT_EQ(bucket.wait(10, Millis(60'000)), Millis(0));
}

}  // namespace
}  // namespace stripe_sync
