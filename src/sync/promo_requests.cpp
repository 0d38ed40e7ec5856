#include "sync/promo_requests.hpp"

#include "sync/money.hpp"

namespace stripe_sync {
namespace {

constexpr const char* description_key = "description";

using Metadata = std::map<std::string, std::string, std::less<>>;
using Kind = Operation::Kind;

std::string value_of(const Metadata& metadata, std::string_view key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? std::string() : found->second;
}

std::string metadata_parameter(std::string_view key) {
  return "metadata[" + std::string(key) + "]";
}

void add_marks(stripe::Params& params, const Identity& identity) {
  params.emplace_back(metadata_parameter(row_mark), identity.row);
  params.emplace_back(metadata_parameter(installation_mark), identity.installation);
}

/// An empty value removes the key (stripe.md section 1.2).
void add_changed(stripe::Params& params, const Metadata& metadata, const char* key,
                 const std::string& wanted) {
  if (value_of(metadata, key) != wanted) params.emplace_back(metadata_parameter(key), wanted);
}

void add_changed_marks(stripe::Params& params, const Metadata& metadata, const Identity& identity) {
  add_changed(params, metadata, row_mark, identity.row);
  add_changed(params, metadata, installation_mark, identity.installation);
}

Owner marked_as(const Metadata& metadata, const Identity& identity) {
  const std::string installation = value_of(metadata, installation_mark);
  if (!identity.copy_of.empty() && installation == identity.copy_of) return Owner::original;
  if (installation != identity.installation) return Owner::nobody;
  return value_of(metadata, row_mark) == identity.row ? Owner::this_row : Owner::other_row;
}

std::string coupon_path(const std::string& id) {
  return "/v1/coupons/" + stripe::path_segment(id);
}

std::string code_path(const std::string& id) {
  return "/v1/promotion_codes/" + stripe::path_segment(id);
}

std::string code_text(const PromotionCode& code) {
  return "promotion code " + code.code + " (" + code.id + ")";
}

Operation post(Kind kind, std::string path, stripe::Params params, std::string what) {
  return {kind, {"POST", std::move(path), std::move(params), {}}, std::move(what)};
}

Operation get(Kind kind, std::string path, stripe::Params params, std::string what) {
  return {kind, {"GET", std::move(path), std::move(params), {}}, std::move(what)};
}

/// A coupon's products and currencies are hidden unless asked for (stripe.md section 6).
stripe::Params expand_coupon(const std::string& path) {
  return {{"expand[]", path},
          {"expand[]", path + ".applies_to"},
          {"expand[]", path + ".currency_options"}};
}

}  // namespace

Operation create_coupon(const Desired& desired, const Identity& identity) {
  const CouponTerms& terms = desired.terms;
  stripe::Params params = {{"id", identity.coupon_id}};
  if (!desired.name.empty()) params.emplace_back("name", desired.name);
  if (terms.percent_hundredths)
    params.emplace_back("percent_off", percent_text(*terms.percent_hundredths));
  if (terms.amount_off) {
    params.emplace_back("amount_off", std::to_string(*terms.amount_off));
    params.emplace_back("currency", terms.currency);
  }
  params.emplace_back("duration", terms.duration);
  if (terms.duration_in_months)
    params.emplace_back("duration_in_months", std::to_string(*terms.duration_in_months));
  for (std::size_t i = 0; i < terms.products.size(); ++i)
    params.emplace_back("applies_to[products][" + std::to_string(i) + "]", terms.products[i]);
  if (!desired.description.empty())
    params.emplace_back(metadata_parameter(description_key), desired.description);
  add_marks(params, identity);
  params.emplace_back("expand[]", "applies_to");
  return post(Kind::create_coupon, "/v1/coupons", std::move(params),
              "create coupon " + identity.coupon_id);
}

std::optional<Operation> update_coupon(const Desired& desired, const Identity& identity,
                                       const Coupon& coupon) {
  const Owner owner = owner_of(coupon, identity);
  if (!coupon.own && owner == Owner::other_row) return std::nullopt;
  if (owner == Owner::nobody && coupon.adopted_for == desired.description) return std::nullopt;
  stripe::Params params;
  // Without a name Stripe shows the id.
  const bool nameless = desired.name.empty() && coupon.name == coupon.id;
  if (coupon.name != desired.name && !nameless) params.emplace_back("name", desired.name);
  add_changed(params, coupon.metadata, description_key, desired.description);
  add_changed_marks(params, coupon.metadata, identity);
  if (params.empty()) return std::nullopt;
  params.emplace_back("expand[]", "applies_to");
  return post(Kind::update_coupon, coupon_path(coupon.id), std::move(params),
              "update coupon " + coupon.id);
}

Operation create_code(const Desired& desired, const Identity& identity, const std::string& coupon) {
  stripe::Params params = {
      {"promotion[type]", "coupon"}, {"promotion[coupon]", coupon}, {"code", desired.code}};
  if (!desired.active) params.emplace_back("active", "false");
  if (!desired.customer.empty()) params.emplace_back("customer", desired.customer);
  if (desired.expires_at) params.emplace_back("expires_at", std::to_string(*desired.expires_at));
  if (desired.max_redemptions)
    params.emplace_back("max_redemptions", std::to_string(*desired.max_redemptions));
  if (desired.first_time_only) params.emplace_back("restrictions[first_time_transaction]", "true");
  if (desired.minimum_amount) {
    params.emplace_back("restrictions[minimum_amount]", std::to_string(*desired.minimum_amount));
    params.emplace_back("restrictions[minimum_amount_currency]", desired.minimum_amount_currency);
  }
  add_marks(params, identity);
  return post(Kind::create_code, "/v1/promotion_codes", std::move(params),
              "create promotion code " + desired.code);
}

Operation switch_off(const PromotionCode& code) {
  return post(Kind::update_code, code_path(code.id), {{"active", "false"}},
              "switch off " + code_text(code));
}

std::optional<Operation> update_code(const PromotionCode& code, const Identity& identity,
                                     bool activate) {
  stripe::Params params;
  if (activate) params.emplace_back("active", "true");
  // Our marks alone are worth no write to what somebody else made.
  if (activate || owner_of(code, identity) != Owner::nobody)
    add_changed_marks(params, code.metadata, identity);
  if (params.empty()) return std::nullopt;
  return post(Kind::update_code, code_path(code.id), std::move(params),
              (activate ? "switch on " : "update ") + code_text(code));
}

Operation read_coupon(const std::string& id) {
  return get(Kind::read_coupon, coupon_path(id),
             {{"expand[]", "applies_to"}, {"expand[]", "currency_options"}}, "read coupon " + id);
}

Operation read_code(const std::string& id) {
  return get(Kind::read_code, code_path(id), expand_coupon("promotion.coupon"),
             "read promotion code " + id);
}

Operation find_code(const std::string& text) {
  stripe::Params params = {{"code", text}, {"limit", "100"}};
  const stripe::Params expand = expand_coupon("data.promotion.coupon");
  params.insert(params.end(), expand.begin(), expand.end());
  return get(Kind::find_code, "/v1/promotion_codes", std::move(params),
             "look for promotion code " + text);
}

stripe::Call list_codes(const std::string& after) {
  stripe::Call call{"GET", "/v1/promotion_codes", {{"limit", "100"}}, ""};
  if (!after.empty()) call.params.emplace_back("starting_after", after);
  const stripe::Params expand = expand_coupon("data.promotion.coupon");
  call.params.insert(call.params.end(), expand.begin(), expand.end());
  return call;
}

bool switches_on(const Operation& operation) {
  return operation.kind == Kind::update_code && parameter(operation, "active") == "true";
}

Unsettled unseen(const PromotionCode& code) {
  return {switch_off(code), std::nullopt, false, true};
}

Operation look_for(const Unsettled& unsettled, const Observed& observed) {
  const Operation& write = unsettled.operation;
  // Refused: perhaps somebody else's active code has the text.
  if (unsettled.refusal && switches_on(write) && observed.code) {
    return find_code(observed.code->code);
  }
  const std::string segment = write.call.path.substr(write.call.path.rfind('/') + 1);
  switch (write.kind) {
    case Kind::create_coupon:
      return read_coupon(parameter(write, "id"));
    case Kind::create_code:
      return find_code(parameter(write, "code"));
    case Kind::update_coupon:
    case Kind::update_code: {
      // The path names the object, and its segment is encoded already.
      Operation look =
          write.kind == Kind::update_coupon ? read_coupon(segment) : read_code(segment);
      look.call.path = write.call.path;
      return look;
    }
    default:
      return write;
  }
}

std::string parameter(const Operation& operation, std::string_view name) {
  for (const auto& [key, value] : operation.call.params)
    if (key == name) return value;
  return {};
}

Owner owner_of(const Coupon& coupon, const Identity& identity) {
  return marked_as(coupon.metadata, identity);
}

Owner owner_of(const PromotionCode& code, const Identity& identity) {
  const Owner owner = marked_as(code.metadata, identity);
  const bool known = identity.originals && identity.originals->count(code.id) > 0;
  return owner == Owner::nobody && known ? Owner::original : owner;
}

bool marked_alike(const Coupon& coupon, const PromotionCode& code) {
  const std::string row = value_of(coupon.metadata, row_mark);
  return !row.empty() && row == value_of(code.metadata, row_mark);
}

}  // namespace stripe_sync
