#pragma once

#include <memory>

#include "http/transport.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync::http {

struct CurlOptions {
  /// http:// is refused unless set: only for a sandbox on this machine (proxies are then unused).
  bool allow_plain_http = false;
};

/// libcurl's multi interface. To be made once per process that talks to Stripe, never in the
/// postmaster. TLS is always verified, redirects are never followed.
std::unique_ptr<Transport> make_curl_transport(const CurlOptions& options);

}  // namespace stripe_sync::http
