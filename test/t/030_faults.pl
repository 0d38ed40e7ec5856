# Stripe fails, lies, limits, stalls or loses answers: every code arrives exactly once, and one
# slow request delays no other row.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => 'stripe_sync.max_parallel = 16');
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');

my %paths = (A => '/v1/coupons', B => '/v1/promotion_codes');

# Only the creation of that code's object of kind A or B meets the fault.
sub fault_for
{
    my ($code, $which, $fault, %options) = @_;
    my %match = (method => 'POST', path => $paths{$which}, contains => $code);
    return $sandbox->fault($fault, %options, match => \%match);
}

# --- one fault each -------------------------------------------------------------------------------

my %lock_timeout = (
    headers => { 'Request-Id' => undef, 'Stripe-Should-Retry' => 'true' },
    body => { error => { type => 'invalid_request_error', code => 'lock_timeout' } });
my %faults = (
    ONCE => [ 'status', status => 500 ],
    TWICE => [ 'status', status => 500, times => 2 ],
    UNAVAILABLE => [ 'status', status => 503 ],
    STORED => [ 'status', status => 500, stored => \1 ],
    DONE => [ 'status', status => 500, execute => \1 ],
    DONESTORED => [ 'status', status => 500, execute => \1, stored => \1 ],
    INFLIGHT => ['409_in_flight'],
    LOCK => [ 'status', status => 429, %lock_timeout ],
    BEFORE => ['reset_before'],
    AFTER => ['reset_after'],
    TRUNCATE => ['truncate'],
    JSON => ['invalid_json'],
    BIG => ['big_body'],
);
my @codes;
foreach my $name (sort keys %faults)
{
    foreach my $which (sort keys %paths)
    {
        push @codes, "F$name-$which";
        fault_for("F$name-$which", $which, @{ $faults{$name} });
    }
}
my $mark = $sandbox->mark;
insert_various($node, 'app', @codes);
await_codes($node, 'app', scalar(@codes) . ' codes arrive, one fault each on the way', @codes);
my @unused = grep { !$_->{hits} } @{ $sandbox->control('GET', 'faults')->{faults} };
is(scalar @unused, 0, 'and every fault was met');
pushed_once($node, 'app', $sandbox, 'each has one coupon and one promotion code', @codes);
is($node->safe_psql('app', 'SELECT count(*) FROM promo_codes WHERE sync_error IS NOT NULL'), '0',
    'no error is left in the rows');

# The number of a write is kept until its outcome is known: the same request, the same key, unless
# what the key's first answer said can't be the last word.
my %keys;
foreach my $request ($sandbox->writes($mark))
{
    my $name = "$request->{path} " . ($request->{params}{code} // $request->{params}{id});
    push @{ $keys{$name} }, $request->{idempotency_key};
}
my @other_keys = grep {
    my %different = map { $_ => 1 } @{ $keys{$_} };
    keys %different > 1 && !/STORED/
} sort keys %keys;
is("@other_keys", '', 'a request is sent again under its own idempotency key');
my ($stored) = grep { m{^/v1/coupons FSTORED-A} } keys %keys;
cmp_ok(scalar @{ $keys{$stored} }, '>=', 2, 'a stored failure is not replayed for ever');
$sandbox->clear_faults;

# --- Retry-After ----------------------------------------------------------------------------------

fault_for('LIMITED', 'A', 'status', status => 429, headers => { 'Retry-After' => '2' });
insert_various($node, 'app', 'LIMITED');
my $coupon;
await('it is under way',
    sub {
        $coupon = $node->safe_psql('app', <<'END');
SELECT in_flight #>> '{operation,params,0,1}' FROM stripe_sync.promo_state WHERE code = 'LIMITED'
END
        return ($coupon ne '', 'nothing');
    });
await_query($node, 'app', <<'END', "pending Stripe did not create coupon $coupon yet: it limits requests",
SELECT sync_status || ' ' || split_part(sync_error, E'\n', 1) FROM promo_codes WHERE code = 'LIMITED'
END
    'while a rate-limited code waits it is pending and says why', 2);
await_codes($node, 'app', 'it arrives', 'LIMITED');
my @tries = grep { ($_->{params}{id} // '') eq $coupon } $sandbox->writes;
is(scalar @tries, 2, 'by a second try');
cmp_ok($tries[1]{time} - $tries[0]{time}, '>=', 1.9, 'not before Retry-After has passed');
is($tries[0]{idempotency_key}, $tries[1]{idempotency_key}, 'under the same key');

# --- stalled requests -----------------------------------------------------------------------------

fault_for('STALLED', 'A', 'stall_before_headers');
insert_various($node, 'app', 'STALLED');
await('a request stalls', sub { return ($sandbox->stalled == 1, $sandbox->stalled . ' stalled') });
my @others = map { "BESIDE-$_" } 1 .. 10;
my $began = time;
insert_various($node, 'app', @others);
await_codes($node, 'app', 'ten other codes go by', @others);
cmp_ok(time - $began, '<', 5, 'without waiting for it');
is(statuses($node, 'app', "code = 'STALLED'"), 'STALLED pending', 'it is still pending');
is($node->safe_psql('app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'STALLED'"),
    'sending', 'being sent');
$began = time;
$node->safe_psql('app', "UPDATE promo_codes SET description = 'changed' WHERE code = 'STALLED'",
    @owner);
cmp_ok(time - $began, '<', 2, 'the application changes the very row without waiting');
$sandbox->control('POST', 'faults/release');
await_codes($node, 'app', 'let go, it arrives', 'STALLED');
pushed_once($node, 'app', $sandbox, 'once, as do the others', 'STALLED', @others);
is(($sandbox->code('STALLED'))[1]{name}, 'changed', 'with what the row says now');

# --- answers that never come ----------------------------------------------------------------------

$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.request_timeout = '500ms'");
$node->reload;
@codes = ();
foreach my $which (sort keys %paths)
{
    push @codes, "NOANSWER-$which", "HALFANSWER-$which";
    fault_for("NOANSWER-$which", $which, 'stall_before_headers', execute => \1);
    fault_for("HALFANSWER-$which", $which, 'stall_in_body');
}
insert_various($node, 'app', @codes);
await_codes($node, 'app', 'the answers never come, the codes do', @codes);
pushed_once($node, 'app', $sandbox, 'once', @codes);

finish($node);
