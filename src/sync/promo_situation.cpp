#include "sync/promo_situation.hpp"

#include <algorithm>
#include <utility>

namespace stripe_sync {
namespace {

const char* action_of(const Operation& operation, const PromoJob& job) {
  switch (operation.kind) {
    case Operation::Kind::create_code:
      return job.observed.predecessors.empty() ? "created" : "replaced";
    case Operation::Kind::update_code:
      for (const auto& [name, value] : operation.call.params) {
        if (name == "active") return value == "true" ? "switched on" : "switched off";
      }
      return "updated";
    case Operation::Kind::update_coupon:
      return job.action.empty() ? "updated" : job.action.c_str();
    case Operation::Kind::read_code:
    case Operation::Kind::find_code:
      return job.action.empty() && job.observed.code ? "adopted" : job.action.c_str();
    default:
      return job.action.c_str();
  }
}

}  // namespace

Situation situation_of(const PromoJob& job, const Catalog& catalog, std::int64_t now) {
  Situation situation;
  situation.row = job.row;
  situation.deleted = job.deleted;
  situation.observed = job.observed;
  situation.identity = job.identity;
  situation.unsettled = job.unsettled;
  situation.refused = job.refused;
  situation.take_over = job.take_over;
  situation.text_looked = job.text_looked;
  situation.now = now;
  situation.used_before = uses_before(job.row, job.used_before);
  // What the history says of predecessors is counted there.
  if (!job.used_before) {
    situation.used_before =
        std::max<std::int64_t>(0, situation.used_before - job.observed.redeemed_before());
  }
  situation.mapped = map_promo(job.row, *job.settings, catalog,
                               situation.used_before + job.observed.redeemed_before(), now);
  return situation;
}

Effect absorb_into(PromoJob& job, Situation situation, const Operation& operation,
                   const stripe::Answer& answer) {
  const std::int64_t used_before = situation.used_before;
  Effect effect = absorb(situation, operation, answer);
  job.observed = std::move(situation.observed);
  job.unsettled = std::move(situation.unsettled);
  job.refused = std::move(situation.refused);
  job.text_looked = situation.text_looked;
  if (situation.used_before != used_before) job.used_before = situation.used_before;
  if (answer.ok()) job.action = action_of(operation, job);
  return effect;
}

std::optional<std::string> about_to_be_free(
    const Effect& conflict, const std::function<bool(const std::string&)>& gives_up) {
  const auto& codes = conflict.held_by;
  const auto found = std::find_if(codes.begin(), codes.end(), gives_up);
  return found == codes.end() ? std::nullopt : std::optional(*found);
}

}  // namespace stripe_sync
