// The launcher's process: sees to it that every database that needs a worker has one. It is
// connected to none, so what a database needs is found out by the worker it is given, which leaves
// at once if that is nothing.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.hpp"

#include "pg/boundary.hpp"
#include "pg/compat.hpp"
#include "pg/guc.hpp"
#include "pg/log.hpp"
#include "pg/start_worker.hpp"
#include "pg/wait.hpp"
#include "pg/worker_lock.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/varlena.h"
}

using namespace stripe_sync::pg;

namespace stripe_sync::worker {

namespace {

// One that takes longer to begin, as while its database is being moved, holds up no other.
constexpr Millis longest_start{2'000};

constexpr int most_doublings = 6;  // to about an hour, between looks at what needs no worker

struct Database {
  Oid oid;
  std::string name;
  bool listed;  ///< in stripe_sync.databases, or that is empty
  bool served = false;
  bool was_served = false;  ///< until a process finds that it needs no worker
  Millis since{0};          ///< has it been served
  int failures = 0;
  int found_idle = 0;                       ///< times in a row
  Millis due{0};                            ///< for a start, unless it is served
  BackgroundWorkerHandle* start = nullptr;  ///< of a process that does not serve it yet
};

std::vector<std::string> listed_names() {
  const List* names = pg_call([] {
    List* list = NIL;
    SplitIdentifierString(pstrdup(guc::databases), ',', &list);  // a wrong one is refused when set
    return list;
  });
  std::vector<std::string> listed;
  ListCell* cell;
  foreach (cell, names) listed.emplace_back(static_cast<const char*>(lfirst(cell)));
  return listed;
}

bool takes_workers(Form_pg_database database) {
  return database->datallowconn && !database->datistemplate &&
         database->datconnlimit != DATCONNLIMIT_INVALID_DB;
}

std::vector<Database> read_databases(const std::vector<std::string>& names) {
  std::vector<Database> found;
  const Relation catalog = pg_call([] { return table_open(DatabaseRelationId, AccessShareLock); });
  const TableScanDesc scan = pg_call([=] { return table_beginscan_catalog(catalog, 0, nullptr); });
  while (HeapTuple row = pg_call([=] { return heap_getnext(scan, ForwardScanDirection); })) {
    Form_pg_database form = reinterpret_cast<Form_pg_database>(GETSTRUCT(row));
    const std::string name = NameStr(form->datname);
    const bool listed = names.empty() || std::count(names.begin(), names.end(), name) > 0;
    if (takes_workers(form)) found.push_back({form->oid, name, listed});
  }
  pg_call([=] {
    table_endscan(scan);
    table_close(catalog, AccessShareLock);
  });
  return found;
}

bool has_ended(BackgroundWorkerHandle* process) {
  return pg_call([=] {
    pid_t pid;
    return GetBackgroundWorkerPid(process, &pid) == BGWH_STOPPED;
  });
}

void forget(BackgroundWorkerHandle*& process) {
  BackgroundWorkerHandle* handle = std::exchange(process, nullptr);
  pg_call([=] { pfree(handle); });
}

class Launcher {
 public:
  void run();

 private:
  void look();
  void check_list(const std::vector<std::string>& listed) const;
  void follow(Database& database, bool served);
  Millis start_due();
  void start(Database& database);
  Millis pause() const { return Millis(guc::well_after); }

  SystemClock clock_;
  std::vector<Database> databases_;
  Oid started_ = InvalidOid;  ///< last
  Millis others_wait_until_{0};
  bool slots_taken_ = false;
  bool list_checked_ = false;
};

void Launcher::look() {
  std::vector<std::string> listed;
  std::vector<Database> found;
  std::vector<Oid> served;
  const auto failed = in_transaction([&] {
    listed = listed_names();
    found = read_databases(listed);
    served = served_databases();
  });
  if (failed) return log_error(LOG, *failed);
  for (Database& database : found) {
    const auto known =
        std::find_if(databases_.begin(), databases_.end(),
                     [&](const Database& other) { return other.oid == database.oid; });
    if (known != databases_.end()) {
      std::swap(known->name, database.name);
      known->listed = database.listed;
      database = std::exchange(*known, {});
    }
    follow(database, std::count(served.begin(), served.end(), database.oid) > 0);
  }
  // One that is not listed was given its worker by a session; from then on it is kept.
  std::erase_if(found, [](const Database& database) {
    return !database.listed && !database.was_served && database.start == nullptr;
  });
  for (Database& gone : databases_) {
    if (gone.start != nullptr) forget(gone.start);
  }
  databases_ = std::move(found);
  if (!std::exchange(list_checked_, true)) check_list(listed);
}

void Launcher::check_list(const std::vector<std::string>& listed) const {
  for (const std::string& name : listed) {
    if (std::none_of(databases_.begin(), databases_.end(),
                     [&](const Database& database) { return database.name == name; })) {
      log_error(LOG, Error(errcode::usage,
                           "database \"" + name +
                               "\" of stripe_sync.databases is not there, or "
                               "allows no connections: it gets no worker before it does"));
    }
  }
}

void Launcher::follow(Database& database, bool served) {
  const Millis now = clock_.steady();
  if (served && !database.served) database.since = now;
  if (!served && database.served) {
    // One that was ended for a command, or by hand, has not failed.
    if (now - database.since >= restart_delay(1)) database.failures = 0;
    database.due = now + restart_delay(++database.failures);
  }
  database.served = served;
  if (served) {
    database.was_served = true;
    database.found_idle = 0;
  }
  if (database.start == nullptr || (!served && !has_ended(database.start))) return;
  forget(database.start);
  if (served) return;
  // Who attaches a table, or asks, starts a worker without us.
  database.was_served = false;
  database.due = now + pause() * (1 << std::min(database.found_idle++, most_doublings));
}

// One after the other, so that many databases that need no worker take one slot. Returns how long
// to wait for the next, unless something happens.
Millis Launcher::start_due() {
  const Millis now = clock_.steady();
  Database* next = nullptr;
  for (Database& database : databases_) {
    if (database.start != nullptr) {
      if (database.oid == started_ && now < others_wait_until_) return others_wait_until_ - now;
    } else if (!database.served && (next == nullptr || database.due < next->due)) {
      next = &database;
    }
  }
  if (next == nullptr) return pause();
  if (next->due > now) return std::min(next->due - now, pause());
  start(*next);
  return next->start != nullptr ? longest_start : pause();
}

void Launcher::start(Database& database) {
  const Millis now = clock_.steady();
  database.start = launch_worker(database.oid, database.name.c_str());
  if (database.start != nullptr) {
    database.due = now + pause();
    started_ = database.oid;
    others_wait_until_ = now + longest_start;
    slots_taken_ = false;
    return;
  }
  for (Database& other : databases_) other.due = std::max(other.due, now + pause());
  if (std::exchange(slots_taken_, true)) return;
  log_error(LOG, Error(errcode::usage,
                       "no worker can be started for database \"" + database.name +
                           "\", nor others: all background worker slots are taken",
                       "max_worker_processes limits them. It is tried again every minute.",
                       "Raise max_worker_processes and restart the server."));
}

void Launcher::run() {
  while (true) {
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      pg_call([] { ProcessConfigFile(PGC_SIGHUP); });
      list_checked_ = false;
    }
    show_activity("looking at the databases");
    look();
    wait_for_latch(start_due());
    pg_call([] { CHECK_FOR_INTERRUPTS(); });
  }
}

void launch(Datum) {
  pg_call([] {
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    ProcessConfigFile(PGC_SIGHUP);
  });
  if (!take_launcher_lock()) return;
  // On the heap: a FATAL leaves by proc_exit without unwinding.
  std::make_unique<Launcher>()->run();
}

}  // namespace
}  // namespace stripe_sync::worker

extern "C" {
PGDLLEXPORT void stripe_sync_launcher_main(Datum argument);
}

void stripe_sync_launcher_main(Datum argument) {
  pg_worker_main(argument, stripe_sync::worker::launch);
  proc_exit(1);
}
