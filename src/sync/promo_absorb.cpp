// What an answer of Stripe's did to a row.

#include <algorithm>

#include "sync/promo_adopt.hpp"
#include "sync/promo_compare.hpp"
#include "sync/promo_map.hpp"
#include "sync/promo_plan.hpp"
#include "sync/promo_requests.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {
namespace {

using Kind = Operation::Kind;
using Next = Effect::Next;

Effect next(Next what, Error reason = {}) {
  Effect effect;
  effect.next = what;
  effect.reason = std::move(reason);
  return effect;
}

Effect try_later(const stripe::Answer& answer, bool keep_number) {
  Effect effect = next(Next::retry, answer.error);
  effect.retry_after = answer.retry_after;
  effect.keep_number = keep_number;
  return effect;
}

bool begins_with(const Plan& plan, const Operation& operation) {
  return !plan.operations.empty() && plan.operations.front().same_request(operation);
}

/// The write under way when this read is its look; otherwise null.
const Operation* looked_for(const Situation& s) {
  return s.unsettled && !s.unsettled->looked ? &s.unsettled->operation : nullptr;
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
  return coupon;
}

PromotionCode merged(PromotionCode code, const std::optional<PromotionCode>& before) {
  if (!before || before->id != code.id) return code;
  if (code.raw["restrictions"]["currency_options"].is_null())
    code.other_minimum_currencies = before->other_minimum_currencies;
  code.dead = before->dead && !code.active;
  code.making_room = before->making_room && !code.active;
  return code;
}

/// The coupon inside a promotion code that was read expanded.
std::optional<Coupon> coupon_inside(const json::Value& code) {
  json::Value object = code["promotion"]["coupon"];
  if (!object.is_object()) object = code["coupon"];
  auto coupon = Coupon::from(object);
  if (coupon) coupon->products_known = true;  // asked for: absent means none
  return coupon;
}

/// Where a coupon is kept: with the row's promotion code, or for the next one.
std::optional<Coupon>& place_of(Situation& s, const std::string& coupon) {
  Observed& o = s.observed;
  return !o.code || o.code->coupon == coupon ? o.coupon : o.next_coupon;
}

/// Its promotion codes go with it, for good (stripe.md section 6).
void coupon_gone(Situation& s, const std::string& id) {
  std::optional<Coupon>& coupon = place_of(s, id);
  if (!coupon || coupon->id != id) coupon.emplace().id = id;
  coupon->valid = false;
}

/// The coupon that a request's path names.
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
  return next(Next::retry, answer.error);
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

Effect unreadable(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  if (operation.writes()) s.unsettled = Unsettled{operation, std::nullopt, false, false};
  return next(Next::retry, Error(errcode::network,
                                 "Stripe's answer to the request to " + operation.what +
                                     " does not show the object",
                                 answer.request_id.empty() ? "" : "request " + answer.request_id,
                                 "Nothing to do: Stripe is asked again."));
}

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
  if (begins_with(plan, operation)) return true;
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
    seen = side_by_side(differing_coupon_terms(*desired, *coupon));
  return next(Next::parked,
              Error(errcode::refused,
                    "Stripe answered to " + operation.what +
                        " without an error, but did not change as asked" +
                        (seen.empty() ? "" : ": " + seen),
                    answer.request_id.empty() ? "" : "request " + answer.request_id,
                    "Look at the object in Stripe's Dashboard; then SELECT stripe_sync_retry('" +
                        text_of(s.row, item::code) + "');"));
}

/// Refused for good. The code that was to give way may come back: the plan decides.
Effect give_up(Situation& s, const Operation& operation, const Error& reason) {
  s.unsettled.reset();
  if (operation.kind != Kind::create_code || !s.observed.code) return next(Next::parked, reason);
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
    return next(Next::retry, answer.error);  // with another coupon, but not in a fast loop
  }
  if (id_taken ||
      ((operation.kind == Kind::create_code || switches_on(operation)) && answer.status == 400)) {
    // A taken text has no code of its own (stripe.md section 2), so any 400 may mean it.
    s.unsettled = Unsettled{operation, answer.error, false, false};
    return {};
  }
  return give_up(s, operation, answer.error);
}

// --- reads -------------------------------------------------------------------------------------

/// The look has been made and observed holds what it found: was the write done? It was not if the
/// plan would begin with it again.
Effect after_look(Situation& s) {
  Unsettled& unsettled = *s.unsettled;
  unsettled.looked = true;
  const bool again = begins_with(plan_promo(s), unsettled.operation);
  if (again && unsettled.refusal) {
    const Unsettled refused = unsettled;
    return give_up(s, refused.operation, *refused.refusal);
  }
  if (!again || unsettled.spent) s.unsettled.reset();
  return {};
}

Effect coupon_read(Situation& s, const json::Value& body) {
  auto coupon = Coupon::from(body);
  coupon->products_known = true;  // asked for: absent means none
  const Operation* write = looked_for(s);
  if (write && write->kind == Kind::create_coupon &&
      owner_of(coupon->metadata, s.identity) != Owner::this_row) {
    s.unsettled.reset();
    return next(Next::salt);
  }
  place_of(s, coupon->id) = coupon;
  return write ? after_look(s) : Effect{};
}

Effect coupon_missing(Situation& s, const Operation& operation) {
  const Operation* write = looked_for(s);
  if (write && write->kind == Kind::create_coupon) {
    if (!s.unsettled->refusal) return after_look(s);
    // Taken and yet not there: a deleted coupon's id (unconfirmed, stripe.md section 6).
    s.unsettled.reset();
    return next(Next::salt);
  }
  coupon_gone(s, named(s, operation));
  if (write) s.unsettled.reset();
  return {};
}

/// The promotion code whose id the row carries.
Effect carried_read(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  auto code = PromotionCode::from(answer.body);
  auto coupon = coupon_inside(answer.body);
  if (!code || !coupon) return unreadable(s, operation, answer);
  const Owner owner = owner_of(code->metadata, s.identity);
  // By its own word the row says that the linked code must not work, whatever its terms.
  const bool off =
      ordered_off(s) && owner == Owner::nobody && same_code(code->code, text_of(s.row, item::code));
  if (owner == Owner::this_row || off) {
    take_own(s, *code, coupon);
    return {};
  }
  if (std::holds_alternative<Desired>(s.mapped) && !ordered_off(s)) {
    auto refusal = adopt(s, *code, *coupon);
    return refusal ? next(Next::conflict, std::move(*refusal)) : Effect{};
  }
  s.observed.unknown_code = code->id;
  return {};
}

Effect code_read(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  if (!looked_for(s)) return carried_read(s, operation, answer);
  auto code = PromotionCode::from(answer.body);
  if (!code) return unreadable(s, operation, answer);
  s.observed.code = merged(std::move(*code), s.observed.code);
  if (auto coupon = coupon_inside(answer.body)) s.observed.coupon = std::move(coupon);
  return after_look(s);
}

/// Codes of a text in Stripe.
struct Listed {
  json::Value own;     ///< the row's: active, or made by the write that is looked for
  json::Value linked;  ///< the one known as the row's
  std::vector<json::Value> rivals;
};

/// Whether the row's, or made by that write: its table may have been renamed since.
bool is_ours(const Situation& s, const Operation& write, const PromotionCode& code) {
  Identity sent = s.identity;
  sent.row = parameter(write, "metadata[" + std::string(row_mark) + "]");
  return owner_of(code.metadata, s.identity) == Owner::this_row ||
         (!sent.row.empty() && owner_of(code.metadata, sent) == Owner::this_row);
}

Listed sorted_out(const Situation& s, const Operation& write, const std::string& text,
                  const json::Value& list) {
  const Observed& o = s.observed;
  Listed listed;
  bool lost_answer = false;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto code = PromotionCode::from(list[i]);
    if (!code || !same_code(code->code, text)) continue;
    const bool linked = o.code && o.code->id == code->id;
    if (linked) listed.linked = list[i];
    const bool known = linked || std::any_of(o.predecessors.begin(), o.predecessors.end(),
                                             [&](const auto& one) { return one.id == code->id; });
    const bool ours = is_ours(s, write, *code);
    const bool sent = ours && !known && code->coupon == parameter(write, "promotion[coupon]");
    if (!lost_answer && (sent || (ours && code->active && listed.own.is_null())))
      listed.own = list[i];
    lost_answer = lost_answer || sent;
    if (!ours && !linked && code->active) listed.rivals.push_back(list[i]);
  }
  return listed;
}

/// Nobody stands in its way: its coupon is not valid any more, or it has expired or run out.
Effect cannot_return(Situation& s, const json::Value& linked) {
  if (!linked.is_null()) {
    s.observed.code = merged(*PromotionCode::from(linked), s.observed.code);
    s.observed.coupon = coupon_inside(linked);  // nothing: to be read
  }
  s.observed.code->dead = true;
  s.unsettled.reset();
  return {};
}

/// Codes of one text for different customers may stand side by side: any that is equal will do.
Effect adopt_one(Situation& s, const std::vector<json::Value>& rivals) {
  Effect conflict;
  for (const json::Value& rival : rivals) {
    const auto coupon = coupon_inside(rival);
    if (!coupon) return after_look(s);
    const auto code = PromotionCode::from(rival);
    auto reason = adopt(s, *code, *coupon);
    if (!reason) {
      s.unsettled.reset();
      return {};
    }
    const bool others = owner_of(code->metadata, s.identity) == Owner::other_row;
    if (conflict.held_by.empty() && others) conflict.held_by = code->id;
    if (conflict.next == Next::go_on) conflict.reason = std::move(*reason);
    conflict.next = Next::conflict;
  }
  s.unsettled.reset();
  return conflict;
}

/// The codes of a text, after a create that was refused or lost.
Effect codes_found(Situation& s, const json::Value& list) {
  const Operation* write = looked_for(s);
  if (!write) return {};
  const bool existing = write->kind == Kind::update_code && s.observed.code;
  const std::string text = existing ? s.observed.code->code : parameter(*write, "code");
  const Listed listed = sorted_out(s, *write, text, list);
  if (!listed.own.is_null()) {
    take_own(s, *PromotionCode::from(listed.own), coupon_inside(listed.own));
    return after_look(s);
  }
  if (!s.unsettled->refusal) return after_look(s);
  if (listed.rivals.empty() && existing) return cannot_return(s, listed.linked);
  if (listed.rivals.empty() || !std::holds_alternative<Desired>(s.mapped)) return after_look(s);
  return adopt_one(s, listed.rivals);
}

Effect read(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  switch (operation.kind) {
    case Kind::read_coupon:
      if (!Coupon::from(answer.body)) return unreadable(s, operation, answer);
      return coupon_read(s, answer.body);
    case Kind::read_code:
      return code_read(s, operation, answer);
    default:
      if (!answer.body["data"].is_array()) return unreadable(s, operation, answer);
      return codes_found(s, answer.body["data"]);
  }
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
      return coupon_missing(s, operation);
    case Kind::read_code:
      if (looked_for(s)) return code_gone(s, answer);
      s.observed.unknown_code = carried_code(s);
      return {};
    default:
      s.unsettled.reset();
      return next(Next::parked, answer.error);
  }
}

}  // namespace

Effect absorb(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  using stripe::Verdict;
  switch (answer.verdict) {
    case Verdict::ok:
      if (!shows(operation, answer.body)) return unreadable(s, operation, answer);
      return operation.writes() ? written(s, operation, answer) : read(s, operation, answer);
    case Verdict::missing:
      return missing(s, operation, answer);
    case Verdict::refused:
      return operation.writes() ? refused(s, operation, answer) : next(Next::parked, answer.error);
    case Verdict::unauthorized:
    case Verdict::forbidden:
      return next(Next::blocked, answer.error);
    case Verdict::rate_limited:
    case Verdict::unavailable:
      return try_later(answer, true);
    case Verdict::in_flight:
    case Verdict::unknown:
      break;
  }
  if (operation.writes()) s.unsettled = Unsettled{operation, std::nullopt, false, false};
  return try_later(answer, !operation.writes());
}

}  // namespace stripe_sync
