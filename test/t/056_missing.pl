# Rows that vanish in a way that may have been a mistake: held, until they are back or somebody says
# what is right.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => "stripe_sync.reconcile_interval = '1s'\n");
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION stripe_sync');

sub sql { return $node->safe_psql('app', $_[0]) }
sub on { return scalar grep { $_->{active} } map { $sandbox->codes($_) } @_ }

sub create
{
    my ($table) = @_;
    sql(<<"END");
CREATE TABLE $table (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), code text, discount_type text DEFAULT 'percentage',
  discount_value numeric DEFAULT 10, max_uses int, used_count int DEFAULT 0, is_active boolean DEFAULT true);
SELECT count(*) FROM stripe_sync_attach('$table', duration => 'once');
END
    return;
}

sub fill { my ($table, @codes) = @_; sql("INSERT INTO $table (code) VALUES " . join ', ', map { "('$_')" } @codes); return }

# What each code of that pattern is now, "state=count" or "state".
sub states
{
    my ($pattern) = @_;
    return "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM"
      . " (SELECT CASE WHEN deleted THEN 'deleted ' ELSE '' END || state AS state, count(*) AS n"
      . " FROM stripe_sync_promo_status WHERE code LIKE '$pattern' GROUP BY 1) q";
}
sub become { my ($pattern, $states, $what) = @_; return await_query($node, 'app', states($pattern), $states, $what) }
sub resolve { return sql("SELECT promo_code, outcome FROM stripe_sync_resolve($_[0])") }

# --- a mass deletion that is meant ----------------------------------------------------------------

create('codes');
my @codes = map { sprintf 'MASS-%02d', $_ } 1 .. 40;
fill('codes', @codes);
become('MASS%', 'synced 40', '40 codes are in step');
my $mark = $sandbox->mark;
sql("DELETE FROM codes WHERE code > 'MASS-10'");
become('MASS%', 'missing 30, synced 10', 'a mass deletion is held');
is(scalar $sandbox->writes($mark), 0, 'and switches nothing off');
my $held = row($node, 'app', "SELECT reason, detail, hint, next, active_in_stripe FROM stripe_sync_promo_status WHERE code = 'MASS-11'");
is_deeply($held,
    {
        reason => 'deleted together with a large part of its table',
        detail => 'Its code in Stripe is left as it is.',
        hint => "Insert the row again; if all that is missing is meant to be gone: SELECT * FROM stripe_sync_resolve(NULL, 'db');",
        next => "SELECT * FROM stripe_sync_resolve('MASS-11', 'db');",
        active_in_stripe => JSON::PP::true
    },
    'the row says why, and what comes next');
is(resolve("'MASS-11', 'db'"), 'MASS-11|deleted: switched off in Stripe after commit', 'one is confirmed');
become('MASS-11', 'deleted synced 1', 'it is deleted');
is(on('MASS-11'), 0, 'and off in Stripe');
is(on(@codes[ 11 .. 39 ]), 29, 'the others are not');

is(resolve("'MASS-12', 'stripe'"), 'MASS-12|let go: left as it is in Stripe', 'one is let go');
my $let_go = row($node, 'app', "SELECT state, warning FROM stripe_sync_promo_status WHERE code = 'MASS-12'");
is($let_go->{state}, 'excluded', 'it is left alone');
like($let_go->{warning}, qr/\Q@{[$sandbox->code('MASS-12')->{id}]}\E was left as it is in Stripe/, 'and says so');

is(scalar(split /\n/, resolve("NULL, 'db'")), 28, 'all others are confirmed at once');
become('MASS%', 'deleted excluded 1, deleted synced 29, synced 10', 'they are deleted');
is(on(@codes[ 10 .. 39 ]), 1, 'and off, but the one that was let go');
is(on(@codes[ 0 .. 9 ]), 10, 'rows that are there were never touched');
is(sql('SELECT status FROM stripe_sync_health'), 'ok', 'health is ok again');

# --- what was let go comes back -------------------------------------------------------------------

my $id = $sandbox->code('MASS-12')->{id};
$mark = $sandbox->mark;
sql("INSERT INTO codes (code, stripe_promotion_code_id) VALUES ('MASS-12', '$id')");
await_query($node, 'app', "SELECT sync_status FROM codes WHERE code = 'MASS-12'", 'synced',
    'inserted again with its id, under another key');
is(sql("SELECT stripe_promotion_code_id FROM codes WHERE code = 'MASS-12'"), $id, 'it has its promotion code again');
is(join(' ', grep { !m{/v1/(coupons|promotion_codes)/} } map { $_->{path} } $sandbox->writes($mark)), '',
    'and no other was made');
sql("UPDATE codes SET is_active = false WHERE code = 'MASS-12'");
await('it is ours to switch off again', sub { my $on = on('MASS-12'); return ($on == 0, $on) });

# --- TRUNCATE, and the rows are put back ----------------------------------------------------------

sql('CREATE TABLE saved AS SELECT * FROM codes');
$mark = $sandbox->mark;
sql('TRUNCATE codes');
become('MASS-0%', 'missing 9', 'truncated: held');
sql("INSERT INTO codes SELECT * FROM saved");
become('MASS-0%', 'synced 9', 'put back: they go on by themselves');
is(scalar $sandbox->writes($mark), 0, 'without a write');

# --- while it is held, the row comes back unseen: nobody decides over its head --------------------

sql('TRUNCATE codes');
become('MASS-0%', 'missing 9', 'truncated again');
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker is stopped');
sql("SET session_replication_role = replica; INSERT INTO codes SELECT * FROM saved WHERE code < 'MASS-05'");
is(scalar(split /\n/, resolve("NULL, 'db'")), 7, 'of eleven that were held, four are back: seven are confirmed');
sql('SELECT stripe_sync_start()');
become('MASS-0%', 'deleted synced 5, synced 4', 'so it comes');
is(on(@codes[ 0 .. 3 ]), 4, 'those that are back are on');
is(on(@codes[ 4 .. 8 ]), 0, 'those that are gone are off');

# --- a dropped table ------------------------------------------------------------------------------

create('dropped');
fill('dropped', 'DROP-1', 'DROP-2', 'DROP-3', 'DROP-4');
become('DROP%', 'synced 4', 'another table');
sql("UPDATE dropped SET sync_status = 'manual' WHERE code = 'DROP-4'");
become('DROP-4', 'excluded 1', 'one row of it is left to the user');
$sandbox->fault('status', status => 500, times => 0, match => { path => '*' . $sandbox->code('DROP-3')->{id} });
sql("DELETE FROM dropped WHERE code = 'DROP-3'");
become('DROP-3', 'deleted retrying 1', 'one is deleted, and Stripe does not take it yet');
sql('DROP TABLE dropped');
become('DROP-1', 'missing 1', 'dropped: held');
become('DROP-2', 'missing 1', 'all of it');
become('DROP-4', 'excluded 1', 'but what was left to the user');
$sandbox->clear_faults;
become('DROP-3', 'deleted synced 1', 'and what was deleted before, which is switched off yet');
is(join(' ', map { on("DROP-$_") } 1 .. 4), '1 1 0 1', 'in Stripe, too');
is(resolve("'DROP-1', 'db'") . "\n" . resolve("'DROP-2', 'stripe'"),
    "DROP-1|deleted: switched off in Stripe after commit\nDROP-2|let go: left as it is in Stripe",
    'of a dropped table both can be said');
become('DROP-1', 'deleted synced 1', 'confirmed');
is(join(' ', map { on("DROP-$_") } 1 .. 4), '0 1 0 1', 'and off');

# --- partitions, one by one -----------------------------------------------------------------------

sql(<<'END');
CREATE TABLE parted (region text, code text, discount_type text DEFAULT 'percentage', discount_value numeric DEFAULT 10,
  max_uses int, is_active boolean DEFAULT true, PRIMARY KEY (region, code)) PARTITION BY LIST (region);
CREATE TABLE parted_north PARTITION OF parted FOR VALUES IN ('north');
CREATE TABLE parted_south PARTITION OF parted FOR VALUES IN ('south');
CREATE TABLE parted_west PARTITION OF parted FOR VALUES IN ('west');
CREATE TABLE parted_east PARTITION OF parted FOR VALUES IN ('east');
SELECT count(*) FROM stripe_sync_attach('parted', duration => 'once', add_columns => true);
INSERT INTO parted (region, code) SELECT region, 'PART-' || upper(region) || n
FROM unnest(ARRAY['north', 'south', 'west', 'east']) region, generate_series(1, 3) n;
END
become('PART-%', 'synced 12', 'a partitioned table');
$mark = $sandbox->mark;
# None of them fires a trigger of the table itself.
sql('TRUNCATE parted_north');
become('PART-NORTH%', 'missing 3', 'one partition is truncated: held');
sql('DROP TABLE parted_south');
become('PART-SOUTH%', 'missing 3', 'one is dropped: held');
sql("DELETE FROM parted_west");
become('PART-WEST%', 'missing 3', 'all of one is deleted, past the table: held');
become('PART-EAST%', 'synced 3', 'the rows of the other are in step');
is(scalar $sandbox->writes($mark), 0, 'nothing is switched off unasked');
is(on(map { my $region = $_; map { "PART-$region$_" } 1 .. 3 } qw(NORTH SOUTH WEST EAST)), 12, 'all are on');
sql("INSERT INTO parted_west (region, code) VALUES ('west', 'PART-WEST1')");
become('PART-WEST1', 'synced 1', 'a row that is put back goes on');
is(scalar $sandbox->writes($mark), 0, 'without a write');
is(resolve("'PART-SOUTH1', 'db'"), 'PART-SOUTH1|deleted: switched off in Stripe after commit', 'one of the dropped ones is confirmed');
become('PART-SOUTH1', 'deleted synced 1', 'it is deleted');
is(on('PART-SOUTH1'), 0, 'and off');
is(on('PART-SOUTH2', 'PART-SOUTH3'), 2, 'the others are not');

# --- what is deleted and done with is forgotten in the end -----------------------------------------

my $kept = "SELECT string_agg(code, ' ' ORDER BY code) FROM stripe_sync.promo_state WHERE deleted";
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker is stopped');
sql(<<'END');
UPDATE stripe_sync.promo_state SET changed_at = changed_at - interval '31 days', synced_at = synced_at - interval '31 days'
WHERE code <> 'MASS-11';
UPDATE stripe_sync.promo_state SET state = 'parked', reason = 'refused' WHERE code = 'MASS-13';
UPDATE stripe_sync.promo_state SET in_flight = '{}' WHERE code = 'MASS-14';
END
like(sql($kept), qr/^DROP-1 DROP-2 DROP-3 MASS-05 /, 'deleted rows are known');
my $living = sql('SELECT count(*) FROM stripe_sync.promo_state WHERE NOT deleted');
sql('SELECT stripe_sync_start()');
await_query($node, 'app', $kept, 'MASS-11 MASS-13 MASS-14',
    'a month later they are forgotten, but for those of which something is open');
is(sql('SELECT count(*) FROM stripe_sync.promo_state WHERE NOT deleted'), $living, 'no other is');

finish($node);
