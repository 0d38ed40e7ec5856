#include "json/json.hpp"

#include <jansson.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>

#include "core/no_postgres.hpp"

namespace stripe_sync::json {
namespace {

const char* reason(const json_error_t& error) {
  switch (json_error_code(&error)) {
    case json_error_invalid_utf8:
      return "invalid UTF-8";
    case json_error_premature_end_of_input:
      return "it ends too early";
    case json_error_end_of_input_expected:
      return "something follows its end";
    case json_error_numeric_overflow:
      return "a number is too large";
    case json_error_null_character:
    case json_error_null_byte_in_key:
      return "a NUL character";
    case json_error_stack_overflow:
      return "nested too deeply";
    default:
      return "a syntax error";
  }
}

// jsonb has no U+0000: the same stand-in as text() gives it. A backslash before it may itself be
// escaped.
std::string without_nul(std::string text) {
  bool escaped = false;
  for (std::size_t i = 0; i + 5 < text.size(); ++i) {
    escaped = text[i] == '\\' && !escaped;
    if (escaped && text.compare(i + 1, 5, "u0000") == 0) text.replace(i + 1, 5, "ufffd");
  }
  return text;
}

}  // namespace

Value::Value(const Value& other) noexcept : value_(json_incref(other.value_)) {}

Value::Value(Value&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}

Value& Value::operator=(Value other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

Value::~Value() {
  json_decref(value_);
}

Result<Value> Value::parse(std::string_view text) {
  json_error_t error;
  json_t* const root =
      json_loadb(text.data(), text.size(), JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
  if (root != nullptr) return Value(root);
  if (json_error_code(&error) == json_error_out_of_memory) throw std::bad_alloc();
  // jansson's own text quotes the document, which may hold anything.
  return Error(errcode::refused, "not valid JSON: " + std::string(reason(error)) + " at byte " +
                                     std::to_string(error.position));
}

bool Value::is_null() const {
  return value_ == nullptr || json_is_null(value_);
}
bool Value::is_object() const {
  return json_is_object(value_);
}
bool Value::is_array() const {
  return json_is_array(value_);
}

Value Value::operator[](std::string_view key) const {
  return Value(json_incref(json_object_getn(value_, key.data(), key.size())));
}

Value Value::operator[](std::size_t index) const {
  return Value(json_incref(json_array_get(value_, index)));
}

std::size_t Value::size() const {
  return is_array() ? json_array_size(value_) : json_object_size(value_);
}

std::vector<std::string> Value::keys() const {
  std::vector<std::string> keys;
  for (void* at = json_object_iter(value_); at != nullptr; at = json_object_iter_next(value_, at)) {
    keys.emplace_back(json_object_iter_key(at), json_object_iter_key_len(at));
  }
  return keys;
}

std::optional<std::string> Value::text() const {
  if (!json_is_string(value_)) return std::nullopt;
  std::string text(json_string_value(value_), json_string_length(value_));
  // PostgreSQL's text can't hold it; a customer's name must not block what refers to it.
  for (std::size_t at = 0; (at = text.find('\0', at)) != std::string::npos;) {
    text.replace(at, 1, "\xEF\xBF\xBD");
  }
  return text;
}

std::optional<std::int64_t> Value::integer() const {
  if (!json_is_integer(value_)) return std::nullopt;
  return json_integer_value(value_);
}

std::optional<bool> Value::boolean() const {
  if (!json_is_boolean(value_)) return std::nullopt;
  return json_is_true(value_);
}

std::optional<std::int64_t> Value::hundredths() const {
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max() / 100;
  if (json_is_integer(value_)) {
    const std::int64_t whole = json_integer_value(value_);
    if (whole > largest || whole < -largest) return std::nullopt;
    return whole * 100;
  }
  if (!json_is_real(value_)) return std::nullopt;
  const double number = json_real_value(value_);
  if (!(std::fabs(number) < static_cast<double>(largest))) return std::nullopt;
  // First to a precision that a double surely holds: 1.005 is stored as 1.00499999999999989.
  return std::llround(std::round(number * 1e8) / 1e6);
}

std::string Value::text_or(std::string_view fallback) const {
  return text().value_or(std::string(fallback));
}

std::string Value::dump() const {
  if (value_ == nullptr) return "null";
  // 15 digits give every decimal back as it was written; more would show 0.1 as 0.1000...01.
  const std::unique_ptr<char, decltype(&std::free)> text(
      json_dumps(value_, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)), &std::free);
  if (!text) throw std::bad_alloc();
  return without_nul(text.get());
}

std::string quote(std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += hex[byte >> 4];
      out += hex[byte & 0xF];
    } else {
      out += c;
    }
  }
  return out += '"';
}

}  // namespace stripe_sync::json
