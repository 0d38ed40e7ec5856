#pragma once

#include "fake_world.hpp"
#include "offer.hpp"
#include "sync/promo_reverse.hpp"

// What happens at random to rows, to Stripe's objects, to the way between them, to the worker and
// to its clock.

namespace stripe_sync::testing {

class Chaos {
 public:
  explicit Chaos(unsigned seed) : world(seed) {
    world.limits.max_parallel = 1 + world.pick(5);
    world.engine->set_limits(world.limits);
    world.set_clock(skew());
    world.stripe.refuses = [this](const Received& in) { return refused(in); };
    world.transport.fate = [this](const Received& request) {
      if (open_ && world.pick(10) == 0) redeem();
      seen(request);
      return fate(request);
    };
    for (int i = 0; i < 12; ++i) insert();
  }

  World world;
  std::function<void(const Received&)> seen = [](const Received&) {};  ///< before it leaves

  void round() {
    open_ = true;
    for (int i = world.pick(4); i >= 0; --i) happen();
    if (world.engine->blocked() && world.pick(4) == 0) unblock();
    const int lengths[] = {1, 10, 60, 500, 5'000, 40'000};
    for (int i = 0; i < 20 && !::testing::Test::HasFatalFailure(); ++i) {
      try {
        world.step(Millis(lengths[world.pick(6)]));
      } catch (const Kill&) {
        restart();
      }
    }
  }

  /// All that troubles the worker ends, and what only a person can bring on is brought on.
  void heal() {
    mood_ = calm;
    open_ = false;
    kill_after_ = 0;
    switches_refused_ = false;
    for (auto& [key, state] : world.store.rows) state.locked = state.row_locked = false;
    for (const std::string& key : stolen_) give_back(key);
    stolen_.clear();
    world.set_clock(skew());
    unblock();
    settle();
    show_what_was_done();
  }

  void settle() {
    // A push that lost its lease ends later than its row; and a row's time may have come.
    const auto done = [this] {
      if (world.engine->blocked()) unblock();  // by an answer that was under way
      const auto due = world.store.next_due();
      return world.store.all_settled() && world.engine->jobs() == 0 && (!due || *due > Millis(0));
    };
    EXPECT_GE(world.run_until(done), Millis(0)) << "not settled" << unsettled();
  }

  /// The row that it is of, by its mark or since it was adopted; empty = none.
  std::string owner(const std::string& id, const FakeStripe::Fields& code) const {
    const auto found = world.store.linked.find(id);
    if (found != world.store.linked.end()) return found->second;
    const std::string mark = FakeStripe::field(code, "metadata[stripe_sync_row]");
    const std::string key = mark.substr(mark.rfind('/') + 1);
    return key.substr(0, key.find('~'));
  }
  static bool by_hand(const std::string& id) { return id.rfind("hand_", 0) == 0; }

 private:
  struct Kill {};
  enum Mood { calm, flaky, unreachable, silent, failing, limiting, denying, slow, moods };

  std::string unsettled() const {
    std::string text;
    for (const auto& [key, row] : world.store.rows)
      if (!row.settled()) text += "; row " + key + " " + row.state + " " + row.reason.message;
    return text;
  }

  // --- rows ---

  std::string any_row() {
    auto row = world.store.rows.begin();
    std::advance(row, world.pick(static_cast<int>(world.store.rows.size())));
    return row->first;
  }
  std::string one_of(std::initializer_list<const char*> values) {
    return values.begin()[world.pick(static_cast<int>(values.size()))];
  }
  std::string moment(std::initializer_list<std::int64_t> ahead) {
    const int which = world.pick(static_cast<int>(ahead.size()) + 1);
    if (which == 0) return "NULL";
    return std::to_string(world.clock.unix_seconds() + ahead.begin()[which - 1]);
  }
  std::string text() { return one_of({"TEXT", "Text", "text"}) + std::to_string(world.pick(5)); }

  void insert(Values values = {}, std::string key = "") {
    if (key.empty()) key = std::to_string(++inserted_);
    if (world.pick(4) == 0) {
      values["discount_type"] = "custom_price";
      values["discount_value"] = "NULL";
      values["stripe_product_id"] = "NULL";
      values["custom_monthly_price"] = "99.50";
    }
    if (world.pick(6) == 0) values["is_active"] = "false";
    if (world.pick(3) == 0) values["max_uses"] = one_of({"1", "2", "5"});
    if (world.pick(3) == 0) values["used_count"] = one_of({"1", "3"});
    if (world.pick(8) == 0) values.emplace("code", text());
    world.insert(key, values);
  }

  Values terms(const PromoRow& row) {
    if (*row.get(item::discount_type) == "custom_price")
      return {{"custom_monthly_price", one_of({"49.75", "99.50", "99.50", "0", "-1"})}};
    if (world.pick(6) == 0) return {{"discount_type", one_of({"percentage", "fixed"})}};
    return {{"discount_value", one_of({"40", "50", "50.00", "12.5", "13", "150", "NULL"})}};
  }
  Values restriction() {
    switch (world.pick(3)) {
      case 0:
        return {{"stripe_customer_id", one_of({"NULL", "cus_1", "cus_gone"})}};
      case 1:
        return {{"first_time_only", one_of({"NULL", "true", "false"})}};
      default:
        return {{"minimum_amount", one_of({"NULL", "20"})}};
    }
  }
  Values change(const PromoRow& row) {
    switch (world.pick(18)) {
      case 0:
      case 1:
        return {{"description", one_of({"Text 0", "Text 1", "Text 2", "NULL", "Refused"})}};
      case 2:
      case 3:
        return terms(row);
      case 4:
        return {{"duration", one_of({"NULL", "once", "forever", "repeating"})},
                {"duration_in_months", one_of({"NULL", "3"})}};
      case 5:
      case 6:
        return {{"max_uses", one_of({"NULL", "1", "2", "5", "9"})}};
      case 7:
        return {{"expires_at", moment({-10, 60, 3'600, 9 * day})}};
      case 8:
        return {{"starts_at", moment({-10, 60, 3'600, 2 * day})}};
      case 9:
        return {{"code", text()}};
      case 10:
        return {{"used_count", one_of({"NULL", "0", "2", "7"})}};
      case 11:
        return {{"stripe_product_id", one_of({"NULL", "prod_plan", "prod_fee"})}};
      case 12:
        return restriction();
      case 13:
        return {{"sync_status", one_of({"manual", "pending", "NULL"})}};
      default:
        return {{"is_active", one_of({"true", "true", "false"})}};
    }
  }
  void edit(const std::string& key) {
    const auto& row = world.row(key);
    if (row.deleted) return insert({{"code", row.code}}, key);
    if (row.locked && world.pick(2)) world.store.lock(key, false);
    world.edit(key, change(row.row));
  }
  void remove(const std::string& key) {
    if (world.row(key).deleted) return;
    const std::string code = world.row(key).code;
    world.store.remove(key);
    return world.pick(3) ? insert({{"code", code}}) : world.engine->look_for_due();
  }
  void swap(const std::string& a, const std::string& b) {
    if (world.row(a).deleted || world.row(b).deleted) return;
    const std::string code = world.row(a).code;
    world.store.edit(a, {{"code", world.row(b).code}});
    world.edit(b, {{"code", code}});
  }
  void resolve(const std::string& key) {
    const auto& row = world.row(key);
    const Observed held = Observed::parse(row.observed);
    if (row.state != "conflict" || !held.rival || world.store.holder(held.rival->id, "")) return;
    if (world.pick(2)) {
      world.store.take_over(key);
      return world.engine->look_for_due();
    }
    const std::set<std::string> columns = {"code",     "discount_type",      "discount_value",
                                           "duration", "duration_in_months", "stripe_product_id",
                                           "max_uses", "expires_at",         "is_active",
                                           "starts_at"};
    const auto items =
        items_from_stripe(row.row, world.store.attached, columns, *held.rival_coupon, *held.rival,
                          uses_before(row.row, row.used_before), world.clock.unix_seconds());
    if (!items) return;
    Values values;
    for (const auto& [item, value] : items.value()) values[item] = value.value_or("NULL");
    world.edit(key, values);
  }

  // --- Stripe ---

  /// A customer. What was used up, nobody is told.
  void redeem() {
    if (world.stripe.codes.empty()) return;
    const int which = world.pick(static_cast<int>(world.stripe.codes.size()));
    const auto& [id, code] = world.stripe.codes[static_cast<std::size_t>(which)];
    if (by_hand(id) && !world.store.linked.count(id)) return;
    const bool before = world.stripe.active(code);
    world.stripe.redeem(id);
    if (before && !world.stripe.active(code)) touched_.insert(without_case(code.at("code")));
  }
  /// Somebody in the Dashboard.
  void touch_stripe() {
    if (world.stripe.codes.empty() || world.pick(3) == 0) return make_by_hand();
    const int which = world.pick(static_cast<int>(world.stripe.codes.size()));
    const auto& [id, code] = world.stripe.codes[static_cast<std::size_t>(which)];
    touched_.insert(without_case(code.at("code")));
    if (world.pick(2)) {
      if (world.pick(2)) for_good_.insert("/v1/promotion_codes/" + id);
      return world.stripe.deactivate(id);
    }
    const std::string coupon = FakeStripe::field(code, "promotion[coupon]");
    world.stripe.delete_coupon(coupon);
    for (const auto& [other, fields] : world.stripe.codes)
      if (FakeStripe::field(fields, "promotion[coupon]") == coupon)
        touched_.insert(without_case(fields.at("code")));
  }
  void make_by_hand() {
    const std::string code = world.pick(2) ? text() : world.row(any_row()).code;
    FakeStripe::Fields fields = {{"code", code}};
    if (world.pick(3) == 0) fields["active"] = "false";
    if (world.pick(3) == 0)
      fields["expires_at"] = std::to_string(world.clock.stripes_seconds() + 60 + world.pick(9'000));
    if (fields["active"] != "false" && !world.stripe.active_codes(code).empty()) return;
    FakeStripe::Fields coupon = {{"percent_off", one_of({"50", "40"})}, {"duration", "once"}};
    if (world.pick(2)) coupon["applies_to[products][0]"] = "prod_plan";
    world.stripe.make_code("hand_" + std::to_string(++made_), coupon, fields);
  }
  /// For good, whatever is tried; or, of switching on and off, for a while.
  bool refused(const Received& in) const {
    const bool code = in.under("/v1/promotion_codes/");
    return in.get("name") == "Refused" || in.get("percent_off") == "13" ||
           in.get("amount_off") == "1300" || in.get("customer") == "cus_gone" ||
           (code && switches_refused_ && !in.get("active").empty()) ||
           (for_good_.count(in.path) && in.get("active") == "true");
  }

  /// What was done in Stripe is seen when a code of that text is written to next.
  void show_what_was_done() {
    std::vector<std::string> on;
    std::set<std::string> untold;  // while a row is manual
    for (const auto& [key, row] : world.store.rows) {
      const auto held = Observed::parse(row.observed).code;
      const bool touched =
          touched_.count(row.text) || (held && touched_.count(without_case(held->code)));
      const bool refused = row.state == "parked";
      if (touched && FakePromoStore::is_manual(row))
        untold.insert({row.text, held ? without_case(held->code) : row.text});
      if (touched && !row.off && !FakePromoStore::is_manual(row)) on.push_back(key);
      if (refused || (touched && !row.deleted)) world.edit(key, {});
    }
    touched_ = untold;
    settle();
    for (const char* active : {"false", "true"}) {
      for (const std::string& key : on) world.edit(key, {{"is_active", active}});
      settle();
    }
  }

  // --- the worker, its clock, the way to Stripe ---

  Millis skew() {
    const int seconds[] = {0, 0, 0, 3, -3, 120, -120};
    return Millis(1'000) * seconds[world.pick(7)];
  }
  void restart() {
    world.crash();
    for (const std::string& key : stolen_) world.store.give_back(key);
    stolen_.clear();
    world.clock.advance(Millis(world.pick(5'000)));
    world.start();
    kill_after_ = 0;
  }
  void kill_soon() {
    kill_after_ = 1 + world.pick(40);
    world.store.step = [this](const char*) {
      if (kill_after_ > 0 && --kill_after_ == 0) throw Kill();
    };
  }
  void give_back(const std::string& key) {
    world.store.give_back(key);
    world.engine->look_for_due();
  }
  void unblock() {
    world.engine->unblock();
    world.store.retry_now();
  }
  Fate fate(const Received&) {
    const Fate troubles[] = {{Fate::never_sent, Millis(20)},     {Fate::lost, Millis(80'000)},
                             {Fate::lost_answer, Millis(9'000)}, {Fate::failed, Millis(70)},
                             {Fate::failed_after, Millis(70)},   limited(),
                             limited("20", "lock_timeout"),      {Fate::answered, Millis(9'000)},
                             {Fate::late, Millis(9'000)}};
    const Fate usual{Fate::answered, Millis(20 + world.pick(100))};
    switch (mood_) {
      case flaky:
        return world.pick(4) ? usual : troubles[world.pick(9)];
      case unreachable:
        return troubles[0];
      case silent:
        return world.pick(2) ? troubles[1] : troubles[2];
      case failing:
        return world.pick(2) ? troubles[3] : troubles[4];
      case limiting:
        return world.pick(3) ? limited(world.pick(2) ? "30" : "") : usual;
      case denying:
        return world.pick(5) ? usual : denied(world.pick(2) ? 401 : 403);
      case slow:
        return troubles[7];
      default:
        return usual;
    }
  }

  void happen() {
    const std::string key = any_row();
    switch (world.pick(31)) {
      case 0:
        return insert();
      case 1:
        return remove(key);
      case 2:
        return world.pick(2) ? world.store.lock(key) : world.store.lock_row(key);
      case 3:
        world.store.lock_row(key, false);
        return world.store.lock(key, false);
      case 4:
        if (!world.row(key).lease || stolen_.count(key)) return;
        world.store.steal(key);
        stolen_.insert(key);
        return;
      case 5:
        for (const std::string& row : stolen_) give_back(row);
        return stolen_.clear();
      case 6:
        return world.pick(2) ? restart() : kill_soon();
      case 7:
      case 8:
        mood_ = static_cast<Mood>(world.pick(moods));
        return;
      case 9:
        mood_ = calm;
        return;
      case 10:
        if (world.pick(3)) return;
        return world.clock.advance(Millis(1'000) * (1 + world.pick(2 * static_cast<int>(day))));
      case 11:
        world.transport.arrive();  // for how long something may be under way is told by the clock
        return world.set_clock(world.pick(3) ? skew() : Millis(3'600'000) * (world.pick(9) - 4));
      case 12:
      case 13:
        return touch_stripe();
      case 14:
        return redeem();
      case 15:
        switches_refused_ = world.pick(3) == 0;
        return;
      case 16:
        return swap(key, any_row());
      case 17:
        return resolve(key);
      case 18:
        world.store.change_key(key);
        return world.engine->look_for_due();
      default:
        return edit(key);
    }
  }

  Mood mood_ = calm;
  int inserted_ = 0;
  int made_ = 0;
  int kill_after_ = 0;
  bool open_ = true;  ///< customers come
  bool switches_refused_ = false;
  std::set<std::string> for_good_;  ///< codes that Stripe does not switch on again
  std::set<std::string> stolen_;
  std::set<std::string> touched_;  ///< texts whose codes were changed in Stripe, unknown to us
};

}  // namespace stripe_sync::testing
