// What an answer to a read did to a row.

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

/// The write under way when this read is its look; otherwise null.
const Operation* looked_for(const Situation& s) {
  return s.unsettled && !s.unsettled->looked ? &s.unsettled->operation : nullptr;
}

/// The coupon inside a promotion code that was read expanded.
std::optional<Coupon> coupon_inside(const json::Value& code) {
  json::Value object = code["promotion"]["coupon"];
  if (!object.is_object()) object = code["coupon"];
  auto coupon = Coupon::from(object);
  if (coupon) coupon->products_known = true;  // asked for: absent means none
  return coupon;
}

/// Seconds for which the answer to the write could still come; parts of one count in full.
std::int64_t answer_awaited(const Situation& s) {
  const std::int64_t sent_at = std::min(s.unsettled->sent_at, s.now);  // the clock may be set back
  return s.answer_within > 0 ? sent_at + s.answer_within + 1 - s.now : 0;
}

/// Whether a promotion code would be there that nobody knows, or be on or off, by a write that
/// Stripe does not show and may still do: the connection, or the worker, was lost before its
/// answer.
bool may_come_late(const Situation& s) {
  const Unsettled& write = *s.unsettled;
  const std::string active = parameter(write.operation, "active");
  const bool creates = write.operation.kind == Kind::create_code;
  const bool switches = write.operation.kind == Kind::update_code && !active.empty() &&
                        s.observed.code && s.observed.code->active != (active == "true");
  return (creates || switches) && !write.refusal && !write.spent && answer_awaited(s) > 0;
}

/// Looks again when it can't come any more.
Effect wait_for_late(Situation& s) {
  Unsettled& write = *s.unsettled;
  Effect effect{
      Next::wait,
      Error(errcode::network, "the request to " + write.operation.what + " may still be under way",
            "Its answer did not arrive and Stripe does not show it done, but the row asks for "
            "something else now.",
            "Nothing to do: Stripe is looked at again.")};
  effect.retry_after = Millis(1'000) * answer_awaited(s);
  write.looked = false;
  write.sent_at = std::min(write.sent_at, s.now);
  return effect;
}

/// The look, if it was one, has been made and observed holds what it found: was the write done? It
/// was not if the plan would begin with it again; if it would begin with something else, the write
/// must not come after that, unless it was `found`. Only switching off does not wait.
Effect after_look(Situation& s, bool found = false) {
  if (!s.unsettled) return {};
  Unsettled& unsettled = *s.unsettled;
  unsettled.looked = true;
  const Plan plan = plan_promo(s);
  const bool again = begins_with(plan, unsettled.operation);
  const bool off = s.observed.code && begins_with(plan, switch_off(*s.observed.code));
  if (!found && !again && !off && may_come_late(s)) return wait_for_late(s);
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
      owner_of(*coupon, s.identity) != Owner::this_row) {
    s.unsettled.reset();
    return Effect{Next::salt};
  }
  std::optional<Coupon>& place = place_of(s, coupon->id);
  place = reread(std::move(*coupon), place);
  return write ? after_look(s) : Effect{};
}

Effect coupon_missing(Situation& s, const Operation& operation) {
  const Operation* write = looked_for(s);
  if (write && write->kind == Kind::create_coupon) {
    if (!s.unsettled->refusal) return after_look(s);
    // Taken and yet not there: a deleted coupon's id (unconfirmed, stripe.md section 6).
    s.unsettled.reset();
    return Effect{Next::salt};
  }
  coupon_gone(s, named(s, operation));
  if (write) s.unsettled.reset();
  return {};
}

/// Keeps the other side, too, for whoever decides.
Effect conflict_with(Situation& s, const PromotionCode& code, const Coupon& coupon, Error reason) {
  s.observed.rival = code;
  s.observed.rival_coupon = coupon;
  return Effect{Next::conflict, std::move(reason)};
}

/// The row may have been renamed while its table was not attached, or carry somebody else's id.
Error sold_under_another_text(const Situation& s, const PromotionCode& code) {
  return invalid(
      "promotion code " + code.id + ", which the row names, is active in Stripe as " + code.code,
      "The row is switched off, but has another code: whose promotion code that is can't "
      "be told.",
      "Deactivate " + code.id +
          " in Stripe if it is this row's, else clear stripe_promotion_code_id; then "
          "SELECT stripe_sync_retry('" +
          text_of(s.row, item::code) + "');");
}

/// The promotion code whose id the row carries.
Effect carried_read(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  auto code = PromotionCode::from(answer.body);
  auto coupon = coupon_inside(answer.body);
  if (!code || !coupon) return unreadable(s, operation, answer);
  const Owner owner = owner_of(*code, s.identity);
  // By its own word the row says that the linked code must not work, whatever its terms.
  const bool off =
      ordered_off(s) && owner == Owner::nobody && same_code(code->code, text_of(s.row, item::code));
  if (owner == Owner::this_row || off) {
    take_own(s, *code, coupon);
    return {};
  }
  if (std::holds_alternative<Desired>(s.mapped) && !ordered_off(s)) {
    auto refusal = adopt(s, *code, *coupon);
    return refusal ? conflict_with(s, *code, *coupon, std::move(*refusal)) : Effect{};
  }
  if (owner == Owner::nobody && code->active && says_off(s.row) && !s.deleted)
    return Effect{Next::parked, sold_under_another_text(s, *code)};
  s.observed.unknown_code = code->id;
  return {};
}

Effect code_read(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  if (!looked_for(s)) return carried_read(s, operation, answer);
  auto code = PromotionCode::from(answer.body);
  if (!code) return unreadable(s, operation, answer);
  s.observed.code = merged(std::move(*code), s.observed.code);
  if (auto coupon = coupon_inside(answer.body))
    s.observed.coupon = reread(std::move(*coupon), s.observed.coupon);
  return after_look(s);
}

/// Codes of a text in Stripe.
struct Listed {
  json::Value own;     ///< the row's: active, or made by the write that is looked for
  json::Value linked;  ///< the one known as the row's
  std::vector<json::Value> rivals;
  std::vector<json::Value> off;
};

/// Whether the row's, or made by that write: its table may have been renamed since.
bool is_ours(const Situation& s, const Operation& write, const PromotionCode& code) {
  Identity sent = s.identity;
  sent.row = parameter(write, "metadata[" + std::string(row_mark) + "]");
  return owner_of(code, s.identity) == Owner::this_row ||
         (!sent.row.empty() && owner_of(code, sent) == Owner::this_row);
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
    const bool ours = linked || is_ours(s, write, *code);
    const bool sent = ours && !known && code->coupon == parameter(write, "promotion[coupon]");
    if (!lost_answer && (sent || (ours && code->active && listed.own.is_null())))
      listed.own = list[i];
    lost_answer = lost_answer || sent;
    if (!ours && code->active) listed.rivals.push_back(list[i]);
    if (!known && !code->active) listed.off.push_back(list[i]);
  }
  return listed;
}

/// Nobody stands in its way: its coupon is not valid any more, or it has expired or run out.
Effect cannot_return(Situation& s, const json::Value& linked) {
  if (!linked.is_null()) {
    s.observed.code = merged(*PromotionCode::from(linked), s.observed.code);
    auto coupon = coupon_inside(linked);
    if (coupon) coupon = reread(std::move(*coupon), s.observed.coupon);
    s.observed.coupon = std::move(coupon);  // nothing: to be read
  }
  s.observed.code->dead = true;
  s.unsettled.reset();
  return {};
}

/// Codes of one text for different customers may stand side by side: any that is equal will do. A
/// conflict is with the first.
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
    if (conflict.next == Next::go_on)
      conflict = conflict_with(s, *code, *coupon, std::move(*reason));
    conflict.held_by.push_back(code->id);
  }
  s.unsettled.reset();
  return conflict;
}

/// Those that will still be sold when the row's turn comes.
std::vector<json::Value> in_the_way(const Situation& s, std::vector<json::Value> rivals) {
  const Desired& desired = std::get<Desired>(s.mapped);
  const auto ends_before = [&](const json::Value& rival) {
    const auto expiry = rival["expires_at"].integer();
    return expiry && desired.starts_at && *expiry <= *desired.starts_at;
  };
  rivals.erase(std::remove_if(rivals.begin(), rivals.end(), ends_before), rivals.end());
  return rivals;
}

/// What is off already will do for a row that is off; what is on is not this row's to switch off.
Effect adopt_one_off(Situation& s, const std::vector<json::Value>& codes) {
  if (!std::holds_alternative<Desired>(s.mapped)) return {};
  for (const json::Value& off : codes) {
    const auto coupon = coupon_inside(off);
    Situation tried = s;
    if (!coupon || adopt(tried, *PromotionCode::from(off), *coupon)) continue;
    s = std::move(tried);
    break;
  }
  return {};
}

/// The codes of a text: after a write that was refused or lost, or before the first.
Effect codes_found(Situation& s, const Operation& find, const json::Value& list) {
  const Operation* write = looked_for(s);
  const bool existing = write && write->kind == Kind::update_code && s.observed.code;
  const Listed listed = sorted_out(s, write ? *write : find, parameter(find, "code"), list);
  if (!write) s.text_looked = true;
  if (!write && ordered_off(s)) return adopt_one_off(s, listed.off);
  if (!listed.own.is_null()) {
    const std::string before = s.observed.code ? s.observed.code->id : "";
    take_own(s, *PromotionCode::from(listed.own), coupon_inside(listed.own));
    return after_look(s, s.observed.code && s.observed.code->id != before);
  }
  if (write && !s.unsettled->refusal) return after_look(s);
  if (listed.rivals.empty() && existing) return cannot_return(s, listed.linked);
  // Only active codes exclude each other.
  const bool inactive = write && parameter(*write, "active") == "false";
  if (listed.rivals.empty() || inactive || !std::holds_alternative<Desired>(s.mapped))
    return after_look(s);
  return adopt_one(s, in_the_way(s, listed.rivals));
}

}  // namespace

Effect absorb_read(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  switch (operation.kind) {
    case Kind::read_coupon:
      if (!Coupon::from(answer.body)) return unreadable(s, operation, answer);
      return coupon_read(s, answer.body);
    case Kind::read_code:
      return code_read(s, operation, answer);
    default:
      return codes_found(s, operation, answer.body["data"]);
  }
}

Effect absorb_absence(Situation& s, const Operation& operation, const stripe::Answer& answer) {
  if (operation.kind == Kind::read_coupon) return coupon_missing(s, operation);
  if (looked_for(s)) return code_gone(s, answer);
  s.observed.unknown_code = carried_code(s);
  return {};
}

}  // namespace stripe_sync
