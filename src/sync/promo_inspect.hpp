#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sync/promo_plan.hpp"
#include "sync/promo_row.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// A row with what is known of it.
struct Examined {
  PromoRow row;
  AttachSettings settings;
  Observed observed;
  std::int64_t used_before = 0;
  std::int64_t now = 0;
  /// What the worker said of this very version of the row, prices at hand; nothing = it has not
  /// come to a verdict about it yet.
  std::optional<Settled> verdict;
};

struct Finding {
  enum class Severity { error, warning, info };
  Severity severity = Severity::error;
  std::string column;  ///< item that it is about; empty = none
  std::string what;
  std::string detail;
  std::string remedy;
  bool fixable = false;  ///< repairs_of() mends it
};
const char* severity_name(Finding::Severity severity);

/// Something that can be mended in the row itself.
struct Repair {
  struct Change {
    std::string column;
    std::optional<std::string> value;
  };
  std::vector<Change> changes;
  std::string why;
  bool touches_money = false;  ///< what is sold changes: only when the code is named
};

/// Everything in which the row is wrong or suspicious, gravest first, and what an owner should know
/// of it besides. Pure. What only prices can tell is taken from the verdict.
std::vector<Finding> findings_of(const Examined& examined);

/// Repairs that leave no doubt about what was meant.
std::vector<Repair> repairs_of(const Examined& examined);

}  // namespace stripe_sync
