# What comes and goes around a worker at work: extension, database, copy, restore, table, column,
# trigger, settings, slots. (Restart, dump beside the original, standby: 071_extension, 072_copies;
# isolation levels: 040_locks.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => "stripe_sync.reconcile_interval = 1\nstripe_sync.test_restart_delay = 5000\n");
my @owner = (extra_params => [ '-U', 'app_owner' ]);

sub sql { return $node->safe_psql($_[1] // 'app', $_[0]) }
sub app { return $node->safe_psql($_[1] // 'app', $_[0], @owner) }

my $workers = <<'END';
SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'stripe_sync worker'
END
my $ours = <<'END';
SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = 'promo_codes'::regclass AND NOT t.tgisinternal
  AND starts_with(t.tgname::text, 'zzzz_stripe_sync')
END
my $missing = "SELECT count(*) FROM stripe_sync_promo_status WHERE state = 'missing'";
my $attach = "SELECT count(*) FROM stripe_sync_attach('promo_codes', currency => 'usd', duration => 'once'";

# The first user's table, empty, without the materialized view, which would serialise all writers.
sub create
{
    my ($db) = @_;
    create_application($node, $db);
    app('DROP TRIGGER refresh_promo_code_stats ON promo_codes; DELETE FROM promo_codes', $db);
    return;
}

# Does not wait; call what is returned for its end: whether it succeeded, and its complaints.
sub in_background
{
    my ($db, $sql) = @_;
    my $error = '';
    my $run = IPC::Run::start([ 'psql', '-XAtqv', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-c', $sql ],
        '<', \undef, '>', \my $out, '2>', \$error);
    return sub { $run->finish; return ($run->result == 0, $error) };
}

# Succeeds, if not at once: the end of a process takes a moment.
sub soon
{
    my ($server, $db, $sql, $what, @parameters) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await($what, sub {
        my ($failed, $out, $error) = $server->psql($db, $sql, @parameters);
        return ($failed == 0, $error);
    });
}

sub becomes
{
    my ($db, $code, $state, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await_query($node, $db, "SELECT state FROM stripe_sync_promo_status WHERE code = '$code'", $state, $what);
}

sub settled
{
    my ($db, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(sql("SELECT stripe_sync_wait('20 s')", $db), 't', "$what: nothing is pending");
}

# How many promotion codes of each text are on in Stripe.
sub on { return join ' ', map { scalar grep { $_->{active} } $sandbox->codes($_) } @_ }

# --- a worker that is killed (it comes back in 5 s: looked at later on) ---------------------------

create('app');
attach($node, 'app');
my $killed = await_worker($node, 'app');
insert_codes($node, 'app', 'FIRST');
await_codes($node, 'app', 'in step', 'FIRST');
sql("SELECT pg_terminate_backend($killed)");
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker is killed');
insert_codes($node, 'app', 'KILLED');
is(sql('SELECT reason, next FROM stripe_sync_health'), 'no worker runs|SELECT stripe_sync_start();', 'health says so');

# --- a schema of its own; tables made by somebody who is no superuser -----------------------------

$node->safe_psql('postgres', $_) foreach 'CREATE ROLE "Shop Keeper" LOGIN', 'CREATE DATABASE shop';
sql(<<'END', 'shop');
CREATE SCHEMA extensions;
CREATE SCHEMA "The Shop";
CREATE EXTENSION stripe_sync SCHEMA extensions;
GRANT USAGE ON SCHEMA extensions TO "Shop Keeper";
GRANT USAGE, CREATE ON SCHEMA "The Shop" TO "Shop Keeper";
GRANT EXECUTE ON FUNCTION extensions.stripe_sync_create_promo_tables TO "Shop Keeper";
END
my @keeper = ('-U', 'Shop Keeper');
my $tables = 'SELECT extensions.stripe_sync_create_promo_tables';
error_is(error_of($node, 'shop', "$tables('The Shop')", @keeper),
    { sqlstate => '42501', message => qr/permission denied for function stripe_sync_attach/ },
    'promo tables: attaching has to be granted too');
sql('GRANT EXECUTE ON FUNCTION extensions.stripe_sync_attach TO "Shop Keeper"', 'shop');
$node->safe_psql('shop', <<"END", extra_params => \@keeper);
$tables('The Shop');
INSERT INTO "The Shop".promo_codes (code, discount_type, discount_value, duration)
VALUES ('SHOP', 'percentage', 5, 'once');
END
await_query($node, 'shop', q{SELECT sync_status FROM "The Shop".promo_codes}, 'synced',
    'promo tables of a role that is no superuser: pushed');
is(error_of($node, 'shop', "$tables('The Shop')", @keeper)->{sqlstate}, '42P07', 'twice is refused');
is(error_of($node, 'shop', "$tables('extensions')", @keeper)->{sqlstate}, '42501', 'so is a foreign schema');
is(sql('SELECT extensions.stripe_sync_wait(); SELECT status FROM extensions.stripe_sync_health', 'shop'), "t\nok",
    'all works in a schema that is not on the path');
is(error_of($node, 'shop', 'ALTER EXTENSION stripe_sync SET SCHEMA public')->{sqlstate}, '0A000', 'and stays there');

# --- dropped while a request is under way, with a session that has our plans ----------------------

create('dropped');
sql('CREATE INDEX mine ON promo_codes (sync_status)', 'dropped');
sql('CREATE VIEW mine_too AS SELECT code, sync_status FROM promo_codes', 'dropped');
my @dump = ('pg_dump', '-s', '-t', 'promo_codes', '-d', $node->connstr('dropped'));
sub schema { return (run_command([@dump]))[0] =~ s/^\\(un)?restrict .*$//mgr }
my $before = schema();
like($before, qr/TABLE.*INDEX mine.*TRIGGER/s, '(pg_dump shows the table)');
attach($node, 'dropped');
isnt(schema(), $before, '(and our triggers)');
my $session = $node->background_psql('dropped', @owner);
$session->query_safe(insert_codes_sql('KEPT1'));
$session->query_safe("UPDATE promo_codes SET notes = 'x'; DELETE FROM promo_codes WHERE code = 'none'");
await_codes($node, 'dropped', 'in step', 'KEPT1');
my $shown = 'SELECT sync_status, stripe_coupon_id, stripe_promotion_code_id, synced_at FROM promo_codes';
my $row = sql($shown, 'dropped');
$sandbox->fault('stall_before_headers', execute => JSON::PP::true, match => { contains => 'STALLED' });
$session->query_safe(insert_codes_sql('STALLED'));
await('a request is under way', sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
my $began = time;
sql('DROP EXTENSION stripe_sync', 'dropped');
cmp_ok(time - $began, '<', 4, 'DROP EXTENSION waits for no request');
my $drop_shop = in_background('postgres', 'DROP DATABASE shop WITH (FORCE)');
is(sql("$shown WHERE code = 'KEPT1'", 'dropped'), $row, 'its rows show what they did');
$session->query_safe(insert_codes_sql('KEPT2'));
$session->query_safe("UPDATE promo_codes SET notes = 'y'; DELETE FROM promo_codes WHERE code = 'STALLED'");
is($session->query_safe('SELECT code FROM promo_codes ORDER BY code'), "KEPT1\nKEPT2",
    'the application writes on, in a session with our plans');
$session->quit;
is(schema(), $before, 'the table is as it was before it was attached: columns, indexes, triggers');
is(sql('SELECT count(*) FROM mine_too', 'dropped'), '2', 'what depends on it is there');
# The worker is still waiting for its request.
my $drop_dropped = in_background('postgres', 'DROP DATABASE dropped');
is_deeply([ $drop_shop->() ], [ 1, '' ], 'DROP DATABASE WITH (FORCE)');

# --- meanwhile: settings --------------------------------------------------------------------------

create('busy');
attach($node, 'busy');
insert_codes($node, 'busy', 'BUSY0');
await_codes($node, 'busy', 'in step', 'BUSY0');
is_deeply([ $drop_dropped->() ], [ 1, '' ], 'DROP EXTENSION, then DROP DATABASE: the worker leaves in time');
$sandbox->clear_faults;
$sandbox->fault('stall_before_headers', times => 0, match => { contains => 'BUSY' });
my @busy;
foreach my $most (1, 3)
{
    sql("ALTER SYSTEM SET stripe_sync.max_parallel = $most", 'busy');
    $node->reload;
    my @codes = map { "BUSY$most-$_" } 1 .. 3;
    insert_codes($node, 'busy', @codes);
    push @busy, @codes;
    await("max_parallel = $most, reloaded", sub { return ($sandbox->stalled == $most, $sandbox->stalled) });
}
sql('ALTER SYSTEM RESET stripe_sync.max_parallel', 'busy');

# --- stopped while requests are under way ---------------------------------------------------------

$began = time;
sql('SELECT stripe_sync_stop()', 'busy');
await_query($node, 'busy', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'stopped with requests under way');
cmp_ok(time - $began, '<', 4, 'at once');
error_is(error_of($node, 'busy', 'SELECT stripe_sync_promo()'),
    { sqlstate => 'SY004', message => 'the worker of this database is stopped', hint => 'SELECT stripe_sync_start();' },
    'stripe_sync_promo() does not undo that');
insert_codes($node, 'busy', 'BUSY-LATER');
is(sql('SELECT status, reason, worker, next FROM stripe_sync_health', 'busy'),
    'down|the worker was stopped||SELECT stripe_sync_start();', 'nor does a write; health says what does');
$sandbox->clear_faults;
sql('SELECT stripe_sync_start()', 'busy');
await_codes($node, 'busy', 'started: all arrives', @busy, 'BUSY-LATER');
pushed_once($node, 'busy', $sandbox, 'once each', @busy, 'BUSY-LATER');
sql('SELECT stripe_sync_stop()', 'busy');
is_deeply([ $node->psql('postgres', 'DROP DATABASE busy') ], [ 0, '', '' ], 'stripe_sync_stop(), then DROP DATABASE');

# --- the killed one is back -----------------------------------------------------------------------

await_worker($node, 'app', 'the killed worker is back', $killed);
await_codes($node, 'app', 'and has pushed what waited', 'KILLED');
await_query($node, 'app', $workers, 'app', 'no worker is left of databases that are gone');

# --- attached again with other settings -----------------------------------------------------------

app(<<'END');
INSERT INTO promo_codes (code, description, discount_type, discount_value, duration) VALUES
  ('FIXED', 'd', 'fixed', 5, 'once'), ('NEVER', 'd', 'percentage', 10, NULL);
END
await_codes($node, 'app', 'attached with a currency and a duration', 'FIXED', 'NEVER');
my $mark = $sandbox->mark;
my $reason = 'SELECT reason FROM stripe_sync_promo_status WHERE code =';
sql("SELECT stripe_sync_detach('promo_codes')");
is(sql('SELECT count(*) FROM stripe_sync.promo_state'), '0', 'detached: no state');
attach($node, 'app', "duration => 'once'");
becomes('app', 'FIXED', 'parked', 'attached without a currency: a fixed code is parked');
becomes('app', 'NEVER', 'synced', 'others are not');
like(sql("$reason 'FIXED'"), qr/currency/, 'the reason names it');
attach($node, 'app', "duration => 'forever', currency => 'usd'");
becomes('app', 'FIXED', 'synced', 'attached again with a currency: it is looked at again, and in step');
becomes('app', 'NEVER', 'synced', 'another duration: others have other terms now');
# Of two at once, one waits for the other.
$session = $node->background_psql('app', @owner);
$session->query_safe("BEGIN; SELECT count(*) FROM stripe_sync_attach('promo_codes', duration => 'forever')");
my $second = in_background('app', "$attach)");
await_query($node, 'app', 'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted', 't', 'of two at once, one waits');
$session->query_safe('COMMIT');
is_deeply([ $second->() ], [ 1, '' ], 'and is done after it');
$session->quit;
is(sql($ours), '5', 'the triggers are there once');
becomes('app', $_, 'synced', "$_: as it was in the beginning") foreach qw(FIXED NEVER FIRST KILLED);
is_deeply([ @{ { map { ($_->{params}{code} // '') => 1 } $sandbox->writes($mark) } }{qw(FIXED NEVER)} ], [ undef, 1 ], "no write for a row that says its own duration, but for those that have the table's");

# --- what fires no trigger ------------------------------------------------------------------------

my @stay = map { "STAYS$_" } 1 .. 30;
insert_codes($node, 'app', @stay);
await_codes($node, 'app', '30 more', @stay);
app(<<'END');
ALTER TABLE promo_codes DISABLE TRIGGER USER;
UPDATE promo_codes SET is_active = false WHERE code = 'STAYS1';
INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('UNSEEN', '', 'percentage', 10);
DELETE FROM promo_codes WHERE code = 'STAYS2';
ALTER TABLE promo_codes ENABLE TRIGGER USER;
END
sql(<<'END');
SET session_replication_role = replica;
UPDATE promo_codes SET is_active = false WHERE code = 'STAYS3';
UPDATE promo_codes SET id = gen_random_uuid() WHERE code = 'STAYS4';
DELETE FROM promo_codes WHERE code = 'STAYS5';
END
sub await_on { my ($on, $what, @codes) = @_; return await($what, sub { my $seen = on(@codes); return ($seen eq $on, $seen) }) }
await_on('0 0 1', 'changes past our triggers are found and pushed', qw(STAYS1 STAYS3 UNSEEN));
becomes('app', $_, 'missing', "$_, which vanished, is missing") foreach qw(STAYS2 STAYS5);
settled('app', 'past our triggers');
is(on(qw(STAYS2 STAYS5)), '1 1', 'and its code left alone');
is(on('STAYS4'), 1, 'a row under another key keeps its code');
like(sql("$reason 'STAYS2'"), qr/vanished/, 'the reason says so');

$mark = $sandbox->mark;
app('TRUNCATE promo_codes CASCADE');
is(sql('SELECT DISTINCT state FROM stripe_sync_promo_status WHERE NOT deleted'), 'missing', 'TRUNCATE: all are missing');
settled('app', 'TRUNCATE');
is(scalar $sandbox->writes($mark), 0, 'and nothing is switched off');
like(sql('SELECT status, reason FROM stripe_sync_health'), qr/^degraded\|\d+ promo codes are in error$/, 'health says so');
insert_codes($node, 'app', @stay[ 5 .. 29 ]);
settled('app', 'filled again');
is(on(@stay[ 5 .. 29 ]), join(' ', (1) x 25), 'each is on in Stripe, once');
app('DELETE FROM promo_codes');
settled('app', 'emptied');

# --- columns and tables that change ---------------------------------------------------------------

app(<<'END');
CREATE TABLE others (id int PRIMARY KEY, code text, discount_type text DEFAULT 'percentage',
  discount_value numeric DEFAULT 10, is_active boolean DEFAULT true);
SELECT count(*) FROM stripe_sync_attach('others', duration => 'once');
END
my $missing_before = sql($missing);
my $number = 0;

# After `change` the application writes on and other tables are served; what then keeps the table
# from being read names a way, and after `repair` all is in step.
sub changed
{
    my ($what, $change, $error, $repair) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $code = 'CHANGED' . ++$number;
    app($change);
    is_deeply([ ($node->psql('app', insert_codes_sql($code), @owner))[0] ], [0], "$what: the application writes on");
    app("INSERT INTO others (id, code) VALUES ($number, 'OTHER$number')");
    await_query($node, 'app', "SELECT sync_status FROM others WHERE id = $number", 'synced', "$what: other tables go on");
    if ($error)
    {
        await("$what: an error says so", sub {
            my $seen = sql(q{SELECT string_agg(message || ' ' || hint, ', ') FROM stripe_sync_errors});
            return (scalar($seen =~ /public\.promo_codes $error Attach the table again: SELECT \* FROM stripe_sync_check\(\); says how\./), $seen);
        });
        like(sql(q{SELECT string_agg(detail || ' ' || fix, E'\n') FROM stripe_sync_check() WHERE status = 'fail'}),
            qr/no longer exists .*stripe_sync_attach\(/, "$what: stripe_sync_check() names the command");
        becomes('app', $code, 'parked', "$what: what was written is parked") unless $error =~ /key/;  # then it is not known
        is(sql($missing), $missing_before, "$what: nothing is missing");
        app($repair);
    }
    return becomes('app', $code, 'synced', "$what: then all is in step");
}
changed('a renamed column', 'ALTER TABLE promo_codes RENAME custom_yearly_price TO yearly',
    'no longer has the column "custom_yearly_price" for custom_yearly_price',
    qq{$attach, map => '{"custom_yearly_price": "yearly"}')});
changed('a dropped column', 'ALTER TABLE promo_codes DROP yearly',
    'no longer has the column "yearly" for custom_yearly_price', "$attach)");
changed('a dropped sync column', 'ALTER TABLE promo_codes DROP synced_at',
    'no longer has the column "synced_at" for synced_at', "$attach)");
changed('a renamed key', 'ALTER TABLE promo_codes RENAME id TO identity',
    'no longer has its key column "id"', "$attach)");
changed('a renamed table', 'ALTER TABLE promo_codes RENAME TO codes; CREATE VIEW promo_codes AS SELECT * FROM codes');
sql('CREATE SCHEMA elsewhere AUTHORIZATION app_owner');
changed('a table in another schema', 'ALTER TABLE codes SET SCHEMA elsewhere');
sql('CREATE ROLE new_owner LOGIN; GRANT ALL ON SCHEMA elsewhere TO new_owner; ALTER TABLE elsewhere.codes OWNER TO new_owner;
    ALTER VIEW promo_codes OWNER TO new_owner; GRANT ALL ON promo_codes TO app_owner');
changed('a table of another owner', 'SELECT 1');
error_is(error_of($node, 'app', "SELECT stripe_sync_detach('elsewhere.codes')", '-U', 'app_owner'),
    { sqlstate => '42501' }, 'its former owner has no say any more');

# --- restored while a worker runs -----------------------------------------------------------------

my $copied = 'this database is a copy of the one that was attached';
my $files = PostgreSQL::Test::Utils::tempdir();
sub restore
{
    my (@what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('copy'), @what, "$files/dump" ], "pg_restore $what[0]");
}

create('original');
attach($node, 'original');
my @originals = map { "ORIGINAL$_" } 1 .. 4;
insert_codes($node, 'original', @originals);
await_codes($node, 'original', 'the original is in step', @originals);
run_log([ 'pg_dump', '-Fc', '-f', "$files/dump", '-d', $node->connstr('original') ]);
sql('CREATE DATABASE copy', 'postgres');
sql('CREATE EXTENSION stripe_sync; SELECT stripe_sync.ensure_worker(false)', 'copy');
await_worker($node, 'copy', 'a worker waits in the database that is restored into');
my ($list) = run_command([ 'pg_restore', '-l', "$files/dump" ]);
my @state = grep { /TABLE DATA .* promo_state / } split /\n/, $list;
is(scalar @state, 1, '(the state is dumped)');
append_to_file("$files/first", join "\n", grep { $_ ne $state[0] } split /\n/, $list);
append_to_file("$files/second", $state[0]);
$mark = $sandbox->mark;
restore('--section=pre-data');
restore('--section=data', '-L', "$files/first");
$node->reload;  # wakes the worker, in the middle of it
await_query($node, 'copy', 'SELECT status, reason, next FROM stripe_sync_health',
    "down|$copied|SELECT stripe_sync_rebind('new'); or ('keep') if the original is gone (moved, pg_upgrade).", 'the worker sees what it is in');
# The comparison of rows and state would be due by then.
await_query($node, 'copy', "SELECT clock_timestamp() > blocked_since + interval '1.5 s' FROM stripe_sync.worker", 't',
    '(and had time to do harm)');
is(sql('SELECT count(*) FROM stripe_sync.promo_state', 'copy'), '0', 'and writes nothing');
restore('--section=data', '-L', "$files/second");
restore('--section=post-data');
my $state = 'SELECT to_jsonb(s) - \'promo_table\' FROM stripe_sync.promo_state s ORDER BY code';
ok(sql($state, 'copy') eq sql($state, 'original'), 'the state is restored as it was');
is(sql($ours, 'copy'), '5', 'with our triggers');
$node->reload;
insert_codes($node, 'copy', 'COPIED');
app("UPDATE promo_codes SET is_active = false WHERE code = 'ORIGINAL1'", 'copy');
like(sql("SELECT * FROM stripe_sync_promo('ORIGINAL1')", 'copy'), qr/\|waiting\|pending\|.*\Q$copied\E.*stripe_sync_rebind/,
    'stripe_sync_promo() says what to do');
is(join(' ', $sandbox->request_lines(since => $mark)), '', 'up to here nothing was asked of Stripe');

# --- rebound as another installation, beside the original, in the same account --------------------

sql("SELECT stripe_sync_rebind('new')", 'copy');
await_on('1', "rebind('new'): what is new in the copy is pushed", 'COPIED');
settled('copy', "rebind('new')");
app("UPDATE promo_codes SET is_active = false WHERE code = 'ORIGINAL2'", 'copy');
app("DELETE FROM promo_codes WHERE code = 'ORIGINAL3'", 'copy');
settled('copy', "rebind('new')");
is(on(@originals), '1 1 1 1', 'the original\'s codes are not the copy\'s to switch off');
like(sql("$reason 'ORIGINAL4'", 'copy'), qr/which belongs to the database that this one was copied from/, 'which the copy says of its rows');
app("UPDATE promo_codes SET description = 'still at work'", 'original');
settled('original', 'the original goes on');

# --- a copy by template; it takes the original's place --------------------------------------------

sql('SELECT stripe_sync_stop()', 'original');
soon($node, 'postgres', 'CREATE DATABASE clone TEMPLATE original', 'a stopped one can be copied');
$mark = $sandbox->mark;
is(sql('SELECT reason FROM stripe_sync_health', 'clone'), 'the worker was stopped', 'the clone is stopped, too');
sql('SELECT stripe_sync_start()', 'clone');
await_query($node, 'clone', 'SELECT reason FROM stripe_sync_health', $copied, 'started, it finds out what it is');
app("UPDATE promo_codes SET is_active = false WHERE code = 'ORIGINAL4'", 'clone');
insert_codes($node, 'clone', 'CLONED');
is(join(' ', $sandbox->request_lines(since => $mark)), '', 'nothing is sent');
sql('SELECT stripe_sync_rebind()', 'clone');
await_codes($node, 'clone', "rebind('keep'): pushes go on", 'CLONED', 'ORIGINAL4');
settled('clone', "rebind('keep')");
is(join(' ', sort map { $_->{path} =~ s{/v1/}{}r } grep { $_->{status} == 200 } $sandbox->writes($mark)),
    'coupons promotion_codes promotion_codes/' . $sandbox->code('ORIGINAL4')->{id},
    'one is made, one is switched off, and no more');
is(sql('SELECT id FROM stripe_sync.installation', 'clone'), sql('SELECT id FROM stripe_sync.installation', 'original'),
    'as the same installation');
sql('SELECT stripe_sync_stop()', 'clone');
soon($node, 'postgres', 'ALTER DATABASE clone RENAME TO "Re named"', 'a stopped one can be renamed');
sql('SELECT stripe_sync_start()', 'Re named');
insert_codes($node, 'Re named', 'RENAMED');
await_codes($node, 'Re named', 'and goes on', 'RENAMED');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'the server log holds no crash');
$node->stop('fast');

# --- not preloaded, and one slot for all (the other is the server's own) --------------------------

$sandbox->reset;
my $small = start_cluster(name => 'small', sandbox => $sandbox, preload => 0, conf => "max_worker_processes = 2\n");
create_application($small, $_) foreach 'one', 'two';
$small->safe_psql($_, 'DELETE FROM promo_codes', @owner) foreach 'one', 'two';
attach($small, 'one');
insert_codes($small, 'one', 'ONE1');
await_codes($small, 'one', 'without preload: a worker is started by attaching', 'ONE1');
my %taken = (
    sqlstate => 'SY004',
    message => 'no worker could be started: all background worker slots are taken',
    detail => 'max_worker_processes limits them.',
    hint => 'Raise max_worker_processes and restart the server, then SELECT stripe_sync_start();');
insert_codes($small, 'two', 'TWO1');
error_is(error_of($small, 'two', "$attach)", '-U', 'app_owner'), \%taken, 'all slots are taken: attaching says so');
is($small->safe_psql('two', "SELECT count(*) FROM stripe_sync.attachment; SELECT count(*) FROM promo_codes; $ours"), "0\n1\n0",
    'nothing is half attached, nothing lost');
$small->safe_psql('one', 'SELECT stripe_sync_stop()');
soon($small, 'two', "$attach)", 'the worker of one is stopped: its slot is free', @owner);
await_codes($small, 'two', 'attached, the other database is served', 'TWO1');
insert_codes($small, 'one', 'ONE2');
foreach my $call ('stripe_sync_start()', 'stripe_sync_rebind()')
{
    error_is(error_of($small, 'one', "SELECT $call"), \%taken, "$call: says so");
}
is($small->safe_psql('one', 'SELECT wanted FROM stripe_sync.worker'), 'f', 'which leaves it stopped');
$small->safe_psql('one', 'UPDATE stripe_sync.worker SET wanted = true');
error_is(error_of($small, 'one', "SELECT $_()"), \%taken, "$_(): says so") foreach 'stripe_sync_promo', 'stripe_sync_wait';
is($small->safe_psql('one', "SELECT status, detail, fix FROM stripe_sync_check() WHERE item = 'worker'"),
    "fail|$taken{message}|$taken{hint}", 'stripe_sync_check(): says so');
insert_codes($small, 'one', 'ONE3');
is(statuses($small, 'one'), "ONE1 synced\nONE2 pending\nONE3 pending", 'the application writes on');
$small->safe_psql('two', 'SELECT stripe_sync_stop()');
soon($small, 'one', 'SELECT stripe_sync_start()', 'a slot is free again');
await_codes($small, 'one', 'nothing was lost', 'ONE2', 'ONE3');
pushed_once($small, 'one', $sandbox, 'nor doubled', 'ONE1', 'ONE2', 'ONE3');

finish($small);
