#include "pg/promo_state_sql.hpp"

#include "json/json.hpp"

#include "pg/promo_table.hpp"
#include "pg/role.hpp"

namespace stripe_sync::pg::promo_state {

namespace {

Text number(std::optional<std::int64_t> value) {
  return value ? Text(std::to_string(*value)) : Text();
}

// Nothing while nothing is known of the row: its history is asked for at the next claim, too.
Text observed_json(const Observed& seen) {
  const std::string text = seen.dump();
  return text == "{}" ? Text() : Text(text);
}

std::string flag(bool value) {
  return value ? "true" : "false";
}

std::string json_list(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts)
    list += (list.size() > 1 ? "," : "") + json::quote(printable(text));
  return list + "]";
}

// What was refused is known not to have been done; by whom, and whether still, is asked anew.
Text in_flight_json(const PromoJob& job) {
  if (!job.unsettled || job.unsettled->refusal) return Text();
  std::string text = "{\"operation\":" + job.unsettled->operation.dump() +
                     ",\"number\":" + std::to_string(job.number) +
                     ",\"spent\":" + flag(job.unsettled->spent) +
                     ",\"looked\":" + flag(job.unsettled->looked) +
                     ",\"sent_at\":" + std::to_string(job.unsettled->sent_at);
  return text + "}";
}

}  // namespace

Settled settled_of(PromoState state, const StoredReason& reason, const Text& warnings) {
  Settled settled;
  settled.state = state;
  if (reason.message) {
    settled.reason = Error(sqlstate_of_text(reason.sqlstate.value_or("")), *reason.message,
                           reason.detail.value_or(""), reason.hint.value_or(""));
  }
  if (!warnings) return settled;
  const auto list = json::Value::parse(*warnings);
  if (list) settled.warnings = text_list(list.value());
  return settled;
}

// What SpiPromoStore::load reads a row from: `s` is its state, `i` the installation.
#define COUPON_ID(revision)                                                        \
  "upper(left(btrim(coalesce(s.code, ''), E' \\t\\r\\n\\f\\x0b'), 57)) || '-' || " \
  "left(encode(sha256(convert_to("                                                 \
  "i.id || '/' || s.promo_table::oid || '/' || s.key || '/' || " revision ", 'UTF8')), 'hex'), 6)"
#define JOB_COLUMNS(deleted) \
  "s.promo_table::oid, s.key, s.code, s.generation, s.coupon_revision, s.used_before, " \
  "s.attempts, " \
  deleted ", s.observed, s.in_flight, s.state," \
  " format('%s/%s', (SELECT n.nspname || '.' || c.relname FROM pg_class c" \
  "   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = s.promo_table), s.key), " \
  COUPON_ID("s.coupon_revision") ", s.code_key," \
  " CASE WHEN s.state = 'pending' AND s.in_flight IS NULL AND NOT s.deleted" \
  " AND (s.wake_at IS NULL OR s.wake_at > clock_timestamp()) THEN s.settled END, s.row_hash," \
  " s.sqlstate, s.reason, s.detail, s.hint, to_jsonb(s.warnings)," \
  " extract(epoch FROM s.wake_at)::bigint, i.copy_of, s.take_over, s.off, s.seen_gone, s.look"
#define JOB_TABLES " FROM stripe_sync.promo_state s CROSS JOIN stripe_sync.installation i"

// A scalar, not EXISTS: that would be hashed over the whole table at every claim.
#define IS_DUE                                                                                 \
  " WHERE s.next_attempt <= clock_timestamp() AND s.lease IS NULL"                             \
  "   AND (SELECT true FROM stripe_sync.promo_state o WHERE o.code_key = s.code_key"           \
  "     AND o.lease IS NOT NULL LIMIT 1) IS NULL"                                              \
  "   AND (s.off OR (SELECT true FROM stripe_sync.promo_state o WHERE o.code_key = s.code_key" \
  "     AND o.off AND o.state IN ('pending', 'retrying') LIMIT 1) IS NULL)"
#define UNSEEN "(s.observed IS NULL AND s.in_flight IS NULL AND NOT s.deleted)"

// Not by the equality of leases: by that, all that is leased would be looked through.
#define LEASED " WHERE promo_table = $1::oid AND key = $2 AND lease IS NOT DISTINCT FROM $3::bigint"

Rows lock_due(bool off, std::size_t limit, const std::string& from, const Text& held_since) {
  static Lookup select{
      "SELECT " JOB_COLUMNS("s.deleted") JOB_TABLES IS_DUE
      " AND s.off = $1::boolean AND s.next_attempt >= to_timestamp($2::float8)"
      " AND ($3 IS NULL OR NOT " UNSEEN
      " OR s.changed_at > to_timestamp($3::float8)"
      "   OR s.off AND to_timestamp($3::float8) < clock_timestamp() - interval '1 minute')"
      " ORDER BY s.next_attempt FOR UPDATE OF s SKIP LOCKED"};
  Rows rows;
  as_extension_owner(
      [&] { rows = select.first(static_cast<int>(limit), flag(off), from, held_since); });
  return rows;
}

// Planned each time, for as many texts as a page of Stripe's names.
Rows lock_unseen(const std::vector<std::string>& texts) {
  Rows rows;
  as_extension_owner([&] {
    rows = run_once(
        "SELECT " JOB_COLUMNS("s.deleted") JOB_TABLES IS_DUE
        " AND s.code_key = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) AND " UNSEEN
        " FOR UPDATE OF s SKIP LOCKED",
        {json_list(texts)});
  });
  return rows;
}

Rows wanted_by_diff() {
  static Statement select{
      "SELECT " JOB_COLUMNS("s.deleted OR s.state = 'missing'")
      ", (SELECT jsonb_agg(" COUPON_ID("r.n") " ORDER BY r.n)"
      "   FROM generate_series(s.coupon_revision + 1, s.coupon_revision + 20) r(n))" JOB_TABLES
      " WHERE stripe_sync.diff_lock(i.id, s.code_key) IN (SELECT w.lock FROM"
      "   stripe_sync.diff_wanted w)"
      // of a code that is in use again, what is over is no longer told
      "   AND (NOT s.deleted OR s.state NOT IN ('synced', 'excluded') OR NOT EXISTS (SELECT"
      "     FROM stripe_sync.promo_state o WHERE o.code_key = s.code_key AND NOT o.deleted))"
      " ORDER BY s.code_key, s.off DESC, s.promo_table::oid, s.key"};
  Rows rows;
  as_extension_owner([&] { rows = select(); });
  return rows;
}

std::int64_t next_lease() {
  static Statement next{"SELECT nextval('stripe_sync.lease_number')"};
  Rows rows;
  as_extension_owner([&] { rows = next(); });
  return std::stoll(*rows.single());
}

void lease(const PromoJob& job) {
  static Lookup update{
      "UPDATE stripe_sync.promo_state SET lease = $3::bigint, state = 'sending'"
      " WHERE promo_table = $1::oid AND key = $2"};
  as_extension_owner([&] { update(job.table, job.key, std::to_string(job.lease)); });
}

std::optional<std::int64_t> lock_leased(const PromoJob& job) {
  static Lookup select{"SELECT generation FROM stripe_sync.promo_state" LEASED " FOR UPDATE"};
  Rows rows;
  as_extension_owner([&] { rows = select(job.table, job.key, std::to_string(job.lease)); });
  if (rows.empty()) return std::nullopt;
  return std::stoll(*rows.single());
}

void correct(const PromoJob& job) {
  static Lookup update{
      "UPDATE stripe_sync.promo_state SET code = $4, off = $5::boolean, lease = NULL,"
      " state = 'pending', next_attempt = clock_timestamp()" LEASED};
  const std::string* code = job.row.get(item::code);
  as_extension_owner([&] {
    update(job.table, job.key, std::to_string(job.lease), code == nullptr ? Text() : Text(*code),
           flag(says_off(job.row)));
  });
}

void append_gone(const PromoJob& job, const Text& change) {
  static Statement insert{
      "INSERT INTO stripe_sync.promo_inbox (number, promo_table, change, key)"
      " VALUES (0, $1::oid, $2, $3)"};
  as_extension_owner([&] { insert(job.table, change, job.key); });
}

std::shared_ptr<const std::set<std::string>> originals() {
  static Statement select{"SELECT o.promotion_code_id FROM stripe_sync.original o"};
  Rows rows;
  as_extension_owner([&] { rows = select(); });
  if (rows.empty()) return nullptr;
  auto ids = std::make_shared<std::set<std::string>>();
  for (std::size_t i = 0; i < rows.size(); ++i) ids->insert(*rows.at(i, 0));
  return ids;
}

bool in_inbox(const PromoJob& job) {
  static Lookup select{
      "SELECT 1 FROM stripe_sync.promo_change c WHERE c.promo_table = $1::oid AND c.key = $2 LIMIT "
      "1"};
  Rows rows;
  as_extension_owner([&] { rows = select(job.table, job.key); });
  return !rows.empty();
}

Rows holder(const PromoJob& job) {
  static Lookup select{
      "SELECT h.promo_table, h.key FROM stripe_sync.promo_state h"
      " WHERE h.promotion_code_id = $3 AND NOT h.deleted AND h.state <> 'missing'"
      "   AND (h.promo_table <> $1::oid OR h.key <> $2) LIMIT 1"};
  Rows rows;
  as_extension_owner([&] { rows = select(job.table, job.key, job.observed.code->id); });
  return rows;
}

void write(const PromoJob& job, const Step& step) {
  static Lookup update{
      "UPDATE stripe_sync.promo_state s SET state = $4,"
      " lease = CASE WHEN $5::boolean THEN s.lease END,"
      " next_attempt = CASE WHEN $6 IS NOT NULL THEN clock_timestamp() + make_interval(secs => "
      "$6::bigint / 1000.0)"
      "   WHEN $7 IS NOT NULL THEN greatest(to_timestamp($7::bigint), clock_timestamp()) END,"
      " attempted_at = CASE WHEN $8::boolean THEN clock_timestamp() ELSE s.attempted_at END,"
      " synced_at = CASE WHEN $9::boolean THEN clock_timestamp() ELSE s.synced_at END,"
      " attempts = $10::int, sqlstate = $11, reason = $12, detail = $13, hint = $14,"
      " warnings = CASE WHEN $15 <> '[]' THEN ARRAY(SELECT jsonb_array_elements_text($15::jsonb)) "
      "END,"
      " observed = $16::jsonb, in_flight = $17::jsonb, coupon_id = $18, promotion_code_id = $19,"
      " seen_gone = CASE WHEN $22 IS NULL THEN s.seen_gone END,"
      " look = false, take_over = s.take_over AND $4 IN ('pending', 'sending', 'retrying'),"
      " coupon_revision = $20::int, used_before = $21::bigint,"
      " row_hash = CASE WHEN NOT $25::boolean THEN coalesce($22::bigint, s.row_hash) END, action = "
      "coalesce($23, s.action),"
      " settled = CASE WHEN $24::boolean THEN $4 END,"
      " wake_at = CASE WHEN $24::boolean AND $7 IS NOT NULL THEN to_timestamp($7::bigint) "
      "END" LEASED};
  const Error& reason = step.reason;
  const bool failed = !reason.message.empty();
  const Observed& seen = job.observed;
  as_extension_owner([&] {
    update(job.table, job.key, std::to_string(job.lease), step.state, flag(step.keep_lease),
           step.due_in ? number(step.due_in->count()) : Text(), number(step.due_at),
           flag(step.attempted), flag(step.synced), std::to_string(step.attempts),
           failed ? Text(sqlstate_text(reason.sqlstate)) : Text(), text_or_null(reason.message),
           text_or_null(reason.detail), text_or_null(reason.hint), json_list(step.warnings),
           observed_json(seen), in_flight_json(job), seen.coupon ? Text(seen.coupon->id) : Text(),
           seen.code ? Text(seen.code->id) : Text(), std::to_string(job.coupon_revision),
           number(job.used_before), number(job.row_hash), text_or_null(job.action),
           flag(step.settled), flag(step.unread));
  });
}

void let_go(const PromoJob& job) {
  static Lookup update{
      "UPDATE stripe_sync.promo_state s SET lease = NULL, action = coalesce($10, s.action),"
      " observed = $4::jsonb, in_flight = $5::jsonb, coupon_id = $6, promotion_code_id = $7,"
      " coupon_revision = $8::int, used_before = $9::bigint" LEASED};
  const Observed& seen = job.observed;
  as_extension_owner([&] {
    update(job.table, job.key, std::to_string(job.lease), observed_json(seen), in_flight_json(job),
           seen.coupon ? Text(seen.coupon->id) : Text(), seen.code ? Text(seen.code->id) : Text(),
           std::to_string(job.coupon_revision), number(job.used_before), text_or_null(job.action));
  });
}

void set_aside(const PromoJob& job, const Error& why) {
  static Lookup changed{"UPDATE stripe_sync.promo_state SET lease = NULL" LEASED
                        " AND generation <> $4::bigint"};
  static Lookup update{
      "UPDATE stripe_sync.promo_state s SET state = 'retrying', lease = NULL,"
      " attempts = s.attempts + 1, attempted_at = clock_timestamp(), next_attempt = "
      "clock_timestamp()"
      "   + least(interval '5 minutes', interval '1 second' * 2 ^ least(s.attempts, 9)),"
      " sqlstate = $4, reason = left($5, 2000), detail = $6, hint = $7"
      " WHERE promo_table = $1::oid AND key = $2 AND coalesce(s.lease, 0) = $3::bigint"};
  const std::string lease = std::to_string(job.lease);
  as_extension_owner([&] {
    changed(job.table, job.key, lease, std::to_string(job.generation));
    update(job.table, job.key, lease, sqlstate_text(why.sqlstate), why.message,
           text_or_null(why.detail), text_or_null(why.hint));
  });
  note_error(job.code, why);
}

void wake_for(const PromoJob& job, const std::string& text) {
  // One under way may have been refused just before: by the generation it is looked at again. What
  // is left alone or held by now stays so.
  static Lookup update{
      "UPDATE stripe_sync.promo_state SET state = 'pending', settled = NULL,"
      " next_attempt = clock_timestamp(), generation = generation + 1 WHERE ctid IN"
      " (SELECT s.ctid FROM stripe_sync.promo_state s WHERE s.code_key = stripe_sync.code_key($3)"
      "  AND s.state IN ('sending', 'conflict', 'retrying', 'parked')"
      "  AND (s.promo_table::oid, s.key) <> ($1::oid, $2) FOR UPDATE SKIP LOCKED)"};
  as_extension_owner([&] { update(job.table, job.key, text); });
}

bool gives_up(const std::string& promotion_code, const std::string& text) {
  static Lookup select{
      "SELECT 1 FROM stripe_sync.promo_state s WHERE s.promotion_code_id = $1"
      " AND s.state IN ('pending', 'sending', 'retrying')"
      " AND (s.off OR s.code_key IS DISTINCT FROM stripe_sync.code_key($2)) LIMIT 1"};
  Rows rows;
  as_extension_owner([&] { rows = select(promotion_code, text); });
  return !rows.empty();
}

void note_error(const std::string& subject, const Error& error) {
  static Statement insert{
      "INSERT INTO stripe_sync.error AS e (subject, sqlstate, message, detail, hint)"
      " VALUES (left($1, 200), $2, left($3, 400), $4, $5) ON CONFLICT (subject, sqlstate, message) "
      "DO UPDATE"
      " SET times = e.times + 1, last_at = now(), detail = excluded.detail, hint = excluded.hint"};
  as_extension_owner([&] {
    insert(printable(subject), sqlstate_text(error.sqlstate), error.message,
           text_or_null(error.detail), text_or_null(error.hint));
  });
}

}  // namespace stripe_sync::pg::promo_state
