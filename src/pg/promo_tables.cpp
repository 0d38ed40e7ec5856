#include "pg/promo_store.hpp"

#include "pg/role.hpp"

extern "C" {
#include "utils/inval.h"
#include "utils/syscache.h"
}

namespace stripe_sync::pg {

namespace {

AttachSettings read_settings(const json::Value& row) {
  AttachSettings settings;
  settings.currency = row["currency"].text_or("");
  settings.duration = row["duration"].text_or("");
  settings.duration_in_months = row["duration_in_months"].integer();
  settings.monthly_price = row["monthly_price"].text_or("");
  settings.yearly_price = row["yearly_price"].text_or("");
  settings.products = text_list(row["products"]);
  return settings;
}

// All that a PromoTable is made from, so that a change of any of it is seen: attachment, name and
// columns.
Rows attachment_rows() {
  static Statement select{
      "SELECT a.promo_table::oid, format('%I.%I', n.nspname, c.relname),"
      " n.nspname || '.' || c.relname, to_jsonb(a) - 'promo_table',"
      " (SELECT string_agg(t.attname || ' ' || t.atttypid || ' ' || t.atttypmod, ',')"
      "  FROM pg_attribute t WHERE t.attrelid = a.promo_table AND t.attnum > 0 AND NOT "
      "t.attisdropped)"
      " FROM stripe_sync.attachment a JOIN pg_class c ON c.oid = a.promo_table"
      " JOIN pg_namespace n ON n.oid = c.relnamespace"};
  Rows rows;
  as_extension_owner([&] { rows = select(); });
  return rows;
}

// Which attachments there are, each by the transaction that wrote it.
std::string attachment_versions() {
  static Statement select{
      "SELECT string_agg(concat_ws(' ', a.promo_table::oid, a.xmin), ',')"
      " FROM stripe_sync.attachment a"};
  Text versions;
  as_extension_owner([&] { versions = select().single(); });
  return versions.value_or("");
}

// Counts what may have changed a table or its name. A session hears of it after the commit: time
// enough for a definition, which the table's lock guards, but not for an attachment.
std::uint64_t definition_changes = 1;

extern "C" void at_relation_change(Datum, Oid) {
  ++definition_changes;
}

extern "C" void at_schema_change(Datum, int, uint32) {
  ++definition_changes;
}

void count_definition_changes() {
  static bool counting = false;
  if (counting) return;
  pg_call([] {
    CacheRegisterRelcacheCallback(at_relation_change, Datum(0));
    CacheRegisterSyscacheCallback(NAMESPACEOID, at_schema_change, Datum(0));
  });
  counting = true;
}

}  // namespace

void PromoTables::refresh() {
  if (!in_background_worker()) return read();  // once, for a call
  count_definition_changes();
  const std::uint64_t changes = definition_changes;
  std::string versions = attachment_versions();
  if (changes == changes_ && versions == versions_) return;
  read();
  changes_ = changes;
  versions_ = std::move(versions);
}

void PromoTables::read() {
  const Rows rows = attachment_rows();
  std::map<std::string, Entry> current;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string oid = *rows.at(i, 0);
    std::string signature;
    for (int column = 1; column <= 4; ++column) signature += rows.at(i, column).value_or("") + "\n";
    auto known = entries_.find(oid);
    if (known != entries_.end() && known->second.signature == signature) {
      current[oid] = std::move(known->second);
      continue;
    }
    Entry entry;
    entry.signature = signature;
    const auto parsed = json::Value::parse(*rows.at(i, 3));
    if (!parsed) throw parsed.error();
    const json::Value& attachment = parsed.value();
    try {
      entry.table = std::make_unique<PromoTable>(
          static_cast<Oid>(std::stoul(oid)), *rows.at(i, 1), *rows.at(i, 2), attachment["columns"],
          text_list(attachment["key_columns"]), read_settings(attachment));
    } catch (const Error& error) {
      if (error.from_pg) throw;
      entry.broken = error;
    }
    current[oid] = std::move(entry);
  }
  entries_ = std::move(current);
}

PromoTable* PromoTables::find(const std::string& oid, Error& why) {
  const auto found = entries_.find(oid);
  if (found == entries_.end()) {
    why = Error(errcode::usage, "the promo table no longer exists or is no longer attached", "",
                "SELECT * FROM stripe_sync_check();");
    return nullptr;
  }
  why = found->second.broken;
  return found->second.table.get();
}

std::vector<std::string> PromoTables::oids() const {
  std::vector<std::string> oids;
  for (const auto& entry : entries_) oids.push_back(entry.first);
  return oids;
}

}  // namespace stripe_sync::pg
