#include "http/curl_multi.hpp"

#include <curl/curl.h>
#include <signal.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <new>

#include "core/error.hpp"
#include "http/curl_exchange.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync::http {
namespace {

constexpr std::size_t max_spare_handles = 8;

using SteadyClock = std::chrono::steady_clock;

/// libcurl resolves names in threads of its own. They inherit the signal mask of the moment they
/// are started in, and must never run one of PostgreSQL's signal handlers.
class SignalMask {
 public:
  SignalMask() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalMask() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalMask(const SignalMask&) = delete;
  SignalMask& operator=(const SignalMask&) = delete;

 private:
  sigset_t before_;
};

struct CloseMulti {
  void operator()(CURLM* multi) const noexcept { curl_multi_cleanup(multi); }
};
using Multi = std::unique_ptr<CURLM, CloseMulti>;

/// Else it could bring header lines of its own.
bool is_one_line(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

class CurlTransport final : public Transport {
 public:
  explicit CurlTransport(const CurlOptions& options) : options_(options) {
    if (!multi_) throw std::bad_alloc();
    curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &on_socket);
    curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, &on_timer);
    curl_multi_setopt(multi_.get(), CURLMOPT_TIMERDATA, this);
  }

  ~CurlTransport() override {
    for (auto& [id, exchange] : exchanges_) {
      curl_multi_remove_handle(multi_.get(), exchange->easy.get());
    }
  }

  std::uint64_t submit(Request request) override;
  const std::vector<Socket>& sockets() const override { return sockets_; }
  bool take_sockets_changed() override { return std::exchange(sockets_changed_, false); }
  std::optional<Millis> timeout() const override;
  void on_ready(int fd, unsigned readiness) override;
  void on_timeout() override;
  std::optional<Outcome> take() override;
  std::size_t in_flight() const override { return exchanges_.size() + finished_.size(); }
  void cancel(std::uint64_t id) override;

 private:
  static int on_socket(CURL*, curl_socket_t fd, int what, void* user, void*) noexcept;
  static int on_timer(CURLM*, long timeout_ms, void* user) noexcept;

  void watch(int fd, int what);
  void act(curl_socket_t fd, int readiness);
  void collect_finished();
  void finish(Exchange& exchange, CURLcode result);
  std::unique_ptr<Exchange> prepare(Request request);
  void release(std::uint64_t id);

  const CurlOptions options_;
  // Closing the multi handle still calls back: what the callbacks use must outlive it.
  std::vector<Socket> sockets_;
  bool sockets_changed_ = false;
  bool callback_failed_ = false;
  std::optional<SteadyClock::time_point> deadline_;
  Multi multi_{curl_multi_init()};
  std::map<std::uint64_t, std::unique_ptr<Exchange>> exchanges_;
  std::deque<Outcome> finished_;
  std::vector<Easy> spare_;
  std::uint64_t last_id_ = 0;
};

int CurlTransport::on_socket(CURL*, curl_socket_t fd, int what, void* user, void*) noexcept {
  auto& self = *static_cast<CurlTransport*>(user);
  try {
    self.watch(fd, what);
  } catch (...) {
    // An error returned here would make the multi handle unusable; act() reports it instead.
    self.callback_failed_ = true;
  }
  return 0;
}

int CurlTransport::on_timer(CURLM*, long timeout_ms, void* user) noexcept {
  auto& self = *static_cast<CurlTransport*>(user);
  if (timeout_ms < 0) {
    self.deadline_.reset();
  } else {
    self.deadline_ = SteadyClock::now() + Millis(timeout_ms);
  }
  return 0;
}

void CurlTransport::watch(int fd, int what) {
  const auto known = std::find_if(sockets_.begin(), sockets_.end(),
                                  [fd](const Socket& socket) { return socket.fd == fd; });
  if (what == CURL_POLL_REMOVE) {
    if (known == sockets_.end()) return;
    sockets_.erase(known);
    sockets_changed_ = true;
    return;
  }
  const unsigned interest =
      ((what & CURL_POLL_IN) != 0 ? readable : 0u) | ((what & CURL_POLL_OUT) != 0 ? writable : 0u);
  if (known == sockets_.end()) {
    sockets_.push_back({fd, interest});
  } else if (known->interest != interest) {
    known->interest = interest;
  } else {
    return;
  }
  sockets_changed_ = true;
}

std::unique_ptr<Exchange> CurlTransport::prepare(Request request) {
  auto exchange = std::make_unique<Exchange>();
  exchange->id = ++last_id_;
  exchange->request = std::move(request);
  for (auto& [name, value] : exchange->request.headers) {
    exchange->header_lines.add(name + ": " + value);
    explicit_bzero(value.data(), value.size());
  }
  // libcurl would wait a second for leave to send a large body.
  exchange->header_lines.add("Expect:");
  if (spare_.empty()) {
    exchange->easy.reset(curl_easy_init());
  } else {
    exchange->easy = std::move(spare_.back());
    spare_.pop_back();
  }
  if (!exchange->easy) throw std::bad_alloc();
  return exchange;
}

std::uint64_t CurlTransport::submit(Request request) {
  for (const auto& [name, value] : request.headers) {
    if (is_one_line(name) && is_one_line(value)) continue;
    finished_.push_back({++last_id_, std::nullopt, {"a line break in a request header", true}});
    return last_id_;
  }
  auto prepared = prepare(std::move(request));
  const std::uint64_t id = prepared->id;
  Exchange& exchange = *exchanges_.emplace(id, std::move(prepared)).first->second;
  const CURLcode result = set_options(exchange, options_);
  if (result != CURLE_OK) {
    finish(exchange, result);
    return id;
  }
  const SignalMask mask;
  const CURLMcode added = curl_multi_add_handle(multi_.get(), exchange.easy.get());
  if (added != CURLM_OK) finish(exchange, CURLE_FAILED_INIT);
  return id;
}

std::optional<Millis> CurlTransport::timeout() const {
  if (!finished_.empty()) return Millis(0);
  if (!deadline_) return std::nullopt;
  return std::max(Millis(0), std::chrono::ceil<Millis>(*deadline_ - SteadyClock::now()));
}

void CurlTransport::on_ready(int fd, unsigned readiness) {
  act(fd, ((readiness & readable) != 0 ? CURL_CSELECT_IN : 0) |
              ((readiness & writable) != 0 ? CURL_CSELECT_OUT : 0));
}

void CurlTransport::on_timeout() {
  deadline_.reset();
  act(CURL_SOCKET_TIMEOUT, 0);
}

void CurlTransport::act(curl_socket_t fd, int readiness) {
  int running = 0;
  CURLMcode result = CURLM_OK;
  {
    const SignalMask mask;
    result = curl_multi_socket_action(multi_.get(), fd, readiness, &running);
  }
  if (std::exchange(callback_failed_, false)) throw std::bad_alloc();
  if (result == CURLM_OUT_OF_MEMORY) throw std::bad_alloc();
  if (result != CURLM_OK) {
    throw Error(errcode::internal, std::string("libcurl: ") + curl_multi_strerror(result));
  }
  collect_finished();
}

void CurlTransport::collect_finished() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode result = message->data.result;
    void* exchange = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
    finish(*static_cast<Exchange*>(exchange), result);
  }
}

void CurlTransport::finish(Exchange& exchange, CURLcode result) {
  Outcome outcome;
  outcome.id = exchange.id;
  // To libcurl, a connection closed amid the headers is the end of a whole answer.
  if (result == CURLE_OK && exchange.headers_complete) {
    curl_easy_getinfo(exchange.easy.get(), CURLINFO_RESPONSE_CODE, &exchange.response.status);
    exchange.response.sent_again = exchange.times_sent > 1;
    outcome.response = std::move(exchange.response);
  } else {
    outcome.failure = failure_of(exchange, result);
  }
  finished_.push_back(std::move(outcome));
  release(exchange.id);
}

void CurlTransport::release(std::uint64_t id) {
  const auto found = exchanges_.find(id);
  Exchange& exchange = *found->second;
  curl_multi_remove_handle(multi_.get(), exchange.easy.get());
  // A handle used before resumes its TLS session.
  if (spare_.size() < max_spare_handles) {
    curl_easy_reset(exchange.easy.get());
    spare_.push_back(std::move(exchange.easy));
  }
  exchanges_.erase(found);
}

std::optional<Outcome> CurlTransport::take() {
  if (finished_.empty()) return std::nullopt;
  std::optional<Outcome> outcome(std::move(finished_.front()));
  finished_.pop_front();
  return outcome;
}

void CurlTransport::cancel(std::uint64_t id) {
  if (exchanges_.count(id) != 0) {
    release(id);
    return;
  }
  const auto found = std::find_if(finished_.begin(), finished_.end(),
                                  [id](const Outcome& outcome) { return outcome.id == id; });
  if (found != finished_.end()) finished_.erase(found);
}

}  // namespace

std::unique_ptr<Transport> make_curl_transport(const CurlOptions& options) {
  const CURLcode result = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (result != CURLE_OK) {
    throw Error(errcode::internal, std::string("libcurl: ") + curl_easy_strerror(result));
  }
  return std::make_unique<CurlTransport>(options);
}

}  // namespace stripe_sync::http
