#include "sync/code_pass.hpp"

#include <algorithm>
#include <utility>

#include "sync/promo_requests.hpp"
#include "sync/promo_text.hpp"

namespace stripe_sync {

namespace {

constexpr Millis fresh_for{60'000};
// Many rows wait for one call: they had better go their own way than wait for a lost answer.
constexpr Millis longest_patience{10'000};
constexpr std::size_t least_in_vain = 5;
constexpr std::size_t rows_for_one_in_vain = 50;

std::string text_of_code(const json::Value& code) {
  return lowered(code["code"].text_or(""));
}

stripe::Answer shows(std::string body) {
  stripe::Answer answer;
  answer.verdict = stripe::Verdict::ok;
  answer.status = 200;
  if (const auto parsed = json::Value::parse(body)) answer.body = parsed.value();
  return answer;
}

}  // namespace

void CodePass::begin(std::size_t rows) {
  forget();
  on_ = more_ = helped_ = true;
  most_in_vain_ = std::max(least_in_vain, rows / rows_for_one_in_vain);
}

void CodePass::end() {
  on_ = more_ = false;
  in_vain_ = 0;
  under_way_.reset();
  after_.clear();
  next_.clear();
  page_.clear();
  texts_.clear();
}

void CodePass::forget() {
  end();
  taken_.clear();
}

std::optional<stripe::Call> CodePass::next_call() const {
  if (!more_ || under_way_ || !texts_.empty()) return std::nullopt;
  return list_codes(next_);
}

void CodePass::sent(std::uint64_t id) {
  under_way_ = id;
  sent_at_ = clock_.steady();
}

std::optional<Millis> CodePass::patience() const {
  if (!under_way_) return std::nullopt;
  return std::max(Millis(0), sent_at_ + longest_patience - clock_.steady());
}

stripe::Answer CodePass::no_answer() {
  stripe::Answer answer;
  answer.error =
      Error(errcode::network, "Stripe was asked for its promotion codes and did not answer in time",
            "", "Nothing to do: each is asked for by itself.");
  return answer;
}

bool CodePass::take(const stripe::Answer& answer) {
  under_way_.reset();
  return answer.ok() && store(answer.body);
}

bool CodePass::store(const json::Value& body) {
  const json::Value data = body["data"];
  if (body["object"].text_or("") != "list" || !data.is_array()) return false;
  const bool more = body["has_more"].boolean().value_or(false);
  const std::string last = data.size() > 0 ? data[data.size() - 1]["id"].text_or("") : "";
  if (more && (last.empty() || last == next_)) return false;
  if (!helped_) ++in_vain_;
  helped_ = false;
  after_ = std::exchange(next_, last);
  more_ = more && in_vain_ < most_in_vain_;
  read_at_ = clock_.steady();
  page_.clear();
  for (std::size_t i = 0; i < data.size(); ++i) {
    page_.push_back(data[i]);
    texts_.push_back(text_of_code(data[i]));
  }
  std::sort(texts_.begin(), texts_.end());
  texts_.erase(std::unique(texts_.begin(), texts_.end()), texts_.end());
  return true;
}

std::vector<std::string> CodePass::take_texts(std::size_t most) {
  std::vector<std::string> taken;
  if (clock_.steady() - read_at_ > fresh_for) {
    texts_.clear();
    next_ = after_;
    more_ = helped_ = true;
    return taken;
  }
  const auto rest = texts_.begin() + static_cast<std::ptrdiff_t>(std::min(most, texts_.size()));
  taken.assign(texts_.begin(), rest);
  texts_.erase(texts_.begin(), rest);
  return taken;
}

std::optional<stripe::Answer> CodePass::answer(const Operation& look) const {
  if (look.kind == Operation::Kind::read_code) {
    for (const json::Value& code : page_) {
      if (read_code(code["id"].text_or("")).call.path == look.call.path) return shows(code.dump());
    }
    return std::nullopt;
  }
  const std::string text = lowered(parameter(look, "code"));
  std::string list;
  for (const json::Value& code : page_) {
    if (text_of_code(code) == text) list += (list.empty() ? "" : ",") + code.dump();
  }
  if (list.empty()) return std::nullopt;
  return shows(R"({"object":"list","has_more":false,"data":[)" + list + "]}");
}

}  // namespace stripe_sync
