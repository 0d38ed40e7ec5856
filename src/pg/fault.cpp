#include "pg/fault.hpp"

#if STRIPE_SYNC_TESTING

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>

#include "core/error.hpp"

#include "pg/postgres.hpp"

namespace stripe_sync::pg {

void fault(const char* point) {
  const std::string file = std::string(DataDir) + "/stripe_sync.fault";
  std::string name, action;
  int skip = 0;
  std::ifstream(file) >> name >> skip >> action;
  if (name != point) return;
  if (skip > 0) {
    std::ofstream(file) << name << ' ' << skip - 1 << ' ' << action << '\n';
    return;
  }
  if (action != "crash") std::remove(file.c_str());
  if (action == "kill" || action == "crash") kill(getpid(), SIGKILL);
  if (action == "shutdown") {
    kill(PostmasterPid, SIGQUIT);
    while (true) pause();  // until the postmaster ends us
  }
  if (action == "exception") throw std::runtime_error(std::string("fault at ") + point);
  throw Error(errcode::internal, std::string("fault at ") + point);
}

}  // namespace stripe_sync::pg

#endif
