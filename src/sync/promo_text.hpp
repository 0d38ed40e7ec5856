#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Without blanks, tabs and line ends around it.
std::string_view trimmed(std::string_view text);
/// ASCII letters in lower case, trimmed.
std::string lowered(std::string_view text);
/// Equal but for the case of ASCII letters: how Stripe compares codes (stripe.md section 7).
bool same_code(std::string_view a, std::string_view b);
/// Case of `text` ignored; `part` is in lower case.
bool mentions(std::string_view text, std::string_view part);
std::string joined(const std::vector<std::string>& parts, std::string_view between);

/// Byte length of the UTF-8 character at the start of `text`; a stray byte counts as one.
std::size_t character_length(std::string_view text);
std::size_t character_count(std::string_view text);
/// A character to be shown to a person: "a space", "\"_\"", "U+00E9".
std::string character_name(std::string_view character);

/// The first `limit` characters.
std::string_view first_characters(std::string_view text, std::size_t limit);
/// On one line: runs of blanks and control characters become one space.
std::string folded(std::string_view text);
/// At most `limit` characters: cut after a word, an ellipsis in place of the rest.
std::string cut_at_word(std::string_view text, std::size_t limit);

enum class NumberFault { none, not_a_number, too_fine, too_large };

struct Scaled {
  std::int64_t value = 0;  ///< the number times 10^decimals; sign kept
  NumberFault fault = NumberFault::none;
};

/// A decimal text as an integer count of 10^-decimals, exactly; zeros at the end do not count as
/// digits. Up to 17 digits.
Scaled scaled_number(std::string_view text, int decimals);

/// Unix seconds with fraction, rounded down; "Infinity" and "-Infinity" are the type's limits.
std::optional<std::int64_t> unix_time(std::string_view text);
inline constexpr std::int64_t time_never = INT64_MAX;
inline constexpr std::int64_t time_always = INT64_MIN;

/// "2026-12-31 23:59:59+00".
std::string time_text(std::int64_t unix_seconds);

}  // namespace stripe_sync
