#include "pg/promo_table.hpp"

#include <algorithm>
#include <cstring>

#include "pg/guc.hpp"
#include "pg/own_write.hpp"

namespace stripe_sync::pg {

const OwnWrite* own_write = nullptr;

namespace {

constexpr const char* sync_items[SyncColumns::count] = {
    item::stripe_coupon_id, item::stripe_promotion_code_id, item::sync_status, "synced_at",
    "sync_error"};

bool is_sync_item(const std::string& name) {
  for (const char* sync : sync_items) {
    if (name == sync) return true;
  }
  return false;
}

// The first `limit` characters of UTF-8 text.
std::string cut(const std::string& text, int limit) {
  if (limit <= 0) return text;
  int characters = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool starts = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (starts && ++characters > limit) return text.substr(0, i);
  }
  return text;
}

/// Announces a write to our triggers for as long as it lives.
class Announce {
 public:
  explicit Announce(const OwnWrite* write) { own_write = write; }
  ~Announce() { own_write = nullptr; }
};

}  // namespace

std::string key_expression(const std::string& alias, const std::vector<std::string>& columns) {
  std::string list;
  for (const std::string& column : columns) {
    if (!list.empty()) list += ", ";
    list += "pg_catalog.format('%s', " + alias + "." + quote_name(column) + ")";
  }
  const std::string text = columns.size() == 1 ? list : "(ARRAY[" + list + "])::pg_catalog.text";
  return "(" + text + " COLLATE pg_catalog.\"C\")";
}

std::string key_fits(const std::string& key) {
  return "(pg_catalog.octet_length(" + key + ") OPERATOR(pg_catalog.<=) " +
         std::to_string(longest_key) + ")";
}

std::vector<std::string> text_list(const json::Value& array) {
  std::vector<std::string> list;
  for (std::size_t i = 0; i < array.size(); ++i) list.push_back(array[i].text_or(""));
  return list;
}

PromoTable::PromoTable(Oid oid, std::string name, std::string label, const json::Value& columns,
                       std::vector<std::string> keys, AttachSettings settings)
    : oid_(oid),
      name_(std::move(name)),
      label_(std::move(label)),
      keys_(std::move(keys)),
      settings_(std::make_shared<const AttachSettings>(std::move(settings))) {
  load_types(columns);
}

PromoTable::~PromoTable() {
  for (SPIPlanPtr plan : {read_, lock_, project_, held_}) {
    if (plan != nullptr) SPI_freeplan(plan);
  }
}

// Halved each time it was not enough, down to a second: many rows whose trigger never ends cost
// little more than one.
Millis PromoTable::time_limit() const {
  const Millis whole{guc::table_timeout};
  return std::min(whole, std::max(Millis(1'000), whole / (1 << std::min(took_too_long_, 20))));
}

constexpr const char* attach_again =
    "Attach the table again: SELECT * FROM stripe_sync_check(); says how.";

void PromoTable::load_types(const json::Value& columns) {
  static Statement types{
      "WITH RECURSIVE base(attname, declared, type, modifier) AS ("
      "  SELECT a.attname, a.atttypid, a.atttypid, a.atttypmod FROM pg_catalog.pg_attribute a"
      "  WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
      "  UNION ALL SELECT b.attname, b.declared, d.typbasetype, d.typtypmod"
      "  FROM base b JOIN pg_catalog.pg_type d ON d.oid = b.type WHERE d.typtype = 'd')"
      " SELECT b.attname, pg_catalog.format_type(b.declared, -1),"
      "  CASE WHEN b.type IN ('varchar'::regtype, 'bpchar'::regtype) AND b.modifier > 4"
      "    THEN b.modifier - 4 ELSE 0 END, pg_catalog.format_type(b.type, -1)"
      " FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype <> 'd'"};
  std::map<std::string, Column> by_name;
  Rows rows;
  as_extension_owner([&] { rows = types(std::to_string(oid_)); });
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string column = *rows.at(i, 0);
    by_name[column] = {quote_name(column), *rows.at(i, 1), std::stoi(*rows.at(i, 2)), column,
                       *rows.at(i, 3)};
  }
  for (const std::string& item : columns.keys()) {
    const std::string column = columns[item].text_or("");
    const auto found = by_name.find(column);
    if (found == by_name.end()) {
      throw Error(errcode::usage,
                  label_ + " no longer has the column \"" + column + "\" for " + item,
                  "It was dropped or renamed after the table was attached.", attach_again);
    }
    columns_[item] = found->second;
    if (item != "synced_at" && item != "sync_error") items_.push_back(item);
  }
  for (const std::string& key : keys_) {
    const auto found = by_name.find(key);
    if (found == by_name.end()) {
      throw Error(errcode::usage, label_ + " no longer has its key column \"" + key + "\"", "",
                  attach_again);
    }
    key_types_.push_back(found->second.type);
  }
}

std::string PromoTable::item_expression(const std::string& item) const {
  const Column& column = columns_.at(item);
  const std::string value = "t." + column.name;
  if (column.base == "boolean") {
    return "CASE WHEN " + value + " THEN 'true' WHEN NOT " + value + " THEN 'false' END";
  }
  if (column.base.rfind("timestamp", 0) == 0 || column.base == "date") {
    // Seconds: a text would depend on the session's time zone and date style.
    return "(EXTRACT(epoch FROM " + value + "::pg_catalog.timestamptz))::pg_catalog.text";
  }
  return "CASE WHEN " + value + " IS NOT NULL THEN pg_catalog.format('%s', " + value + ") END";
}

// Of what a push depends on: our own columns and the usage counter are no change.
std::string PromoTable::hash_expression() const {
  std::string formats, values;
  for (const std::string& item : items_) {
    if (is_sync_item(item) || item == item::used_count) continue;
    formats += "%L,";
    values += ", " + item_expression(item);
  }
  return "pg_catalog.hashtextextended(pg_catalog.format('" + formats + "'" + values + "), 0)";
}

std::string PromoTable::key_condition() const {
  std::string condition;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    const std::string value = keys_.size() == 1
                                  ? std::string("$1")
                                  : "($1::pg_catalog.text[])[" + std::to_string(i + 1) + "]";
    if (i > 0) condition += " AND ";
    condition +=
        "t." + quote_name(keys_[i]) + " OPERATOR(pg_catalog.=) " + value + "::" + key_types_[i];
  }
  return condition;
}

std::string PromoTable::select_list() const {
  std::string list = "(" + hash_expression() + ")::pg_catalog.text, pg_catalog.format('%s', t." +
                     columns_.at("sync_error").name + ")";
  for (const std::string& item : items_) list += ", " + item_expression(item);
  for (const std::string& key : keys_) {
    list += ", pg_catalog.format('%s', t." + quote_name(key) + ")";
  }
  return list;
}

std::optional<PromoTable::Found> PromoTable::fetch(SPIPlanPtr& plan, const char* locking,
                                                   const std::string& key) {
  std::string sql;
  if (plan == nullptr) {
    sql = "SELECT " + select_list() + " FROM " + name_ + " t WHERE " + key_condition() + locking;
  }
  const Rows rows = run_lookup(plan, sql, {key});
  if (rows.empty()) return std::nullopt;
  Found found;
  found.hash = std::stoll(*rows.at(0, 0));
  found.sync_error = rows.at(0, 1).value_or("");
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (const Text& value = rows.at(0, i + 2)) found.row.values[items_[i]] = *value;
  }
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    found.keys.push_back(rows.at(0, 2 + items_.size() + i).value_or(""));
  }
  return found;
}

std::optional<PromoTable::Found> PromoTable::read(const std::string& key) {
  return fetch(read_, "", key);
}

std::optional<PromoTable::Found> PromoTable::lock(const std::string& key) {
  return fetch(lock_, " FOR NO KEY UPDATE OF t SKIP LOCKED", key);
}

void PromoTable::project(const std::string& key, const Found& found, const Projection& projection) {
  const auto shows = [&](const char* item, const Text& value) {
    const std::string* now = found.row.get(item);
    return !value || (now != nullptr && *now == *value);
  };
  const std::string error = cut(projection.error.value_or(""), columns_.at("sync_error").limit);
  if (shows(item::stripe_coupon_id, projection.coupon_id) &&
      shows(item::stripe_promotion_code_id, projection.promotion_code_id) &&
      shows(item::sync_status, projection.status) && found.sync_error == error) {
    return;
  }
  std::string update;
  if (project_ == nullptr) {
    std::string set;
    for (int i = 0; i < SyncColumns::count; ++i) {
      const Column& column = columns_.at(sync_items[i]);
      const std::string value = "$" + std::to_string(i + 2) + "::" + column.type;
      const bool keeps = i != SyncColumns::error && i != SyncColumns::status;
      set += (i > 0 ? ", " : "") + column.name + " = " +
             (keeps ? "COALESCE(" + value + ", t." + column.name + ")" : value);
    }
    update = "UPDATE " + name_ + " t SET " + set + " WHERE " + key_condition();
  }
  const Text values[SyncColumns::count] = {
      projection.coupon_id, projection.promotion_code_id, projection.status,
      projection.synced_now ? Text("now") : Text(), error.empty() ? Text() : Text(error)};
  OwnWrite write{oid_, key.c_str(), &found.keys, {}};
  for (int i = 0; i < SyncColumns::count; ++i) {
    write.values[i] = {values[i].has_value() || i == SyncColumns::error,
                       values[i] ? values[i]->c_str() : nullptr};
  }
  const Announce announce(&write);
  const Rows done =
      run_lookup(project_, update, {key, values[0], values[1], values[2], values[3], values[4]});
  if (done.affected != 1) {
    throw Error(errcode::usage, "the row of " + label_ + " could not be updated",
                "A rule or trigger of the table suppressed the write of its sync columns.",
                "Let the table's owner update the sync columns.");
  }
}

void PromoTable::change(const std::string& key,
                        const std::vector<std::pair<std::string, Text>>& values) {
  std::string set;
  std::vector<Text> arguments = {key};
  for (const auto& [item, value] : values) {
    const Column& column = columns_.at(item);
    arguments.push_back(value);
    std::string now = "$" + std::to_string(arguments.size());
    const bool time = column.type.rfind("timestamp", 0) == 0 || column.type == "date";
    if (time) now = "pg_catalog.to_timestamp(" + now + "::pg_catalog.float8)";
    set += (set.empty() ? "" : ", ") + column.name + " = " + now + "::" + column.type;
  }
  const std::string update = "UPDATE " + name_ + " t SET " + set + " WHERE " + key_condition();
  if (run_once(update, arguments).affected != 1) {
    throw Error(errcode::usage, "the row of " + label_ + " could not be updated",
                "A rule or trigger of the table suppressed the write.",
                "Let the table's owner update the row.");
  }
}

std::string PromoTable::column_of(const std::string& item) const {
  const auto found = columns_.find(item);
  return found == columns_.end() ? std::string() : found->second.raw_name;
}

std::set<std::string> PromoTable::items() const {
  return {items_.begin(), items_.end()};
}

std::vector<Text> PromoTable::all_rows() {
  std::string off = "false";
  if (columns_.count(item::is_active) > 0) {
    off = "COALESCE((" + item_expression(item::is_active) +
          ") OPERATOR(pg_catalog.=) ANY ('{f,false,0}'::pg_catalog.text[]), false)";
  }
  const std::string key = key_expression("t", keys_);
  const std::string fits = " FILTER (WHERE " + key_fits(key) + ")";
  std::string list;
  for (const std::string& value : {key, item_expression(item::code), off, hash_expression()}) {
    list += "(pg_catalog.array_agg(" + value + ")" + fits + ")::pg_catalog.text, ";
  }
  const Rows rows = run_once("SELECT " + list + "pg_catalog.count(*) FILTER (WHERE NOT " +
                             key_fits(key) + ") FROM " + name_ + " t");
  return {rows.at(0, 0), rows.at(0, 1), rows.at(0, 2), rows.at(0, 3), rows.at(0, 4)};
}

Text PromoTable::held_of(const Text& wanted) {
  if (held_ == nullptr) {
    const std::string key = key_expression("t", keys_);
    held_ = keep_plan("SELECT (pg_catalog.array_agg(" + key + "))::pg_catalog.text FROM " + name_ +
                          " t JOIN pg_catalog.unnest($1::pg_catalog.text[]) w(key) ON " + key +
                          " OPERATOR(pg_catalog.=) w.key",
                      1);
  }
  return run_plan(held_, {wanted}).single();
}

}  // namespace stripe_sync::pg
