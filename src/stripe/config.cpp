// What the user configured, checked: the API key and the address it is sent to.

#include <algorithm>
#include <array>

#include "stripe/client.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync::stripe {
namespace {

constexpr const char* key_hint =
    "Set a secret key (sk_live_..., sk_test_...) or a restricted key (rk_live_..., rk_test_...), "
    "then: SELECT stripe_sync_check();";

struct KeyPrefix {
  std::string_view text;
  Mode mode;
};

constexpr std::array<KeyPrefix, 4> key_prefixes = {{{"sk_live_", Mode::live},
                                                    {"sk_test_", Mode::test},
                                                    {"rk_live_", Mode::live},
                                                    {"rk_test_", Mode::test}}};

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
}

const KeyPrefix* key_prefix(std::string_view key) {
  for (const KeyPrefix& prefix : key_prefixes) {
    if (starts_with(key, prefix.text)) return &prefix;
  }
  return nullptr;
}

/// What somebody may have pasted instead of a secret key.
std::string_view what_it_is_instead(std::string_view key) {
  if (starts_with(key, "pk_")) return "it is a publishable key";
  if (starts_with(key, "whsec_")) return "it is a webhook secret";
  if (starts_with(key, "sk_org_")) return "it is an organization's key, which is not supported";
  if (starts_with(key, "ek_")) return "it is an ephemeral key";
  return "it does not begin with sk_live_, sk_test_, rk_live_ or rk_test_";
}

Error key_error(std::string_view what) {
  return Error(errcode::authentication, "The Stripe API key can't be used: " + std::string(what),
               {}, key_hint);
}

Error base_error(std::string_view what) {
  return Error(errcode::usage, "stripe_sync.api_base can't be used: " + std::string(what), {},
               "Set it to https://api.stripe.com, or for a local sandbox to "
               "http://localhost:PORT.");
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

/// Four decimal numbers up to 255, the first one 127; no other spelling of an address.
bool is_loopback_v4(std::string_view host) {
  if (!starts_with(host, "127.")) return false;
  int dots = 0;
  int digits = 0;
  int number = 0;
  for (const char c : host) {
    if (is_digit(c)) {
      number = number * 10 + (c - '0');
      if (++digits > 3 || number > 255) return false;
    } else if (c == '.' && digits > 0) {
      ++dots;
      digits = number = 0;
    } else {
      return false;
    }
  }
  return dots == 3 && digits > 0;
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || is_loopback_v4(host);
}

/// The host of "host", "host:port", "[v6]:port"; empty if that is not what it is.
std::string_view host_of(std::string_view authority) {
  const std::size_t bracket = authority.find(']');
  const std::size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = authority.substr(0, colon);
  if (colon != std::string_view::npos) {
    const std::string_view port = authority.substr(colon + 1);
    if (port.empty() || port.size() > 5 || !std::all_of(port.begin(), port.end(), is_digit)) {
      return {};
    }
  }
  const bool v6 = starts_with(host, "[");
  const std::string_view name = v6 ? host.substr(1) : host;
  const std::string_view punctuation = v6 ? ":.]" : ".-_";
  for (const char c : name) {
    if (!is_alphanumeric(c) && punctuation.find(c) == std::string_view::npos) return {};
  }
  return host;
}

}  // namespace

Result<Mode> mode_of_key(std::string_view key) {
  if (key.empty()) return key_error("it is empty");
  if (key.find_first_of(" \t\r\n") != std::string_view::npos) {
    return key_error("there is white space in it or around it");
  }
  const KeyPrefix* const prefix = key_prefix(key);
  if (prefix == nullptr) return key_error(what_it_is_instead(key));
  const std::string_view rest = key.substr(prefix->text.size());
  if (rest.empty()) return key_error("nothing follows its prefix");
  // It becomes a header line: nothing but what keys are made of.
  if (!std::all_of(rest.begin(), rest.end(),
                   [](char c) { return is_alphanumeric(c) || c == '_'; })) {
    return key_error("there is a character in it that no key has");
  }
  return prefix->mode;
}

std::string key_fingerprint(std::string_view key) {
  const KeyPrefix* const prefix = key_prefix(key);
  if (prefix == nullptr) return key.empty() ? "(none)" : "(not a key)";
  std::string shown = std::string(prefix->text) + "...";
  // Four characters of a short one would be too much of it.
  constexpr std::size_t tail = 4;
  if (key.size() >= prefix->text.size() + 4 * tail) shown += key.substr(key.size() - tail);
  return shown;
}

Result<std::string> check_api_base(std::string_view api_base) {
  const std::size_t end_of_scheme = api_base.find("://");
  if (end_of_scheme == std::string_view::npos) return base_error("it is not a URL");
  const std::string scheme = lower_case(api_base.substr(0, end_of_scheme));
  std::string_view rest = api_base.substr(end_of_scheme + 3);
  while (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);

  for (const char c : rest) {
    if (c <= ' ' || c > '~') return base_error("there is a blank or special character in it");
  }
  if (rest.find_first_of("?#\\") != std::string_view::npos) {
    return base_error("it must end before any ? or #");
  }
  const std::size_t slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  if (authority.find('@') != std::string_view::npos) {
    return base_error("it must not hold a user name or password");
  }
  const std::string host = lower_case(host_of(authority));
  if (host.empty()) return base_error("it names no valid host");
  if (scheme != "https" && !(scheme == "http" && is_loopback(host))) {
    return base_error("without https:// the API key would cross the network readable by others");
  }
  return scheme + "://" + lower_case(authority) +
         std::string(slash == std::string_view::npos ? "" : rest.substr(slash));
}

}  // namespace stripe_sync::stripe
