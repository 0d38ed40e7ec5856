#include "http/transport.hpp"

namespace stripe_sync::http {

std::optional<std::string> Response::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return std::nullopt;
}

}  // namespace stripe_sync::http
