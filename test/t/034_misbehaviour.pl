# What is not Stripe's answer, or not to this request, is believed by nobody: the codes it hit arrive
# once all the same, the others at once, and neither key nor memory goes anywhere.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $elsewhere = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app'],
    conf => 'stripe_sync.max_parallel = 16');
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
insert_various($node, 'app', 'BEFORE');
await_codes($node, 'app', 'one code arrives', 'BEFORE');

my $worker = worker_pid($node, 'app');

# The most memory the worker ever had, in MB.
sub memory
{
    my ($peak) = slurp_file("/proc/$worker/status") =~ /^VmHWM:\s+(\d+) kB/m;
    return $peak / 1024;
}

sub page
{
    my ($status, $title) = @_;
    return [ 'status', status => $status, headers => { 'Content-Type' => 'text/html' },
        body => "<html><head><title>$title</title></head><body>$title</body></html>" ];
}

my %faults = (
    HUGE => [ 'big_body', bytes => 100 << 20 ],
    BOMB => [ 'gzip_bomb', bytes => 100 << 20 ],
    DEEP => [ 'status', status => 200, body => '[' x 100_000 ],
    OTHER => ['other_object'],
    NULL => [ 'status', status => 200, body => 'null' ],
    EMPTY => [ 'status', status => 200, body => '' ],
    NOTHING => [ 'status', status => 200, body => '{}' ],
    BINARY => [ 'status', status => 200, body => "{\"id\":\"\x{fffd}\x{0}\"}" ],
    CUSTOMER => [ 'status', status => 200, body => '{"id":"cus_1","object":"customer"}' ],
    LISTED => [ 'status', status => 200, body => '{"object":"list","data":[],"has_more":false}' ],
    PORTAL => page(200, 'Log in to the network'),
    PROXY400 => page(400, 'Bad request'),
    PROXY401 => page(401, 'Log in'),
    PROXY403 => page(403, 'Forbidden by policy'),
    PROXY404 => page(404, 'Not found'),
    PROXY502 => page(502, 'Bad gateway'),
    PROXY503 => page(503, 'Maintenance'),
    TYPE => [ 'delay', seconds => 0 ]);
foreach my $status (301, 302, 303, 307, 308)
{
    $faults{"TO$status"} =
      [ 'redirect', status => $status, location => $elsewhere->url . '/v1/coupons' ];
}
my %paths = (A => '/v1/coupons', B => '/v1/promotion_codes');
my @codes;
foreach my $name (sort keys %faults)
{
    foreach my $which (sort keys %paths)
    {
        my %match = (method => 'POST', path => $paths{$which}, contains => "$name-$which");
        $sandbox->fault(@{ $faults{$name} }, match => \%match);
        push @codes, "$name-$which";
    }
}
my $before = memory();
insert_various($node, 'app', @codes);
await_codes($node, 'app', scalar(@codes) . ' codes arrive, whatever came in place of an answer', @codes);
my @unused = map { "$_->{fault} $_->{match}{contains}" }
  grep { !$_->{hits} } @{ $sandbox->control('GET', 'faults')->{faults} };
is("@unused", '', 'each met its fault');
pushed_once($node, 'app', $sandbox, 'each has one coupon and one promotion code', @codes);
is($node->safe_psql('app', 'SELECT count(*) FROM promo_codes WHERE sync_error IS NOT NULL'), '0',
    'no error is left in the rows');
is(scalar $elsewhere->requests, 0, 'no redirect was followed: the key went nowhere else');
is(worker_pid($node, 'app'), $worker, 'the same worker served all the time');
my $grown = memory() - $before;
cmp_ok($grown, '<', 64, 'bodies of 100 MB cost it little memory');
diag(sprintf 'bodies of 100 MB: the worker grew by %.0f MB', $grown);
my $errors = $node->safe_psql('app',
    q{SELECT string_agg(DISTINCT message || ' / ' || hint, E'\n') FROM stripe_sync_errors});
like($errors, qr/the answer is too large \(more than \d+ bytes\)/, 'a body too large is called so');
like($errors, qr/redirects elsewhere .*Set stripe_sync\.api_base/, 'and a redirect');
like($errors, qr/HTTP status 403\) .*not in Stripe's words/, 'and a page of a proxy');
is($node->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

# --- the account ----------------------------------------------------------------------------------

# Whose key it is decides about everything: somebody else's page must neither be taken for an
# account nor condemn the key.
foreach my $fault ([ 'status', status => 200, body => '{"id":"cus_1","object":"customer"}' ],
    page(200, 'Log in to the network'), page(401, 'Log in'), page(403, 'Forbidden by policy'))
{
    my $what = ($fault->[0]) . ' ' . $fault->[2];
    $sandbox->fault(@$fault, match => { path => '/v1/account' });
    $node->safe_psql('app', 'SELECT count(*) FROM stripe_sync_check()');
    await_query($node, 'app', 'SELECT account FROM stripe_sync.installation',
        'acct_sandbox00000001', "$what: the account stays the same");
}
await_query($node, 'app', 'SELECT status FROM stripe_sync_health', 'ok',
    'and the key is asked about again', 120);
$sandbox->clear_faults;

finish($node);
