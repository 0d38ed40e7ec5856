#include <random>

#include "sync_situation.hpp"

// A row edited at random, against a small Stripe that loses requests and answers at random and
// knows no idempotency: whatever happens, every push ends, and Stripe holds what the row asks for,
// once.

namespace stripe_sync::testing {
namespace {

using stripe::Verdict;

class SmallStripe {
 public:
  struct Object {
    std::map<std::string, std::string> fields;  ///< parameters as sent
    bool active = true;
  };
  std::map<std::string, Object> coupons;
  std::map<std::string, Object> codes;

  stripe::Answer handle(const Operation& operation) {
    const std::string id = operation.call.path.substr(operation.call.path.rfind('/') + 1);
    switch (operation.kind) {
      case Kind::create_coupon:
        return create_coupon(operation);
      case Kind::create_code:
        return create_code(operation);
      case Kind::update_coupon:
        return update(coupons, id, operation);
      case Kind::update_code:
        return update(codes, id, operation);
      case Kind::read_coupon:
      case Kind::read_code:
        return show(operation.kind == Kind::read_coupon ? coupons : codes, id);
      case Kind::find_code:
        break;
    }
    std::string data;
    for (const auto& [code_id, code] : codes)
      data = code_text(code_id, code) + (data.empty() ? "" : "," + data);
    return ok(R"({"object":"list","data":[)" + data + "]}");
  }

  int active_codes() const {
    int count = 0;
    for (const auto& [id, code] : codes) count += code.active ? 1 : 0;
    return count;
  }

 private:
  static std::string field(const Object& object, const std::string& name) {
    const auto found = object.fields.find(name);
    return found == object.fields.end() ? "" : found->second;
  }
  static std::string metadata(const Object& object) {
    std::string text;
    for (const char* key : {"description", "stripe_sync_row", "stripe_sync_installation"}) {
      const std::string value = field(object, "metadata[" + std::string(key) + "]");
      if (!value.empty())
        text += (text.empty() ? "" : ",") + json::quote(key) + ":" + json::quote(value);
    }
    return "{" + text + "}";
  }
  static std::string coupon_text(const std::string& id, const Object& coupon) {
    return R"({"object":"coupon","id":")" + id + R"(","valid":true,"percent_off":)" +
           field(coupon, "percent_off") + R"(,"duration":")" + field(coupon, "duration") +
           R"(","name":)" + json::quote(field(coupon, "name")) + R"(,"applies_to":{"products":[")" +
           field(coupon, "applies_to[products][0]") + R"("]},"metadata":)" + metadata(coupon) + "}";
  }
  std::string code_text(const std::string& id, const Object& code) const {
    const std::string coupon = field(code, "promotion[coupon]");
    return R"({"object":"promotion_code","id":")" + id + R"(","code":")" + field(code, "code") +
           R"(","active":)" + (code.active ? "true" : "false") + R"(,"promotion":{"coupon":)" +
           coupon_text(coupon, coupons.at(coupon)) + R"(},"metadata":)" + metadata(code) + "}";
  }
  stripe::Answer show(const std::map<std::string, Object>& objects, const std::string& id) const {
    const auto found = objects.find(id);
    if (found == objects.end()) return failed(Verdict::missing, 404, "resource_missing");
    return ok(&objects == &coupons ? coupon_text(id, found->second) : code_text(id, found->second));
  }
  stripe::Answer create_coupon(const Operation& operation) {
    Object coupon;
    for (const auto& [name, value] : operation.call.params) coupon.fields[name] = value;
    const std::string id = coupon.fields["id"];
    if (!coupons.emplace(id, coupon).second)
      return failed(Verdict::refused, 400, "resource_already_exists");
    return show(coupons, id);
  }
  stripe::Answer create_code(const Operation& operation) {
    Object code;
    for (const auto& [name, value] : operation.call.params) code.fields[name] = value;
    code.active = code.fields["active"] != "false";
    if (code.active && active_codes() > 0) return failed(Verdict::refused, 400);
    const std::string id = "promo_" + std::to_string(1000 + codes.size());
    codes[id] = code;
    return show(codes, id);
  }
  stripe::Answer update(std::map<std::string, Object>& objects, const std::string& id,
                        const Operation& operation) {
    const auto found = objects.find(id);
    if (found == objects.end()) return failed(Verdict::missing, 404, "resource_missing");
    for (const auto& [name, value] : operation.call.params) {
      found->second.fields[name] = value;
      if (name == "active") found->second.active = value == "true";
    }
    return show(objects, id);
  }
};

class Simulation {
 public:
  explicit Simulation(unsigned seed) : random_(seed) {
    s_.identity = identity();
    s_.now = now;
  }

  SmallStripe stripe;

  void edit() {
    switch (pick(6)) {
      case 0:
      case 1:
        values_["is_active"] = pick(2) ? "true" : "false";
        break;
      case 2:
        values_["description"] = "Text " + std::to_string(pick(3));
        break;
      case 3:
        values_["discount_value"] = pick(3) ? "50" : "40";
        break;
      case 4:
        values_["discount_value"] = pick(3) ? "50" : "NULL";
        break;
      default:
        s_.deleted = pick(8) == 0;
    }
    s_.row = percentage(values_);
  }

  /// Pushes until settled; sometimes the row is edited in the middle.
  Settled push() {
    for (int steps = 0; steps < 200; ++steps) {
      s_.mapped = map(s_.row);
      const Plan plan = plan_promo(s_);
      if (plan.needs_new_coupon_id) {
        next_coupon_id();
        continue;
      }
      if (plan.operations.empty()) {
        s_.unsettled.reset();
        return plan.end;
      }
      const Effect effect = send(plan.operations.front());
      s_.observed = Observed::parse(s_.observed.dump());
      if (effect.next == Effect::Next::salt) next_coupon_id();
      if (effect.next == Effect::Next::parked || effect.next == Effect::Next::conflict)
        return {effect.next == Effect::Next::parked ? PromoState::parked : PromoState::conflict,
                effect.reason,
                {},
                {}};
      if (pick(10) == 0) edit();
    }
    ADD_FAILURE() << "never settles";
    return {};
  }

  const Situation& situation() const { return s_; }

 private:
  int pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }
  void next_coupon_id() { s_.identity.coupon_id = "SUMMER-" + std::to_string(++revision_); }

  Effect send(const Operation& operation) {
    switch (pick(8)) {
      case 0:
        return absorb(s_, operation, failed(Verdict::unknown, 0));  // lost on the way there
      case 1:
        stripe.handle(operation);
        return absorb(s_, operation, failed(Verdict::unknown, 500));  // lost on the way back
      case 2:
        return absorb(s_, operation, failed(Verdict::rate_limited, 429));
      default:
        return absorb(s_, operation, stripe.handle(operation));
    }
  }

  std::minstd_rand random_;
  Values values_;
  Situation s_;
  int revision_ = 0;
};

TEST(Simulation, EveryPushEndsAndStripeHoldsWhatTheRowAsks) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Simulation run(seed);
    for (int round = 0; round < 12; ++round) {
      run.edit();
      const Settled end = run.push();
      const Situation& s = run.situation();
      const bool on = !s.deleted && !says_off(s.row);
      ASSERT_LE(run.stripe.active_codes(), 1);
      ASSERT_NE(end.state, PromoState::conflict) << end.reason.message;
      ASSERT_TRUE(on || run.stripe.active_codes() == 0);
      if (on && end.state == PromoState::synced) {
        ASSERT_EQ(run.stripe.active_codes(), 1);
        const auto& code = run.stripe.codes.at(s.observed.code->id);
        ASSERT_TRUE(code.active);
        const auto& coupon = run.stripe.coupons.at(code.fields.at("promotion[coupon]"));
        const Desired desired = desired_of(s.mapped);
        ASSERT_EQ(coupon.fields.at("percent_off"), percent_text(*desired.terms.percent_hundredths));
        ASSERT_EQ(coupon.fields.at("name"), desired.name);
      }
    }
  }
}

}  // namespace
}  // namespace stripe_sync::testing
