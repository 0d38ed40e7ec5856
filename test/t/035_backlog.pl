# While something keeps rows from being pushed, health and status say how many wait, why, since when,
# when the next try is and when all is expected to be done; what can go on goes on, and when the
# cause is gone everything arrives by itself.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app'],
    conf => 'stripe_sync.rate_limit = 20');
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
my $price = $sandbox->price($sandbox->product('plan'), 2000);
attach($node, 'app', "currency => 'usd', duration => 'forever', monthly_price => '$price'");
insert_various($node, 'app', 'OLD-1', 'OLD-2', 'OLD-3');
await_codes($node, 'app', 'three codes are in step', 'OLD-1', 'OLD-2', 'OLD-3');

sub health
{
    return row($node, 'app', <<'END');
SELECT status, reason, pending, oldest_unsent > '0' AS waits, next,
  round(extract(epoch FROM next_try - now())) AS next_in,
  round(extract(epoch FROM expected_end - now())) AS end_in,
  round(extract(epoch FROM expected_end - next_try)) AS lasts
FROM stripe_sync_health
END
}

sub await_health
{
    my ($what, $status, $reason) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await($what,
        sub {
            my $health = health();
            my $there = $health->{status} eq $status && ($health->{reason} // '') =~ $reason;
            return ($there, "$health->{status} " . ($health->{reason} // ''));
        },
        120);
    return health();
}

# What the status view says of the table is what health says.
sub status_is
{
    my ($what, $reason) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $status = row($node, 'app', <<'END');
SELECT s.reason, s.pending + s.retrying AS waiting, s.next_try = h.next_try AS next_try,
  s.expected_end = h.expected_end AS expected_end
FROM stripe_sync_status s, stripe_sync_health h
END
    like($status->{reason}, $reason, "$what: the status view says why");
    return $status;
}

my $all_good = health();
is_deeply([ @$all_good{qw(status pending next_in end_in)} ], [ 'ok', 0, undef, undef ],
    'nothing waits: no next try, no end');

# --- Stripe is down -------------------------------------------------------------------------------

$sandbox->fault('reset_before', times => 0);
my @lost = map { "LOST-$_" } 1 .. 40;
insert_various($node, 'app', @lost);
my $health = await_health('Stripe is down: health says so', 'down', qr/Stripe/);
is($health->{pending}, 40, 'how many wait');
ok($health->{waits}, 'since when');
cmp_ok($health->{next_in}, '<=', 30, 'when the next try is: soon');
# after the last of the rows' next tries
cmp_ok($health->{lasts}, '>=', 4, 'and when all will be done: it takes 80 requests at 20 a second');
cmp_ok($health->{lasts}, '<=', 34, 'and not much more');
my $status = status_is('down', qr/Stripe/);
is($status->{waiting}, 40, 'and how many');
ok($status->{next_try} && $status->{expected_end}, 'and when');
$sandbox->clear_faults;
await_codes($node, 'app', 'when Stripe is back they arrive by themselves', @lost);
pushed_once($node, 'app', $sandbox, 'once', @lost);
is_deeply([ @{ await_health('health: ok again', 'ok', qr/^$/) }{qw(pending next_in end_in)} ],
    [ 0, undef, undef ], 'nothing waits any more');

# --- limits ---------------------------------------------------------------------------------------

foreach my $headers (undef, { 'Retry-After' => '20' })
{
    my $what = $headers ? '429 with Retry-After' : '429 without';
    my $times = $headers ? 1 : 12;
    my @codes = map { ($headers ? 'LATER' : 'LIMITED') . "-$_" } 1 .. 6;
    my $mark = $sandbox->mark;
    $sandbox->fault('status', status => 429, times => $times, $headers ? (headers => $headers) : (),
        match => { method => 'POST' });
    insert_various($node, 'app', @codes);
    if ($headers)
    {
        $health = await_health("$what: health says so", 'degraded', qr/limits requests/);
        cmp_ok($health->{next_in}, '<=', 20, "$what: the next try is when Stripe said");
        cmp_ok($health->{end_in}, '>', $health->{next_in}, "$what: the end is expected after it");
        await_query($node, 'app', <<'END', '6', "$what: each row says so");
SELECT count(*) FROM stripe_sync_promo_status WHERE sync_status = 'pending' AND reason ~ 'limits requests'
END
    }
    await_codes($node, 'app', "$what: they arrive", @codes);
    pushed_once($node, 'app', $sandbox, "$what: once", @codes);
    my @requests = $sandbox->requests(since => $mark);
    my ($first) = grep { $_->{status} == 429 } @requests;
    my @soon = grep { $_->{time} > $first->{time} + 0.5
          && $_->{time} < $first->{time} + ($headers ? 19.9 : 0.9) } @requests;
    is(scalar @soon, 0, "$what: nothing is sent before its time");
}
cmp_ok($node->safe_psql('app', 'SELECT requests_per_second FROM stripe_sync.worker'), '<', 20,
    'the rate is lower for a while, and so is what is expected of it');

# --- the key is revoked, and valid again ----------------------------------------------------------

$sandbox->control('POST', 'keys', { key => $KEY, revoked => \1 });
insert_various($node, 'app', 'REVOKED-1', 'REVOKED-2');
$health = await_health('the key is revoked: health says so', 'down', qr/the API key has expired/);
is($health->{pending}, 2, 'two wait');
cmp_ok($health->{next_in}, '<=', 60, 'the next try is known');
is($health->{end_in}, undef, 'the end is not: somebody has to act');
$sandbox->control('POST', 'keys', { key => $KEY, revoked => \0 });
await_codes($node, 'app', 'valid again, they arrive by themselves', 'REVOKED-1', 'REVOKED-2');
pushed_once($node, 'app', $sandbox, 'once', 'REVOKED-1', 'REVOKED-2');

# --- one permission is missing --------------------------------------------------------------------

# Each: what is forbidden, a change that needs it, one that does not; whose answer gets lost, so that the
# outcome must be looked for.
my @permissions = (
    [ 'POST /v1/coupons', insert_various_sql('NEEDS-COUPONS'),
        "UPDATE promo_codes SET is_active = false WHERE code = 'OLD-1'", 'OLD-1' ],
    [ 'POST /v1/promotion_codes', insert_various_sql('NEEDS-CODES'),
        "UPDATE promo_codes SET description = 'renamed' WHERE code = 'OLD-2'", 'OLD-2' ],
    [ 'GET /v1/prices', <<'END', insert_various_sql('NO-PRICE'), 'NO-PRICE' ],
INSERT INTO promo_codes (code, description, discount_type, custom_monthly_price)
VALUES ('NEEDS-PRICES', 'NEEDS-PRICES', 'custom_price', 5)
END
    [ 'GET /v1/coupons', insert_various_sql('LOST-COUPON'), insert_various_sql('UNREAD-1'), 'UNREAD-1', '/v1/coupons' ],
    [ 'GET /v1/promotion_codes', insert_various_sql('LOST-CODE'), insert_various_sql('UNREAD-2'), 'UNREAD-2',
        '/v1/promotion_codes' ],
    [ 'GET /v1/promotion_codes', "UPDATE promo_codes SET is_active = false WHERE code = 'OLD-3'",
        insert_various_sql('UNREAD-3'), 'UNREAD-3', '/v1/promotion_codes/*' ],
    [ 'GET /v1/account', undef, insert_various_sql('NO-ACCOUNT'), 'NO-ACCOUNT' ]);
foreach my $case (@permissions)
{
    my ($forbidden, $needs, $goes_on, $code, $lost) = @$case;
    my $mark = $sandbox->mark;
    $sandbox->fault('reset_after', match => { method => 'POST', path => $lost }) if $lost;
    $sandbox->control('POST', 'keys', { key => $KEY, forbid => [$forbidden] });
    if ($needs)
    {
        $node->safe_psql('app', $needs, @owner);
        $health = await_health("$forbidden is forbidden: health says so", 'degraded',
            qr/^1 promo codes wait: .*lacks a permission/);
        like($health->{next}, qr/Give the restricted key the permission/, 'and what to do');
        is($health->{end_in}, undef, 'the end is not known: somebody has to act');
        status_is($forbidden, qr/lacks a permission/);
    }
    $node->safe_psql('app', $goes_on, @owner);
    await_codes($node, 'app', "$forbidden is forbidden: what needs it not goes on", $code);
    is(scalar(grep { ($_->{fault} // '') eq 'reset_after' } $sandbox->writes($mark)), 1, 'what was done, nobody knows')
      if $lost;
    $sandbox->control('POST', 'keys', { key => $KEY, forbid => [] });
    $node->safe_psql('app', 'SELECT count(*) FROM stripe_sync_check()');
    await_query($node, 'app', 'SELECT pending FROM stripe_sync_health', '0',
        'allowed and asked for, the rest follows', 120);
    my %done;
    foreach my $request (grep { !$_->{replayed} && ($_->{status} // 200) == 200 } $sandbox->writes($mark))
    {
        my $params = $request->{params};
        $done{ join ' ', $request->{path}, map { "$_=$params->{$_}" } sort keys %$params }++;
    }
    is(join(', ', grep { $done{$_} > 1 } sort keys %done), '', 'and nothing is done twice');
}
is(($sandbox->codes('OLD-1'))[0]{active}, JSON::PP::false, 'switched off without other permissions');
is(($sandbox->code('OLD-2'))[1]{name}, 'renamed', 'renamed without other permissions');
is(($sandbox->codes('OLD-3'))[0]{active}, JSON::PP::false, 'switched off, and known to be so');
pushed_once($node, 'app', $sandbox, 'what waited arrived once', 'NEEDS-COUPONS', 'NEEDS-CODES',
    'NEEDS-PRICES', 'LOST-COUPON', 'LOST-CODE');

# --- requests stall in every slot -----------------------------------------------------------------

my @stalled = map { "STALLED-$_" } 1 .. 4;
$sandbox->fault('stall_before_headers', times => 2, match => { method => 'POST', contains => 'STALLED' });
$sandbox->fault('stall_in_body', times => 2, match => { method => 'POST', contains => 'STALLED' });
insert_various($node, 'app', @stalled);
await('as many requests stall as may be under way',
    sub { return ($sandbox->stalled == 4, $sandbox->stalled) }, 60);
insert_various($node, 'app', 'BESIDE');
await_query($node, 'app', "SELECT sync_status FROM promo_codes WHERE code = 'BESIDE'", 'synced',
    'another row goes on long before they time out', 60);
is($sandbox->stalled, 4, 'while they stall');
$sandbox->control('POST', 'faults/release');
await_codes($node, 'app', 'let go, these arrive, too', @stalled);
pushed_once($node, 'app', $sandbox, 'once', @stalled, 'BESIDE');
$sandbox->clear_faults;

# --- an answer is lost, and Stripe is back after a day ---------------------------------------------

# By then Stripe has forgotten the idempotency keys: the same request would be done a second time.
foreach my $path ('/v1/coupons', '/v1/promotion_codes')
{
    my $code = 'PRUNED' . ($path =~ s{\W|_}{-}gr);
    my $lost = $sandbox->fault('reset_after', match => { method => 'POST', path => $path, contains => $code });
    $sandbox->fault('reset_before', times => 0, match => { method => 'GET' });
    insert_various($node, 'app', $code);
    await("POST $path is done, its answer lost",
        sub { my $hits = $sandbox->hits($lost); return ($hits == 1, $hits) }, 60);
    $sandbox->control('POST', 'clock', { advance => 25 * 3600 });
    $sandbox->clear_faults;
    await_codes($node, 'app', '25 hours later the row is in step', $code);
    pushed_once($node, 'app', $sandbox, 'and nothing was done twice', $code);
}

finish($node);
