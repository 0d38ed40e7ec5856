#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "http/curl_multi.hpp"

#include "core/no_postgres.hpp"

// One exchange on its libcurl handle; a part of the transport, seen by http/ alone.
namespace stripe_sync::http {

struct CloseEasy {
  void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
};
using Easy = std::unique_ptr<CURL, CloseEasy>;

/// The request's header lines; one of them is the API key, so they are wiped when done with.
class HeaderLines {
 public:
  HeaderLines() = default;
  HeaderLines(const HeaderLines&) = delete;
  HeaderLines& operator=(const HeaderLines&) = delete;
  ~HeaderLines();

  void add(std::string line);
  curl_slist* get() const { return lines_; }

 private:
  curl_slist* lines_ = nullptr;
};

struct Exchange {
  std::uint64_t id = 0;
  Request request;
  Easy easy;
  HeaderLines header_lines;
  Response response;
  std::size_t header_bytes = 0;
  bool headers_complete = false;
  int times_sent = 0;
  bool too_large = false;
  char message[CURL_ERROR_SIZE] = "";
};

/// Prepares the handle for the exchange's request; the exchange must stay where it is.
CURLcode set_options(Exchange& exchange, const CurlOptions& wanted);

/// Why there is no whole response.
Failure failure_of(const Exchange& exchange, CURLcode result);

}  // namespace stripe_sync::http
