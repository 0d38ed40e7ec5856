#include "sync/promo_text.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace stripe_sync {
namespace {

constexpr std::string_view blanks = " \t\r\n\f\v";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  // U+0080 to U+009F
  return character.size() == 2 && first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::string lowered(std::string_view text) {
  std::string result(trimmed(text));
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

bool same_code(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

bool mentions(std::string_view text, std::string_view part) {
  return lowered(text).find(part) != std::string::npos;
}

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  std::string result;
  for (const std::string& part : parts) {
    if (!result.empty()) result += between;
    result += part;
  }
  return result;
}

std::size_t character_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 1;
  if (length > text.size()) return 1;
  for (std::size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  return length;
}

std::size_t character_count(std::string_view text) {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(character_length(text));
  return count;
}

std::string character_name(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character == " ") return "a space";
  if (character.size() == 1 && first > 0x20 && first < 0x7F)
    return "\"" + std::string(character) + "\"";
  unsigned point = character.size() == 1 ? first : first & (0xFFu >> (character.size() + 1));
  for (char c : character.substr(1)) point = point << 6 | (static_cast<unsigned char>(c) & 0x3Fu);
  char name[16];
  std::snprintf(name, sizeof name, "U+%04X", point);
  return name;
}

std::string_view first_characters(std::string_view text, std::size_t limit) {
  std::size_t bytes = 0;
  for (; limit > 0 && bytes < text.size(); --limit) bytes += character_length(text.substr(bytes));
  return text.substr(0, bytes);
}

std::string folded(std::string_view text) {
  std::string result;
  bool pending_space = false;
  while (!text.empty()) {
    const std::string_view character = text.substr(0, character_length(text));
    text.remove_prefix(character.size());
    if (character == " " || is_control(character)) {
      pending_space = !result.empty();
      continue;
    }
    if (pending_space) result += ' ';
    pending_space = false;
    result += character;
  }
  return result;
}

std::string cut_at_word(std::string_view text, std::size_t limit) {
  if (character_count(text) <= limit) return std::string(text);
  std::string_view cut = first_characters(text, limit - 1);
  // The cut may fall exactly on a word's end; else the begun word goes.
  const auto space = cut.find_last_of(' ');
  if (text[cut.size()] != ' ' && space != std::string_view::npos) cut = cut.substr(0, space);
  const auto end = cut.find_last_not_of(" -,;:(/&+");
  if (end != std::string_view::npos) cut = cut.substr(0, end + 1);
  return std::string(cut) + "\u2026";
}

Scaled scaled_number(std::string_view text, int decimals) {
  text = trimmed(text);
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  const auto point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point);
  std::string_view fraction = point < text.size() ? text.substr(point + 1) : std::string_view();
  if (whole.empty() && fraction.empty()) return {0, NumberFault::not_a_number};
  if (!std::all_of(whole.begin(), whole.end(), is_digit) ||
      !std::all_of(fraction.begin(), fraction.end(), is_digit))
    return {0, NumberFault::not_a_number};

  while (!fraction.empty() && fraction.back() == '0') fraction.remove_suffix(1);
  if (fraction.size() > static_cast<std::size_t>(decimals)) return {0, NumberFault::too_fine};
  std::string digits = std::string(whole) + std::string(fraction);
  digits.append(static_cast<std::size_t>(decimals) - fraction.size(), '0');
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
  if (digits.size() > 17) return {0, NumberFault::too_large};
  std::int64_t value = 0;
  for (char c : digits) value = value * 10 + (c - '0');
  return {negative ? -value : value, NumberFault::none};
}

std::optional<std::int64_t> unix_time(std::string_view text) {
  const std::string word = lowered(text);
  if (word == "infinity") return time_never;
  if (word == "-infinity") return time_always;
  const auto point = std::min(word.find('.'), word.size());
  const Scaled whole = scaled_number(std::string_view(word).substr(0, point), 0);
  const Scaled exact = scaled_number(word, 9);  // finer than PostgreSQL's microseconds
  if (exact.fault == NumberFault::not_a_number || whole.fault != NumberFault::none)
    return std::nullopt;
  const bool has_fraction = word.find_first_not_of(".0", point) != std::string::npos;
  return word[0] == '-' && has_fraction ? whole.value - 1 : whole.value;
}

std::string time_text(std::int64_t unix_seconds) {
  using namespace std::chrono;
  // The years that four digits can show; anything else is no time a person meant.
  if (unix_seconds < -62'167'219'200 || unix_seconds > 253'402'300'799)
    return unix_seconds < 0 ? "-infinity" : "infinity";
  const sys_seconds moment{seconds(unix_seconds)};
  const auto day = floor<days>(moment);
  const year_month_day date(day);
  const auto clock = (moment - day).count();
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u %02d:%02d:%02d+00",
                static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(clock / 3600),
                static_cast<int>(clock / 60 % 60), static_cast<int>(clock % 60));
  return text;
}

}  // namespace stripe_sync
