# A library that does not fit the extension, a database that does not fit either, and one that is not
# there: said in plain words, and nothing is broken by it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => [ 'app', 'nowhere', 'empty' ]);
my @owner = (extra_params => [ '-U', 'app_owner' ]);
sub sql { return $node->safe_psql('app', $_[0]) }

# --- databases that are not there, or without the extension ---------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE empty');
create_application($node, 'app');
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
my $log = -s $node->logfile;
$node->restart;
await_worker($node, 'app', 'a database in the list that does not exist: others are served');
await('the log names it', sub {
    my $seen = slurp_file($node->logfile, $log);
    return (scalar($seen =~ /LOG: .*database "nowhere" of stripe_sync.databases is not there, or allows no connections/), $seen);
});
await('and both are left alone', sub {
    my $seen = sql("SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'stripe_sync worker'");
    return ($seen eq 'app', $seen);
});
insert_codes($node, 'app', 'FIRST');
await_codes($node, 'app', '(served)', 'FIRST');
unlike(slurp_file($node->logfile, $log), qr/FATAL: +database/, 'nor is it tried');
$node->safe_psql('postgres', 'CREATE DATABASE nowhere');
$node->safe_psql($_, 'CREATE EXTENSION stripe_sync; SELECT stripe_sync_start()') foreach 'nowhere', 'empty';
await_worker($node, $_, "$_: there now, and started") foreach 'nowhere', 'empty';
is($node->safe_psql('nowhere', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

# --- another encoding -----------------------------------------------------------------------------

foreach my $encoding ('LATIN1', 'SQL_ASCII')
{
    $node->safe_psql('postgres', "CREATE DATABASE \"$encoding\" ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
    error_is(error_of($node, $encoding, 'CREATE EXTENSION stripe_sync'),
        {
            sqlstate => 'SY004',
            message => "stripe_sync needs a database in encoding UTF8, this one is in $encoding",
            hint => qr/^CREATE DATABASE .* ENCODING 'UTF8' TEMPLATE template0;/
        },
        "a database in $encoding is refused");
}

# --- a library older or newer than the extension --------------------------------------------------

my $version = sql('SELECT stripe_sync.library_version()');

# As if ALTER EXTENSION UPDATE had been done, or had not.
sub set_version
{
    my ($server, $to) = @_;
    $server->safe_psql('app', "UPDATE pg_extension SET extversion = '$to' WHERE extname = 'stripe_sync'");
    $server->safe_psql('app', 'SELECT stripe_sync.wake_worker(false)');
    return;
}

my %fix = (
    '0.0.9' => 'ALTER EXTENSION stripe_sync UPDATE;',
    '0.10.0' => 'Install version 0.10.0 of the library, and restart the server.',
    '99' => 'Install version 99 of the library, and restart the server.',
);
my $worker = worker_pid($node, 'app');
foreach my $other (sort keys %fix)
{
    my $code = 'V' . ($other =~ s/[.]/-/gr);
    my $reason = "library $version does not fit extension $other";
    $log = -s $node->logfile;
    my $mark = $sandbox->mark;
    # Of another version the worker knows no table.
    sql('ALTER TABLE stripe_sync.installation RENAME copy_of TO other; ALTER TABLE stripe_sync.worker RENAME paused_since TO other');
    set_version($node, $other);
    await("$other: the worker says so in the log", sub {
        my $seen = slurp_file($node->logfile, $log);
        return (scalar($seen =~ /LOG: +stripe_sync: \Q$reason\E\n.*HINT: +\Q$fix{$other}\E/), $seen);
    });
    insert_codes($node, 'app', $code);
    await_query($node, 'app', 'SELECT status, reason, next FROM stripe_sync_health', "down|$reason|$fix{$other}",
        "$other: health says so, and what to do");
    foreach my $call ('stripe_sync_start()', "stripe_sync_promo('$code')", 'stripe_sync_wait()')
    {
        error_is(error_of($node, 'app', "SELECT * FROM $call"), { sqlstate => 'SY004', message => $reason, hint => $fix{$other} },
            "$other: $call says so, and does not wait");
    }
    is(sql("SELECT item, status, fix FROM stripe_sync_check() WHERE item IN ('worker', 'version') ORDER BY item"),
        "version|fail|$fix{$other}\nworker|fail|$fix{$other}", "$other: stripe_sync_check(), too");
    is(worker_pid($node, 'app'), $worker, "$other: the worker waits");
    is(scalar $sandbox->requests(since => $mark), 0, "$other: nothing is asked of Stripe");
    unlike(slurp_file($node->logfile, $log), qr/does not exist/, "$other: nor of a table that may be another by now");
    sql('ALTER TABLE stripe_sync.installation RENAME other TO copy_of; ALTER TABLE stripe_sync.worker RENAME other TO paused_since');
    set_version($node, $version);
    await_codes($node, 'app', "$other, then both fit: it goes on", $code);
    is(sql('SELECT status FROM stripe_sync_health'), 'ok', "$other: health: ok");
}
set_version($node, '99');
await_query($node, 'app', "SELECT status FROM stripe_sync_health", 'down', 'another version once more');
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'a worker that waits for another version can be stopped');
set_version($node, $version);
sql('SELECT stripe_sync_start()');
await_worker($node, 'app', 'and started again');
$node->stop('fast');

# --- the same without preload ---------------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
sql('SELECT stripe_sync_start()');
$worker = await_worker($node, 'app', 'without preload');
set_version($node, '99');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the extension is another one: the process leaves');
set_version($node, $version);
insert_codes($node, 'app', 'ANEW');
await_codes($node, 'app', 'the next one, which has loaded the library anew, fits and serves', 'ANEW');
set_version($node, '99');
$log = -s $node->logfile;
await('if it does not fit either', sub {
    my $seen = slurp_file($node->logfile, $log);
    return (scalar($seen =~ /worker of database "app" ended/), $seen);
});
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'it leaves for good');
insert_codes($node, 'app', 'LAST');
is(error_of($node, 'app', "SELECT * FROM stripe_sync_promo('LAST')")->{hint}, $fix{99}, 'stripe_sync_promo() says so');
set_version($node, $version);
sql('SELECT stripe_sync_start()');
await_codes($node, 'app', 'started, it serves', 'LAST');

finish($node);
