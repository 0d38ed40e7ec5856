#include <gtest/gtest.h>

#include "core/clock.hpp"

namespace stripe_sync {
namespace {

TEST(SystemClock, IsPlausible) {
  const SystemClock clock;
  EXPECT_GT(clock.unix_seconds(), 1'700'000'000);
  const Millis before = clock.steady();
  EXPECT_GE(clock.steady(), before);
}

struct TwoClocks : Clock {
  Millis wall{5'000'000}, since_boot{1'000};
  std::int64_t unix_ms() const override { return wall.count(); }
  Millis steady() const override { return since_boot; }
  void pass(Millis by) { wall += by, since_boot += by; }
};

TEST(ClockWatch, NoticesOnceThatTheWallClockWasSetBack) {
  TwoClocks clock;
  ClockWatch watch(clock);
  EXPECT_TRUE(watch.set_back());  // before it looked
  EXPECT_FALSE(watch.set_back());
  clock.pass(Millis(3'600'000));
  EXPECT_FALSE(watch.set_back());
  clock.wall += Millis(60'000);  // forward, and halfway back
  EXPECT_FALSE(watch.set_back());
  clock.wall -= Millis(30'000);
  EXPECT_TRUE(watch.set_back());
  EXPECT_FALSE(watch.set_back());
  clock.wall -= Millis(500);
  EXPECT_FALSE(watch.set_back());
  clock.wall -= Millis(600);  // little by little comes to the same
  EXPECT_TRUE(watch.set_back());
}

TEST(Backoff, DoublesToItsCap) {
  constexpr double most = 1.0;
  EXPECT_EQ(backoff(1, most), Millis(1'000));
  EXPECT_EQ(backoff(2, most), Millis(2'000));
  EXPECT_EQ(backoff(9, most), Millis(256'000));
  EXPECT_EQ(backoff(10, most), Millis(300'000));
  EXPECT_EQ(backoff(1'000'000'000, most), Millis(300'000));
}

TEST(Backoff, FactorFromHalfToOne) {
  EXPECT_EQ(backoff(3, 0.0), Millis(2'000));
  EXPECT_EQ(backoff(3, 0.5), Millis(3'000));
  EXPECT_EQ(backoff(0, 0.0), Millis(500));
}

TEST(Backoff, RetryAfterIsALowerBound) {
  EXPECT_EQ(backoff(1, 0.0, Millis(7'000)), Millis(7'000));
  EXPECT_EQ(backoff(5, 0.0, Millis(7'000)), Millis(8'000));
}

int take_all(TokenBucket& bucket, Millis now) {
  int taken = 0;
  while (bucket.take(now)) ++taken;
  return taken;
}

TEST(TokenBucket, BurstThenRate) {
  TokenBucket bucket(10, Millis(0));
  EXPECT_EQ(take_all(bucket, Millis(0)), 10);
  EXPECT_EQ(bucket.wait(Millis(0)), Millis(100));
  EXPECT_EQ(bucket.wait(Millis(40)), Millis(60));
  EXPECT_FALSE(bucket.take(Millis(99)));
  EXPECT_TRUE(bucket.take(Millis(100)));
  EXPECT_EQ(take_all(bucket, Millis(600'000)), 10);
}

TEST(TokenBucket, WaitIsEnough) {
  TokenBucket bucket(7, Millis(0));
  Millis now(0);
  int taken = 0;
  for (; now < Millis(10'000); now += bucket.wait(now)) taken += take_all(bucket, now);
  EXPECT_GE(taken, 70);
  EXPECT_LE(taken, 77);
}

TEST(TokenBucket, SlowRateStillGivesOne) {
  TokenBucket bucket(0.5, Millis(0));
  EXPECT_EQ(take_all(bucket, Millis(0)), 1);
  EXPECT_EQ(bucket.wait(Millis(0)), Millis(2'000));
  TokenBucket none(0, Millis(0));
  EXPECT_EQ(take_all(none, Millis(0)), 1);
  EXPECT_LE(none.wait(Millis(0)), Millis(100'000));
}

TEST(TokenBucket, TimeNeverGoesBack) {
  TokenBucket bucket(10, Millis(1'000));
  EXPECT_EQ(take_all(bucket, Millis(1'000)), 10);
  EXPECT_FALSE(bucket.take(Millis(0)));
  EXPECT_EQ(take_all(bucket, Millis(1'100)), 1);
}

TEST(TokenBucket, HalvedOncePerSign) {
  TokenBucket bucket(20, Millis(0));
  bucket.halve(Millis(0));
  bucket.halve(Millis(999));
  EXPECT_DOUBLE_EQ(bucket.rate(), 10);
  bucket.halve(Millis(1'000));
  EXPECT_DOUBLE_EQ(bucket.rate(), 5);
  EXPECT_EQ(take_all(bucket, Millis(1'000)), 5);
}

TEST(TokenBucket, NeverHalvedToNothing) {
  TokenBucket bucket(16, Millis(0));
  for (int i = 0; i < 50; ++i) bucket.halve(Millis(i * 1'000));
  EXPECT_DOUBLE_EQ(bucket.rate(), 1);
}

TEST(TokenBucket, RegainsATenthPerQuietMinute) {
  TokenBucket bucket(20, Millis(0));
  bucket.halve(Millis(0));
  bucket.take(Millis(59'999));
  EXPECT_DOUBLE_EQ(bucket.rate(), 10);
  bucket.take(Millis(60'000));
  EXPECT_DOUBLE_EQ(bucket.rate(), 12);
  bucket.take(Millis(179'000));
  EXPECT_DOUBLE_EQ(bucket.rate(), 14);
  bucket.take(Millis(3'600'000));
  EXPECT_DOUBLE_EQ(bucket.rate(), 20);
}

TEST(TokenBucket, OnlyAChangedSettingResets) {
  TokenBucket bucket(20, Millis(0));
  bucket.halve(Millis(0));
  bucket.set_rate(20, Millis(10));
  EXPECT_DOUBLE_EQ(bucket.rate(), 10);
  bucket.set_rate(4, Millis(10));
  EXPECT_DOUBLE_EQ(bucket.rate(), 4);
  EXPECT_EQ(take_all(bucket, Millis(10)), 4);
}

}  // namespace
}  // namespace stripe_sync
