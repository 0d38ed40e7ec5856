#include "stripe/client.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync::stripe {
namespace {

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

void append_encoded(std::string& out, std::string_view text, std::string_view also_raw) {
  constexpr char hex[] = "0123456789ABCDEF";
  for (const char c : text) {
    if (is_unreserved(c) || also_raw.find(c) != std::string_view::npos) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += hex[byte >> 4];
    out += hex[byte & 0xF];
  }
}

}  // namespace

std::string form_encode(const Params& params) {
  std::string out;
  for (const auto& [name, value] : params) {
    if (!out.empty()) out += '&';
    append_encoded(out, name, "[]");
    out += '=';
    append_encoded(out, value, "");
  }
  return out;
}

std::string path_segment(std::string_view id) {
  std::string out;
  append_encoded(out, id, "");
  return out;
}

}  // namespace stripe_sync::stripe
