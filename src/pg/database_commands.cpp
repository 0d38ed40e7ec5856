#include "pg/database_commands.hpp"

#include <signal.h>

#include <cstring>

#include "pg/boundary.hpp"
#include "pg/compat.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/syscache.h"
}

namespace stripe_sync::pg {

namespace {

// Plain C, as every hook.

ProcessUtility_hook_type previous_hook = nullptr;

DefElem* find_option(List* options, const char* name) {
  ListCell* cell;
  foreach (cell, options) {
    DefElem* option = lfirst_node(DefElem, cell);
    if (strcmp(option->defname, name) == 0) return option;
  }
  return nullptr;
}

bool is_template(Oid database) {
  HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
  if (!HeapTupleIsValid(tuple)) return false;
  const bool result = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datistemplate;
  ReleaseSysCache(tuple);
  return result;
}

Oid if_owned(const char* name) {
  const Oid database = get_database_oid(name, true);
  return OidIsValid(database) && owns_database(database, GetUserId()) ? database : InvalidOid;
}

Oid template_of(CreatedbStmt* statement) {
  DefElem* option = find_option(statement->options, "template");
  if (option == nullptr || option->arg == nullptr || !have_createdb_privilege()) return InvalidOid;
  const char* name = defGetString(option);
  const Oid database = get_database_oid(name, true);
  return OidIsValid(database) && is_template(database) ? database : if_owned(name);
}

// The database that the command needs for itself, if the caller may give it.
Oid needed_alone(Node* statement) {
  switch (nodeTag(statement)) {
    case T_DropdbStmt:
      return if_owned(reinterpret_cast<DropdbStmt*>(statement)->dbname);
    case T_CreatedbStmt:
      return template_of(reinterpret_cast<CreatedbStmt*>(statement));
    case T_AlterDatabaseStmt: {
      AlterDatabaseStmt* alter = reinterpret_cast<AlterDatabaseStmt*>(statement);
      const bool moves = find_option(alter->options, "tablespace") != nullptr;
      return moves ? if_owned(alter->dbname) : InvalidOid;
    }
    case T_RenameStmt: {
      RenameStmt* rename = reinterpret_cast<RenameStmt*>(statement);
      const bool of_database = rename->renameType == OBJECT_DATABASE;
      return of_database && have_createdb_privilege() ? if_owned(rename->subname) : InvalidOid;
    }
    default:
      return InvalidOid;
  }
}

// The command itself waits for a moment until nobody else is connected.
void end_worker(Oid database) {
  const int pid = find_worker_pid(database);
  if (pid != 0) kill(pid, SIGTERM);
}

extern "C" void before_command(PlannedStmt* planned, const char* text, bool read_only_tree,
                               ProcessUtilityContext context, ParamListInfo parameters,
                               QueryEnvironment* environment, DestReceiver* receiver,
                               QueryCompletion* completion) {
  const Oid database = needed_alone(planned->utilityStmt);
  if (OidIsValid(database)) end_worker(database);
  const ProcessUtility_hook_type next =
      previous_hook != nullptr ? previous_hook : standard_ProcessUtility;
  next(planned, text, read_only_tree, context, parameters, environment, receiver, completion);
}

}  // namespace

void watch_database_commands() {
  previous_hook = ProcessUtility_hook;
  ProcessUtility_hook = before_command;
}

bool database_command_waits() {
  return pg_call([] {
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
    return LockAcquire(&tag, RowExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL;
  });
}

}  // namespace stripe_sync::pg
