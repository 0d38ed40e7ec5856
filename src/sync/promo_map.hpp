#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sync/promo_row.hpp"

#include "core/no_postgres.hpp"

// Inside of map_promo(): what its steps share.

namespace stripe_sync {

/// One row being mapped.
struct Mapping {
  const PromoRow& row;
  const AttachSettings& settings;
  const Catalog& catalog;
  std::int64_t used_before;
  std::int64_t now;
  Desired desired = {};
  NeedPrices need = {};

  bool needs_prices() const {
    return !need.references.empty() || !need.products.empty() || need.yearly_prices;
  }
};

/// Why a step can't be done; nothing = done (or more prices are needed: Mapping::need).
using Refusal = std::optional<Error>;

/// SY005: `message` one sentence with the value, `detail` what Stripe needs, `hint` what to change.
Error invalid(std::string message, std::string detail, std::string hint);
/// The same about one item of the row.
Error invalid(const char* column, std::string message, std::string detail, std::string hint);
/// The error of a value, with the column it stands in.
Error in_column(const char* column, Error error);

/// A column's text, trimmed; empty = NULL, blank, or no such column.
std::string text_of(const PromoRow& row, const char* column);
/// " (custom_monthly_price holds 50.00)": filled columns where the value was perhaps meant to go.
std::string filled_columns(const PromoRow& row, std::initializer_list<const char*> columns);

/// Discount and products: promo_map_terms.cpp.
Refusal map_terms(Mapping& mapping);
/// Adds to what the user is warned of.
void warn(Mapping& mapping, const char* column, std::string text, std::string remedy = {});
/// Duration from the row's column, else the settings' (of a custom price: forever).
Refusal map_duration(Mapping& mapping);
/// applies_to from the row's column, else the settings.
void map_products(Mapping& mapping);
/// What is probably not meant, though it can be sent.
void add_warnings(Mapping& mapping);

/// Discount and products of a custom_price row: promo_price.cpp.
Refusal map_custom_price(Mapping& mapping);

}  // namespace stripe_sync
