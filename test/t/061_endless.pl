# Code of a table's owner that never ends, however it resists: cancelled, its row parked with the way
# out; other rows, other tables and the worker go on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => "stripe_sync.table_timeout = '1s'\n");
$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE DATABASE app OWNER app_owner');
$node->safe_psql('app', 'CREATE EXTENSION stripe_sync; GRANT EXECUTE ON FUNCTION stripe_sync_attach TO app_owner');

sub sql { return $node->safe_psql('app', $_[0], extra_params => [ '-U', $_[1] // 'app_owner' ]) }
my $boss = $node->safe_psql('postgres', 'SELECT current_user');

my $columns = "code text, discount_type text DEFAULT 'percentage', discount_value numeric DEFAULT 10,
  is_active boolean DEFAULT true";
sql(<<"SQL");
CREATE TABLE other_codes (id serial PRIMARY KEY, $columns);
CREATE TABLE promo_codes (id serial PRIMARY KEY, how text, $columns);
-- In the worker, which has no application_name; again where it was stopped.
CREATE FUNCTION resist(depth integer) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
  LOOP
    BEGIN
      IF depth > 0 THEN PERFORM resist(depth - 1); END IF;
      PERFORM pg_sleep(1000);
    EXCEPTION WHEN query_canceled THEN
      PERFORM count(*) FROM pg_class;
    END;
  END LOOP;
END
\$\$;
CREATE FUNCTION endless() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
  IF current_setting('application_name') <> '' THEN RETURN NEW; END IF;
  PERFORM set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),
    set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) IS NOT NULL;
  CASE NEW.how
    WHEN 'sleeps' THEN PERFORM pg_sleep(1000);
    WHEN 'loops' THEN LOOP END LOOP;
    WHEN 'counts' THEN PERFORM count(*) FROM generate_series(1, 1000000000000);
    WHEN 'resists' THEN PERFORM resist(0);
    WHEN 'resists on every level' THEN PERFORM resist(50);
    WHEN 'says something else' THEN
      BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN RAISE 'nothing to see here'; END;
    WHEN 'ends as if nothing were' THEN
      BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN RETURN NEW; END;
    WHEN 'says it was cancelled' THEN RAISE 'not by you' USING ERRCODE = '57014';
    WHEN 'says the server stops' THEN RAISE 'not by you' USING ERRCODE = '57P01';
    WHEN 'says memory is out' THEN RAISE 'not by you' USING ERRCODE = '53200';
    WHEN 'is slow' THEN PERFORM pg_sleep(1.5);
    ELSE PERFORM pg_sleep(0.2);
  END CASE;
  RETURN NEW;
END
\$\$;
CREATE TRIGGER endless BEFORE UPDATE ON promo_codes FOR EACH ROW EXECUTE FUNCTION endless();
SELECT stripe_sync_attach('other_codes', duration => 'once');
SELECT stripe_sync_attach('promo_codes', duration => 'once');
SQL
my $worker = await_worker($node, 'app');

sub await_state
{
    my ($code, $state, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = '$code'", $state, $what);
}

# --- when a row is written ------------------------------------------------------------------------

my @ways = ('sleeps', 'loops', 'counts', 'resists', 'resists on every level', 'says something else', 'ends as if nothing were');
my %code = map { ($ways[$_] => "ENDLESS-$_") } 0 .. $#ways;
sql("INSERT INTO promo_codes (how, code) VALUES " . join(', ', map { "('$_', '$code{$_}')" } @ways) . ", ('ends', 'ENDS')");
sql("INSERT INTO other_codes (code) VALUES ('OTHER')");
await_state('OTHER', 'synced', 'another table goes on');
await_state('ENDS', 'synced', 'a row whose trigger ends is written, after the others');
foreach my $way (@ways)
{
    await_state($code{$way}, 'parked', "a trigger that $way: the row is parked");
    my $row = row($node, 'app', "SELECT reason, detail, hint FROM stripe_sync_promo_status WHERE code = '$code{$way}'");
    like($row->{reason}, qr/^the row's sync columns could not be written: public\.promo_codes did not answer within 1000 ms$/, 'and why');
    like($row->{detail}, qr/triggers, constraints or functions took longer than stripe_sync\.table_timeout allows/, 'and what could end it');
    like($row->{hint}, qr/SELECT stripe_sync_retry\('$code{$way}'\)/, 'and the next command');
    is($sandbox->code($code{$way})->{active} ? 1 : 0, 1, 'it was pushed before');
}
is(worker_pid($node, 'app'), $worker, 'the worker is the one it was');

my @claims = ('says it was cancelled', 'says the server stops', 'says memory is out');
sql("INSERT INTO promo_codes (how, code) VALUES " . join(', ', map { "('$claims[$_]', 'CLAIM-$_')" } 0 .. $#claims));
foreach my $n (0 .. $#claims)
{
    await_state("CLAIM-$n", 'parked', "a trigger that $claims[$n]: the row is parked");
    is(row($node, 'app', "SELECT reason FROM stripe_sync_promo_status WHERE code = 'CLAIM-$n'")->{reason},
        "the row's sync columns could not be written: not by you", 'and why');
}
is(worker_pid($node, 'app'), $worker, 'the worker does not believe it');

sql("UPDATE promo_codes SET is_active = false WHERE how = 'resists'");
await('switching off works', sub { my $active = $sandbox->code($code{resists})->{active}; return (!$active, $active) });
await_state($code{resists}, 'parked', 'though it can\'t be shown');

# --- more time ------------------------------------------------------------------------------------

sql("INSERT INTO promo_codes (how, code) VALUES ('is slow', 'SLOW')");
await_state('SLOW', 'parked', 'a trigger that is too slow: parked');
$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.table_timeout = '60s'");
$node->reload;
await_query($node, 'app', 'SHOW stripe_sync.table_timeout', '1min', 'more time is given');
sql("SELECT stripe_sync_retry('SLOW')", $boss);
await_state('SLOW', 'synced', 'given the time, it ends');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET stripe_sync.table_timeout');
$node->reload;
await_query($node, 'app', 'SHOW stripe_sync.table_timeout', '1s', 'less time again');

# --- when a row is read: constants in an index are computed while its query is planned --------------

sql(<<'SQL');
CREATE FUNCTION endless(value text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('application_name') = '' THEN PERFORM resist(1); END IF;
  RETURN value;
END
$$;
CREATE INDEX ON promo_codes (endless('x'), code);
INSERT INTO promo_codes (how, code) VALUES ('ends', 'UNREAD');
INSERT INTO other_codes (code) VALUES ('OTHER-2');
SQL
await_state('UNREAD', 'retrying', 'an index that can\'t be planned with: tried again later');
like(row($node, 'app', "SELECT detail FROM stripe_sync_promo_status WHERE code = 'UNREAD'")->{detail} // '',
    qr/did not answer within 1000 ms/, 'and why');
await_state('OTHER-2', 'synced', 'another table goes on');
$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.table_timeout = '100ms'");
$node->reload;
sql("ALTER TABLE other_codes DISABLE TRIGGER ALL; UPDATE other_codes SET discount_value = 20 WHERE code = 'OTHER'; ALTER TABLE other_codes ENABLE TRIGGER ALL");
$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.reconcile_interval = '1s'");
$node->reload;
await_query($node, 'app', <<'END', 't', 'the comparison of the table is given up, too');
SELECT count(*) > 0 FROM stripe_sync_errors WHERE subject = 'worker' AND message ~ 'promo_codes did not answer within 1000 ms'
END
await_query($node, 'app', "SELECT observed #>> '{coupon,percent_off}' FROM stripe_sync.promo_state WHERE code = 'OTHER'", '20',
    'that of the other is not');
is(worker_pid($node, 'app'), $worker, 'the worker is the one it was');

finish($node);
