#include "pg/role.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/syscache.h"
}

namespace stripe_sync::pg {

namespace {

Extension scan_extension() {
  Extension found;
  Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
              CStringGetDatum("stripe_sync"));
  SysScanDesc scan = systable_beginscan(catalog, ExtensionNameIndexId, true, nullptr, 1, &key);
  HeapTuple tuple = systable_getnext(scan);
  if (HeapTupleIsValid(tuple)) {
    Form_pg_extension form = reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple));
    found.oid = form->oid;
    found.owner = form->extowner;
    found.schema = form->extnamespace;
  }
  systable_endscan(scan);
  table_close(catalog, AccessShareLock);
  return found;
}

}  // namespace

Extension find_extension() {
  return pg_call([] { return scan_extension(); });
}

bool lock_extension() {
  const Extension before = find_extension();
  if (!OidIsValid(before.oid)) return false;
  pg_call([=] { LockDatabaseObject(ExtensionRelationId, before.oid, 0, AccessShareLock); });
  return find_extension().oid == before.oid;
}

Oid extension_owner() {
  const Extension extension = find_extension();
  if (!OidIsValid(extension.oid)) {
    throw Error(errcode::usage, "the extension stripe_sync is not installed in this database", "",
                "CREATE EXTENSION stripe_sync;");
  }
  return extension.owner;
}

Oid table_owner(Oid table) {
  const Oid owner = pg_call([=] {
    Oid result = InvalidOid;
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
    if (HeapTupleIsValid(tuple)) {
      result = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
      ReleaseSysCache(tuple);
    }
    return result;
  });
  if (!OidIsValid(owner)) throw Error(sqlstate("42P01"), "the promo table does not exist");
  return owner;
}

namespace detail {

RoleState enter_role(Oid role, const char* search_path) {
  return pg_call([=] {
    RoleState before;
    GetUserIdAndSecContext(&before.user, &before.security);
    before.nest_level = NewGUCNestLevel();
    SetUserIdAndSecContext(
        role, before.security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
    set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
                      false);
    if (search_path != nullptr) {
      set_config_option("search_path", search_path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
                        true, 0, false);
    }
    return before;
  });
}

void leave_role(const RoleState& before) {
  const RoleState* b = &before;
  pg_call([=] {
    AtEOXact_GUC(false, b->nest_level);
    SetUserIdAndSecContext(b->user, b->security);
  });
}

}  // namespace detail
}  // namespace stripe_sync::pg
