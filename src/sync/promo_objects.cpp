// Stripe's objects as read, and what is stored of a row between requests.

#include <algorithm>

#include "sync/money.hpp"
#include "sync/promo_plan.hpp"

namespace stripe_sync {
namespace {

using Metadata = std::map<std::string, std::string, std::less<>>;

Metadata read_metadata(const json::Value& object) {
  Metadata metadata;
  for (const std::string& key : object.keys()) metadata[key] = object[key].text_or("");
  return metadata;
}

std::string id_of(const json::Value& reference) {
  return reference.is_object() ? reference["id"].text_or("") : reference.text_or("");
}

std::vector<std::string> keys_but(const json::Value& object, const std::string& left_out) {
  std::vector<std::string> keys = object.keys();
  keys.erase(std::remove(keys.begin(), keys.end(), left_out), keys.end());
  std::sort(keys.begin(), keys.end());
  return keys;
}

bool has_key(const json::Value& object, const std::string& key) {
  const std::vector<std::string> keys = object.keys();
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

CouponTerms read_terms(const json::Value& object) {
  CouponTerms terms;
  terms.percent_hundredths = object["percent_off"].hundredths();
  terms.amount_off = object["amount_off"].integer();
  if (terms.amount_off) terms.currency = object["currency"].text_or("");
  terms.duration = object["duration"].text_or("");
  terms.duration_in_months = object["duration_in_months"].integer();
  const json::Value products = object["applies_to"]["products"];
  for (std::size_t i = 0; i < products.size(); ++i) terms.products.push_back(id_of(products[i]));
  std::sort(terms.products.begin(), terms.products.end());
  return terms;
}

/// Writes one JSON object, member by member; nothing is written for what is absent.
class Writer {
 public:
  Writer& raw(const char* key, const std::string& json) {
    text_ += (text_.empty() ? "" : ",") + json::quote(key) + ":" + json;
    return *this;
  }
  Writer& text(const char* key, const std::string& value) {
    return value.empty() ? *this : raw(key, json::quote(value));
  }
  Writer& flag(const char* key, bool value) { return raw(key, value ? "true" : "false"); }
  Writer& number(const char* key, const std::optional<std::int64_t>& value) {
    return value ? raw(key, std::to_string(*value)) : *this;
  }
  std::string done() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

std::string array_of(const std::vector<std::string>& texts) {
  std::string array;
  for (const std::string& text : texts) array += (array.empty() ? "" : ",") + json::quote(text);
  return "[" + array + "]";
}

std::string dump_metadata(const Metadata& metadata) {
  Writer out;
  for (const auto& [key, value] : metadata) out.raw(key.c_str(), json::quote(value));
  return out.done();
}

std::string dump_currencies(const std::vector<std::string>& currencies) {
  Writer out;
  for (const std::string& currency : currencies) out.raw(currency.c_str(), "{}");
  return out.done();
}

// In Stripe's own shape, so that one reader does for both.
std::string dump_coupon(const Coupon& coupon) {
  const CouponTerms& terms = coupon.terms;
  Writer out;
  out.text("id", coupon.id).flag("valid", coupon.valid);
  if (terms.percent_hundredths) out.raw("percent_off", percent_text(*terms.percent_hundredths));
  out.number("amount_off", terms.amount_off).text("currency", terms.currency);
  out.text("duration", terms.duration).number("duration_in_months", terms.duration_in_months);
  if (coupon.products_known)
    out.raw("applies_to", Writer().raw("products", array_of(terms.products)).done());
  out.text("name", coupon.name).number("redeem_by", coupon.redeem_by);
  out.number("max_redemptions", coupon.max_redemptions);
  if (!coupon.other_currencies.empty())
    out.raw("currency_options", dump_currencies(coupon.other_currencies));
  if (coupon.adopted_for) out.raw("adopted_for", json::quote(*coupon.adopted_for));
  if (coupon.own) out.flag("own", true);
  return out.raw("metadata", dump_metadata(coupon.metadata)).done();
}

std::string dump_code(const PromotionCode& code) {
  Writer limits;
  limits.flag("first_time_transaction", code.first_time_only);
  limits.number("minimum_amount", code.minimum_amount);
  limits.text("minimum_amount_currency", code.minimum_amount_currency);
  if (!code.other_minimum_currencies.empty())
    limits.raw("currency_options", dump_currencies(code.other_minimum_currencies));

  Writer out;
  out.text("id", code.id).text("code", code.code).flag("active", code.active);
  out.raw("promotion", Writer().text("coupon", code.coupon).done());
  out.number("expires_at", code.expires_at).number("max_redemptions", code.max_redemptions);
  out.number("times_redeemed", code.times_redeemed).text("customer", code.customer);
  out.raw("restrictions", limits.done());
  if (code.dead) out.flag("dead", true);
  if (code.making_room) out.flag("making_room", true);
  return out.raw("metadata", dump_metadata(code.metadata)).done();
}

std::string dump_replaced(const Replaced& replaced) {
  Writer out;
  if (replaced.coupon) out.raw("coupon", dump_coupon(*replaced.coupon));
  out.raw("promotion_code", dump_code(replaced.code));
  return out.text("why", replaced.why).number("revision", replaced.revision).done();
}

}  // namespace

std::optional<Coupon> Coupon::from(const json::Value& object) {
  Coupon coupon;
  coupon.id = object["id"].text_or("");
  if (coupon.id.empty()) return std::nullopt;
  coupon.valid =
      object["valid"].boolean().value_or(true) && !object["deleted"].boolean().value_or(false);
  coupon.terms = read_terms(object);
  coupon.products_known = has_key(object, "applies_to");
  coupon.name = object["name"].text_or("");
  coupon.metadata = read_metadata(object["metadata"]);
  coupon.redeem_by = object["redeem_by"].integer();
  coupon.max_redemptions = object["max_redemptions"].integer();
  coupon.other_currencies = keys_but(object["currency_options"], coupon.terms.currency);
  coupon.adopted_for = object["adopted_for"].text();
  coupon.own = object["own"].boolean().value_or(false);
  coupon.raw = object;
  return coupon;
}

std::optional<PromotionCode> PromotionCode::from(const json::Value& object) {
  PromotionCode code;
  code.id = object["id"].text_or("");
  if (code.id.empty()) return std::nullopt;
  code.code = object["code"].text_or("");
  // Before 2025-09-30.clover the coupon stood at the top (stripe.md section 7).
  code.coupon = id_of(object["promotion"]["coupon"]);
  if (code.coupon.empty()) code.coupon = id_of(object["coupon"]);
  code.active = object["active"].boolean().value_or(false);
  code.expires_at = object["expires_at"].integer();
  code.max_redemptions = object["max_redemptions"].integer();
  code.times_redeemed = object["times_redeemed"].integer().value_or(0);
  code.customer = id_of(object["customer"]);
  if (code.customer.empty()) code.customer = id_of(object["customer_account"]);
  const json::Value limits = object["restrictions"];
  code.first_time_only = limits["first_time_transaction"].boolean().value_or(false);
  code.minimum_amount = limits["minimum_amount"].integer();
  code.minimum_amount_currency = limits["minimum_amount_currency"].text_or("");
  code.other_minimum_currencies =
      keys_but(limits["currency_options"], code.minimum_amount_currency);
  code.dead = object["dead"].boolean().value_or(false);
  code.making_room = object["making_room"].boolean().value_or(false);
  code.metadata = read_metadata(object["metadata"]);
  code.raw = object;
  return code;
}

std::int64_t Observed::redeemed_before() const {
  std::int64_t sum = 0;
  for (const Predecessor& one : predecessors) sum += one.redeemed;
  return sum;
}

std::string Observed::dump() const {
  Writer out;
  if (coupon) out.raw("coupon", dump_coupon(*coupon));
  if (code) out.raw("promotion_code", dump_code(*code));
  if (next_coupon) out.raw("next_coupon", dump_coupon(*next_coupon));
  if (rival) out.raw("rival", dump_code(*rival));
  if (rival_coupon) out.raw("rival_coupon", dump_coupon(*rival_coupon));
  std::string earlier;
  for (const Predecessor& one : predecessors)
    earlier += (earlier.empty() ? "" : ",") +
               Writer().text("id", one.id).number("redeemed", one.redeemed).done();
  if (!earlier.empty()) out.raw("predecessors", "[" + earlier + "]");
  std::string late;
  for (const Replaced& one : replaced) late += (late.empty() ? "" : ",") + dump_replaced(one);
  if (!late.empty()) out.raw("replaced", "[" + late + "]");
  if (untold) out.flag("untold", true);
  return out.text("unknown_code", unknown_code).done();
}

Observed Observed::parse(std::string_view text) {
  Observed observed;
  const auto stored = json::Value::parse(text);
  if (!stored) return observed;
  observed.coupon = Coupon::from(stored.value()["coupon"]);
  observed.code = PromotionCode::from(stored.value()["promotion_code"]);
  observed.next_coupon = Coupon::from(stored.value()["next_coupon"]);
  observed.rival = PromotionCode::from(stored.value()["rival"]);
  observed.rival_coupon = Coupon::from(stored.value()["rival_coupon"]);
  const json::Value earlier = stored.value()["predecessors"];
  for (std::size_t i = 0; i < earlier.size(); ++i)
    observed.predecessors.push_back(
        {earlier[i]["id"].text_or(""), earlier[i]["redeemed"].integer().value_or(0)});
  const json::Value late = stored.value()["replaced"];
  for (std::size_t i = 0; i < late.size(); ++i)
    if (auto code = PromotionCode::from(late[i]["promotion_code"]))
      observed.replaced.push_back({std::move(*code), Coupon::from(late[i]["coupon"]),
                                   late[i]["why"].text_or(""),
                                   late[i]["revision"].integer().value_or(1)});
  observed.untold = stored.value()["untold"].boolean().value_or(false);
  observed.unknown_code = stored.value()["unknown_code"].text_or("");
  return observed;
}

namespace {

constexpr const char* kind_names[] = {"create_coupon", "update_coupon", "create_code",
                                      "update_code",   "read_coupon",   "read_code",
                                      "find_code"};

}  // namespace

const char* kind_name(Operation::Kind kind) {
  return kind_names[static_cast<int>(kind)];
}

bool Operation::same_request(const Operation& other) const {
  return kind == other.kind && call.method == other.call.method && call.path == other.call.path &&
         call.params == other.call.params;
}

std::string Operation::dump() const {
  std::string params;
  for (const auto& [name, value] : call.params)
    params += (params.empty() ? "" : ",") + array_of({name, value});
  return Writer()
      .text("kind", kind_name(kind))
      .text("method", call.method)
      .text("path", call.path)
      .raw("params", "[" + params + "]")
      .text("what", what)
      .done();
}

std::optional<Operation> Operation::parse(std::string_view text) {
  const auto stored = json::Value::parse(text);
  if (!stored) return std::nullopt;
  const json::Value& value = stored.value();
  const std::string name = value["kind"].text_or("");
  const auto kind = std::find(std::begin(kind_names), std::end(kind_names), name);
  if (kind == std::end(kind_names)) return std::nullopt;
  Operation operation;
  operation.kind = static_cast<Kind>(kind - std::begin(kind_names));
  operation.call.method = value["method"].text_or("");
  operation.call.path = value["path"].text_or("");
  const json::Value params = value["params"];
  for (std::size_t i = 0; i < params.size(); ++i)
    operation.call.params.emplace_back(params[i][0].text_or(""), params[i][1].text_or(""));
  operation.what = value["what"].text_or("");
  return operation;
}

const char* state_name(PromoState state) {
  constexpr const char* names[] = {"pending",   "sending",   "retrying", "synced",
                                   "scheduled", "exhausted", "expired",  "parked",
                                   "conflict",  "missing",   "excluded"};
  return names[static_cast<int>(state)];
}

std::optional<PromoState> state_of_name(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(PromoState::excluded); ++i) {
    const auto state = static_cast<PromoState>(i);
    if (name == state_name(state)) return state;
  }
  return std::nullopt;
}

const char* sync_status_of(PromoState state) {
  switch (state) {
    case PromoState::pending:
    case PromoState::sending:
    case PromoState::retrying:
      return "pending";
    case PromoState::synced:
    case PromoState::scheduled:
    case PromoState::exhausted:
    case PromoState::expired:
      return "synced";
    case PromoState::excluded:
      return "manual";
    case PromoState::parked:
    case PromoState::conflict:
    case PromoState::missing:
      break;
  }
  return "error";
}

}  // namespace stripe_sync
