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

}  // namespace
}  // namespace stripe_sync
