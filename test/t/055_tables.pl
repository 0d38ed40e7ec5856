# Tables that are not the first user's: other names, types and keys, partitions, several at once.
# Each row is pushed, its outcome written back to it and to no other.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox);
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION stripe_sync');

sub sql { return $node->safe_psql('app', $_[0]) }

sub sync { is(sql("SELECT stripe_sync_wait('20 s')"), 't', "$_[0]: nothing is pending"); return }

# Starting, the worker compares all rows with what it took from them.
sub compare
{
    sql('SELECT stripe_sync_stop()');
    await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0',
        'the worker stops');
    sql('SELECT stripe_sync_start()');
    return;
}

sub attach_as_is
{
    my ($table) = @_;
    sql("SELECT count(*) FROM stripe_sync_attach('$table', duration => 'once', add_columns => true)");
    return;
}

my $items = "code text, discount_type text DEFAULT 'percentage', discount_value numeric DEFAULT 10";

# --- two tables, one key, and an application's trigger between them -------------------------------

sql(<<"END");
CREATE TABLE main_codes (id bigint PRIMARY KEY, $items, is_active boolean DEFAULT true);
CREATE TABLE other_codes (id bigint PRIMARY KEY, $items, is_active boolean DEFAULT true);
END
attach_as_is($_) foreach 'main_codes', 'other_codes';
sql(<<'END');
INSERT INTO main_codes (id, code) VALUES (1, 'MAIN-1');
INSERT INTO other_codes (id, code) VALUES (1, 'OTHER-1'), (2, 'OTHER-2');
END
sync('two tables');
sql(<<'END');
CREATE FUNCTION tell_other() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.sync_status = 'synced' THEN
    UPDATE other_codes SET is_active = false WHERE is_active;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER tell_other AFTER UPDATE ON main_codes FOR EACH ROW EXECUTE FUNCTION tell_other();
UPDATE main_codes SET is_active = false;
END
sync('our write of one table makes the application write another');
my $shown = <<'END';
SELECT code || ' ' || sync_status || ' ' || stripe_promotion_code_id FROM %s ORDER BY id
END
foreach my $table ('main_codes', 'other_codes')
{
    my @rows = map { [split] } split /\n/, sql(sprintf $shown, $table);
    is_deeply(\@rows, [ map { [ $_->[0], 'synced', $sandbox->code($_->[0])->{id} ] } @rows ],
        "$table: every row shows its own promotion code");
}
is(join(' ', map { $_->{code} } grep { $_->{active} } $sandbox->objects('promotion_codes')), '',
    'and all of them are off, as the rows say');

# --- keys -----------------------------------------------------------------------------------------

sql(<<"END");
CREATE TABLE including (id int, $items, PRIMARY KEY (id) INCLUDE (discount_value, code));
CREATE TABLE composite (shop text, number int, $items, PRIMARY KEY (shop, number));
CREATE TYPE season AS ENUM ('spring', 'fall, or autumn');
CREATE TABLE seasonal (season season PRIMARY KEY, $items);
CREATE TABLE texts (name varchar(40) PRIMARY KEY, $items);
INSERT INTO including VALUES (1, 'INCLUDED');
INSERT INTO composite VALUES ('it''s "a" {shop}, \\', 1, 'COMPOSITE-1'), ('', 2, 'COMPOSITE-2');
INSERT INTO seasonal VALUES ('spring', 'SPRING'), ('fall, or autumn', 'FALL');
INSERT INTO texts VALUES ('', 'EMPTY-KEY'), ('{"a": 1}', 'JSON-KEY'), (E'new\\nline', 'LINE-KEY');
END
my %codes = (
    including => ['INCLUDED'],
    composite => [ 'COMPOSITE-1', 'COMPOSITE-2' ],
    seasonal => [ 'FALL', 'SPRING' ],
    texts => [ 'EMPTY-KEY', 'JSON-KEY', 'LINE-KEY' ],
);
foreach my $table (sort keys %codes)
{
    attach_as_is($table);
    sync("$table attached");
    my $wanted = join "\n", map { "$_ synced " . ($sandbox->codes($_))[0]{id} } @{ $codes{$table} };
    is(sql(<<"END"), $wanted, "$table: each row shows its own");
SELECT code || ' ' || sync_status || ' ' || stripe_promotion_code_id FROM $table ORDER BY code
END
    my $mark = $sandbox->mark;
    sql("UPDATE $table SET code = code");
    sync("$table touched");
    is(scalar $sandbox->requests(since => $mark), 0, "$table: a touched row in step asks nothing");
    sql("DELETE FROM $table");
    sync("$table emptied");
    is(scalar(grep { $_->{active} } map { $sandbox->codes($_) } @{ $codes{$table} }), 0,
        "$table: deleted rows' codes are off");
}
is(sql("SELECT key_columns FROM stripe_sync.attachment WHERE promo_table = 'including'::regclass"),
    '{id}', 'columns that a key merely includes are none of it');

# --- names and types ------------------------------------------------------------------------------

sql(<<'END');
CREATE SCHEMA "My ""Shop""";
CREATE DOMAIN "My ""Shop"""."percent%" AS numeric CHECK (VALUE < 101);
CREATE TYPE "My ""Shop"""."kind" AS ENUM ('percentage', 'fixed');
CREATE TYPE "My ""Shop"""."status" AS ENUM ('pending', 'synced', 'error', 'manual');
CREATE TABLE "My ""Shop"""."Sale's %s {codes}" (
  "the key" uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  "Code's ""text""" char(20),
  "%L" "My ""Shop"""."kind" DEFAULT 'percentage',
  "{value}" "My ""Shop"""."percent%",
  "off?" integer,
  "active" boolean GENERATED ALWAYS AS ("off?" IS NULL) STORED,
  "until" timestamp,
  "uses" bigint,
  "state" "My ""Shop"""."status" DEFAULT 'pending',
  "what" varchar(30)
);
SELECT count(*) FROM stripe_sync_attach('"My ""Shop"""."Sale''s %s {codes}"', duration => 'once',
  map => '{"code": "Code''s \"text\"", "discount_type": "%L", "discount_value": "{value}",
           "is_active": "active", "expires_at": "until", "max_uses": "uses",
           "sync_status": "state", "sync_error": "what"}');
INSERT INTO "My ""Shop"""."Sale's %s {codes}" ("Code's ""text""", "{value}", "until", "uses")
  VALUES ('ODD', 12.5, now() + interval '10 days', 3);
INSERT INTO "My ""Shop"""."Sale's %s {codes}" ("Code's ""text""", "{value}")
  VALUES ('ODD FAIL', 12.5);
END
sync('odd names and types');
my ($promotion_code, $coupon) = $sandbox->code('ODD');
is_deeply([ $coupon->{percent_off}, @$promotion_code{qw(max_redemptions active)} ],
    [ 12.5, 3, JSON::PP::true ], 'odd names and types: the terms are right');
my $odd = row($node, 'app', <<'END');
SELECT state, stripe_promotion_code_id, floor(extract(epoch FROM "until"::timestamptz)) AS until
FROM "My ""Shop"""."Sale's %s {codes}" WHERE "Code's ""text""" = 'ODD'
END
is_deeply([ @$odd{qw(state stripe_promotion_code_id until)} ],
    [ 'synced', @$promotion_code{qw(id expires_at)} ], 'and the row shows it');
my $failed = row($node, 'app', <<'END');
SELECT state, what FROM "My ""Shop"""."Sale's %s {codes}" WHERE "Code's ""text""" = 'ODD FAIL'
END
is_deeply($failed, { state => 'error', what => 'code "ODD FAIL" has a space at' },
    'an error is cut to the width of its column');
sql(q(UPDATE "My ""Shop"""."Sale's %s {codes}" SET "off?" = 1));
sync('a generated column');
is($sandbox->code('ODD')->{active}, JSON::PP::false, 'a change of a generated column is taken over');

# --- partitions -----------------------------------------------------------------------------------

sql(<<"END");
CREATE TABLE regional (region text, id int, $items, is_active boolean DEFAULT true,
  PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE regional_north PARTITION OF regional FOR VALUES IN ('north');
CREATE TABLE regional_south PARTITION OF regional FOR VALUES IN ('south');
SELECT count(*) FROM stripe_sync_attach('regional', duration => 'once', add_columns => true);
INSERT INTO regional VALUES ('north', 1, 'NORTH'), ('south', 2, 'SOUTH');
END
sync('a partitioned table');
is(sql("SELECT string_agg(code || ' ' || sync_status, ', ' ORDER BY code) FROM regional"),
    'NORTH synced, SOUTH synced', 'rows of all partitions are pushed');
sql("UPDATE regional SET region = 'south' WHERE id = 1");
sync('a row moves to another partition');
is(sql('SELECT sync_status FROM regional WHERE id = 1'), 'synced', 'it is still in step');
is(scalar(grep { $_->{active} } $sandbox->codes('NORTH')), 1, 'and its code on');

# What fires no trigger of ours is found by the comparison.
sql(<<'END');
INSERT INTO regional_south VALUES ('south', 3, 'DIRECT');
CREATE TABLE regional_west (LIKE regional INCLUDING DEFAULTS);
INSERT INTO regional_west VALUES ('west', 4, 'WEST');
ALTER TABLE regional ATTACH PARTITION regional_west FOR VALUES IN ('west');
SET session_replication_role = replica;
INSERT INTO regional VALUES ('north', 5, 'REPLICA');
UPDATE regional SET is_active = false WHERE code = 'SOUTH';
END
compare();
await_query($node, 'app', <<'END', 'DIRECT synced, REPLICA synced, WEST synced',
SELECT string_agg(code || ' ' || coalesce(sync_status, 'NULL'), ', ' ORDER BY code)
FROM regional WHERE id > 2
END
    'rows written past our triggers are found and pushed');
await('so is a change',
    sub { my $on = $sandbox->code('SOUTH')->{active}; return (!$on, "active: $on") });

# Vanished, not deleted: left alone.
my $mark = $sandbox->mark;
sql("SET session_replication_role = replica; DELETE FROM regional WHERE code = 'REPLICA'");
compare();
await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'REPLICA'",
    'missing', 'a row that vanished without our trigger is missing');
is(scalar $sandbox->writes($mark), 0, 'its code is left as it is');
sql('ALTER TABLE regional DETACH PARTITION regional_west');
compare();
await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'WEST'",
    'missing', 'so is one in a detached partition');
sql("ALTER TABLE regional ATTACH PARTITION regional_west FOR VALUES IN ('west')");
compare();
await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'WEST'",
    'synced', 'which comes back with it');
is(sql("SELECT reason FROM stripe_sync_promo_status WHERE code = 'WEST'"), '',
    'and nothing is left of the reason');
is(scalar $sandbox->writes($mark), 0, 'without a write');

# --- one text in two tables -----------------------------------------------------------------------

sql("INSERT INTO main_codes (id, code) VALUES (50, 'TWICE')");
sync('a code');
sql("INSERT INTO other_codes (id, code) VALUES (50, 'twice')");
sync('the same text in another table');
is(sql(sprintf $shown, "main_codes WHERE id = 50"), 'TWICE synced ' . $sandbox->code('TWICE')->{id},
    'the first keeps its code');
like(sql("SELECT sync_status || ' ' || sync_error FROM other_codes WHERE id = 50"),
    qr/^error .*\Q@{[$sandbox->code('TWICE')->{id}]}\E/, 'the second is refused, naming it');

# --- the table changes under us -------------------------------------------------------------------

sql(<<'END');
ALTER TABLE main_codes ALTER COLUMN code TYPE varchar(80);
ALTER TABLE main_codes RENAME TO renamed_codes;
ALTER TABLE renamed_codes DROP COLUMN discount_type;
END
is($node->psql('app', "INSERT INTO renamed_codes (id, code) VALUES (60, 'AFTER')"), 0,
    'a dropped column does not keep the application from writing');
like(sql("SELECT status, detail FROM stripe_sync_check() WHERE item LIKE 'table %'"),
    qr/^fail\|column discount_type no longer exists/m, 'stripe_sync_check() names it');
sql('ALTER TABLE renamed_codes ADD discount_type text DEFAULT \'percentage\'');
sql("SELECT count(*) FROM stripe_sync_attach('renamed_codes', duration => 'once')");
await_query($node, 'app', 'SELECT sync_status FROM renamed_codes WHERE id = 60', 'synced',
    'once the column is back, what was written meanwhile is pushed');
sync('attached again');
$mark = $sandbox->mark;
sql('DROP TABLE other_codes');
compare();
await_query($node, 'app', <<'END', 'missing', 'a dropped table: its codes are missing');
SELECT DISTINCT state FROM stripe_sync_promo_status WHERE code LIKE 'OTHER-_'
END
is(scalar $sandbox->writes($mark), 0, 'and left as they are');
my $gone = row($node, 'app',
    "SELECT * FROM stripe_sync_check() WHERE detail LIKE '%no longer exists%'");
is($gone->{status}, 'fail', 'stripe_sync_check() finds it');
like($gone->{fix}, qr/^SELECT stripe_sync_detach\(\d+\);$/, 'and says how to forget it');
sql($gone->{fix});
is(sql("SELECT count(*) FROM stripe_sync_check() WHERE status = 'fail'"), '0', 'which helps');

finish($node);
