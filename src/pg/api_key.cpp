#include "pg/api_key.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "pg/guc.hpp"
#include "pg/role.hpp"
#include "pg/spi.hpp"
#include "pg/time_limit.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace stripe_sync::pg {

namespace {

constexpr const char* set_key_hint =
    "Start the server with STRIPE_SECRET_KEY in its environment, or put the key into a file of the "
    "server's user, set stripe_sync.api_key_file to it and SELECT pg_reload_conf();";

std::string trimmed(const std::string& text) {
  const char* blanks = " \t\r\n";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

bool is_set(const char* setting) {
  return setting != nullptr && *setting != '\0';
}

std::string real_path(const std::string& path) {
  char* real = realpath(path.c_str(), nullptr);
  const std::string found = real == nullptr ? path : real;
  std::free(real);
  return found;
}

Result<std::string> from_vault() {
  // As the view's owner: in a database without Vault anybody may have made a view of that name.
  Rows rows;
  const auto failed = in_transaction([&] {
    const char* name = "vault.decrypted_secrets";
    Rows view;
    as_extension_owner(
        [&] { view = run_once(std::string("SELECT to_regclass('") + name + "')::oid"); });
    if (!view.single()) throw Error(errcode::authentication, "Vault is not installed here");
    const Oid owner = table_owner(static_cast<Oid>(std::stoul(*view.single())));
    as_role(owner, [&] {
      const bool ended = in_time(Millis(guc::table_timeout), [&] {
        rows =
            run_once(std::string("SELECT v.decrypted_secret FROM ") + name +
                     " v WHERE v.name OPERATOR(pg_catalog.=) " + quote_literal(guc::vault_api_key));
      });
      if (!ended) throw Error(errcode::authentication, "Vault did not answer in time");
    });
  });
  if (failed || rows.empty() || !rows.single()) {
    return Error(errcode::authentication,
                 std::string("the Vault secret \"") + guc::vault_api_key + "\" can't be read",
                 failed ? failed->message : "Vault holds no secret of that name.",
                 "Create it in Vault, or correct stripe_sync.vault_api_key.");
  }
  return trimmed(*rows.single());
}

Result<std::string> from_file() {
  struct stat about;
  if (stat(guc::api_key_file, &about) == 0 && !S_ISREG(about.st_mode)) {
    return Error(errcode::authentication,
                 std::string("the key file \"") + guc::api_key_file + "\" can't be read",
                 S_ISDIR(about.st_mode) ? "It is a directory." : "It is not a regular file.",
                 "Correct stripe_sync.api_key_file.");
  }
  std::ifstream file(guc::api_key_file);
  std::stringstream content;
  if (file) content << file.rdbuf();
  if (!file) {
    return Error(errcode::authentication,
                 std::string("the key file \"") + guc::api_key_file + "\" can't be read",
                 strerror(errno),
                 "Make it readable to the server's user, or correct "
                 "stripe_sync.api_key_file.");
  }
  return trimmed(content.str());
}

}  // namespace

Result<std::string> read_api_key() {
  Result<std::string> key = std::string();
  if (is_set(guc::vault_api_key)) {
    key = from_vault();
  } else if (is_set(guc::api_key_file)) {
    key = from_file();
  } else if (const char* environment = std::getenv("STRIPE_SECRET_KEY")) {
    key = trimmed(environment);
  }
  if (key && key.value().empty()) {
    return Error(errcode::authentication, "there is no Stripe key", "", set_key_hint);
  }
  return key;
}

std::string api_key_file_stamp() {
  struct stat file;
  if (!is_set(guc::api_key_file) || stat(guc::api_key_file, &file) != 0) return "";
  return std::to_string(file.st_ino) + "/" + std::to_string(file.st_size) + "/" +
         std::to_string(file.st_mtim.tv_sec) + "." + std::to_string(file.st_mtim.tv_nsec);
}

std::vector<Error> api_key_warnings() {
  std::vector<Error> warnings;
  const bool from_environment = !is_set(guc::vault_api_key) && !is_set(guc::api_key_file);
  if (from_environment && std::getenv("STRIPE_SECRET_KEY") != nullptr &&
      log_min_messages <= DEBUG3) {
    warnings.push_back(Error(errcode::authentication,
                             "the key comes from the environment, which the server writes into its "
                             "log when it starts with log_min_messages = debug3 or lower",
                             "", "Use stripe_sync.api_key_file, or raise log_min_messages."));
  }
  struct stat file;
  if (!is_set(guc::api_key_file) || stat(guc::api_key_file, &file) != 0) return warnings;
  const std::string name = guc::api_key_file;
  if ((file.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    warnings.push_back(
        Error(errcode::authentication, "others can read the key file", name, "chmod 600 " + name));
  }
  const std::string data = real_path(DataDir) + "/";
  if (real_path(name).rfind(data, 0) == 0) {
    warnings.push_back(Error(errcode::authentication,
                             "the key file lies in the data directory: base backups contain it",
                             name, "Move it elsewhere and set stripe_sync.api_key_file."));
  }
  return warnings;
}

}  // namespace stripe_sync::pg
