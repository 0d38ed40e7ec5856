#include "pg/log.hpp"

namespace stripe_sync::pg {

void log_error(int level, const Error& error) {
  const char* message = error.message.c_str();
  const char* detail = error.detail.c_str();
  const char* hint = error.hint.c_str();
  const int code = error.sqlstate;
  pg_call([=] {
    ereport(level, (::errcode(code), errmsg_internal("stripe_sync: %s", message),
                    *detail != '\0' ? errdetail_internal("%s", detail) : 0,
                    *hint != '\0' ? errhint("%s", hint) : 0));
  });
}

void log_line(int level, const std::string& message) {
  log_error(level, Error(0, message));
}

}  // namespace stripe_sync::pg
