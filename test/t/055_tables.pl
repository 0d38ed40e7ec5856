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

my $mark;  # a place in the log of requests

sub sql { return $node->safe_psql('app', $_[0]) }

sub on { return scalar grep { $_->{active} } map { $sandbox->codes($_) } @_ }

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

# What an attachment says counts from its commit on, even if nothing else tells of it.
sql("UPDATE stripe_sync.attachment SET duration = 'forever' WHERE promo_table = 'other_codes'::regclass");
sql("INSERT INTO other_codes (id, code) VALUES (3, 'OTHER-3')");
sync('another setting');
is(($sandbox->code('OTHER-3'))[1]{duration}, 'forever', 'another setting: pushed by it');
sql("UPDATE stripe_sync.attachment SET duration = 'once' WHERE promo_table = 'other_codes'::regclass");

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
    $mark = $sandbox->mark;
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

# Types of an extension and of the user's own, and what else a table may hold beside a code.
sql(<<'END');
CREATE EXTENSION citext;
CREATE DOMAIN voucher AS text CHECK (VALUE <> '');
CREATE DOMAIN moment AS timestamptz;
CREATE DOMAIN soon AS moment;
CREATE DOMAIN yesno AS boolean;
CREATE DOMAIN short AS varchar(30);
CREATE TYPE sale AS ENUM ('SPRING-SALE', 'FALL-SALE');
CREATE TABLE insensitive (name citext PRIMARY KEY, code citext UNIQUE, discount_type citext DEFAULT 'Percentage',
  discount_value numeric DEFAULT 10, is_active boolean DEFAULT true);
CREATE TABLE domains (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code voucher, discount_type text DEFAULT 'percentage',
  discount_value numeric DEFAULT 12.50000000, is_active yesno DEFAULT true, expires_at soon, sync_error short,
  stripe_promotion_code_id text UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE mixed (id bigserial PRIMARY KEY, code sale, discount_type text DEFAULT 'percentage', discount_value float8 DEFAULT 10.1,
  is_active boolean DEFAULT true, tags text[] DEFAULT '{a,b}', about jsonb DEFAULT '{"a": null}', picture bytea, "select" point);
CREATE TABLE computed (id int PRIMARY KEY, campaign text, code text GENERATED ALWAYS AS (upper(campaign) || '-' || id) STORED,
  discount_type text DEFAULT 'percentage', tenths int DEFAULT 105, discount_value numeric GENERATED ALWAYS AS (tenths / 10.0) STORED,
  is_active boolean DEFAULT true);
CREATE TABLE "naïve Größe" ("ключ" text PRIMARY KEY, "code" text, "order" text DEFAULT 'percentage', "värde" numeric DEFAULT 10,
  "where" boolean DEFAULT true);
SELECT (SELECT count(*) FROM stripe_sync_attach(t.name, duration => 'once'))
FROM unnest('{insensitive,domains,mixed,computed}'::regclass[]) t(name);
SELECT count(*) FROM stripe_sync_attach('"naïve Größe"', duration => 'once',
  map => '{"discount_type": "order", "discount_value": "värde", "is_active": "where"}');
INSERT INTO insensitive VALUES ('Name', 'CiTeXt');
INSERT INTO domains (code, expires_at) VALUES ('DOMAIN', '2030-05-06 07:08:09+03'), ('NO DOMAIN', NULL);
INSERT INTO mixed (code) VALUES ('FALL-SALE');
INSERT INTO computed (id, campaign) VALUES (7, 'summer');
INSERT INTO "naïve Größe" VALUES ('schlüssel', 'UNICODE');
END
sync('other types');
my @odd_tables = (
    [ 'insensitive', 'CiTeXt', 10 ], [ 'domains', 'DOMAIN', 12.5 ], [ 'mixed', 'FALL-SALE', 10.1 ],
    [ 'computed', 'SUMMER-7', 10.5 ], [ '"naïve Größe"', 'UNICODE', 10 ]);
foreach my $odd_table (@odd_tables)
{
    my ($table, $code, $percent) = @$odd_table;
    my ($of, $of_coupon) = $sandbox->code($code);
    is_deeply([ $of_coupon->{percent_off}, $of->{active} ], [ $percent, JSON::PP::true ], "$table: pushed");
    is(sql("SELECT sync_status || ' ' || stripe_promotion_code_id FROM $table WHERE code = '$code'"), "synced $of->{id}",
        "$table: which the row shows");
}
is($sandbox->code('DOMAIN')->{expires_at}, 1904270889, 'a time is the same moment in every time zone');
is(sql("SELECT sync_error FROM domains WHERE code = 'NO DOMAIN'"), 'code "NO DOMAIN" has a space a',
    'an error is cut to what a domain takes');
$mark = $sandbox->mark;
sql("UPDATE $_->[0] SET code = code") foreach grep { $_->[0] ne 'computed' } @odd_tables;
sql(<<'END');
UPDATE computed SET id = id;
UPDATE mixed SET tags = '{}', about = NULL, picture = '\x00', "select" = '(1,2)';
SET timezone = 'Asia/Tokyo';
UPDATE domains SET expires_at = expires_at;
END
sync('touched');
is(scalar $sandbox->requests(since => $mark), 0, 'touched rows, and columns that say nothing of a code, ask nothing');
sql(<<'END');
UPDATE insensitive SET is_active = false;
UPDATE domains SET is_active = false;
UPDATE mixed SET is_active = false;
UPDATE computed SET is_active = false;
UPDATE "naïve Größe" SET "where" = false;
END
sync('switched off');
is(join(' ', map { $sandbox->code($_->[1])->{active} ? $_->[1] : () } @odd_tables), '', 'all are off');

# As wide as a table can be, and a text that is stored out of line.
sql('CREATE TABLE wide (id int PRIMARY KEY, description text, ' . $items . ', '
      . join(', ', map { "c$_ smallint" } 1 .. 1590) . ')');
is(error_of($node, 'app', "SELECT stripe_sync_attach('wide', duration => 'once', add_columns => true)")->{sqlstate},
    '54011', 'a table that has no room for our columns is refused');
sql(<<'END');
SELECT count(*) FROM stripe_sync_attach('wide', duration => 'once');
INSERT INTO wide (id, description, code) SELECT 1, string_agg(md5(n::text), ' '), 'WIDE' FROM generate_series(1, 100000) n;
UPDATE wide SET c1590 = 1, description = 'long: ' || description;
END
sync('a wide table');
my (undef, $wide) = $sandbox->code('WIDE');
is(sql('SELECT sync_status FROM wide'), 'synced', 'a table of 1600 columns');
is_deeply([ length $wide->{name} <= 40, length $wide->{metadata}{description} ], [ 1, 500 ], 'with a text of 3 MB');

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
$mark = $sandbox->mark;
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

# --- a table that takes another's place -----------------------------------------------------------

sql(<<"END");
CREATE TABLE swapped (id int PRIMARY KEY, $items, is_active boolean DEFAULT true);
SELECT count(*) FROM stripe_sync_attach('swapped', duration => 'once');
INSERT INTO swapped VALUES (1, 'SWAP-1'), (2, 'SWAP-2');
END
sync('a table');
sql(<<'END');
BEGIN;
CREATE TABLE swapped_new (LIKE swapped INCLUDING ALL);
INSERT INTO swapped_new SELECT * FROM swapped;
ALTER TABLE swapped RENAME TO swapped_old;
ALTER TABLE swapped_new RENAME TO swapped;
COMMIT;
END
sql("SELECT count(*) FROM stripe_sync_attach('swapped', duration => 'once')");
sync('a table that has its name now');
is(sql('SELECT DISTINCT sync_status || sync_error FROM swapped') =~ /^error.*belongs to another row of this database: public\.swapped_old\/\d$/m,
    1, 'while the former table is attached, the codes are its');
sql("DELETE FROM swapped_old WHERE id = 2");
await_query($node, 'app', "SELECT sync_status FROM swapped WHERE id = 2", 'synced', 'of which one is deleted: its code is free');
is(join(' ', map { on($_) } 'SWAP-1', 'SWAP-2'), '1 1', 'and the other sells it');
$mark = $sandbox->mark;
sql("SELECT stripe_sync_detach('swapped_old')");
await_query($node, 'app', "SELECT sync_status FROM swapped WHERE id = 1", 'synced', 'detached, it leaves its codes to the other');
is(scalar(grep { $_->{path} =~ m{^/v1/(coupons|promotion_codes)$} && $_->{body} =~ /SWAP-1/ } $sandbox->writes($mark)), 0,
    'none is made anew');
sql('UPDATE swapped SET is_active = false; DROP TABLE swapped_old');
sync('the new table is written');
is(on('SWAP-1'), 0, 'and decides from now on');

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
