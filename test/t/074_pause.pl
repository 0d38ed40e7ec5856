# stripe_sync_pause(): no write to Stripe, whatever is due, asked for or restarted, until
# stripe_sync_resume(); what was under way is settled, what was collected goes out once.

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
sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }
app('DELETE FROM promo_codes');

my $health = 'SELECT status, reason, blocked_until, next FROM stripe_sync_health';
my $paused = 'down|writes to Stripe are paused||SELECT stripe_sync_resume();';

# --- before anything is attached ------------------------------------------------------------------

sql('SELECT stripe_sync_pause()');
attach($node, 'app');
insert_codes($node, 'app', 'EARLY');
await_query($node, 'app', $health, $paused, 'paused before it is attached: health says so');
is(scalar $sandbox->requests, 0, 'nothing is asked of Stripe, not even whose the key is');
sql('SELECT stripe_sync_resume()');
await_codes($node, 'app', 'resumed: it goes out', 'EARLY');
is(sql('SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

# --- while requests are under way -----------------------------------------------------------------

# Executed, and answered late.
my $fault = $sandbox->fault('stall_before_headers', execute => JSON::PP::true, seconds => 3, match => { path => '/v1/coupons', contains => 'UNDERWAY' });
insert_codes($node, 'app', 'UNDERWAY');
await('a request is under way', sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
sql('SELECT stripe_sync_pause()');
await_query($node, 'app', $health, $paused, 'paused with a request under way');
my $mark = $sandbox->mark;
$sandbox->clear_faults;
await_query($node, 'app', "SELECT state, coupon_id IS NOT NULL FROM stripe_sync_promo_status WHERE code = 'UNDERWAY'",
    'retrying|t', 'its outcome is written, and its next request waits');
like(sql("SELECT reason FROM stripe_sync_promo_status WHERE code = 'UNDERWAY'"), qr/^not sent yet: writes to Stripe are paused$/,
    'which says why');

# --- while paused ---------------------------------------------------------------------------------

insert_codes($node, 'app', 'COLLECTED');
app("UPDATE promo_codes SET is_active = false WHERE code = 'EARLY'");
app('BEGIN ISOLATION LEVEL REPEATABLE READ; ' . insert_codes_sql('APPENDED') . '; COMMIT');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.promo_inbox', '0', 'changes go on being collected');
is(sql("SELECT status, error, hint FROM stripe_sync_promo('COLLECTED')"),
    'pending|writes to Stripe are paused|SELECT stripe_sync_resume();', 'stripe_sync_promo() says why nothing is sent');
is(sql("SELECT stripe_sync_wait('1 ms')"), 'f', 'stripe_sync_wait() gives up in time');
is(sql("SELECT status, detail, fix FROM stripe_sync_check() WHERE item = 'writes'"),
    'fail|writes to Stripe are paused What is changed goes on being collected.|SELECT stripe_sync_resume();', 'stripe_sync_check(), too');
sql('SELECT stripe_sync_pause()');
my $since = sql('SELECT paused_since FROM stripe_sync.worker');
sql('SELECT stripe_sync_pause()');
is(sql('SELECT paused_since FROM stripe_sync.worker'), $since, 'paused twice is paused once');
my $worker = worker_pid($node, 'app');
$node->restart;
await_worker($node, 'app', 'restarted', $worker);
await_query($node, 'app', $health, $paused, 'it is still paused');
sql("SELECT stripe_sync_retry('COLLECTED')");
sql('SELECT count(*) FROM stripe_sync_promo()');
sql('BEGIN; SELECT stripe_sync_resume(); ROLLBACK');
sql('SELECT count(*) FROM stripe_sync_promo()');
is(sql($health), $paused, 'a resume that is rolled back resumes nothing');
is(join(' ', $sandbox->request_lines(since => $mark)), '', 'all this time nothing was asked of Stripe');

# --- resumed --------------------------------------------------------------------------------------

sql('SELECT stripe_sync_resume()');
await_codes($node, 'app', 'resumed: all that was collected goes out', qw(EARLY UNDERWAY COLLECTED APPENDED));
pushed_once($node, 'app', $sandbox, 'once', qw(UNDERWAY COLLECTED APPENDED));
is($sandbox->code('EARLY')->{active}, JSON::PP::false, 'what was switched off is off');
is(scalar(grep { $_->{path} eq '/v1/coupons' } $sandbox->writes($mark)), 2, 'the coupon that was under way is not made again');
is(sql('SELECT status, blocked_since FROM stripe_sync_health'), 'ok|', 'health: ok');

# --- resumed while Stripe does not answer ---------------------------------------------------------

sub cpu_ticks
{
    my ($pid) = @_;
    my @fields = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //r;
    return $fields[11] + $fields[12];
}

sql('SELECT stripe_sync_pause()');
await_query($node, 'app', $health, $paused, 'paused once more');
$sandbox->fault('stall_before_headers', times => 0, match => { path => '/v1/account' });
sql('SELECT stripe_sync_resume()');
await('resumed, and Stripe says nothing', sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
SKIP: {
    my $pid = worker_pid($node, 'app');
    skip 'no /proc', 1 unless -r "/proc/$pid/stat";
    my $before = cpu_ticks($pid);
    sql('SELECT pg_sleep(1)');
    cmp_ok(cpu_ticks($pid) - $before, '<', 20, 'the worker waits without spinning');
}
$sandbox->clear_faults;
await_query($node, 'app', 'SELECT status FROM stripe_sync_health', 'ok', 'then all is well');

finish($node);
