#include "sync/price_book.hpp"

#include <algorithm>

namespace stripe_sync {

namespace {

constexpr Millis fresh_for{60'000};
// Many rows wait for one call: they had better ask again than wait for a lost answer.
constexpr Millis longest_patience{10'000};

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

Error unreadable(const stripe::Answer& answer) {
  return Error(errcode::network, "Stripe's answer to the request to read prices does not show them",
               answer.request_id.empty() ? "" : "request " + answer.request_id,
               "Nothing to do: Stripe is asked again.");
}

}  // namespace

void PriceBook::forget() {
  catalog_ = Catalog();
  read_at_.reset();
}

void PriceBook::forget_old() {
  if (read_at_ && clock_.steady() - *read_at_ > fresh_for) forget();
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

std::optional<stripe::Call> PriceBook::next_call() const {
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

void PriceBook::sent(std::uint64_t id) {
  under_way_ = id;
  sent_at_ = clock_.steady();
}

std::optional<Millis> PriceBook::patience() const {
  if (!under_way_) return std::nullopt;
  return std::max(Millis(0), sent_at_ + longest_patience - clock_.steady());
}

stripe::Answer PriceBook::no_answer() {
  stripe::Answer answer;
  answer.error = Error(errcode::network, "Stripe was asked for prices and did not answer in time",
                       "", "Nothing to do: it is asked again.");
  return answer;
}

// A product's prices are judged together: half of them would pass a check that all must pass, and
// so would none. It has one at least, the one that named it.
PriceBook::Stored PriceBook::store_page(Want& want, const json::Value& body) {
  const json::Value data = body["data"];
  for (std::size_t i = 0; i < data.size(); ++i) want.found.push_back(read_price(data[i]));
  if (want.found.empty()) return Stored::unreadable;
  if (body["has_more"].boolean().value_or(false)) {
    const std::string last = want.found.back().id;
    if (last.empty() || last == want.after) return Stored::unreadable;
    want.after = last;
    return Stored::more;
  }
  catalog_.active_by_product[want.name] = std::move(want.found);
  return Stored::whole;
}

PriceBook::Stored PriceBook::store(Want& want, const json::Value& body) {
  const json::Value data = body["data"];
  if (want.kind == Want::by_id) {
    const Price price = read_price(body);
    if (body["object"].text_or("") != "price" || price.id != want.name) return Stored::unreadable;
    const bool active = body["active"].boolean().value_or(true);
    catalog_.by_reference[want.name] = active ? std::optional(price) : std::nullopt;
    return Stored::whole;
  }
  if (body["object"].text_or("") != "list" || !data.is_array()) return Stored::unreadable;
  if (want.kind == Want::of_product) return store_page(want, body);
  if (want.kind == Want::yearly) {
    catalog_.yearly_prices_exist = data.size() > 0;
    return Stored::whole;
  }
  std::optional<Price> price;
  if (data.size() > 0) price = read_price(data[0]);
  if (price && price->id.empty()) return Stored::unreadable;
  catalog_.by_reference[want.name] = price;
  return Stored::whole;
}

std::optional<Error> PriceBook::take(const stripe::Answer& answer) {
  under_way_.reset();
  if (wanted_.empty()) return std::nullopt;
  Want& want = wanted_.front();
  const bool refused = answer.verdict == stripe::Verdict::missing ||
                       (answer.verdict == stripe::Verdict::refused && answer.status == 400);
  if (!answer.ok() && !(refused && want.refers())) {
    // A refusal is about what was asked, anything else about all that would be asked.
    wanted_.erase(wanted_.begin(), refused ? wanted_.begin() + 1 : wanted_.end());
    return answer.error;
  }
  if (!read_at_) read_at_ = clock_.steady();
  const Stored stored = answer.ok() ? store(want, answer.body) : Stored::whole;
  if (stored == Stored::more) return std::nullopt;
  if (refused) catalog_.by_reference[want.name] = std::nullopt;
  wanted_.erase(wanted_.begin());
  if (stored == Stored::whole) return std::nullopt;
  forget();
  return unreadable(answer);
}

}  // namespace stripe_sync
