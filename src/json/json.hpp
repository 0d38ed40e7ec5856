#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

struct json_t;  // jansson's; its header is seen by json/ alone

#include "core/no_postgres.hpp"

namespace stripe_sync::json {

/// A read-only JSON value, cheap to copy (counted reference). Absent keys, wrong types and null
/// all read as null, so that a path can be followed without checks: v["promotion"]["coupon"].
class Value {
 public:
  Value() = default;
  Value(const Value& other) noexcept;
  Value(Value&& other) noexcept;
  Value& operator=(Value other) noexcept;
  ~Value();

  /// Parses one document. Error: SY003 with the position, never the text itself.
  static Result<Value> parse(std::string_view text);

  bool is_null() const;
  bool is_object() const;
  bool is_array() const;
  Value operator[](std::string_view key) const;
  Value operator[](std::size_t index) const;
  std::size_t size() const;  ///< of an array or object; 0 otherwise
  std::vector<std::string> keys() const;

  std::optional<std::string> text() const;  ///< strings only
  std::optional<std::int64_t> integer() const;
  std::optional<bool> boolean() const;
  /// A decimal number (integer or real) in hundredths, rounded to the nearest: percent_off.
  std::optional<std::int64_t> hundredths() const;

  std::string text_or(std::string_view fallback) const;

  /// Compact text of the value; "null" for null.
  std::string dump() const;

 private:
  explicit Value(json_t* owned) : value_(owned) {}
  json_t* value_ = nullptr;
};

/// Text as a JSON string literal, quotes included.
std::string quote(std::string_view text);

}  // namespace stripe_sync::json
