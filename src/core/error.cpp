#include "core/error.hpp"

#include <array>
#include <cstdint>

namespace stripe_sync {
namespace {

constexpr std::array<std::string_view, 9> secret_prefixes = {"sk_live_", "sk_test_", "sk_org_",
                                                             "rk_live_", "rk_test_", "rk_org_",
                                                             "ek_live_", "ek_test_", "whsec_"};

// Base64 and URL-safe Base64 included: what follows a prefix must vanish whole.
bool is_secret_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '+' || c == '/' || c == '=';
}

/// Length of the secret's prefix if one starts at `at`, else 0.
std::size_t secret_prefix_at(std::string_view text, std::size_t at) {
  for (std::string_view prefix : secret_prefixes) {
    if (text.substr(at, prefix.size()) == prefix) return prefix.size();
  }
  return 0;
}

/// Length of the UTF-8 character at the front of `text`, 0 if there is no valid one.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
      (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

/// C0, DEL, C1 and Unicode's own line and paragraph separators.
bool is_control(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return lead < 0x20 || lead == 0x7F;
  if (character.size() == 2) return lead == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
  return character == "\xE2\x80\xA8" || character == "\xE2\x80\xA9";
}

}  // namespace

std::string sqlstate_text(int packed) {
  std::string text;
  for (int i = 0; i < 5; ++i, packed >>= 6) text += static_cast<char>((packed & 0x3F) + '0');
  return text;
}

int sqlstate_of_text(std::string_view text) {
  if (text.size() != 5) return errcode::internal;
  char code[6] = {};
  text.copy(code, 5);
  return sqlstate(code);
}

Error::Error(int code, std::string_view what_happened, std::string_view details,
             std::string_view next)
    : sqlstate(code),
      message(printable(what_happened)),
      detail(printable(details)),
      hint(printable(next)) {}

bool Error::is_fatal_to_run() const {
  return sqlstate == errcode::query_canceled || sqlstate == errcode::out_of_memory ||
         sqlstate_text(sqlstate).compare(0, 3, "57P") == 0;
}

std::string redact(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t prefix = secret_prefix_at(text, at);
    if (prefix == 0) {
      out += text[at++];
      continue;
    }
    out += text.substr(at, prefix);
    at += prefix;
    const std::size_t begin = at;
    while (at < text.size() && is_secret_character(text[at])) ++at;
    if (at > begin) out += "***";
  }
  return out;
}

std::string printable(std::string_view text) {
  const std::string redacted = redact(text);
  std::string_view rest = redacted;
  std::string out;
  out.reserve(rest.size());
  while (!rest.empty()) {
    const std::size_t length = utf8_length(rest);
    if (length == 0) {
      out += '?';
    } else if (is_control(rest.substr(0, length))) {
      out += ' ';
    } else {
      out += rest.substr(0, length);
    }
    rest.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

}  // namespace stripe_sync
