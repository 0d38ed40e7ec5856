#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"

namespace stripe_sync::pg {

/// The Stripe key: from Vault, else the file, else the environment (design: never from a setting).
/// SY001 with HINT when there is none or it can't be read. Outside a transaction.
Result<std::string> read_api_key();

/// Changes when the key's file does; empty without one.
std::string api_key_file_stamp();

/// What is unsafe about where the key lies, in the user's words.
std::vector<Error> api_key_warnings();

}  // namespace stripe_sync::pg
