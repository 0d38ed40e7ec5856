# Sessions that end early or late: timeouts while they wait, timeouts meant for others, prepared
# transactions.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use IPC::Run;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app'], conf => "max_prepared_transactions = 5\n");
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }

# A refreshed materialized view can't be prepared; nor has it anything to do with us.
app('DROP TRIGGER refresh_promo_code_stats ON promo_codes; DELETE FROM promo_codes');
attach($node, 'app');

# --- limits that the database sets for its sessions -----------------------------------------------

my @limits = ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout');
push @limits, 'transaction_timeout' if $node->pg_version >= 17;
$node->safe_psql('postgres', "ALTER DATABASE app SET $_") foreach (map { "$_ = '1ms'" } @limits),
    'default_transaction_read_only = on', "default_transaction_isolation = 'serializable'";
$node->restart;
$ENV{PGOPTIONS} = join ' ', (map { "-c $_=0" } @limits), '-c default_transaction_read_only=off',
    "-c default_transaction_isolation=read\\ committed";
my $worker = await_worker($node, 'app', 'a database with limits for its sessions has a worker');
insert_codes($node, 'app', 'LIMITED');
await_codes($node, 'app', 'they are not for the worker', 'LIMITED');
is(worker_pid($node, 'app'), $worker, 'which lives on');
$node->safe_psql('postgres', 'ALTER DATABASE app RESET ALL');
delete $ENV{PGOPTIONS};

# --- a statement that waits for the worker --------------------------------------------------------

my $fault = $sandbox->fault('stall_before_headers', match => { contains => 'STALLED' });
insert_codes($node, 'app', 'STALLED');
await('a request stalls', sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
foreach my $call ('stripe_sync_promo()', "stripe_sync_promo('STALLED')", "stripe_sync_wait('1 hour')")
{
    error_is(error_of($node, 'app', "SET statement_timeout = '300ms'; SELECT * FROM $call"),
        { sqlstate => '57014', message => 'canceling statement due to statement timeout' },
        "$call ends at statement_timeout");
    my $error = '';
    my $waiting = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('app'), '-c', "SELECT * FROM $call" ],
        '<', \undef, '>', \my $out, '2>', \$error);
    my $look = "SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE query LIKE 'SELECT * FROM stripe_sync_%' AND state = 'active'";
    my $pid;
    await("$call waits", sub { $pid = sql($look); return ($pid > 0, $pid) });
    sql("SELECT pg_terminate_backend($pid)");
    $waiting->finish;
    like($error, qr/terminating connection due to administrator command/, "$call ends at pg_terminate_backend()");
}
is(worker_pid($node, 'app'), $worker, 'the worker does not mind');
is(statuses($node, 'app', "code = 'STALLED'"), 'STALLED pending', 'nor does the code');
$sandbox->clear_faults;
await_codes($node, 'app', 'which arrives', 'STALLED');

# --- prepared transactions ------------------------------------------------------------------------

my $session = $node->background_psql('app', @owner);
$session->query_safe('BEGIN; ' . insert_codes_sql('PREPARED1') . "; PREPARE TRANSACTION 'one'");
$session->query_safe("BEGIN; UPDATE promo_codes SET is_active = false WHERE code = 'LIMITED'; PREPARE TRANSACTION 'two'");
$session->query_safe("BEGIN; DELETE FROM promo_codes WHERE code = 'STALLED'; PREPARE TRANSACTION 'three'");
my $mark = $sandbox->mark;
# What else the session does wakes the worker, which must not see what is only prepared.
$session->query_safe(insert_codes_sql('BESIDE'));
await_codes($node, 'app', 'a session that prepared a transaction goes on', 'BESIDE');
is(scalar(grep { ($_->{params}{code} // '') ne 'BESIDE' && ($_->{params}{name} // '') ne 'BESIDE' } $sandbox->writes($mark)), 0,
    'what is prepared is not sent');
$node->restart;
app("ROLLBACK PREPARED 'two'");
app("COMMIT PREPARED 'one'");
await_codes($node, 'app', 'COMMIT PREPARED, after a restart: it is found', 'PREPARED1');
app("COMMIT PREPARED 'three'");
await('a prepared DELETE switches off', sub { my $active = $sandbox->code('STALLED')->{active}; return (!$active, $active) });
is(sql("SELECT stripe_sync_wait()"), 't', 'nothing is pending');
is($sandbox->code('LIMITED')->{active}, JSON::PP::true, 'ROLLBACK PREPARED: nothing was sent');
pushed_once($node, 'app', $sandbox, 'each once', qw(PREPARED1 BESIDE LIMITED));

# With SERIALIZABLE, too.
app('BEGIN ISOLATION LEVEL SERIALIZABLE; ' . insert_codes_sql('PREPARED2') . "; PREPARE TRANSACTION 'four'");
app("COMMIT PREPARED 'four'");
await_codes($node, 'app', 'prepared, serializable', 'PREPARED2');

finish($node);
