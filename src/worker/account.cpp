#include "worker/account.hpp"

#include "pg/api_key.hpp"

namespace stripe_sync::worker {

namespace {

struct Permission {
  const char* item;
  const char* method;
  const char* path;
  const char* name;  ///< parameter
  const char* value;
  const char* without = nullptr;  ///< what is missed then; nothing = nothing works
};

// The writes are refused for their parameters, after the permission was checked and before anything
// exists: percent_off must be above 0, a promotion needs a coupon.
constexpr Permission permissions[] = {
    {"read products", "GET", "/v1/products", "limit", "1"},
    {"read prices", "GET", "/v1/prices", "limit", "1"},
    {"read coupons", "GET", "/v1/coupons", "limit", "1"},
    {"read promotion codes", "GET", "/v1/promotion_codes", "limit", "1"},
    {"write coupons", "POST", "/v1/coupons", "percent_off", "0"},
    {"write promotion codes", "POST", "/v1/promotion_codes", "promotion[type]", "coupon"},
    {"read events", "GET", "/v1/events", "limit", "1",
     "Another database that writes as this one is noticed late, or not at all."},
};
constexpr std::size_t permission_count = sizeof permissions / sizeof permissions[0];

Probe judge(const Permission& permission, const stripe::Answer& answer) {
  using stripe::Verdict;
  const bool write = std::string(permission.method) == "POST";
  if (answer.ok() || (write && answer.verdict == Verdict::refused)) {
    return {permission.item, "ok", "allowed", ""};
  }
  const bool not_allowed =
      answer.verdict == Verdict::forbidden || answer.verdict == Verdict::unauthorized;
  std::string detail = answer.error.message;
  if (!answer.error.detail.empty()) detail += " " + answer.error.detail;
  if (not_allowed && permission.without != nullptr) {
    return {permission.item, "warn", detail + " " + permission.without, answer.error.hint};
  }
  return {permission.item, not_allowed ? "fail" : "warn", detail, answer.error.hint};
}

// What is known of the key without asking.
std::vector<Probe> warnings() {
  std::vector<Probe> found;
  for (const Error& warning : pg::api_key_warnings()) {
    found.push_back({warning.detail.empty() ? "key in the log" : "key file", "warn",
                     warning.message + ": " + warning.detail, warning.hint});
  }
  return found;
}

}  // namespace

void AccountCheck::begin() {
  const auto mode = stripe::mode_of_key(client_.config().key);
  mode_ = mode && mode.value() == stripe::Mode::live ? "live" : "test";
  request_ = client_.send({"GET", "/v1/account", {}, ""}, "read the account");
}

void AccountCheck::reset() {
  request_.reset();
  verified_ = false;
  hidden_ = false;
  account_.clear();
}

std::optional<Error> AccountCheck::compare(const Orders& orders) const {
  if (orders.fingerprint.empty()) return std::nullopt;  // new, or stripe_sync_rebind()
  if (!orders.mode.empty() && orders.mode != mode_) {
    return Error(errcode::usage,
                 "the Stripe key is a " + mode_ + " key, this database is in step with " +
                     orders.mode + " mode",
                 "Pushing would mix objects of both modes.",
                 "Set the " + orders.mode + " key again, or SELECT stripe_sync_rebind();");
  }
  const char* hint = "Set the former key again, or SELECT stripe_sync_rebind();";
  // What is not known of one of two keys can only be told to be the same of the same key.
  const bool other_key = orders.fingerprint != stripe::key_fingerprint(client_.config().key);
  if (other_key && account_.empty()) {
    return Error(errcode::usage, "the Stripe key has changed and may not read its account",
                 "Another account's key would write this database's codes there.",
                 "Allow the restricted key to read the account. Or: " + std::string(hint));
  }
  if (other_key && orders.account.empty()) {
    return Error(errcode::usage,
                 "the Stripe key has changed, and the former one might not read its account",
                 "Whether " + account_ +
                     " is the account this database is in step with can't be "
                     "told.",
                 hint);
  }
  if (!orders.account.empty() && !account_.empty() && orders.account != account_) {
    return Error(errcode::usage,
                 "the Stripe key opens account " + account_ + ", this database is in step with " +
                     orders.account,
                 "Pushing would write this database's codes to another account.", hint);
  }
  return std::nullopt;
}

bool AccountCheck::handle(std::uint64_t id, const stripe::Answer& answer, const Orders& orders,
                          std::optional<Error>& failure) {
  if (request_ != id) return false;
  request_.reset();
  hidden_ = answer.verdict == stripe::Verdict::forbidden;
  if (!answer.ok() && !hidden_) {
    failure = answer.error;
    return true;
  }
  account_ = hidden_ ? answer.account : answer.body["id"].text_or("");
  if (!hidden_ && (account_.empty() || answer.body["object"].text_or("") != "account")) {
    failure = Error(errcode::network,
                    "Stripe's answer to the request to read the account does not show it",
                    answer.request_id.empty() ? "" : "request " + answer.request_id,
                    "Nothing to do: Stripe is asked again.");
    return true;
  }
  failure = compare(orders);
  if (failure) return true;
  verified_ = true;
  if (account_.empty()) account_ = orders.account;
  store_account(account_, mode_, stripe::key_fingerprint(client_.config().key));
  return true;
}

void PermissionCheck::begin(std::int64_t number, const AccountCheck& account) {
  number_ = number;
  found_ = warnings();
  found_.push_back({"key", "ok", stripe::key_fingerprint(client_.config().key), ""});
  found_.push_back({"mode", "ok", account.mode(), ""});
  if (account.account_hidden()) {
    found_.push_back({"account", "warn",
                      "the key may not read its account: " +
                          (account.account().empty() ? "it is known by the key alone"
                                                     : "taken for " + account.account()),
                      "Allow the restricted key to read the account."});
  } else {
    found_.push_back({"account", "ok", account.account(), ""});
  }
  next_ = 0;
  ask();
}

void PermissionCheck::refuse(std::int64_t number, const std::string& item, const Error& reason) {
  std::vector<Probe> found = warnings();
  found.push_back({item, "fail", reason.message + " " + reason.detail, reason.hint});
  store_probes(found, number);
}

void PermissionCheck::ask() {
  const Permission& permission = permissions[next_];
  request_ =
      client_.send({permission.method, permission.path, {{permission.name, permission.value}}, ""},
                   std::string("check whether the key may ") + permission.item);
}

bool PermissionCheck::handle(std::uint64_t id, const stripe::Answer& answer) {
  if (request_ != id) return false;
  request_.reset();
  found_.push_back(judge(permissions[next_], answer));
  if (++next_ < permission_count) {
    ask();
  } else {
    finish();
  }
  return true;
}

void PermissionCheck::finish() {
  store_probes(found_, number_);
  number_ = 0;
  found_.clear();
}

}  // namespace stripe_sync::worker
