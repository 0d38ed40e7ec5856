# ALTER EXTENSION UPDATE by a real script while the worker is under way and rows are pending: undone,
# committed, and back again, nothing is lost, sent twice, or sent by a library that does not fit.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
my $version = $node->safe_psql('app', 'SELECT stripe_sync.library_version()');
my $next = "$version.update";

# --- scripts as an update brings them --------------------------------------------------------------

chomp(my $share = (run_command([ 'pg_config', '--sharedir' ]))[0]);
my @scripts = map { "$share/extension/stripe_sync--$_.sql" } "$version--$next", "$next--$version";
append_to_file($scripts[0], <<'END');
ALTER TABLE stripe_sync.promo_state ADD COLUMN colour text;
CREATE FUNCTION stripe_sync.colours() RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp
  RETURN (SELECT count(*) FROM stripe_sync.promo_state WHERE colour IS NULL);
END
append_to_file($scripts[1], <<'END');
DROP FUNCTION stripe_sync.colours();
ALTER TABLE stripe_sync.promo_state DROP COLUMN colour;
END
END { my $status = $?; unlink @scripts; $? = $status; }

my $reason = "library $version does not fit extension $next";
my @codes;

# Some that are on their way, one of them sent and not answered.
sub begin
{
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $sandbox->fault('stall_before_headers', execute => \1, match => { method => 'POST', contains => "$name-0" });
    insert_various($node, 'app', map { "$name-$_" } 0 .. 20);
    push @codes, map { "$name-$_" } 0 .. 20;
    await("$name: a request is under way", sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
    return;
}

# An open transaction that has updated it.
sub updating
{
    my ($to) = @_;
    my $session = $node->background_psql('app');
    $session->query_safe("BEGIN; ALTER EXTENSION stripe_sync UPDATE TO '$to'");
    return $session;
}

# --- undone ----------------------------------------------------------------------------------------

my $worker = await_worker($node, 'app', 'a worker runs');
begin('UNDONE');
my $session = updating($next);
$node->safe_psql('app', 'SET statement_timeout = 10000; ' . insert_various_sql('MEANWHILE'), @owner);
push @codes, 'MEANWHILE';
$sandbox->control('POST', 'faults/release');
$session->query_safe('ROLLBACK');
$session->quit;
await_codes($node, 'app', 'an update that is undone: all arrive', @codes);
is(worker_pid($node, 'app'), $worker, 'by the worker that was there');
pushed_once($node, 'app', $sandbox, 'once', @codes);

# --- committed -------------------------------------------------------------------------------------

begin('COMMITTED');
my $log = -s $node->logfile;
$session = updating($next);
$session->query_safe('COMMIT');
$session->quit;
await_query($node, 'app', 'SELECT status, reason FROM stripe_sync_health', "down|$reason", 'an update that is committed: health says what does not fit');
await('as does the log', sub {
    my $seen = slurp_file($node->logfile, $log);
    return (scalar($seen =~ /\Q$reason\E/), $seen);
});
my $mark = $sandbox->mark;
$sandbox->control('POST', 'faults/release');
insert_various($node, 'app', 'LATER');
push @codes, 'LATER';
is(error_of($node, 'app', 'SELECT * FROM stripe_sync_promo()')->{message}, $reason, 'nobody waits for what does not come');
is(worker_pid($node, 'app'), $worker, 'the worker waits');
is(scalar $sandbox->requests(since => $mark), 0, 'and asks nothing of Stripe');
is($node->safe_psql('app', 'SELECT stripe_sync.colours() > 20'), 't', '(the script was run)');

# --- and back, with what was written meanwhile -------------------------------------------------------

$session = updating($version);
$session->query_safe('COMMIT');
$session->quit;
await_codes($node, 'app', 'both fit again: all arrive', @codes);
pushed_once($node, 'app', $sandbox, 'once', @codes);
is($node->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');
is($node->safe_psql('app', 'SELECT count(*) FROM stripe_sync.promo_state WHERE lease IS NOT NULL OR in_flight IS NOT NULL'),
    '0', 'no lease and no open operation is left');

finish($node);
