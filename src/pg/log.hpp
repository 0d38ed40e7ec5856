#pragma once

#include "core/error.hpp"

#include "pg/boundary.hpp"

namespace stripe_sync::pg {

/// Writes to the server log (LOG, DEBUG1) or to the client (WARNING); never raises.
void log_error(int level, const Error& error);
void log_line(int level, const std::string& message);

}  // namespace stripe_sync::pg
