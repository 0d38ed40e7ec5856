# Stripe is gone, the worker dies, a waiting call is cancelled: the application's writes commit all
# the same, and every code arrives exactly once afterwards.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');

# --- calls that wait ------------------------------------------------------------------------------

$sandbox->fault('stall_before_headers', match => { method => 'POST', contains => 'WAITED' });
insert_various($node, 'app', 'WAITED');
foreach my $call ('stripe_sync_wait()', 'stripe_sync_promo()', "stripe_sync_promo('WAITED')")
{
    my $began = time;
    error_is(error_of($node, 'app', "SET statement_timeout = '300ms'; SELECT * FROM $call"),
        { sqlstate => '57014', message => 'canceling statement due to statement timeout' },
        "$call ends at statement_timeout");
    cmp_ok(time - $began, '<', 5, 'at once');
}
is($node->safe_psql('app', "SELECT stripe_sync_wait('200 ms')"), 'f',
    'stripe_sync_wait() ends at its own timeout: false');

my $active = <<'END' =~ s/\n/ /gr;
FROM pg_stat_activity WHERE query LIKE 'SELECT * FROM stripe_sync_promo%' AND state = 'active'
END
my $waiting = $node->background_psql('app', on_error_stop => 0);
$waiting->query_until(qr/calling/, "\\echo calling\nSELECT * FROM stripe_sync_promo();\n");
await_query($node, 'app', "SELECT count(*) $active", '1', 'a call waits');
is($node->safe_psql('app', "UPDATE promo_codes SET notes = 'x' WHERE code = 'WAITED' RETURNING 1",
        @owner), '1', 'it holds no lock of the row');
$node->safe_psql('app', "SELECT pg_cancel_backend(pid) $active");
await_query($node, 'app', "SELECT count(*) $active", '0', 'cancelled it ends');
like($waiting->query('SELECT 40 + 2'), qr/42/, 'and its session goes on');
$waiting->quit;
$sandbox->clear_faults;
await_codes($node, 'app', 'the code arrives all the same', 'WAITED');
pushed_once($node, 'app', $sandbox, 'once', 'WAITED');

# --- nobody listens -------------------------------------------------------------------------------

$sandbox->stop;
my @lost = map { "OUTAGE-$_" } 1 .. 40;
my $session = $node->background_psql('app', extra_params => [ '-U', 'app_owner' ]);
my $longest = 0;
foreach my $code (@lost)
{
    my $began = time;
    $session->query_safe(insert_various_sql($code));
    $longest = time - $began if time - $began > $longest;
}
$session->quit;
cmp_ok($longest, '<', 1, 'during an outage no commit waits');
diag(sprintf 'longest of %d commits during an outage: %.0f ms', scalar @lost, $longest * 1000);
await_query($node, 'app', <<'END', 'SY007 Stripe could not be reached', 'rows that were tried say why');
SELECT DISTINCT sqlstate || ' ' || substring(reason, 'Stripe could not be reached')
FROM stripe_sync.promo_state WHERE state = 'retrying'
END
is($node->safe_psql('app', "SELECT count(*) FROM promo_codes WHERE sync_status = 'pending'"), '40',
    'all are pending');
like(row($node, 'app', <<'END')->{hint}, qr/stripe_sync_check\(\)/, 'the errors view says what to do');
SELECT * FROM stripe_sync_errors
WHERE sqlstate = 'SY007' AND message LIKE '%Stripe could not be reached%' LIMIT 1
END
$sandbox->start_again;
await_codes($node, 'app', 'when Stripe is back they arrive by themselves', @lost);
pushed_once($node, 'app', $sandbox, 'once', @lost);
is($sandbox->writes, 80, 'by two requests each');

# --- the worker dies ------------------------------------------------------------------------------

my %paths = (A => '/v1/coupons', B => '/v1/promotion_codes');
foreach my $death ('KILLED', 'TERMINATED')
{
    foreach my $which (sort keys %paths)
    {
        # executed, but the answer stays away
        my %match = (method => 'POST', path => $paths{$which}, contains => "$death-$which");
        $sandbox->fault('stall_before_headers', execute => \1, match => \%match);
    }
    my @codes = map { "$death-$_" } sort keys %paths;
    insert_various($node, 'app', @codes);
    await("$death: two requests are under way",
        sub { return ($sandbox->stalled == 2, $sandbox->stalled) });
    my $pid = worker_pid($node, 'app');
    if ($death eq 'KILLED')
    {
        kill 'KILL', $pid;
    }
    else
    {
        $node->safe_psql('app', "SELECT pg_terminate_backend($pid)");
    }
    await_worker($node, 'app', "$death: another worker serves", $pid);
    $node->safe_psql('app', "UPDATE promo_codes SET is_active = false WHERE code = '$death-A'",
        @owner);
    $sandbox->clear_faults;
    await_codes($node, 'app', "$death: the codes arrive", @codes);
    pushed_once($node, 'app', $sandbox, "$death: once", "$death-B");
    my @switched_off = $sandbox->codes("$death-A");
    is(join(' ', map { $_->{active} ? 'on' : 'off' } @switched_off), 'off',
        "$death: once also the one switched off meanwhile");
}
is($node->safe_psql('app', 'SELECT count(*) FROM stripe_sync.promo_state WHERE lease IS NOT NULL'),
    '0', 'no lease is left');
is($node->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

# --- a worker that has just begun -----------------------------------------------------------------

# A session that found none a moment ago wakes none: what it commits must not wait for the next of
# the worker's rounds, 5 s apart.
$session = $node->background_psql('app', extra_params => [ '-U', 'app_owner' ]);
my $shortest = 1000;
foreach my $try (1 .. 3)
{
    $node->safe_psql('app', 'SELECT stripe_sync_stop()');
    await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'none runs');
    $session->query_safe(insert_various_sql("BEFORE-$try"));
    $node->safe_psql('app', 'SELECT stripe_sync_start()');
    await_codes($node, 'app', 'one begins', "BEFORE-$try");
    my $began = time;
    $session->query_safe(insert_various_sql("AFTER-$try"));
    await_codes($node, 'app', 'it takes what comes then', "AFTER-$try");
    $shortest = time - $began if time - $began < $shortest;
}
$session->quit;
cmp_ok($shortest, '<', 4, 'soon');

finish($node);
