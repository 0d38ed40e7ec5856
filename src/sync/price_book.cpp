#include "sync/price_book.hpp"

#include <algorithm>

namespace stripe_sync {

namespace {

constexpr Millis fresh_for{60'000};

bool is_price_id(const std::string& reference) {
  return reference.rfind("price_", 0) == 0 || reference.rfind("plan_", 0) == 0;
}

std::string product_id(const json::Value& product) {
  return product.is_object() ? product["id"].text_or("") : product.text_or("");
}

Price read_price(const json::Value& object) {
  Price price;
  price.id = object["id"].text_or("");
  price.product = product_id(object["product"]);
  price.currency = object["currency"].text_or("");
  price.unit_amount = object["unit_amount"].integer();
  price.interval = object["recurring"]["interval"].text_or("");
  price.interval_count = object["recurring"]["interval_count"].integer().value_or(1);
  return price;
}

}  // namespace

const Catalog& PriceBook::catalog() {
  if (read_at_ && clock_.steady() - *read_at_ > fresh_for && !busy()) clear();
  return catalog_;
}

void PriceBook::clear() {
  catalog_ = Catalog();
  read_at_.reset();
  wanted_.clear();
  under_way_.reset();
}

void PriceBook::add(Want::Kind kind, const std::string& name) {
  Want want{kind, name, {}, {}};
  if (std::find(wanted_.begin(), wanted_.end(), want) == wanted_.end()) {
    wanted_.push_back(std::move(want));
  }
}

void PriceBook::want(const NeedPrices& need) {
  for (const std::string& reference : need.references) {
    add(is_price_id(reference) ? Want::by_id : Want::by_lookup_key, reference);
  }
  for (const std::string& product : need.products) add(Want::of_product, product);
  if (need.yearly_prices) add(Want::yearly, "");
}

std::optional<stripe::Call> PriceBook::next_call() {
  if (under_way_ || wanted_.empty()) return std::nullopt;
  const Want& want = wanted_.front();
  stripe::Call call{"GET", "/v1/prices", {{"active", "true"}}, ""};
  switch (want.kind) {
    case Want::by_id:
      return stripe::Call{"GET", "/v1/prices/" + stripe::path_segment(want.name), {}, ""};
    case Want::by_lookup_key:
      call.params.push_back({"lookup_keys[0]", want.name});
      break;
    case Want::of_product:
      call.params.push_back({"product", want.name});
      call.params.push_back({"limit", "100"});
      if (!want.after.empty()) call.params.push_back({"starting_after", want.after});
      break;
    case Want::yearly:
      call.params.push_back({"recurring[interval]", "year"});
      call.params.push_back({"limit", "1"});
      break;
  }
  return call;
}

void PriceBook::store(Want& want, const json::Value& body) {
  const json::Value data = body["data"];
  switch (want.kind) {
    case Want::by_id:
      if (body["active"].boolean().value_or(true)) {
        catalog_.by_reference[want.name] = read_price(body);
      } else {
        catalog_.by_reference[want.name] = std::nullopt;
      }
      break;
    case Want::by_lookup_key:
      if (data.size() > 0) {
        catalog_.by_reference[want.name] = read_price(data[0]);
      } else {
        catalog_.by_reference[want.name] = std::nullopt;
      }
      break;
    case Want::of_product:
      for (std::size_t i = 0; i < data.size(); ++i) want.found.push_back(read_price(data[i]));
      break;
    case Want::yearly:
      catalog_.yearly_prices_exist = data.size() > 0;
      break;
  }
}

std::optional<Error> PriceBook::take(const stripe::Answer& answer) {
  under_way_.reset();
  if (wanted_.empty()) return std::nullopt;
  Want& want = wanted_.front();
  const bool unknown_id =
      answer.verdict == stripe::Verdict::missing ||
      (answer.verdict == stripe::Verdict::refused && answer.code == "resource_missing");
  if (!answer.ok() && !unknown_id) {
    wanted_.clear();
    return answer.error;
  }
  if (!read_at_) read_at_ = clock_.steady();
  if (answer.ok()) {
    store(want, answer.body);
    const json::Value data = answer.body["data"];
    if (want.kind == Want::of_product && answer.body["has_more"].boolean().value_or(false) &&
        data.size() > 0) {
      want.after = data[data.size() - 1]["id"].text_or("");
      return std::nullopt;
    }
  } else if (want.kind != Want::of_product) {
    catalog_.by_reference[want.name] = std::nullopt;
  }
  // A product's prices are judged together: half of them would pass a check that all must pass.
  if (want.kind == Want::of_product) catalog_.active_by_product[want.name] = want.found;
  wanted_.erase(wanted_.begin());
  return std::nullopt;
}

}  // namespace stripe_sync
