#include "stripe/client.hpp"

#include <algorithm>
#include <functional>

#include "core/no_postgres.hpp"

namespace stripe_sync::stripe {
namespace {

Config checked(Config config) {
  const Result<Mode> mode = mode_of_key(config.key);
  if (!mode) throw mode.error();
  Result<std::string> base = check_api_base(config.api_base);
  if (!base) throw base.error();
  config.api_base = std::move(base.value());
  return config;
}

std::string url_of(const Config& config, const Call& call) {
  std::string url = config.api_base;
  // A path that begins otherwise would continue the host's name.
  if (call.path.empty() || call.path[0] != '/') url += '/';
  url += call.path;
  if (call.method == "POST" || call.params.empty()) return url;
  // The "url" of a nested list brings parameters of its own.
  url += call.path.find('?') == std::string::npos ? '?' : '&';
  return url + form_encode(call.params);
}

http::Request request_of(const Config& config, const Call& call) {
  http::Request request;
  request.method = call.method;
  request.url = url_of(config, call);
  request.connect_timeout = config.connect_timeout;
  request.timeout = config.request_timeout;
  request.ca_file = config.ca_file;
  request.headers = {{"Authorization", "Bearer " + config.key},
                     {"Stripe-Version", api_version},
                     {"User-Agent", config.user_agent}};
  if (call.method == "POST") {
    request.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
    if (!call.idempotency_key.empty()) {
      request.headers.emplace_back("Idempotency-Key", call.idempotency_key);
    }
    request.body = form_encode(call.params);
  }
  return request;
}

}  // namespace

void Client::configure(Config config) {
  config_ = checked(std::move(config));
  limiter_.configure(std::hash<std::string>{}(config_.api_base + " " + config_.key),
                     config_.rate_per_second);
}

std::uint64_t Client::send(const Call& call, std::string what) {
  if (config_.key.empty()) throw Error(errcode::internal, "a call before a key was configured");
  limiter_.take();
  const std::uint64_t id = transport_.submit(request_of(config_, call));
  names_.emplace_back(id, std::move(what));
  return id;
}

std::optional<std::pair<std::uint64_t, Answer>> Client::take() {
  const std::optional<http::Outcome> outcome = transport_.take();
  if (!outcome) return std::nullopt;
  std::string what = "carry out a request";
  const auto name = std::find_if(names_.begin(), names_.end(),
                                 [&](const auto& entry) { return entry.first == outcome->id; });
  if (name != names_.end()) {
    what = std::move(name->second);
    names_.erase(name);
  }
  Answer answer = classify(*outcome, what, config_.api_base);
  if (answer.limits_all()) limiter_.limit(answer.error, answer.retry_after);
  return std::pair(outcome->id, std::move(answer));
}

void Client::cancel(std::uint64_t id) {
  transport_.cancel(id);
  names_.erase(std::remove_if(names_.begin(), names_.end(),
                              [id](const auto& entry) { return entry.first == id; }),
               names_.end());
}

}  // namespace stripe_sync::stripe
