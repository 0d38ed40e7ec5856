#pragma once

#include "pg/promo_table.hpp"

namespace stripe_sync::sql {

/// Throws unless who calls may change this table's promo codes (stripe_sync.may_change).
void require_change(const pg::PromoTable& table);

}  // namespace stripe_sync::sql
