#pragma once

namespace stripe_sync::pg {

/// Lets DROP DATABASE and other commands that need a database for themselves end its worker first;
/// from _PG_init when preloaded, as the launcher starts it again.
void watch_database_commands();

/// In a worker that has just begun, in a transaction: whether such a command is under way, and so
/// waits for this process to leave.
bool database_command_waits();

}  // namespace stripe_sync::pg
