#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"
#include "stripe/client.hpp"

#include "core/no_postgres.hpp"

namespace stripe_sync {

/// Another database has the identity of this one: why nothing is written any more. `shown` says by
/// what it showed.
Error written_by_another(std::string shown);

/// One page of what happened to coupons and promotion codes since event `after`; without one, the
/// newest.
stripe::Call read_events(const std::string& after);

/// A page of events, newest first, as far as it concerns an installation.
struct EventPage {
  /// A write to one of its objects, under a key that looks like one of its operations'. (What
  /// people and other programs do has no such key.)
  struct Write {
    std::string event;
    std::string object;
    std::string key;
  };
  std::vector<Write> writes;
  std::string newest;  ///< event; empty = none at all
  bool more = false;   ///< after `newest`

  EventPage(const json::Value& list, const std::string& installation);
};

}  // namespace stripe_sync
