# Which databases have a worker, without anybody starting it: all that need one and no other, after
# every way to lose it; and commands that need a database for themselves. Needs a build with test
# settings (TESTING=1).

use feature "state";
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

# Slots for the launcher, the server's own launcher, three workers and one more process: what needs
# no worker must not keep any.
my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => <<'END');
max_worker_processes = 6
stripe_sync.test_well_after = 300
END
plan skip_all => 'built without test settings: make TESTING=1'
  unless $node->safe_psql('postgres', "LOAD 'stripe_sync'; SELECT count(*) FROM pg_settings WHERE name = 'stripe_sync.test_well_after'");

my @owner = (extra_params => [ '-U', 'app_owner' ]);
my @databases = ('one', 'two', 'three');
sub sql { return $node->safe_psql($_[0], $_[1]) }
sub admin { return $node->safe_psql('postgres', $_[0]) }

my $workers = <<'END';
SELECT coalesce(string_agg(d.datname, ' ' ORDER BY d.datname), '')
FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND l.classid = 1937011321 AND l.objid = 1 AND l.objsubid = 3
END

sub await_workers
{
    my ($wanted, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await($what, sub { my $seen = try_query($node, 'postgres', $workers) // ''; return ($seen eq $wanted, $seen) });
    return;
}

# The launcher has looked at all databases again, and again.
sub await_looks
{
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $look = "SELECT state_change FROM pg_stat_activity WHERE backend_type = 'stripe_sync launcher'";
    foreach (1 .. 2)
    {
        my $last = admin($look);
        await('(the launcher looks)', sub { my $seen = admin($look); return ($seen ne $last, $seen) });
    }
    return;
}

sub create
{
    my ($db) = @_;
    create_application($node, $db);
    $node->safe_psql($db, 'DELETE FROM promo_codes', @owner);
    return;
}

sub serves
{
    my ($db, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    state $number = 0;
    my $code = 'SERVED' . ++$number;
    insert_codes($node, $db, $code);
    await_codes($node, $db, $what, $code);
    return;
}

sub terminate { return admin("SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.objsubid = 3 AND d.datname = '$_[0]'") }

# --- all that need one, and no other --------------------------------------------------------------

create($_) foreach @databases, 'dormant';
attach($node, $_) foreach 'one', 'two';
admin("CREATE DATABASE empty$_") foreach 1 .. 8;
await_workers('one two', 'attached: a worker each');
$node->restart;
await_workers('one two', 'restarted: both are served, and nothing is listed');
await_looks();
is(admin($workers), 'one two', 'what is dormant or without the extension is not');
await_query($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'stripe_sync worker'", '2',
    'nor does it keep a slot');
unlike(slurp_file($node->logfile), qr/slots are taken/, 'nor more than one at a time');
serves($_, "$_ is in step") foreach 'one', 'two';

attach($node, 'three');
serves('three', 'attached later: served');
$node->restart;
await_workers('one three two', 'as it is after a restart');
my %before = map { $_ => worker_pid($node, $_) } @databases;
kill 'KILL', $before{two};
await_worker($node, $_, "one is killed, and the server with it: $_ is served again", $before{$_}) foreach @databases;
serves('three', 'and in step');

%before = map { $_ => worker_pid($node, $_) } @databases;
terminate($_) foreach @databases;
await_worker($node, $_, "terminated: $_ is served again", $before{$_}) foreach @databases;
admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'stripe_sync launcher'");
await_query($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'stripe_sync launcher'", '1',
    'the launcher is terminated: it is back');
my $two = worker_pid($node, 'two');
terminate('two');
await_worker($node, 'two', 'and does its work', $two);
isnt(worker_pid($node, 'one'), '', 'with the workers that it found');

# --- what they show -------------------------------------------------------------------------------

await_query($node, 'one', "SELECT state, query FROM pg_stat_activity WHERE pid = (SELECT pid FROM stripe_sync.running_worker)",
    'idle|pushing', 'pg_stat_activity shows what a worker does');

# --- a database that takes no connections ---------------------------------------------------------

admin('ALTER DATABASE two ALLOW_CONNECTIONS false');
terminate('two');
await_workers('one three', 'no connections, no worker');
await_looks();
is(admin($workers), 'one three', 'nor later');
admin('ALTER DATABASE two ALLOW_CONNECTIONS true');
await_workers('one three two', 'connections are allowed again: it heals by itself');
sql('one', 'SELECT stripe_sync_stop()');
await_workers('three two', 'stopped');
await_looks();
is(admin($workers), 'three two', 'for good');
sql('one', 'SELECT stripe_sync_start()');
serves('one', 'started');

# --- a list ---------------------------------------------------------------------------------------

admin(q{ALTER SYSTEM SET stripe_sync.databases = 'two, nowhere'});
my $log = -s $node->logfile;
$node->restart;
await_workers('two', 'a list: only what is named is served');
await_looks();
is(admin($workers), 'two', 'and nothing else');
like(slurp_file($node->logfile, $log), qr/LOG: .*database "nowhere" of stripe_sync.databases is not there/, 'a name that is not there is told');
is(sql('one', 'SELECT status, reason, next FROM stripe_sync_health'), 'down|no worker runs|SELECT stripe_sync_start();',
    'others say what to do');
sql('one', 'SELECT stripe_sync_start()');
serves('one', 'which works');
my $by_hand = worker_pid($node, 'one');
kill 'TERM', $by_hand;
await_worker($node, 'one', 'and lasts: another comes after it', $by_hand);
admin('ALTER SYSTEM RESET stripe_sync.databases');
$node->reload;
await_workers('one three two', 'no list any more: all are served, without a restart');

# --- not enough slots -----------------------------------------------------------------------------

$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
$log = -s $node->logfile;
$node->restart;
my $taken = sub { return scalar(() = slurp_file($node->logfile, $log) =~ /LOG: .*no worker can be started for database "\w+".*slots are taken/g) };
await('two slots for three: the log says so', sub { return ($taken->() == 1, $taken->()) });
await_looks();
is($taken->(), 1, 'once');
my @served = split ' ', admin($workers);
is(scalar @served, 2, 'two are served');
my $stopped = shift @served;
sql($stopped, 'SELECT stripe_sync_stop()');
await_workers(join(' ', grep { $_ ne $stopped } sort @databases), 'a slot is free: the third is served');
$node->append_conf('postgresql.conf', 'max_worker_processes = 16');
$node->restart;
sql($stopped, 'SELECT stripe_sync_start()');
await_workers('one three two', 'enough slots again');

# --- commands that need a database for themselves -------------------------------------------------

admin('CREATE ROLE somebody LOGIN CREATEDB');
my $space = PostgreSQL::Test::Utils::tempdir();
admin("CREATE TABLESPACE elsewhere LOCATION '$space'");
admin('ALTER DATABASE one OWNER TO app_owner');

my $one = worker_pid($node, 'one');
foreach my $refused (
    [ 'somebody', 'DROP DATABASE one' ],
    [ 'somebody', 'DROP DATABASE IF EXISTS one WITH (FORCE)' ],
    [ 'somebody', 'ALTER DATABASE one RENAME TO other' ],
    [ 'somebody', 'ALTER DATABASE one SET TABLESPACE elsewhere' ],
    [ 'somebody', 'CREATE DATABASE other TEMPLATE one' ],
    [ 'app_owner', 'ALTER DATABASE one RENAME TO other' ],
    [ 'app_owner', 'CREATE DATABASE other TEMPLATE one' ])
{
    my ($role, $command) = @$refused;
    error_is(error_of($node, 'postgres', $command, '-U', $role), { sqlstate => '42501' }, "$role may not $command");
}
is(worker_pid($node, 'one'), $one, 'who is not allowed to does not end the worker by trying');
serves('one', 'which serves');

admin('CREATE DATABASE clone TEMPLATE one');
await_worker($node, 'one', 'TEMPLATE: copied while its worker runs, which is back', $one);
serves('one', 'and serves');
await_query($node, 'clone', 'SELECT status, reason FROM stripe_sync_health', 'down|this database is a copy of the one that was attached',
    'the copy has one, too, which says what it is');
$one = worker_pid($node, 'one');
my $clone = worker_pid($node, 'clone');
$node->safe_psql('postgres', 'DROP DATABASE clone');
await_workers('one three two', 'DROP DATABASE while its worker runs');
is(worker_pid($node, 'one'), $one, 'which is no other\'s matter');

admin('ALTER DATABASE one RENAME TO "The One"');
await_worker($node, 'The One', 'RENAME: it is back under the new name', $one);
serves('The One', 'and serves');
$one = worker_pid($node, 'The One');
admin('ALTER DATABASE "The One" SET TABLESPACE elsewhere');
await_worker($node, 'The One', 'SET TABLESPACE: it is back', $one);
serves('The One', 'and serves');

# Undone, or refused: the worker is back all the same.
$one = worker_pid($node, 'The One');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; ALTER DATABASE "The One" RENAME TO one');
await_workers('three two', 'RENAME, not committed: it stays away');
my $three = worker_pid($node, 'three');
terminate('three');
await_worker($node, 'three', 'which holds up no other', $three);
$session->query_safe('ROLLBACK');
$session->quit;
await_worker($node, 'The One', 'rolled back: it is back', $one);
serves('The One', 'and serves');
$one = worker_pid($node, 'The One');
$session = $node->background_psql('The One');
error_is(error_of($node, 'postgres', 'DROP DATABASE "The One"'), { sqlstate => '55006', message => qr/is being accessed by other users/ },
    'DROP DATABASE, which a session refuses');
await_worker($node, 'The One', 'leaves it with its worker', $one);
serves('The One', 'which serves');
$session->quit;
admin("DROP DATABASE $_") foreach '"The One"', 'two', 'three';
await_workers('', 'all are dropped');
await_looks();
$log = -s $node->logfile;
await_looks();
unlike(slurp_file($node->logfile, $log), qr/FATAL: +database/, 'and nobody tries to connect any more');
$node->stop('fast');

# --- without preload ------------------------------------------------------------------------------

$sandbox->reset;
$node = start_cluster(name => 'plain', sandbox => $sandbox, preload => 0);
create('one');
attach($node, 'one');
$one = await_worker($node, 'one', 'without preload');
error_is(error_of($node, 'postgres', 'DROP DATABASE one'),
    { sqlstate => '55006', message => qr/"one" is being accessed by other users/ }, 'DROP DATABASE is refused while a worker is there');
is(worker_pid($node, 'one'), $one, 'which it does not harm');
serves('one', 'nor its work');
admin('DROP DATABASE one WITH (FORCE)');
await_workers('', 'DROP DATABASE WITH (FORCE)');
finish($node);
