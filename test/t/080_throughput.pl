# Many codes at once, and how soon one is sent. Times are shown, not judged, but for gross ones.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $parallel = 3;
my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => "stripe_sync.max_parallel = $parallel");
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');

# --- commit to request ----------------------------------------------------------------------------

# One at a time, as a dashboard does. The time of the change is that of our trigger, just before the
# commit; the sandbox has the same clock.
my $session = $node->background_psql('app');
foreach my $n (1 .. 100)
{
    $session->query_safe(insert_codes_sql("LATENCY-$n"));
    $session->query_safe("SELECT stripe_sync_wait('10 s')");
}
await_synced($node, 'app', 'a hundred single inserts are pushed');
my @changed = split /\n/, $node->safe_psql('app', <<'END');
SELECT extract(epoch FROM changed_at) FROM stripe_sync.promo_state
WHERE code LIKE 'LATENCY-%' ORDER BY changed_at
END
my @requests = grep { $_->{path} ne '/v1/account' } $sandbox->requests;
my (@first, @create);
foreach my $changed (@changed)
{
    shift @requests while $requests[0]{time} < $changed;
    push @first, 1000 * ($requests[0]{time} - $changed);
    shift @requests while $requests[0]{path} ne '/v1/coupons';
    push @create, 1000 * ($requests[0]{time} - $changed);
    1 while shift(@requests)->{path} ne '/v1/promotion_codes';
}
is(scalar @create, 100, 'each by requests of its own');
foreach my $kind ([ 'the first request', @first ], [ 'the creation of the coupon', @create ])
{
    my ($what, @times) = @$kind;
    @times = sort { $a <=> $b } @times;
    diag(sprintf 'commit to %s, as the sandbox sees it: median %.1f ms, p99 %.1f ms',
        $what, $times[ @times / 2 ], $times[ 0.99 * @times ]);
    cmp_ok($times[ @times / 2 ], '<', 1000, "$what: half of them within a second");
}

# --- many at once ---------------------------------------------------------------------------------

# Never more at once than allowed, seen by the sandbox: it is slow, and counts.
$sandbox->fault('delay', seconds => 0.05, times => 12, match => { method => 'POST' });
my $most = 0;
my $mark = $sandbox->mark;
my $began = time;
$session->query_safe(<<'END');
INSERT INTO promo_codes (code, description, discount_type, discount_value)
SELECT 'MANY-' || n, 'one of many', 'percentage', 10 FROM generate_series(1, 500) n;
END
my $inserted = time - $began;
while (1)
{
    my $stalled = $sandbox->stalled;
    $most = $stalled if $stalled > $most;
    my ($fault) = @{ $sandbox->control('GET', 'faults')->{faults} };
    last if $fault->{hits} == 12 && $stalled == 0 || time > $began + 20;
}
is($most, $parallel, "at most $parallel requests are under way at once, and as many");
await_query($node, 'app', "SELECT count(*) FROM promo_codes WHERE sync_status = 'synced'", '600',
    '500 codes of one statement arrive', 60);
diag(sprintf '500 codes in one statement: committed in %.0f ms, all in Stripe after %.1f s',
    1000 * $inserted, time - $began);
my @codes = map { "MANY-$_" } 1 .. 500;
my %texts;
$texts{ $_->{code} }++ foreach $sandbox->objects('promotion_codes');
is(scalar(grep { ($texts{$_} // 0) == 1 } @codes), 500, 'each once');
is(scalar(grep { $_->{path} =~ m{^/v1/(coupons|promotion_codes)$} } $sandbox->writes($mark)), 1000,
    'by two requests each');
is(scalar(grep { $_->{method} eq 'GET' } $sandbox->requests(since => $mark)), 2,
    'and two reads for all of them: yearly prices, and what Stripe holds already');

# --- while somebody's snapshot lasts ---------------------------------------------------------------

# What is done stays in the indexes then, of which a claim must not read more the more is done.
sub index_entries_read
{
    $node->safe_psql('app', 'SELECT stripe_sync_stop()');
    await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker has ended');
    return $node->safe_psql('app', <<'END');
SELECT sum(idx_tup_read), stripe_sync_start() FROM pg_stat_all_indexes WHERE relid = 'stripe_sync.promo_state'::regclass
END
}
my $before = index_entries_read();
my $snapshot = $node->background_psql('app');
$snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM promo_codes');
insert_codes($node, 'app', map { "SEEN-$_" } 1 .. 500);
await_query($node, 'app', "SELECT count(*) FROM promo_codes WHERE code LIKE 'SEEN-%' AND sync_status = 'synced'",
    '500', '500 codes arrive while a snapshot lasts', 60);
my $for_each = (index_entries_read() - $before) / 500;
$snapshot->quit;
cmp_ok($for_each, '<', 150, 'each at the cost of some index entries') or diag($for_each);

# --- switched off first ---------------------------------------------------------------------------

# Behind a slow Stripe and a long queue, switching off does not wait its turn.
$sandbox->clear_faults;
$sandbox->fault('delay', seconds => 0.02, times => 0, match => { method => 'POST' });
$mark = $sandbox->mark;
$session->query_safe(<<'END');
UPDATE promo_codes SET description = 'another name' WHERE code LIKE 'MANY-%';
END
$session->query_safe("UPDATE promo_codes SET is_active = false WHERE code = 'LATENCY-50'");
$session->quit;
await_codes($node, 'app', 'a code switched off behind 500 changes', 'LATENCY-50');
my @writes = $sandbox->writes($mark);
my ($place) = grep { ($writes[$_]{params}{active} // '') eq 'false' } 0 .. $#writes;
cmp_ok($place, '<', 50, 'is among the first to be sent') or diag("it was number $place");
$sandbox->clear_faults;
await_synced($node, 'app', 'the others follow');

# --- switched off while its own change is under way -----------------------------------------------

$sandbox->fault('delay', match => { method => 'POST', contains => 'held name' });
$node->safe_psql('app', "UPDATE promo_codes SET description = 'held name' WHERE code = 'LATENCY-60'");
await('its change stalls', sub { my $stalled = $sandbox->stalled; return ($stalled == 1, $stalled) });
$node->safe_psql('app', "UPDATE promo_codes SET is_active = false WHERE code = 'LATENCY-60'");
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.promo_inbox', '0', 'the worker knows of it');
$mark = $sandbox->mark;
my $released = time;
$sandbox->clear_faults;
my $off;
await('it is switched off', sub
{
    ($off) = grep { ($_->{params}{active} // '') eq 'false' } $sandbox->writes($mark);
    return (defined $off, '');
});
# a worker that looks for it only where it has not looked yet finds it after a second
cmp_ok($off->{time} - $released, '<', 0.9, 'soon after the answer');
await_synced($node, 'app', 'and written down');

# --- the rate -------------------------------------------------------------------------------------

$node->safe_psql('postgres', 'ALTER SYSTEM SET stripe_sync.rate_limit = 10');
$node->reload;
insert_codes($node, 'app', map { "RATE-$_" } 1 .. 15);
await_synced($node, 'app', 'fifteen codes at ten requests a second');
my @times = map { $_->{time} }
  grep { join(' ', values %{ $_->{params} }) =~ /RATE-/ } $sandbox->writes;
is(scalar @times, 30, 'thirty requests');
# ten may go at once, the other twenty need two seconds
cmp_ok($times[-1] - $times[0], '>=', 1.8, 'the limit is kept');

finish($node);
