#pragma once
// Whose rights a statement runs with. Our own tables: the extension's owner. A user's table: that
// table's owner, so that code attached to it (index expressions, triggers, policies) gains nothing.

#include "core/error.hpp"

#include "pg/boundary.hpp"
#include "pg/worker_lock.hpp"

namespace stripe_sync::pg {

/// The extension's oid and owner; InvalidOid when it is not installed here.
struct Extension {
  Oid oid = InvalidOid;
  Oid owner = InvalidOid;
  Oid schema = InvalidOid;  ///< of the public functions
};
Extension find_extension();

/// Locks the extension against being dropped until the transaction ends; false if it is gone.
bool lock_extension();

/// The extension's owner; throws when the extension is gone.
Oid extension_owner();
Oid table_owner(Oid table);

namespace detail {
struct RoleState {
  Oid user;
  int security;
  int nest_level;
};
RoleState enter_role(Oid role, const char* search_path);
void leave_role(const RoleState& before);
}  // namespace detail

/// Runs `f` as a user's role in a security-restricted operation, with row_security off and settings
/// made inside undone. The search_path stays the database's own: the table's triggers may need it.
/// On failure the (sub)transaction's abort restores the user.
template <class F>
void as_role(Oid role, const F& f) {
  const detail::RoleState before = detail::enter_role(role, nullptr);
  f();
  detail::leave_role(before);
}

/// The same as the owner of a table of the user's that we made, who may be anybody: with a
/// search_path nobody else can put things into.
template <class F>
void as_keeper(Oid role, const F& f) {
  const detail::RoleState before = detail::enter_role(role, "pg_catalog, pg_temp");
  f();
  detail::leave_role(before);
}

/// The same as the extension's owner, with a search_path nobody else can put things into.
template <class F>
void as_extension_owner(const F& f) {
  const detail::RoleState before = detail::enter_role(extension_owner(), "pg_catalog, pg_temp");
  f();
  detail::leave_role(before);
}

/// A transaction of the worker's own in which the extension is known to stay. Does nothing once it
/// is gone: the worker then ends at its next round.
template <class F>
std::optional<Error> in_extension_transaction(const F& f) {
  return in_transaction([&] {
    keep_worker_lock();
    if (lock_extension()) f();
  });
}

}  // namespace stripe_sync::pg
