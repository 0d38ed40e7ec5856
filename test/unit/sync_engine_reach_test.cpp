#include <gtest/gtest.h>

#include "sync/promo_engine.hpp"

// What the ends of requests say about the way to Stripe.

namespace stripe_sync::testing {
namespace {

stripe::Answer ended(stripe::Verdict verdict) {
  stripe::Answer answer;
  answer.verdict = verdict;
  answer.error = Error(errcode::network, "it ended so");
  return answer;
}

TEST(Reach, OneConnectionThatFailsPausesAll) {
  using stripe::Verdict;
  Reach reach;
  Millis now(5'000);
  const auto note = [&](Verdict verdict) { reach.note("a", ended(verdict), 4, now, 1.0); };
  Millis pause(1'000);
  for (int i = 0; i < 8; ++i) {
    note(Verdict::unavailable);
    EXPECT_EQ(reach.pause().until, now + pause);
    for (int more = 0; more < 3; ++more) note(Verdict::unavailable);  // in flight at the same time
    EXPECT_EQ(reach.pause().until, now + pause);
    EXPECT_GT(reach.outage(ended(Verdict::unavailable), now), 0);
    EXPECT_EQ(reach.outage(ended(Verdict::refused), now), 0);
    now += pause;
    pause = std::min(2 * pause, Reach::longest);
  }
  EXPECT_FALSE(reach.take_recovered());
  note(Verdict::unavailable);
  note(Verdict::ok);
  EXPECT_EQ(reach.pause().until, Millis(0));
  EXPECT_TRUE(reach.take_recovered());
  note(Verdict::ok);
  EXPECT_FALSE(reach.take_recovered());
}

TEST(Reach, OnlyManyRowsWithoutAnAnswerPauseAll) {
  using stripe::Verdict;
  Reach reach;
  const Millis now(5'000);
  const auto note = [&](const char* who, Verdict verdict) {
    reach.note(who, ended(verdict), 2, now, 1.0);
  };
  note("a", Verdict::unknown);
  EXPECT_EQ(reach.outage(ended(Verdict::unknown), now), 0);
  for (int i = 0; i < 9; ++i) note("a", Verdict::unknown);
  note("b", Verdict::unknown);
  EXPECT_EQ(reach.pause().until, Millis(0));
  EXPECT_EQ(reach.outage(ended(Verdict::unknown), now), 11);
  note("b", Verdict::missing);
  EXPECT_FALSE(reach.take_recovered());
  for (const char* who : {"a", "b", "c"}) note(who, Verdict::unknown);
  EXPECT_EQ(reach.pause().until, now + Millis(4'000));
  note("d", Verdict::ok);
  EXPECT_TRUE(reach.take_recovered());
}

}  // namespace
}  // namespace stripe_sync::testing
