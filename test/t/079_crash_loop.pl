# A row that crashes the worker, and so the whole server, at each start: it is tried less and less
# often, health says so, whoever asks is served at once, and all goes on once the cause is gone.
# Needs a build with fault points (TESTING=1).

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
# What is not flushed by whoever wrote it is lost in a crash.
my $node = start_cluster(sandbox => $sandbox, conf => <<'END');
stripe_sync.test_restart_delay = 500
wal_writer_delay = 10s
wal_writer_flush_after = 1GB
END
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
plan skip_all => 'built without fault points: make TESTING=1'
  unless $node->safe_psql('app', "SELECT count(*) FROM pg_settings WHERE name = 'stripe_sync.test_restart_delay'");
insert_codes($node, 'app', 'BEFORE');
await_codes($node, 'app', 'in step', 'BEFORE');
my $fault = $node->data_dir . '/stripe_sync.fault';
my $starts = 'SELECT starts FROM stripe_sync.worker';
sub sql { return $node->safe_psql('app', $_[0]) }

# As a statement of the application's while the server may be recovering.
sub patiently
{
    my ($what, $statement, $wanted) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await($what, sub {
        my $seen = try_query($node, 'app', $statement) // 'no answer';
        return (scalar($seen =~ $wanted), $seen);
    });
}

# Crashes until it has been counted so often; then it waits.
sub crash
{
    my ($code, $times) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    append_to_file("$fault.new", "row 0 crash\n");
    rename "$fault.new", $fault or die "$fault: $!";
    try_query($node, 'app', insert_codes_sql($code), @owner);
    patiently("$times crashes: health says so", 'SELECT status, reason, blocked_until > now(), next FROM stripe_sync_health',
        qr/^down\|the worker, or the server with it, crashed or was ended in the middle of something $times times in a row.*\|t\|SELECT \* FROM stripe_sync_promo\(\);/);
    return;
}

# Seconds from when it began to wait after so many crashes to its start.
sub waits
{
    my ($log) = @_;
    my (%waits, $count, $began);
    foreach my $line (split /\n/, slurp_file($node->logfile, $log))
    {
        my ($hour, $minute, $second) = $line =~ /^\S+ (\d\d):(\d\d):(\d\d\.\d+) / or next;
        my $at = ($hour * 60 + $minute) * 60 + $second;
        if ($line =~ /in the middle of something (\d+) times/)
        {
            ($count, $began) = ($1, $at);
        }
        elsif (defined $count && $line =~ /terminated by signal 9/)
        {
            $waits{$count} = $at - $began + ($at < $began ? 86400 : 0);
            undef $count;
        }
    }
    return \%waits;
}

# --- less and less often --------------------------------------------------------------------------

is(sql($starts), '1', '(a start is noted)');
my $log = -s $node->logfile;
crash('POISON1', 4);
my $waits = waits($log);
is(join(' ', sort keys %$waits), '2 3', 'after the first crash it starts at once, then it waits');
cmp_ok($waits->{2}, '>=', 0.5, 'after the second');
cmp_ok($waits->{3}, '>=', 1, 'after the third twice as long');
is(statuses($node, 'app', "code = 'POISON1'"), 'POISON1 pending', 'the code waits');
like(sql("SELECT reason, next FROM stripe_sync_promo_status WHERE code = 'POISON1'"),
    qr/^the worker, or the server with it, crashed.*\|SELECT \* FROM stripe_sync_health;/, 'and says why');
unlink $fault or die "$fault: $!";
await_codes($node, 'app', 'the cause is gone: it goes on by itself', 'POISON1');
is(sql('SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');
sql('ALTER SYSTEM SET stripe_sync.test_well_after = 1');
$node->reload;
await_query($node, 'app', $starts, '0', 'a worker that is well for a while has its starts forgotten');
sql('ALTER SYSTEM RESET stripe_sync.test_well_after');
$node->reload;

# --- nothing waits for it -------------------------------------------------------------------------

my $until = 'SELECT extract(epoch FROM blocked_until) FROM stripe_sync_health';
crash('POISON2', 5);
unlink $fault or die "$fault: $!";
my $end = sql($until);
like(sql("SELECT * FROM stripe_sync_promo('POISON2')"), qr/\|created\|synced\|/, 'stripe_sync_promo() tries at once');
cmp_ok(time, '<', $end, 'before the time');
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'it ends');
is(sql($starts), '0', 'an end in order leaves no start');
sql('SELECT stripe_sync_start()');
await_query($node, 'app', $starts, '1', 'the next one is noted');

crash('POISON3', 5);
unlink $fault or die "$fault: $!";
$end = sql($until);
my $worker = worker_pid($node, 'app');
sql("SELECT pg_terminate_backend($worker)");
await_worker($node, 'app', 'terminated while it waits: another one', $worker);
is(sql($starts), '5', 'has to wait, too');
$end = sql($until);
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'stripe_sync_stop() while it waits');
cmp_ok(time, '<', $end, 'is done at once');
sql('SELECT stripe_sync_start()');
await_codes($node, 'app', 'started it tries', 'POISON3');

crash('POISON4', 4);
unlink $fault or die "$fault: $!";
is_deeply([ $node->psql('postgres', 'DROP DATABASE app') ], [ 0, '', '' ], 'DROP DATABASE while it waits');

finish($node);
