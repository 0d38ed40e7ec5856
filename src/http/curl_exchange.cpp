#include "http/curl_exchange.hpp"

#include <string.h>

#include <algorithm>
#include <new>

#include "core/error.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync::http {
namespace {

constexpr std::size_t max_header_bytes = 256u << 10;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

void add_header_line(Exchange& exchange, std::string_view line) {
  Headers& headers = exchange.response.headers;
  // A status line: what came before belonged to an interim answer (100 Continue).
  if (line.substr(0, 5) == "HTTP/") {
    headers.clear();
    exchange.headers_complete = false;
    return;
  }
  if (trim(line).empty()) exchange.headers_complete = true;
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  std::string name(trim(line.substr(0, colon)));
  std::transform(name.begin(), name.end(), name.begin(), lower);
  headers.emplace_back(std::move(name), trim(line.substr(colon + 1)));
}

// libcurl's callbacks: nothing may leave them, and any number but `size` ends the exchange.

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) noexcept {
  auto& exchange = *static_cast<Exchange*>(user);
  try {
    exchange.header_bytes += size;
    exchange.too_large = exchange.header_bytes > max_header_bytes;
    if (exchange.too_large) return 0;
    add_header_line(exchange, std::string_view(data, size));
    return size;
  } catch (...) {
    return 0;
  }
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) noexcept {
  auto& exchange = *static_cast<Exchange*>(user);
  try {
    std::string& body = exchange.response.body;
    exchange.too_large = size > exchange.request.max_body - body.size();
    if (exchange.too_large) return 0;
    body.append(data, size);
    return size;
  } catch (...) {
    return 0;
  }
}

#if LIBCURL_VERSION_NUM >= 0x075000
int on_sending(void* user, char*, char*, int, int) noexcept {
  ++static_cast<Exchange*>(user)->times_sent;
  return CURL_PREREQFUNC_OK;
}
#endif

/// Sets options until one is not accepted: none of them may be missing silently.
class Options {
 public:
  explicit Options(CURL* easy) : easy_(easy) {}
  template <class Value>
  void set(CURLoption option, Value value) {
    if (result_ == CURLE_OK) result_ = curl_easy_setopt(easy_, option, value);
  }
  CURLcode result() const { return result_; }

 private:
  CURL* easy_;
  CURLcode result_ = CURLE_OK;
};

void set_security(Options& options, const CurlOptions& wanted) {
#if LIBCURL_VERSION_NUM >= 0x075500
  options.set(CURLOPT_PROTOCOLS_STR, wanted.allow_plain_http ? "http,https" : "https");
#else
  options.set(CURLOPT_PROTOCOLS,
              static_cast<long>(CURLPROTO_HTTPS | (wanted.allow_plain_http ? CURLPROTO_HTTP : 0)));
#endif
  // Plain HTTP is for this machine alone: never through the environment's proxy.
  if (wanted.allow_plain_http) options.set(CURLOPT_PROXY, "");
  options.set(CURLOPT_SSL_VERIFYPEER, 1L);
  options.set(CURLOPT_SSL_VERIFYHOST, 2L);
  options.set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  options.set(CURLOPT_FOLLOWLOCATION, 0L);
}

/// To libcurl, zero would mean no limit.
long milliseconds(Millis limit) {
  return static_cast<long>(std::max(limit, Millis(1)).count());
}

void set_request(Options& options, Exchange& exchange) {
  const Request& request = exchange.request;
  options.set(CURLOPT_URL, request.url.c_str());
  // Ids are the user's: one named ".." must not lead elsewhere.
  options.set(CURLOPT_PATH_AS_IS, 1L);
  if (request.method == "POST") {
    options.set(CURLOPT_POST, 1L);
    options.set(CURLOPT_POSTFIELDS, request.body.c_str());
    options.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  } else if (request.method != "GET") {
    options.set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  if (!request.ca_file.empty()) options.set(CURLOPT_CAINFO, request.ca_file.c_str());
  options.set(CURLOPT_HTTPHEADER, exchange.header_lines.get());
  options.set(CURLOPT_CONNECTTIMEOUT_MS, milliseconds(request.connect_timeout));
  options.set(CURLOPT_TIMEOUT_MS, milliseconds(request.timeout));
}

/// Whether the server can't have seen anything of the request.
bool never_sent(CURL* easy, CURLcode result) {
  // libcurl sends again by itself when a kept connection turns out to be closed; the second
  // attempt's failure to connect then says nothing about the first.
  long sent = 0;
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent);
  if (sent != 0) return false;
  curl_off_t ready_to_send = 0;
  curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &ready_to_send);
  switch (result) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return true;
    case CURLE_OPERATION_TIMEDOUT:
      return ready_to_send == 0;
    default:
      return false;
  }
}

}  // namespace

HeaderLines::~HeaderLines() {
  for (curl_slist* line = lines_; line != nullptr; line = line->next) {
    explicit_bzero(line->data, strlen(line->data));
  }
  curl_slist_free_all(lines_);
}

void HeaderLines::add(std::string line) {
  curl_slist* const longer = curl_slist_append(lines_, line.c_str());
  explicit_bzero(line.data(), line.size());
  if (longer == nullptr) throw std::bad_alloc();
  lines_ = longer;
}

CURLcode set_options(Exchange& exchange, const CurlOptions& wanted) {
  Options options(exchange.easy.get());
  set_security(options, wanted);
  set_request(options, exchange);
  options.set(CURLOPT_NOSIGNAL, 1L);
  options.set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
#if LIBCURL_VERSION_NUM >= 0x075700
  // Else ending an exchange waits for its resolver thread: for as long as DNS likes to hang.
  options.set(CURLOPT_QUICK_EXIT, 1L);
#endif
#if LIBCURL_VERSION_NUM >= 0x075000
  options.set(CURLOPT_PREREQFUNCTION, &on_sending);
  options.set(CURLOPT_PREREQDATA, static_cast<void*>(&exchange));
#else
  exchange.times_sent = 2;  // can't be told
#endif
  options.set(CURLOPT_PRIVATE, static_cast<void*>(&exchange));
  options.set(CURLOPT_ERRORBUFFER, exchange.message);
  options.set(CURLOPT_HEADERFUNCTION, &on_header);
  options.set(CURLOPT_HEADERDATA, static_cast<void*>(&exchange));
  options.set(CURLOPT_WRITEFUNCTION, &on_body);
  options.set(CURLOPT_WRITEDATA, static_cast<void*>(&exchange));
  return options.result();
}

Failure failure_of(const Exchange& exchange, CURLcode result) {
  Failure failure;
  if (exchange.too_large) {
    failure.message = "the answer is too large (more than " +
                      std::to_string(exchange.request.max_body) + " bytes)";
  } else if (result == CURLE_OK) {
    failure.message = "the answer ended within its headers";
  } else {
    failure.message = printable(*exchange.message ? exchange.message : curl_easy_strerror(result));
  }
  failure.never_sent = never_sent(exchange.easy.get(), result);
  return failure;
}

}  // namespace stripe_sync::http
