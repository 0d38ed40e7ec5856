#include "sql/rights.hpp"

using namespace stripe_sync::pg;

namespace stripe_sync::sql {

void require_change(const PromoTable& table) {
  static Statement may{"SELECT stripe_sync.may_change($1::oid, $2::oid)"};
  const std::string caller = std::to_string(pg_call([] { return GetUserId(); }));
  Rows allowed;
  as_extension_owner([&] { allowed = may(caller, std::to_string(table.oid())); });
  if (allowed.single() == Text("t")) return;
  throw Error(sqlstate("42501"), "permission denied to change " + table.label(),
              "It takes the right to update the table.", "Call it as a role that has it.");
}

}  // namespace stripe_sync::sql
