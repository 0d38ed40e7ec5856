#include "fake_world.hpp"
#include "sync/promo_diff.hpp"

// What a diff shows is what the push then does: rows edited at random, in a Stripe that others use,
// too. STRIPE_SYNC_SEED=n runs one seed, STRIPE_SYNC_SEEDS=n that many.

namespace stripe_sync::testing {
namespace {

using Names = std::vector<std::string>;

class Edits {
 public:
  explicit Edits(unsigned seed) : world_(seed) {
    for (const char* key : {"1", "2", "3", "4"}) world_.insert(key, {{"code", text()}});
    world_.settle();
  }

  void round() {
    others();
    const std::string key = std::to_string(1 + world_.pick(4));
    const Values changes = change(key);
    SCOPED_TRACE("row " + key + told(changes));
    if (world_.row(key).deleted) {
      world_.insert(key, changes);
    } else if (world_.pick(10) == 0) {
      world_.store.remove(key);
      world_.engine->look_for_due();
    } else {
      world_.edit(key, changes);
    }
    expect_shown(key);
  }

 private:
  std::string text() { return "TEXT" + std::to_string(world_.pick(5)); }
  std::string one_of(std::initializer_list<const char*> values) {
    return values.begin()[world_.pick(static_cast<int>(values.size()))];
  }
  std::string in_a_day() { return std::to_string(world_.clock.unix_seconds() + day); }

  Values change(const std::string& key) {
    Values changes;
    for (int i = world_.pick(3); i >= 0; --i) {
      switch (world_.pick(8)) {
        case 0:
          changes["discount_value"] = one_of({"40", "50", "60", "150"});
          break;
        case 1:
          changes["max_uses"] = one_of({"NULL", "50", "70"});
          break;
        case 2:
        case 3:
          changes["is_active"] = one_of({"true", "true", "false"});
          break;
        case 4:
          changes["description"] = one_of({"Summer sale", "Autumn sale"});
          break;
        case 5:
          changes["code"] = text();
          break;
        case 6:
          changes["starts_at"] = world_.pick(2) == 0 ? "NULL" : in_a_day();
          break;
        default:
          changes["first_time_only"] = one_of({"NULL", "true"});
      }
    }
    if (world_.row(key).deleted) changes["code"] = text();
    return changes;
  }
  static std::string told(const Values& changes) {
    std::string text;
    for (const auto& [name, value] : changes) text += " " + name + "=" + value;
    return text;
  }

  /// Customers, and people in the Dashboard. Never so that nothing is left: a push may find that
  /// out later than the diff does.
  void others() {
    for (auto& [id, code] : world_.stripe.codes) {
      const std::string most = FakeStripe::field(code, "max_redemptions");
      if (world_.pick(6) == 0 &&
          (most.empty() || std::stoll(most) > FakeStripe::redeemed(code) + 2))
        world_.stripe.redeem(id);
    }
    const std::string code = text();
    if (world_.pick(8) != 0 || !world_.stripe.active_codes(code).empty()) return;
    world_.stripe.make_code("hand_" + std::to_string(++made_),
                            {{"percent_off", one_of({"50", "33"})},
                             {"duration", "once"},
                             {"applies_to[products][0]", "prod_plan"}},
                            {{"code", code}});
  }

  // --- what is shown ---

  std::vector<DiffLine> diff(const std::string& key) {
    DiffSubject subject;
    subject.job = world_.store.look(key);
    for (std::int64_t i = 1; i < 20; ++i)
      subject.coupon_ids.push_back(world_.row(key).code + "-" + key + "r" +
                                   std::to_string(subject.job.coupon_revision + i));
    PromoDiff diff(
        subject,
        {[&](const auto& id, const auto& wanted) { return world_.store.gives_up(id, wanted); },
         [&](const PromoJob& job) { return world_.store.held_by_another(job); }});
    while (true) {
      const auto wants = diff.next(catalog(), world_.clock.unix_seconds());
      if (!wants.look) return diff.lines();
      http::Outcome outcome;
      outcome.response =
          world_.stripe.handle({"GET", wants.look->call.path, wants.look->call.params, ""});
      const auto error = diff.take(stripe::classify(outcome, wants.look->what));
      EXPECT_FALSE(error) << error->message;
    }
  }

  static bool supposed(const DiffLine& line) { return line.why.rfind("if ", 0) == 0; }
  static Names operations(const std::vector<DiffLine>& lines, bool of_supposed) {
    Names names;
    int last = 0;
    for (const DiffLine& line : lines) {
      if (line.step == 0 || line.step == last || supposed(line) != of_supposed) continue;
      last = line.step;
      names.push_back(line.action);
    }
    return names;
  }

  // --- what is done ---

  std::string in_words(const Received& request) {
    if (request.path == "/v1/coupons") return "create coupon " + request.get("id");
    if (request.path == "/v1/promotion_codes") uses_ = request.get("max_redemptions");
    if (request.path == "/v1/promotion_codes")
      return "create promotion code " + request.get("code");
    const std::string id = request.path.substr(request.path.rfind('/') + 1);
    if (request.under("/v1/coupons/")) return "update coupon " + id;
    const std::string active = request.get("active");
    return (active == "false"  ? "switch off promotion code "
            : active == "true" ? "switch on promotion code "
                               : "update promotion code ") +
           FakeStripe::field(*world_.stripe.code(id), "code") + " (" + id + ")";
  }

  /// By pushes of that row alone.
  Names done(const std::string& key) {
    const std::size_t before = world_.transport.log.size();
    world_.settle();
    Names names;
    for (std::size_t i = before; i < world_.transport.log.size(); ++i) {
      const Received& request = world_.transport.log[i].request;
      if (request.writes() && world_.stripe.accepted(request.key) &&
          world_.store.decided.at(request.key).row == key)
        names.push_back(in_words(request));
    }
    return names;
  }

  /// What is left for the promotion code that was made last.
  void expect_uses(const std::vector<DiffLine>& lines) {
    for (const DiffLine& line : lines)
      if (line.field == "max_redemptions" && line.step > 0) {
        EXPECT_EQ(line.database, uses_.empty() ? "unlimited" : uses_);
        ++limits;
      }
  }

  void expect_shown(const std::string& key) {
    const auto lines = diff(key);
    std::string text;
    for (const DiffLine& line : lines)
      text +=
          "\n " + std::to_string(line.step) + " " + line.action + " " + line.field + " " + line.why;
    SCOPED_TRACE(text);
    EXPECT_EQ(done(key), operations(lines, false));
    const std::string state = world_.state(key);
    const bool parked = std::any_of(lines.begin(), lines.end(),
                                    [](const auto& line) { return line.action == "parked"; });
    const bool conflict = std::any_of(lines.begin(), lines.end(),
                                      [](const auto& line) { return line.action == "conflict"; });
    EXPECT_EQ(state == "parked", parked) << state << " " << world_.row(key).reason.message;
    EXPECT_EQ(state == "conflict", conflict) << state << " " << world_.row(key).reason.message;
    ++(conflict ? conflicts : parked ? parked_rows : pushes);
    if (conflict && !operations(lines, true).empty()) {
      world_.store.rows.at(key).take_over = true;
      world_.edit(key, {});
      EXPECT_EQ(done(key), operations(lines, true)) << "resolved";
      ++resolved;
    }
    if (world_.state(key) == "conflict") return;
    if (!parked) expect_uses(lines);
    EXPECT_EQ(operations(diff(key), false), Names()) << "afterwards";
  }

  World world_;
  int made_ = 0;
  std::string uses_;

 public:
  int conflicts = 0, parked_rows = 0, pushes = 0, resolved = 0, limits = 0;
};

TEST(DiffRandom, ThePushDoesWhatWasShown) {
  const char* one = std::getenv("STRIPE_SYNC_SEED");
  const unsigned first = one ? static_cast<unsigned>(std::atoi(one)) : 1;
  const char* many = std::getenv("STRIPE_SYNC_SEEDS");
  const unsigned seeds = one ? 1 : many ? static_cast<unsigned>(std::atoi(many)) : 30;
  int conflicts = 0, parked = 0, pushes = 0, resolved = 0, limits = 0;
  for (unsigned seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("STRIPE_SYNC_SEED=" + std::to_string(seed));
    Edits edits(seed);
    for (int i = 0; i < 40 && !HasFailure(); ++i) edits.round();
    conflicts += edits.conflicts;
    parked += edits.parked_rows;
    pushes += edits.pushes;
    resolved += edits.resolved;
    limits += edits.limits;
  }
  if (one) return;
  EXPECT_GT(pushes, 100);
  EXPECT_GT(parked, 10);
  EXPECT_GT(conflicts, 10);
  EXPECT_GT(resolved, 10);
  EXPECT_GT(limits, 100);
}

}  // namespace
}  // namespace stripe_sync::testing
