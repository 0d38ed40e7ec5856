#pragma once

#include "sync_fixture.hpp"

// Situations and Stripe's objects for the tests of planning and absorbing.

namespace stripe_sync {

// By name where a test fails.
inline void PrintTo(PromoState state, std::ostream* out) {
  *out << state_name(state);
}
inline void PrintTo(Operation::Kind kind, std::ostream* out) {
  *out << kind_name(kind);
}
inline void PrintTo(Effect::Next next, std::ostream* out) {
  constexpr const char* names[] = {"go_on", "retry", "parked", "conflict", "blocked", "salt"};
  *out << names[static_cast<int>(next)];
}

}  // namespace stripe_sync

namespace stripe_sync::testing {

using Kind = Operation::Kind;

inline const char* const our_marks =
    R"("stripe_sync_row":"public.promo/1","stripe_sync_installation":"inst_1")";

inline Identity identity() {
  return {"inst_1", "public.promo/1", "SUMMER-aaaaaa"};
}

inline Situation situation(const PromoRow& row) {
  Situation s;
  s.row = row;
  s.mapped = map(row);
  s.identity = identity();
  s.now = now;
  return s;
}

/// The coupon of percentage(), as Stripe shows it to us.
inline std::string coupon_json(const std::string& metadata = our_marks,
                               const std::string& id = "SUMMER-aaaaaa",
                               const std::string& percent = "50.0") {
  return R"({"id":")" + id + R"(","object":"coupon","valid":true,"percent_off":)" + percent +
         R"(,"amount_off":null,"currency":null,"duration":"once","duration_in_months":null,)" +
         R"("name":"Summer sale","redeem_by":null,"max_redemptions":null,)" +
         R"("applies_to":{"products":["prod_plan"]},"metadata":{"description":"Summer sale")" +
         (metadata.empty() ? "" : "," + metadata) + "}}";
}

struct CodeShape {
  std::string id = "promo_1";
  std::string code = "SUMMER";
  bool active = true;
  std::string coupon = R"("SUMMER-aaaaaa")";  ///< an id in quotes, or an expanded object
  std::string metadata = our_marks;
  std::string more = {};  ///< further members, with a comma before
};

inline std::string code_json(const CodeShape& shape = {}) {
  return R"({"id":")" + shape.id + R"(","object":"promotion_code","code":")" + shape.code +
         R"(","active":)" + (shape.active ? "true" : "false") +
         R"(,"promotion":{"type":"coupon","coupon":)" + shape.coupon +
         R"(},"times_redeemed":0,"restrictions":{"first_time_transaction":false,)" +
         R"("minimum_amount":null,"minimum_amount_currency":null},"metadata":{)" + shape.metadata +
         "}" + shape.more + "}";
}

/// The row holds in Stripe exactly what it asks for.
inline Situation in_step(const PromoRow& row = percentage()) {
  Situation s = situation(row);
  s.observed.coupon = Coupon::from(parsed(coupon_json()));
  s.observed.coupon->own = true;
  s.observed.code = PromotionCode::from(parsed(code_json()));
  return s;
}

inline std::string kinds(const Plan& plan) {
  std::string names;
  for (const Operation& operation : plan.operations)
    names += (names.empty() ? "" : " ") + std::string(kind_name(operation.kind));
  return names;
}

inline std::string params_text(const Operation& operation) {
  std::string text;
  for (const auto& [name, value] : operation.call.params)
    text += (text.empty() ? "" : "&") + name + "=" + value;
  return text;
}

/// Sends the plan's first operation and takes the answer.
inline Effect step(Situation& s, const stripe::Answer& answer) {
  const Plan plan = plan_promo(s);
  EXPECT_FALSE(plan.operations.empty());
  if (plan.operations.empty()) return {};
  return absorb(s, plan.operations.front(), answer);
}

inline std::string first_kind(const Situation& s) {
  const Plan plan = plan_promo(s);
  return plan.operations.empty() ? "" : kind_name(plan.operations.front().kind);
}

inline std::string list_of(const std::vector<std::string>& codes) {
  std::string data;
  for (const std::string& code : codes) data += (data.empty() ? "" : ",") + code;
  return R"({"object":"list","has_more":false,"data":[)" + data + "]}";
}

/// Somebody else's promotion code of that text.
inline CodeShape foreign(const std::string& percent = "50.0", const std::string& marks = "") {
  CodeShape shape;
  shape.id = "promo_theirs";
  shape.coupon = coupon_json("", "THEIRS", percent);
  shape.metadata = marks;
  return shape;
}

inline std::string steps(const Plan& plan) {
  std::string text;
  for (const Operation& operation : plan.operations) {
    text += text.empty() ? "" : ", ";
    if (operation.kind == Kind::update_code) {
      text += contains(params_text(operation), "active=false")  ? "off"
              : contains(params_text(operation), "active=true") ? "on"
                                                                : "mark";
    } else {
      text += kind_name(operation.kind);
    }
    for (const auto& [name, value] : operation.call.params)
      if (name == "max_redemptions") text += " " + value;
  }
  return text;
}

/// In step but for changes of the row; a new coupon would get the id of revision 2.
inline Situation changed(const Values& changes) {
  Situation s = in_step(percentage(changes));
  s.identity.coupon_id = "SUMMER-bbbbbb";
  return s;
}

/// The row's promotion code, switched off.
inline std::string off_answer(int redeemed) {
  std::string text = code_json({"promo_1", "SUMMER", false});
  const std::string none = R"("times_redeemed":0)";
  return text.replace(text.find(none), none.size(),
                      R"("times_redeemed":)" + std::to_string(redeemed));
}

inline Situation code_refused(Situation s = situation(percentage())) {
  step(s, ok(coupon_json()));
  EXPECT_EQ(first_kind(s), "create_code");
  EXPECT_EQ(step(s, failed(stripe::Verdict::refused, 400)).next, Effect::Next::go_on);
  EXPECT_EQ(first_kind(s), "find_code");
  return s;
}

}  // namespace stripe_sync::testing
