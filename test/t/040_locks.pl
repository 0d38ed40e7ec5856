# The application's locks and ours: a row that is held delays its own outcome and nothing else, the
# application never waits long and is never a deadlock's victim, whatever its triggers do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(max);
use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => "deadlock_timeout = 1s\nlog_lock_waits = on");
my @owner = (extra_params => [ '-U', 'app_owner' ]);

# The first user's table in app; one without triggers of its own in plain.
create_application($node, 'app');
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
$node->safe_psql('postgres', 'CREATE DATABASE plain OWNER app_owner');
$node->safe_psql('plain', 'GRANT CREATE ON SCHEMA public TO app_owner; CREATE EXTENSION stripe_sync;
    GRANT EXECUTE ON FUNCTION stripe_sync_attach, stripe_sync_promo, stripe_sync_wait TO app_owner');
$node->safe_psql('plain', <<'END', @owner);
CREATE TABLE promo_codes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text UNIQUE, description text,
    discount_type text, discount_value numeric, is_active boolean DEFAULT true, notes text);
CREATE TABLE other_codes (LIKE promo_codes INCLUDING ALL);
END
attach($node, $_) foreach qw(app plain);
$node->safe_psql('plain', "SELECT count(*) FROM stripe_sync_attach('other_codes', duration => 'once')", @owner);

sub app { return $node->safe_psql($_[0], $_[1], @owner) }

# A session of the application's; statement() says how long one took and what it complained of.
sub session
{
    my ($db) = @_;
    return $node->background_psql($db, on_error_stop => 0, timeout => 600, @owner);
}

sub statement
{
    my ($session, $sql) = @_;
    my $began = time;
    my $output = $session->query($sql);
    my %result = (output => $output, error => $session->{stderr}, seconds => time - $began);
    $session->{stderr} = '';
    return \%result;
}

# Without complaint, in less than a second.
sub quick
{
    my ($session, $sql, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $result = statement($session, $sql);
    ok($result->{error} eq '' && $result->{seconds} < 1, $what)
      or diag(sprintf '%.2f s %s', $result->{seconds}, $result->{error});
    return $result->{output};
}

# A call that may take its time.
sub call
{
    my ($session, $sql, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $result = statement($session, $sql);
    is($result->{error}, '', $what);
    return $result->{output};
}

sub status_of
{
    my ($db, $code) = @_;
    return app($db, "SELECT sync_status FROM promo_codes WHERE code = '$code'");
}

# What was asked for that code since the mark: object and what was done to it.
sub steps
{
    my ($mark, $code) = @_;
    my %promotion_codes = map { $_->{id} => 1 } $sandbox->codes($code);
    return map { "$_->{path}" =~ s{^/v1/}{}r =~ s{/.*}{ again}r . ($_->{params}{active} ? " active=$_->{params}{active}" : '') } grep {
        ($_->{params}{id} // '') =~ /^\Q$code\E-/i || ($_->{params}{code} // '') eq $code
          || $_->{path} =~ m{/coupons/\Q$code\E-}i
          || $_->{path} =~ m{/promotion_codes/(\w+)} && $promotion_codes{$1}
    } $sandbox->writes($mark);
}

sub stalled_for
{
    my ($code, $path, %more) = @_;
    return $sandbox->fault('delay', %more, match => { method => 'POST', path => $path, contains => $code });
}

sub await_stalled
{
    my ($number) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await("$number requests stall", sub { my $now = $sandbox->stalled; return ($now == $number, $now) });
    return;
}

# --- a row is held while its push is under way ------------------------------------------------------

my @new = ('coupons', 'promotion_codes');
my %held = (
    LOCKED => [ 'SELECT id FROM promo_codes WHERE code = %s FOR UPDATE', \@new ],
    KEYLOCKED => [ 'SELECT id FROM promo_codes WHERE code = %s FOR KEY SHARE', \@new ],
    TOUCHED => [ "UPDATE promo_codes SET notes = 'x' WHERE code = %s", \@new ],
    CHANGED => [ "UPDATE promo_codes SET description = 'Another' WHERE code = %s", [ @new, 'coupons again' ] ],
    OFF => [ 'UPDATE promo_codes SET is_active = false WHERE code = %s', [ @new, 'promotion_codes again active=false' ] ]);
foreach my $db (qw(plain app))
{
    foreach my $code (sort keys %held)
    {
        my ($sql, $wanted) = @{ $held{$code} };
        my $mark = $sandbox->mark;
        stalled_for($code, '/v1/coupons');
        insert_codes($node, $db, $code);
        await_stalled(1);
        my $session = session($db);
        quick($session, 'BEGIN', "$db $code: a transaction");
        quick($session, sprintf($sql, "'$code'"), "$db $code: it takes the row at once, while its coupon is being made");
        if ($db eq 'plain')
        {
            insert_codes($node, $db, "OTHER-$code");
            await_codes($node, $db, "$db $code: another row goes on meanwhile", "OTHER-$code");
        }
        $sandbox->clear_faults;
        await_stalled(0);
        await("$db $code: all is in Stripe, while the row is held",
            sub { my @steps = steps($mark, $code); return (@steps == 2, "@steps") });
        if ($code ne 'KEYLOCKED')
        {
            is(status_of($db, $code), 'pending', "$db $code: the row says nothing of it yet");
        }
        quick($session, "UPDATE promo_codes SET notes = 'y' WHERE code = '$code'", "$db $code: its own later statement waits for nobody");
        quick($session, 'COMMIT', "$db $code: committed");
        await_codes($node, $db, "$db $code: the outcome is in the row", $code);
        is_deeply([ steps($mark, $code) ], $wanted, "$db $code: one request for each step") or diag(join ' ', steps($mark, $code));
        is(app($db, "SELECT notes FROM promo_codes WHERE code = '$code'"), 'y', "$db $code: nothing of the application's is lost");
        $session->quit;
    }

    # what is committed while its coupon is being made counts for what is sent next
    my $mark = $sandbox->mark;
    stalled_for('OFFNOW', '/v1/coupons');
    insert_codes($node, $db, 'OFFNOW');
    await_stalled(1);
    app($db, "UPDATE promo_codes SET is_active = false WHERE code = 'OFFNOW'");
    $sandbox->clear_faults;
    await_codes($node, $db, "$db OFFNOW: switched off while its coupon was being made", 'OFFNOW');
    is_deeply([ steps($mark, 'OFFNOW') ], [ 'coupons', 'promotion_codes active=false' ], "$db OFFNOW: it was never on")
      or diag(join ' ', steps($mark, 'OFFNOW'));

    app($db, "DELETE FROM promo_codes WHERE code $_ 'OFFNOW'") foreach qw(= <>);
    is($node->safe_psql($db, 'SELECT stripe_sync_wait()'), 't', "$db: cleared");
}

# rolled back: as if it had not been
my $mark = $sandbox->mark;
stalled_for('UNDONE', '/v1/promotion_codes');
insert_codes($node, 'plain', 'UNDONE');
await_stalled(1);
my $session = session('plain');
quick($session, "BEGIN; UPDATE promo_codes SET description = 'x', is_active = false; DELETE FROM promo_codes WHERE code = 'UNDONE'", 'changed and deleted');
$sandbox->clear_faults;
await_stalled(0);
quick($session, 'ROLLBACK', 'and rolled back');
await_codes($node, 'plain', 'the outcome is in the row', 'UNDONE');
is_deeply([ steps($mark, 'UNDONE') ], \@new, 'one request for each step');
pushed_once($node, 'plain', $sandbox, 'and on in Stripe', 'UNDONE');

# --- snapshots: what a REPEATABLE READ transaction changes while the row is being pushed ------------

my $snapshot = 'BEGIN ISOLATION LEVEL REPEATABLE READ';
my %changed = (
    SNAPOFF => 'UPDATE promo_codes SET is_active = false WHERE code = %s',
    SNAPGONE => 'DELETE FROM promo_codes WHERE code = %s');
foreach my $code (sort keys %changed)
{
    $mark = $sandbox->mark;
    stalled_for($code, '/v1/coupons');
    my $second = stalled_for($code, '/v1/promotion_codes');
    my $reader = session('plain');
    insert_codes($node, 'plain', $code);
    await_stalled(1);
    quick($reader, "$snapshot; SELECT count(*) FROM promo_codes", "$code: a snapshot, while the coupon is being made");
    $sandbox->control('POST', 'faults/release');
    await("$code: the promotion code is being made", sub { return ($sandbox->hits($second) && $sandbox->stalled == 1, 'not yet') });
    my $result = statement($reader, sprintf($changed{$code}, "'$code'"));
    unlike($result->{error}, qr/ERROR/, "$code: changed");
    $result = statement($reader, 'COMMIT');
    is($result->{error}, '', "$code: committed");
    $sandbox->clear_faults;
    await("$code: ends off in Stripe",
        sub {
            my @codes = $sandbox->codes($code);
            my $on = grep { $_->{active} } @codes;
            return (@codes > 0 && !$on, join ' ', "$on active of " . @codes, steps($mark, $code));
        });
    $reader->quit;
}

# what such transactions changed while no worker ran
app('plain', 'DELETE FROM promo_codes');
is($node->safe_psql('plain', 'SELECT stripe_sync_wait()'), 't', 'cleared');
my @snap = map { sprintf 'SNAP%02d', $_ } 1 .. 14;
insert_codes($node, 'plain', @snap);
await_codes($node, 'plain', 'fourteen codes', @snap);
my $worker = worker_pid($node, 'plain');
$node->safe_psql('plain', 'SELECT stripe_sync_stop()');
await_query($node, 'plain', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker is stopped');
my $reader = session('plain');
quick($reader, "$snapshot; UPDATE promo_codes SET is_active = false WHERE code IN ('SNAP13', 'SNAP14'); COMMIT",
    'two are switched off in one');
quick($reader, "$snapshot; DELETE FROM promo_codes WHERE code = '$_'; COMMIT", "$_ is deleted, in a transaction of its own")
  foreach @snap[ 0 .. 11 ];
error_is(error_of($node, 'plain', 'SELECT stripe_sync_wait()'),
    { sqlstate => 'SY004', message => 'the worker of this database is stopped', hint => 'SELECT stripe_sync_start();' },
    'waiting for them would not end');
$session = session('plain');
quick($session, "BEGIN; UPDATE promo_codes SET notes = 'held' WHERE code = 'SNAP13'", 'another transaction then holds one of them');
$node->safe_psql('plain', 'SELECT stripe_sync_start()');
await_worker($node, 'plain', 'a worker starts', $worker);
sub off_in_stripe { return scalar grep { my ($code) = $sandbox->codes($_); !$code->{active} } @_ }
await('a row that is held keeps nobody back: the other is switched off', sub { my $off = off_in_stripe('SNAP14'); return ($off, $off) });
quick($session, 'COMMIT', 'it is let go');
await('and is switched off too', sub { my $off = off_in_stripe('SNAP13'); return ($off, $off) });
await('codes deleted one by one are switched off one and all',
    sub {
        my $off = off_in_stripe(@snap[ 0 .. 11 ]);
        my $states = $node->safe_psql('plain', 'SELECT string_agg(DISTINCT state, \' \') FROM stripe_sync.promo_state');
        return ($off == 12, "$off, states: $states");
    });
quick($reader, "$snapshot; UPDATE promo_codes SET is_active = true WHERE code = 'SNAP14'; COMMIT", 'one is switched on again');
is(call($reader, 'SELECT stripe_sync_wait()', 'waited for'), 't', 'nothing is pending then');
is(off_in_stripe('SNAP14'), 0, 'and it is on');
is(quick($reader, "$snapshot; " . insert_codes_sql('SNAPMINE') . "; SELECT promo_code, status FROM stripe_sync_promo('SNAPMINE')",
    'asked for within the transaction'), 'SNAPMINE|at commit', 'goes at commit');
quick($reader, 'COMMIT', 'committed');
await_codes($node, 'plain', 'then it is synced', 'SNAPMINE');
insert_codes($node, 'app', 'SNAPMOVED');
await_codes($node, 'app', 'a code', 'SNAPMOVED');
app('app', "$snapshot; UPDATE promo_codes SET id = gen_random_uuid() WHERE code = 'SNAPMOVED'; COMMIT");
is($node->safe_psql('app', 'SELECT stripe_sync_wait()'), 't', 'another key: nothing is pending');
await_codes($node, 'app', 'it is synced', 'SNAPMOVED');
my ($on) = grep { $_->{active} } $sandbox->codes('SNAPMOVED');
is($on->{id} // 'none', app('app', "SELECT stripe_promotion_code_id FROM promo_codes WHERE code = 'SNAPMOVED'"), 'and shows the code that is on');
$_->quit foreach $reader, $session;

# --- many rows ---------------------------------------------------------------------------------------

my @many = map { sprintf 'MANY-%03d', $_ } 1 .. 60;
app('plain', 'DELETE FROM promo_codes');
insert_codes($node, 'plain', @many);
$session = session('plain');
my @orders = ("UPDATE promo_codes SET notes = 'all' WHERE code LIKE 'MANY%'",
    (map { "DO 'DECLARE n int; BEGIN FOR n IN SELECT id FROM promo_codes WHERE code LIKE ''MANY%'' ORDER BY id $_
        LOOP UPDATE promo_codes SET notes = ''one by one'' WHERE id = n; END LOOP; END'" } qw(DESC ASC)),
    "BEGIN; SELECT count(*) FROM (SELECT FROM promo_codes ORDER BY id DESC FOR UPDATE) q; UPDATE promo_codes SET notes = 'held'; COMMIT");
my @results;
my $rounds = 0;
while (1)
{
    push @results, statement($session, $_) foreach @orders;
    last if ++$rounds > 200 || app('plain', "SELECT count(*) FROM promo_codes WHERE sync_status <> 'synced'") eq '0';
}
is(join(' ', grep { $_ ne '' } map { $_->{error} } @results), '', 'statements on 60 rows in any order, while they are pushed, meet no deadlock');
cmp_ok(max(map { $_->{seconds} } @results), '<', 1, 'nor a long wait');
note("$rounds rounds of statements");
await_codes($node, 'plain', 'all 60 arrive', @many);
pushed_once($node, 'plain', $sandbox, 'once each', @many);
is($node->safe_psql('plain', 'SELECT stripe_sync_wait()'), 't', 'nothing is pending');

# --- the application's triggers lock another table, in the opposite order to ours --------------------

app('plain', 'DELETE FROM promo_codes');
app('plain', <<'SQL');
CREATE TABLE ledger (id int PRIMARY KEY, writes int);
INSERT INTO ledger VALUES (1, 0);
CREATE FUNCTION write_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE ledger SET writes = writes + 1;
  RETURN NEW;
END
$$;
CREATE TRIGGER write_ledger BEFORE UPDATE ON promo_codes FOR EACH ROW WHEN (NEW.code LIKE 'LEDGER%') EXECUTE FUNCTION write_ledger();
SQL

sub await_worker_blocked
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await_query($node, 'plain', <<'END', 't', $what);
SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'stripe_sync worker' AND datname = 'plain' AND wait_event_type = 'Lock'
END
    return;
}
$mark = $sandbox->mark;
insert_codes($node, 'plain', 'BEFORE');
foreach my $round (1 .. 3)
{
    my $code = "LEDGER$round";
    $session = session('plain');
    quick($session, 'BEGIN; UPDATE ledger SET writes = writes + 1', "$code: the application holds the ledger");
    insert_codes($node, 'plain', $code);
    await_worker_blocked("$code: the worker holds the row and waits for the ledger");
    quick($session, "UPDATE promo_codes SET notes = 'mine' WHERE code = '$code'", "$code: the application gets the row");
    insert_codes($node, 'plain', "FREE$round");
    await_codes($node, 'plain', "$code: others go on", "FREE$round");
    quick($session, 'COMMIT', "$code: committed");
    await_codes($node, 'plain', "$code: arrives", $code);
    is_deeply([ steps($mark, $code) ], \@new, "$code: one request for each step");
    $session->quit;
}

# Many rows that need no request are settled at once: those already written must not be held while
# others wait for the application's locks.
$session = session('plain');
quick($session, 'BEGIN; UPDATE ledger SET writes = writes + 1', 'many: the application holds the ledger');
app('plain', "INSERT INTO promo_codes (code, discount_type, discount_value) SELECT CASE n WHEN 1 THEN 'QUICKLY' ELSE 'LEDGER-WRONG-' || n END, 'percentage', 150
    FROM generate_series(1, 32) n");
await_worker_blocked('many: the worker waits for the ledger');
my $began = time;
my $result = statement($session, "UPDATE promo_codes SET notes = 'mine' WHERE code = 'QUICKLY'");
is($result->{error}, '', 'many: the application is no deadlock\'s victim');
cmp_ok($result->{seconds}, '<', 1, 'many: nor does it wait');
insert_codes($node, 'plain', 'FREE-MANY');
await_codes($node, 'plain', 'many: others go on meanwhile', 'FREE-MANY');
cmp_ok(time - $began, '<', 10, 'many: soon');
statement($session, 'ROLLBACK');
await_query($node, 'plain', "SELECT count(*) FROM promo_codes WHERE sync_status = 'error'", '32', 'many: each is judged once the ledger is free');
$session->quit;

# --- a whole table is held -----------------------------------------------------------------------------

app('plain', 'DELETE FROM promo_codes');
app('plain', 'DROP TRIGGER write_ledger ON promo_codes');
is($node->safe_psql('plain', 'SELECT stripe_sync_wait()'), 't', 'cleared');
$sandbox->fault('delay', times => 0, match => { method => 'POST', path => '/v1/coupons', contains => 'TABLE' });
my @table = map { "TABLE$_" } 1 .. 20;
insert_codes($node, 'plain', @table);
await('some are under way', sub { my $now = $sandbox->stalled; return ($now > 0, $now) });
$session = session('plain');
quick($session, 'BEGIN; LOCK TABLE promo_codes IN ACCESS EXCLUSIVE MODE', 'the whole table is locked, at once');
$sandbox->clear_faults;
$node->safe_psql('plain', "INSERT INTO other_codes (code, discount_type, discount_value) VALUES ('OTHER-TABLE', 'percentage', 10)", @owner);
$began = time;
await_query($node, 'plain', "SELECT sync_status FROM other_codes WHERE code = 'OTHER-TABLE'", 'synced', 'a row of another table goes on');
cmp_ok(time - $began, '<', 5, 'soon');
quick($session, 'ALTER TABLE promo_codes ADD COLUMN more int', 'the table is altered, waiting for nobody');
quick($session, 'COMMIT', 'and free again');
$began = time;
await_codes($node, 'plain', 'all arrive', @table);
cmp_ok(time - $began, '<', 5, 'soon: being locked out counts as nobody\'s failure');
is(app('plain', 'SELECT count(*) FROM promo_codes WHERE sync_error IS NOT NULL'), '0', 'nor leaves an error in the row');
pushed_once($node, 'plain', $sandbox, 'once each', @table);
$session->quit;

# --- the worker's own lock ----------------------------------------------------------------------------

$worker = worker_pid($node, 'plain');
$session = session('plain');
my ($class, $object) = (1937011321, 1);
is(quick($session, "SELECT pg_try_advisory_lock($class, $object), pg_try_advisory_lock(($class\::bigint << 32) | $object),
    pg_try_advisory_lock_shared($class, $object), pg_try_advisory_xact_lock($class, $object)", 'every lock an application can take with our numbers'),
    't|t|t|t', 'is free to take');
$node->safe_psql('plain', 'SELECT stripe_sync_stop()');
await_query($node, 'plain', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the view is not taken in by them');
$node->safe_psql('plain', 'SELECT stripe_sync_start()');
await_worker($node, 'plain', 'and a worker starts nevertheless', $worker);
app('plain', <<'SQL');
CREATE FUNCTION unlock_all() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_unlock_all(); RETURN NEW; END';
CREATE TRIGGER unlock_all BEFORE UPDATE ON promo_codes FOR EACH ROW EXECUTE FUNCTION unlock_all();
SQL
insert_codes($node, 'plain', 'UNLOCKS');
await_codes($node, 'plain', 'a trigger that lets go of all advisory locks runs in the worker', 'UNLOCKS');
app('plain', 'DROP TRIGGER unlock_all ON promo_codes');
is($node->safe_psql('plain', 'SELECT count(*) FROM stripe_sync.running_worker'), '1', 'which holds its own nevertheless');
$session->quit;

# --- calls that wait ----------------------------------------------------------------------------------

stalled_for('WAITING', '/v1/coupons');
insert_codes($node, 'plain', 'WAITING');
await_stalled(1);
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
    foreach my $call ('stripe_sync_wait()', 'stripe_sync_promo()', "stripe_sync_promo('waiting')")
    {
        error_is(error_of($node, 'plain', "BEGIN ISOLATION LEVEL $level; SELECT $call"),
            {
                sqlstate => 'SY004',
                message => 'can\'t wait for the worker in a ' . lc($level) . ' transaction',
                detail => 'Its snapshot never sees what the worker commits.',
                hint => 'Call it in a READ COMMITTED transaction.'
            },
            "$call in $level");
    }
}

# in a transaction that wrote: its own rows go at commit, and it does not wait for itself
$session = session('plain');
quick($session, 'BEGIN', 'a transaction');
quick($session, insert_codes_sql('MINE'), 'that wrote');
is(call($session, "SELECT promo_code, action, status, coupon_id FROM stripe_sync_promo('mine')", 'asks for its own row'), 'MINE||at commit|', 'at commit');
$sandbox->clear_faults;
stalled_for('SLOW', '/v1/coupons', seconds => 2);
insert_codes($node, 'plain', 'SLOW');
await_stalled(1);
is(call($session, "SELECT promo_code, status FROM stripe_sync_promo() WHERE promo_code IN ('MINE', 'SLOW')", 'asks for all'), "MINE|at commit\nSLOW|synced",
    'waits for the others, and says at commit of its own');
is(call($session, 'SELECT stripe_sync_wait()', 'waits'), 't', 'for nothing more');
quick($session, "SAVEPOINT s; UPDATE promo_codes SET notes = 'x', description = 'y' WHERE code = 'WAITING'", 'writes in a subtransaction');
is(call($session, "SELECT status FROM stripe_sync_promo('WAITING')", 'asks for that'), 'at commit', 'at commit too');
is(scalar $sandbox->codes('MINE'), 0, 'nothing of it is in Stripe');
quick($session, 'ROLLBACK TO s; COMMIT', 'committed');
await_codes($node, 'plain', 'then it is', 'MINE', 'WAITING', 'SLOW');

# holding a row that waits for its outcome: the caller must not wait for itself
stalled_for('SELF', '/v1/promotion_codes');
insert_codes($node, 'plain', 'SELF');
await_stalled(1);
quick($session, "SET statement_timeout = '10s'; BEGIN; SELECT id FROM promo_codes WHERE code = 'SELF' FOR UPDATE", 'a transaction holds a row');
$sandbox->clear_faults;
$result = statement($session, "SELECT promo_code, action, status FROM stripe_sync_promo('SELF')");
is($result->{error}, '', 'and asks for its push: it does not wait for itself');
like($result->{output}, qr/^SELF\|/, 'it learns how far that is') or diag($result->{output});
statement($session, 'ROLLBACK');
await_codes($node, 'plain', 'afterwards the row is written', 'SELF');
pushed_once($node, 'plain', $sandbox, 'pushed once', 'SELF');
$session->quit;

foreach my $db (qw(app plain))
{
    my $workers = $node->safe_psql($db, <<"END");
SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type = 'stripe_sync worker' AND datname = '$db'
END
    is($workers, worker_pid($node, $db), "$db: one worker, and it is the one that holds the lock");
}

# --- all over ------------------------------------------------------------------------------------------

my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
my @deadlocks = grep { /deadlock detected/ } split /\n/, $log;
is(join("\n", @deadlocks), '', 'nobody met a deadlock');
finish($node);
