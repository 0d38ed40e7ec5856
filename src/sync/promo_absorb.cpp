// What an answer of Stripe's did to a row: writes, and what reads share with them.

#include <algorithm>

#include "sync/promo_absorb.hpp"
#include "sync/promo_adopt.hpp"
#include "sync/promo_compare.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

using Kind = Operation::Kind;
using Next = Effect::Next;

Effect try_later(const stripe::Answer& answer, bool keep_number) {
  Effect effect{Next::retry, answer.error};
  effect.retry_after = answer.retry_after;
  effect.keep_number = keep_number;
  return effect;
}

// --- what Stripe holds now ---------------------------------------------------------------------

/// A write's answer shows only what it was asked to expand: the rest stays as it was known.
Coupon merged(Coupon coupon, const std::optional<Coupon>& before) {
  const bool same = before && before->id == coupon.id;
  if (!coupon.products_known && same) {
    coupon.terms.products = before->terms.products;
    coupon.products_known = before->products_known;
  }
  if (coupon.raw["currency_options"].is_null() && same)
    coupon.other_currencies = before->other_currencies;
  return reread(std::move(coupon), before);
}

/// Whether the answer shows what was asked for: a proxy or cache may mix answers up.
bool shows(const Operation& operation, const json::Value& body) {
  const std::string object = body["object"].text_or("");
  const std::string id = body["id"].text_or("");
  const std::string& path = operation.call.path;
  const bool named = path.substr(path.rfind('/') + 1) == stripe::path_segment(id);
  switch (operation.kind) {
    case Kind::create_coupon:
      return object == "coupon" && id == parameter(operation, "id");
    case Kind::update_coupon:
    case Kind::read_coupon:
      return object == "coupon" && named;
    case Kind::create_code:
      return object == "promotion_code" && !id.empty() &&
             same_code(body["code"].text_or(""), parameter(operation, "code"));
    case Kind::update_code:
    case Kind::read_code:
      return object == "promotion_code" && named;
    case Kind::find_code:
      return object == "list" && body["data"].is_array();
  }
  return false;
}

// --- writes ------------------------------------------------------------------------------------

bool take_object(Situation& s, const Operation& operation, const json::Value& body) {
  if (operation.kind == Kind::create_code || operation.kind == Kind::update_code) {
    auto code = PromotionCode::from(body);
    if (!code) return false;
    if (code->coupon.empty()) code->coupon = parameter(operation, "promotion[coupon]");
    const Desired* desired = std::get_if<Desired>(&s.mapped);
    const bool off = parameter(operation, "active") == "false" && !code->active;
    *code = merged(std::move(*code), s.observed.code);
    if (off && operation.kind == Kind::update_code) code->making_room = desired && desired->active;
    take(s, std::move(*code), std::nullopt);
    return true;
  }
  auto coupon = Coupon::from(body);
  if (!coupon) return false;
  if (operation.kind == Kind::create_coupon && !coupon->products_known) {
    for (const auto& [name, value] : operation.call.params)
      if (name.rfind("applies_to[products]", 0) == 0) coupon->terms.products.push_back(value);
    std::sort(coupon->terms.products.begin(), coupon->terms.products.end());
    coupon->products_known = true;
  }
  std::optional<Coupon>& place = place_of(s, coupon->id);
  place = merged(std::move(*coupon), place);
  return true;
}

/// The row still asks for what was sent, and Stripe's answer shows something else: another try
/// would go on for ever.
bool came_out_otherwise(const Situation& s, const Operation& operation, const Plan& plan) {
  const auto again = [&](const Operation& next) { return next.same_request(operation); };
  if (std::any_of(plan.operations.begin(), plan.operations.end(), again)) return true;
  const Desired* desired = std::get_if<Desired>(&s.mapped);
  if (!plan.needs_new_coupon_id || operation.kind != Kind::create_coupon || !desired) return false;
  Identity sent = s.identity;
  sent.coupon_id = parameter(operation, "id");
  return create_coupon(*desired, sent).same_request(operation);
}

Effect written(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  if (!take_object(s, operation, answer.body)) return unreadable(s, operation, answer);
  s.unsettled.reset();
  if (!came_out_otherwise(s, operation, plan_promo(s))) return {};
  std::string seen;
  const bool of_code = operation.kind != Kind::create_coupon && s.observed.code;
  const std::string id = of_code ? s.observed.code->coupon : parameter(operation, "id");
  const std::optional<Coupon>& coupon = place_of(s, id);
  if (const Desired* desired = std::get_if<Desired>(&s.mapped); desired && coupon)
    seen = side_by_side(of_code ? differing_terms(*desired, *coupon, *s.observed.code)
                                : differing_coupon_terms(*desired, *coupon));
  const Error reason(errcode::refused,
                     "Stripe answered to " + operation.what +
                         " without an error, but did not change as asked" +
                         (seen.empty() ? "" : ": " + seen),
                     answer.request_id.empty() ? "" : "request " + answer.request_id,
                     "Look at the object in Stripe's Dashboard; then SELECT stripe_sync_retry('" +
                         text_of(s.row, item::code) + "');");
  if (operation.kind != Kind::create_code) return Effect{Next::parked, reason};
  // Nobody has asked for what it sells.
  s.observed.code->dead = true;
  s.refused = Refused{operation, reason};
  return {};
}

Effect refused(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  s.unsettled.reset();
  if (answer.code == "idempotency_error") {
    s.unsettled = Unsettled{operation, std::nullopt, false, true};
    return {};
  }
  const bool id_taken =
      operation.kind == Kind::create_coupon && answer.code == "resource_already_exists";
  const bool coupon_missing =
      answer.code == "coupon_expired" ||
      (answer.code == "resource_missing" && answer.param == "promotion[coupon]");
  if (operation.kind == Kind::create_code && coupon_missing) {
    coupon_gone(s, parameter(operation, "promotion[coupon]"));
    return Effect{Next::retry, answer.error};  // with another coupon, but not in a fast loop
  }
  if (id_taken ||
      ((operation.kind == Kind::create_code || switches_on(operation)) && answer.status == 400)) {
    // A taken text has no code of its own (stripe.md section 2), so any 400 may mean it.
    s.unsettled = Unsettled{operation, answer.error, false, false};
    return {};
  }
  return give_up(s, operation, answer.error);
}

/// 404: the object named in the URL does not exist.
Effect missing(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  switch (operation.kind) {
    case Kind::update_coupon:
      coupon_gone(s, named(s, operation));
      s.unsettled.reset();
      return {};
    case Kind::update_code:
      return code_gone(s, answer);
    case Kind::read_coupon:
    case Kind::read_code:
      return absorb_absence(s, operation, answer);
    default:
      s.unsettled.reset();
      return Effect{Next::parked, answer.error};
  }
}

}  // namespace

// --- what reads share -------------------------------------------------------------------------

bool begins_with(const Plan& plan, const Operation& operation) {
  return !plan.operations.empty() && plan.operations.front().same_request(operation);
}

PromotionCode merged(PromotionCode code, const std::optional<PromotionCode>& before) {
  if (!before || before->id != code.id) return code;
  if (code.raw["restrictions"]["currency_options"].is_null())
    code.other_minimum_currencies = before->other_minimum_currencies;
  code.dead = before->dead && !code.active;
  code.making_room = before->making_room && !code.active;
  return code;
}

Coupon reread(Coupon coupon, const std::optional<Coupon>& before) {
  if (before && before->id == coupon.id) {
    coupon.adopted_for = before->adopted_for;
    coupon.own = before->own;
  }
  return coupon;
}

std::optional<Coupon>& place_of(Situation& s, const std::string& coupon) {
  Observed& o = s.observed;
  return !o.code || o.code->coupon == coupon ? o.coupon : o.next_coupon;
}

void coupon_gone(Situation& s, const std::string& id) {
  Observed& o = s.observed;
  const bool next = o.next_coupon && o.next_coupon->id == id;
  std::optional<Coupon>& coupon = next ? o.next_coupon : place_of(s, id);
  if (!coupon || coupon->id != id) coupon.emplace().id = id;
  coupon->valid = false;
}

std::string named(const Situation& s, const Operation& operation) {
  const Observed& o = s.observed;
  for (const std::optional<Coupon>& coupon : {o.coupon, o.next_coupon})
    if (coupon && read_coupon(coupon->id).call.path == operation.call.path) return coupon->id;
  return o.code ? o.code->coupon : std::string();
}

/// Promotion codes can't be deleted: their whole account or its test data was. Begins anew, but not
/// at once: this must not become a fast loop.
Effect code_gone(Situation& s, const stripe::Answer& answer) {
  Observed& o = s.observed;
  if (o.code) {
    o.unknown_code = o.code->id;
    o.predecessors.push_back({o.code->id, o.code->times_redeemed});
  }
  o.code.reset();
  o.coupon.reset();
  o.next_coupon.reset();
  s.unsettled.reset();
  return Effect{Next::retry, answer.error};
}

Effect unreadable(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  if (operation.writes()) s.unsettled = Unsettled{operation, std::nullopt, false, false};
  return Effect{Next::retry, Error(errcode::network,
                                   "Stripe's answer to the request to " + operation.what +
                                       " does not show the object",
                                   answer.request_id.empty() ? "" : "request " + answer.request_id,
                                   "Nothing to do: Stripe is asked again.")};
}

Effect give_up(Situation& s, const Operation& operation, const Error& reason) {
  s.unsettled.reset();
  if (operation.kind != Kind::create_code || !s.observed.code) return Effect{Next::parked, reason};
  s.refused = Refused{operation, reason};
  return {};
}

// -----------------------------------------------------------------------------------------------

namespace {

// What bears the row's mark is its own from now on, whatever key the row goes on under; and so is
// what shares an older mark with the row's code.
void note_own(Situation& s) {
  Observed& o = s.observed;
  for (std::optional<Coupon>* coupon : {&o.coupon, &o.next_coupon}) {
    if (!*coupon) continue;
    const Owner owner = owner_of(**coupon, s.identity);
    const bool former = owner == Owner::other_row && o.code && marked_alike(**coupon, *o.code);
    if (owner == Owner::this_row || former) (*coupon)->own = true;
  }
}

Effect take_answer(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  using stripe::Verdict;
  switch (answer.verdict) {
    case Verdict::ok:
      if (!shows(operation, answer.body)) return unreadable(s, operation, answer);
      return operation.writes() ? written(s, operation, answer) : absorb_read(s, operation, answer);
    case Verdict::missing:
      return missing(s, operation, answer);
    case Verdict::refused:
      return operation.writes() ? refused(s, operation, answer)
                                : Effect{Next::parked, answer.error};
    case Verdict::unauthorized:
    case Verdict::forbidden:
      return Effect{Next::blocked, answer.error};
    case Verdict::rate_limited:
    case Verdict::unavailable:
      return try_later(answer, true);
    case Verdict::in_flight:
    case Verdict::unknown:
      break;
  }
  if (operation.writes()) s.unsettled = Unsettled{operation, std::nullopt, false, false, s.sent_at};
  return try_later(answer, !operation.writes());
}

}  // namespace

Effect absorb(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  Effect effect = take_answer(s, operation, answer);
  note_own(s);
  return effect;
}

}  // namespace stripe_sync
