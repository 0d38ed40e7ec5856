# The inbox as the worker takes it over: while a row is being pushed, with a change in it that can't
# be taken, and after a long absence of the worker.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
sub app { return $node->safe_psql('app', $_[0], @owner) }
sub sql { return $node->safe_psql('app', $_[0]) }
app('DELETE FROM promo_codes');
# its triggers would undo the user's "manual"
app('DROP TRIGGER update_promo_codes_zsync_status ON promo_codes');
attach($node, 'app');

sub inbox_empty { return await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.promo_inbox', '0', $_[0], 120) }

# --- what happens to a row while its code is being made -----------------------------------------------

sub stalled
{
    my ($code) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $sandbox->fault('delay', match => { method => 'POST', path => '/v1/promotion_codes', contains => $code });
    insert_codes($node, 'app', $code);
    await("$code is being made", sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
    return;
}
my $state = "SELECT state, deleted, promotion_code_id IS NOT NULL, reason FROM stripe_sync_promo_status WHERE code = '%s'";

stalled('LEFT');
app("BEGIN; UPDATE promo_codes SET sync_status = 'manual'; DELETE FROM promo_codes; COMMIT");
inbox_empty('set to manual and deleted in one transaction');
$sandbox->clear_faults;
await_query($node, 'app', sprintf($state, 'LEFT'), 'excluded|t|t|', 'what was made is known, and left to the user');
is($sandbox->codes('LEFT') && ($sandbox->codes('LEFT'))[0]{active}, 1, 'it is on in Stripe');

insert_codes($node, 'app', map { "HELD-$_" } 1 .. 12);
await_codes($node, 'app', 'twelve codes', map { "HELD-$_" } 1 .. 12);
stalled('HELD');
app('DELETE FROM promo_codes');
inbox_empty('deleted with all others');
$sandbox->clear_faults;
await_query($node, 'app', sprintf($state, 'HELD'), 'missing|f|t|deleted together with a large part of its table', 'is held, for the reason it is');
is(scalar(grep { $_->{active} } map { $sandbox->codes($_) } 'HELD', map { "HELD-$_" } 1 .. 12), 13, 'as are the others: all on in Stripe');
sql("SELECT stripe_sync_resolve(NULL, 'db')");
is(sql('SELECT stripe_sync_wait()'), 't', 'confirmed');
is(scalar(grep { $_->{active} } map { $sandbox->codes($_) } 'HELD', map { "HELD-$_" } 1 .. 12), 0, 'then they are off');

# the worker dies before it hears what became of it: whoever follows finds it let go
stalled('KILLED');
app("BEGIN; UPDATE promo_codes SET sync_status = 'manual'; DELETE FROM promo_codes; COMMIT");
inbox_empty('set to manual and deleted while it is being made');
sql('CHECKPOINT');  # the worker need not have waited for its commit to be on disk
my $killed = worker_pid($node, 'app');
kill 'KILL', $killed;
$sandbox->clear_faults;
await('another worker', sub { my $pid = eval { worker_pid($node, 'app') } // $killed; return ($pid ne $killed, $pid) }, 120);
is(sql("SELECT stripe_sync_wait('2 min')"), 't', 'has nothing left to do');
is(sql(sprintf($state, 'KILLED')), 'excluded|t|f|', 'with what was let go');

# --- a change that can't be taken over ----------------------------------------------------------------

my $worker = worker_pid($node, 'app');
sql("ALTER TABLE stripe_sync.promo_state ADD CONSTRAINT damaged CHECK (code <> 'POISON')");
my $session = $node->background_psql('app', extra_params => [ '-U', 'app_owner' ]);
$session->query_safe('BEGIN');
$session->query_safe(insert_codes_sql("BEFORE-$_")) foreach 1 .. 3;
$session->query_safe(insert_codes_sql('BESIDE', 'POISON'));
$session->query_safe(insert_codes_sql("AFTER-$_")) foreach 1 .. 3;
$session->query_safe('COMMIT');
await_codes($node, 'app', 'what was committed with it arrives', map { ("BEFORE-$_", "AFTER-$_") } 1 .. 3);
inbox_empty('nothing is left waiting');
is(statuses($node, 'app', "code IN ('BESIDE', 'POISON')"), "BESIDE pending\nPOISON pending", 'but its own statement');
is(sql("SELECT subject, sqlstate, message ~ 'damaged' FROM stripe_sync_errors WHERE message ~ 'damaged' LIMIT 1"), 'worker|23514|t', 'and the reason is told');
sql('ALTER TABLE stripe_sync.promo_state DROP CONSTRAINT damaged');
await_codes($node, 'app', 'mended, the comparison finds them', 'BESIDE', 'POISON');
is(worker_pid($node, 'app'), $worker, 'by the same worker');

# --- a worker that has been away -----------------------------------------------------------------------

app("INSERT INTO promo_codes (code, description, discount_type, discount_value) SELECT 'LONG-' || n, 'too much', 'percentage', 150 FROM generate_series(1, 500) n");
is(sql("SELECT stripe_sync_wait('5 min')"), 't', 'many rows that can\'t be pushed');
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker is stopped');
app("UPDATE promo_codes SET discount_value = discount_value + 1 WHERE code LIKE 'LONG-%'") foreach 1 .. 25;
app("UPDATE promo_codes SET is_active = false WHERE code = 'BEFORE-1'");
app("UPDATE promo_codes SET discount_value = 10 WHERE code = 'LONG-500'");
is(sql('SELECT count(*) > 10000 FROM stripe_sync.promo_inbox'), 't', 'more waits than is taken over at a time');
is(sql("SELECT pending, status FROM stripe_sync_health"), '501|down', 'as users see it');
sql('SELECT stripe_sync_start()');
inbox_empty('all of it is taken over');
is(sql("SELECT stripe_sync_wait('5 min')"), 't', 'and done');
is(sql("SELECT max(generation) < 6 FROM stripe_sync.promo_state WHERE code LIKE 'LONG-%'"), 't', 'several changes of a row as one');
is(app("SELECT count(*) FROM promo_codes WHERE code LIKE 'LONG-%' AND sync_status = 'error'"), '499', 'each judged by its last');
pushed_once($node, 'app', $sandbox, 'the one that was mended is pushed', 'LONG-500');
is(($sandbox->codes('BEFORE-1'))[0]{active}, JSON::PP::false(), 'the one that was switched off is off');
$session->quit;

# what was deleted while it was away is no riddle to the comparison at its start
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker is stopped');
app("DELETE FROM promo_codes WHERE code = 'AFTER-1'");
sql('SELECT stripe_sync_start()');
is(sql("SELECT stripe_sync_wait('5 min')"), 't', 'deleted while no worker ran');
is(sql("SELECT state, deleted FROM stripe_sync.promo_state WHERE code = 'AFTER-1'"), 'synced|t', 'switched off, not missing');
is(($sandbox->codes('AFTER-1'))[0]{active}, JSON::PP::false(), 'in Stripe, too');

# --- triggers of the application's that change or delete the row once more -------------------------------

app(<<'SQL');
CREATE TABLE archive (code text);
CREATE FUNCTION write_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.code LIKE 'DRAFT-%' THEN
    UPDATE promo_codes SET code = replace(NEW.code, 'DRAFT', 'FINAL') WHERE id = NEW.id;
  ELSIF NEW.code LIKE 'ARCHIVED-%' AND NOT NEW.is_active THEN
    INSERT INTO archive VALUES (NEW.code);
    DELETE FROM promo_codes WHERE id = NEW.id;
  ELSIF NEW.code LIKE 'RENEWED-%' AND NOT NEW.is_active THEN
    DELETE FROM promo_codes WHERE id = NEW.id;
    INSERT INTO promo_codes SELECT (jsonb_populate_record(NEW, '{"is_active": true, "discount_value": 35}')).*;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER write_again AFTER INSERT OR UPDATE ON promo_codes FOR EACH ROW EXECUTE FUNCTION write_again();
SQL
insert_codes($node, 'app', 'DRAFT-1');
await_codes($node, 'app', 'the code is what the trigger made of it', 'FINAL-1');
is(sql("SELECT code, off FROM stripe_sync.promo_state WHERE code IN ('DRAFT-1', 'FINAL-1')"), 'FINAL-1|f', 'and known by that');
is(scalar($sandbox->codes('DRAFT-1')), 0, 'the other was never sold');
insert_codes($node, 'app', 'ARCHIVED-1', 'ARCHIVED-2', 'RENEWED-1');
await_codes($node, 'app', 'codes', 'ARCHIVED-1', 'ARCHIVED-2', 'RENEWED-1');
app("UPDATE promo_codes SET sync_status = 'manual' WHERE code = 'ARCHIVED-2'");
app("UPDATE promo_codes SET is_active = false WHERE code ~ '^(ARCHIVED|RENEWED)-'");
is(sql("SELECT stripe_sync_wait('2 min')"), 't', 'archived when switched off');
is(sql("SELECT code, state, deleted FROM stripe_sync.promo_state WHERE code ~ '^(ARCHIVED|RENEWED)-' ORDER BY 1"),
    "ARCHIVED-1|synced|t\nARCHIVED-2|excluded|t\nRENEWED-1|synced|f", 'is deleted, as any other row; what is there again goes on');
is(join(' ', map { $_ . ($sandbox->codes($_) && grep({ $_->{active} } $sandbox->codes($_)) ? ' on' : ' off') } 'ARCHIVED-1', 'ARCHIVED-2', 'RENEWED-1'),
    'ARCHIVED-1 off ARCHIVED-2 on RENEWED-1 on', 'in Stripe, too');

# --- keys that are too long ----------------------------------------------------------------------------

app(<<'SQL');
CREATE TABLE pairs (a text, b text, code text, discount_type text, discount_value numeric, PRIMARY KEY (a, b));
SQL
sql("SELECT stripe_sync_attach('pairs', duration => 'once')");
app(<<'SQL');
CREATE FUNCTION long_text(seed int) RETURNS text LANGUAGE sql RETURN
  (SELECT left(string_agg(translate(md5(n::text), '0', '"'), '' ORDER BY n), 1300) FROM generate_series(seed, seed + 50) n);
INSERT INTO pairs VALUES (long_text(1), long_text(100), 'LONG-KEY', 'percentage', 10)
SQL
app("INSERT INTO pairs VALUES ('a', 'b', 'SHORT-KEY', 'percentage', 10)");
await_query($node, 'app', "SELECT sync_status FROM pairs WHERE code = 'SHORT-KEY'", 'synced', 'a row beside one whose key is too long');
sql("BEGIN; SET LOCAL session_replication_role = replica; UPDATE pairs SET discount_value = 20, sync_status = 'pending' WHERE code = 'SHORT-KEY'; COMMIT");
sql('ALTER SYSTEM SET stripe_sync.reconcile_interval = 1');
$node->reload;
await_query($node, 'app', "SELECT sync_status FROM pairs WHERE code = 'SHORT-KEY'", 'synced', 'is found by the comparison, too');
is(app("SELECT sync_status FROM pairs WHERE code = 'LONG-KEY'"), 'pending', 'the other is left out');
is(sql("SELECT detail FROM stripe_sync_errors WHERE message = 'public.pairs has rows with keys of more than 2000 bytes'"), 'They are left out: 1.', 'and that is told');

finish($node);
