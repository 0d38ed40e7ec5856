#pragma once

#include <gtest/gtest.h>
#include <strings.h>

#include <cctype>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "http/transport.hpp"
#include "json/json.hpp"

// A small Stripe in memory, behind HTTP: coupons, promotion codes, prices and the idempotency layer
// (stripe.md sections 2, 4, 6, 7), as far as pushing promo codes asks for them.

namespace stripe_sync::testing {

/// A request as it reaches Stripe.
struct Received {
  std::string method;
  std::string path;
  std::vector<std::pair<std::string, std::string>> params;
  std::string key;  ///< Idempotency-Key

  std::string get(const std::string& name) const {
    for (const auto& [param, value] : params)
      if (param == name) return value;
    return {};
  }
  bool writes() const { return method == "POST"; }
  bool under(const std::string& prefix) const { return path.rfind(prefix, 0) == 0; }
};

inline std::string url_decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

inline Received received(const http::Request& request) {
  Received in;
  in.method = request.method;
  std::string rest = request.url.substr(request.url.find("/v1/"));
  std::string form = request.body;
  if (const auto query = rest.find('?'); query != std::string::npos) {
    form = rest.substr(query + 1);
    rest.resize(query);
  }
  in.path = url_decoded(rest);
  for (std::size_t at = 0; at < form.size();) {
    const std::size_t end = std::min(form.find('&', at), form.size());
    const std::string pair = form.substr(at, end - at);
    const std::size_t equals = pair.find('=');
    in.params.emplace_back(url_decoded(pair.substr(0, equals)),
                           url_decoded(pair.substr(equals + 1)));
    at = end + 1;
  }
  for (const auto& [name, value] : request.headers)
    if (name == "Idempotency-Key") in.key = value;
  return in;
}

/// As Stripe compares texts of promotion codes.
inline std::string without_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

inline http::Response response(long status, const std::string& body) {
  http::Response out;
  out.status = status;
  out.body = body;
  return out;
}

inline http::Response refusal(long status, const std::string& code = {},
                              const std::string& type = "invalid_request_error",
                              const std::string& param = {}) {
  return response(status, R"({"error":{"type":")" + type + R"(","message":"no")" +
                              (code.empty() ? "" : R"(,"code":")" + code + "\"") +
                              (param.empty() ? "" : R"(,"param":")" + param + "\"") + "}}");
}

class FakeStripe {
 public:
  using Fields = std::map<std::string, std::string>;  ///< parameters as sent
  struct PriceObject {
    std::string id, product, interval;
    std::int64_t amount = 0;
    bool active = true;
  };

  std::map<std::string, Fields> coupons;
  std::vector<std::pair<std::string, Fields>> codes;  ///< oldest first
  std::set<std::string> deleted_coupons;
  std::function<std::int64_t()> now = [] { return std::int64_t{0}; };
  /// Says why a promotion code is not made, if so: for refusals that no rule here knows.
  std::function<bool(const Fields&)> refuses_code = [](const Fields&) { return false; };
  std::function<bool(const Received&)> refuses = [](const Received&) { return false; };
  std::vector<PriceObject> prices;
  std::size_t page = 100;      ///< of lists
  int idempotency_errors = 0;  ///< one number for two requests: never right
  int replays = 0;

  /// `fails`: a 500 takes the answer's place, in the idempotency store too.
  http::Response handle(const Received& in, bool executes = true, bool fails = false) {
    if (!in.writes()) return fails ? refusal(500, "", "api_error") : execute(in);
    if (const auto stored = answers_.find(in.key); stored != answers_.end()) {
      if (stored->second.first != in.path || stored->second.second.first != in.params) {
        ++idempotency_errors;
        return refusal(400, "", "idempotency_error");
      }
      ++replays;
      http::Response again = stored->second.second.second;
      again.headers.emplace_back("idempotent-replayed", "true");
      return again;
    }
    http::Response out = executes ? execute(in) : refusal(500, "", "api_error");
    if (fails) out = refusal(500, "", "api_error");
    answers_[in.key] = {in.path, {in.params, out}};
    return out;
  }

  /// Whether the write of that number was done.
  bool accepted(const std::string& key) const {
    const auto answer = answers_.find(key);
    return answer != answers_.end() && answer->second.second.second.status == 200;
  }

  /// Can be redeemed: what has expired, run out or lost its coupon is inactive for good.
  bool active(const Fields& code) const { return field(code, "active") != "false" && !over(code); }
  bool over(const Fields& code) const {
    const std::string expires = field(code, "expires_at"), most = field(code, "max_redemptions");
    return (!expires.empty() && std::stoll(expires) <= now()) ||
           (!most.empty() && redeemed(code) >= std::stoll(most)) ||
           deleted_coupons.count(field(code, "promotion[coupon]")) > 0;
  }
  static std::int64_t redeemed(const Fields& code) {
    const std::string times = field(code, "times_redeemed");
    return times.empty() ? 0 : std::stoll(times);
  }
  /// A customer uses it, if it is active.
  void redeem(const std::string& id) {
    Fields& fields = *code(id);
    if (active(fields)) fields["times_redeemed"] = std::to_string(redeemed(fields) + 1);
  }
  /// By hand, in the Dashboard.
  void deactivate(const std::string& id) { (*code(id))["active"] = "false"; }
  void delete_coupon(const std::string& id) { deleted_coupons.insert(id); }
  void make_code(const std::string& id, const Fields& coupon, Fields code) {
    coupons[id + "-COUPON"] = coupon;
    code["promotion[coupon]"] = id + "-COUPON";
    codes.emplace_back(id, std::move(code));
  }

  std::vector<std::string> active_codes(const std::string& text) const {
    std::vector<std::string> ids;
    for (const auto& [id, code] : codes)
      if (is(code, text) && active(code)) ids.push_back(id);
    return ids;
  }
  std::size_t codes_of(const std::string& text) const {
    std::size_t count = 0;
    for (const auto& [id, code] : codes) count += is(code, text) ? 1 : 0;
    return count;
  }
  Fields* code(const std::string& id) {
    for (auto& [code_id, code] : codes)
      if (code_id == id) return &code;
    return nullptr;
  }
  static std::string field(const Fields& fields, const std::string& name) {
    const auto found = fields.find(name);
    return found == fields.end() ? "" : found->second;
  }

 private:
  static bool is(const Fields& code, const std::string& text) {
    const auto found = code.find("code");
    return found != code.end() && strcasecmp(found->second.c_str(), text.c_str()) == 0;
  }
  static std::string last(const std::string& path) { return path.substr(path.rfind('/') + 1); }

  static std::string members(const Fields& fields, const std::string& prefix) {
    std::string text;
    for (const auto& [name, value] : fields) {
      if (name.rfind(prefix, 0) != 0 || value.empty()) continue;
      const std::string key = name.substr(prefix.size(), name.size() - prefix.size() - 1);
      text += (text.empty() ? "" : ",") + json::quote(key) + ":" + json::quote(value);
    }
    return "{" + text + "}";
  }

  static std::string number(const Fields& fields, const std::string& name) {
    const std::string value = field(fields, name);
    return value.empty() ? "" : ",\"" + name + "\":" + value;
  }

  std::string coupon_text(const std::string& id, const Fields& coupon) const {
    std::string products;
    for (const auto& [name, value] : coupon) {
      if (name.rfind("applies_to[products]", 0) == 0)
        products += (products.empty() ? "" : ",") + json::quote(value);
    }
    return R"({"object":"coupon","valid":)" +
           std::string(deleted_coupons.count(id) ? "false" : "true") + R"(,"id":)" +
           json::quote(id) + number(coupon, "percent_off") + number(coupon, "amount_off") +
           R"(,"currency":)" + json::quote(field(coupon, "currency")) + R"(,"duration":)" +
           json::quote(field(coupon, "duration")) + number(coupon, "duration_in_months") +
           R"(,"name":)" + json::quote(field(coupon, "name")) +
           (products.empty() ? "" : R"(,"applies_to":{"products":[)" + products + "]}") +
           R"(,"metadata":)" + members(coupon, "metadata[") + "}";
  }

  std::string code_text(const std::string& id, const Fields& code) const {
    const std::string coupon = field(code, "promotion[coupon]");
    return R"({"object":"promotion_code","id":)" + json::quote(id) + R"(,"code":)" +
           json::quote(field(code, "code")) + R"(,"active":)" + (active(code) ? "true" : "false") +
           number(code, "expires_at") + number(code, "max_redemptions") + R"(,"times_redeemed":)" +
           std::to_string(redeemed(code)) + R"(,"promotion":{"coupon":)" +
           coupon_text(coupon, coupons.at(coupon)) + R"(},"customer":)" +
           json::quote(field(code, "customer")) + R"(,"restrictions":)" + restrictions(code) +
           R"(,"metadata":)" + members(code, "metadata[") + "}";
  }

  static std::string restrictions(const Fields& code) {
    const std::string first = field(code, "restrictions[first_time_transaction]");
    const std::string minimum = field(code, "restrictions[minimum_amount]");
    return R"({"first_time_transaction":)" + (first.empty() ? "false" : first) +
           (minimum.empty() ? "" : R"(,"minimum_amount":)" + minimum) +
           R"(,"minimum_amount_currency":)" +
           json::quote(field(code, "restrictions[minimum_amount_currency]")) + "}";
  }

  static std::string price_text(const PriceObject& price) {
    return R"({"object":"price","id":)" + json::quote(price.id) + R"(,"active":)" +
           (price.active ? "true" : "false") + R"(,"product":)" + json::quote(price.product) +
           R"(,"currency":"usd","unit_amount":)" + std::to_string(price.amount) +
           R"(,"recurring":{"interval":)" + json::quote(price.interval) +
           R"(,"interval_count":1}})";
  }

  http::Response list_codes(const Received& in) const {
    std::string data;
    std::size_t count = 0;
    bool more = false, begun = in.get("starting_after").empty();
    for (auto at = codes.rbegin(); at != codes.rend() && !more; ++at) {
      const auto& [id, code] = *at;
      if (begun && (in.get("code").empty() || is(code, in.get("code")))) {
        more = count == page;
        if (!more) data += (count++ > 0 ? "," : "") + code_text(id, code);
      }
      begun = begun || id == in.get("starting_after");
    }
    if (!begun) return refusal(400, "resource_missing");
    return response(200, std::string(R"({"object":"list","has_more":)") +
                             (more ? "true" : "false") + R"(,"data":[)" + data + "]}");
  }

  http::Response list_prices(const Received& in) const {
    std::string data;
    std::size_t count = 0;
    bool more = false, begun = in.get("starting_after").empty();
    for (const PriceObject& price : prices) {
      const std::string interval = in.get("recurring[interval]"), product = in.get("product");
      if (begun && price.active && (product.empty() || price.product == product) &&
          (interval.empty() || price.interval == interval)) {
        more = count == page;
        if (more) break;
        ++count;
        data += (data.empty() ? "" : ",") + price_text(price);
      }
      begun = begun || price.id == in.get("starting_after");
    }
    return response(200, std::string(R"({"object":"list","has_more":)") +
                             (more ? "true" : "false") + R"(,"data":[)" + data + "]}");
  }

  http::Response read(const Received& in) const {
    if (in.path == "/v1/promotion_codes") return list_codes(in);
    if (in.path == "/v1/prices") return list_prices(in);
    const std::string id = last(in.path);
    if (in.under("/v1/coupons/") && coupons.count(id) && !deleted_coupons.count(id))
      return response(200, coupon_text(id, coupons.at(id)));
    for (const auto& [code_id, code] : codes)
      if (in.under("/v1/promotion_codes/") && code_id == id)
        return response(200, code_text(id, code));
    for (const PriceObject& price : prices)
      if (in.under("/v1/prices/") && price.id == id) return response(200, price_text(price));
    return refusal(404, "resource_missing");
  }

  http::Response execute(const Received& in) {
    if (!in.writes()) return read(in);
    if (refuses(in)) return refusal(400, "", "invalid_request_error", "refused");
    Fields fields;
    for (const auto& [name, value] : in.params)
      if (name != "expand[]") fields[name] = value;
    if (in.path == "/v1/coupons") {
      const std::string id = fields["id"];
      if (!coupons.emplace(id, fields).second) return refusal(400, "resource_already_exists");
      return response(200, coupon_text(id, fields));
    }
    if (in.path == "/v1/promotion_codes") {
      const std::string coupon = fields["promotion[coupon]"];
      if (!coupons.count(coupon) || deleted_coupons.count(coupon))
        return refusal(400, "resource_missing", "invalid_request_error", "promotion[coupon]");
      if (fields["active"] != "false" && !active_codes(fields["code"]).empty()) return refusal(400);
      if (over(fields) || refuses_code(fields)) return refusal(400);
      codes.emplace_back("promo_" + std::to_string(codes.size() + 1), fields);
      return response(200, code_text(codes.back().first, fields));
    }
    const std::string id = last(in.path);
    if (deleted_coupons.count(id)) return refusal(404, "resource_missing");
    Fields* object = in.under("/v1/coupons/") ? &coupons.at(id) : code(id);
    if (object == nullptr) return refusal(404, "resource_missing");
    if (fields["active"] == "true" && !active(*object) &&
        (over(*object) || !active_codes(field(*object, "code")).empty()))
      return refusal(400);
    for (const auto& [name, value] : fields) (*object)[name] = value;
    return response(200,
                    in.under("/v1/coupons/") ? coupon_text(id, *object) : code_text(id, *object));
  }

  std::map<std::string,
           std::pair<std::string, std::pair<decltype(Received::params), http::Response>>>
      answers_;
};

}  // namespace stripe_sync::testing
