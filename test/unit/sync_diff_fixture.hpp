#pragma once

#include <memory>

#include "sync/promo_diff.hpp"
#include "sync_situation.hpp"

// Promo codes compared with a Stripe that only answers.

namespace stripe_sync::testing {

/// Stripe as a diff finds it: what each read is answered with.
struct Held {
  std::map<std::string, std::string> objects;  ///< by path; absent = 404
  std::string list = list_of({});              ///< of every text
  std::optional<stripe::Answer> broken;        ///< to every read
};

struct Compared {
  std::string reads;
  std::string error;
  std::vector<DiffLine> lines;

  std::string text() const {
    std::string text;
    for (const DiffLine& line : lines) {
      text += (line.step > 0 ? std::to_string(line.step) + " " : "") + line.action;
      if (!line.field.empty())
        text += " [" + line.field + ": " + line.database.value_or("-") + " | " +
                line.stripe.value_or("-") + "]";
      text += " " + line.why + "\n";
    }
    return text;
  }
};

inline DiffSubject subject_of(const PromoRow& row, const Observed& seen = {}) {
  DiffSubject subject;
  subject.job.row = row;
  subject.job.code = "SUMMER";
  subject.job.settings = std::make_shared<const AttachSettings>(settings());
  subject.job.observed = seen;
  subject.job.identity = identity();
  subject.coupon_ids = {"SUMMER-bbbbbb", "SUMMER-cccccc"};
  return subject;
}

inline OtherRows alone() {
  return {[](auto&, auto&) { return false; }, [](auto&) { return std::nullopt; }};
}

inline Compared compare(const DiffSubject& subject, const Held& held,
                        const OtherRows& others = alone()) {
  PromoDiff diff(subject, others);
  Compared compared;
  Catalog known;
  for (int i = 0; i < 50; ++i) {
    const auto wants = diff.next(known, now);
    if (wants.prices) {
      compared.reads += "prices ";
      known = catalog();
      continue;
    }
    if (!wants.look) {
      compared.lines = diff.lines();
      return compared;
    }
    EXPECT_FALSE(wants.look->writes()) << wants.look->what;
    EXPECT_EQ(wants.look->call.method, "GET");
    compared.reads += std::string(kind_name(wants.look->kind)) + " ";
    stripe::Answer answer = failed(stripe::Verdict::missing, 404, "resource_missing");
    const auto found = held.objects.find(wants.look->call.path);
    if (found != held.objects.end()) answer = ok(found->second);
    if (wants.look->kind == Kind::find_code) answer = ok(held.list);
    if (held.broken) answer = *held.broken;
    if (const auto error = diff.take(answer)) {
      compared.error = error->message;
      return compared;
    }
  }
  ADD_FAILURE() << "no end: " << compared.reads;
  return compared;
}

inline const char* const coupon_path = "/v1/coupons/SUMMER-aaaaaa";
inline const char* const code_path = "/v1/promotion_codes/promo_1";

inline CodeShape expanded(CodeShape shape = {}) {
  shape.coupon = coupon_json();
  return shape;
}

/// Both objects as in_step() remembers them.
inline Held unchanged() {
  return {{{code_path, code_json(expanded())}, {coupon_path, coupon_json()}}, list_of({}), {}};
}

inline Observed seen() {
  return in_step().observed;
}

inline void expect_lines(const Compared& compared, const std::string& reads,
                         const std::string& lines) {
  EXPECT_EQ(compared.error, "");
  EXPECT_EQ(compared.reads, reads);
  EXPECT_EQ(compared.text(), lines);
}

}  // namespace stripe_sync::testing
