# The first user's table, made before CREATE EXTENSION, attached by its owner: each code in Stripe
# with the right terms, or in error saying why.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $plan = $sandbox->product('Plan');
my $fee = $sandbox->product('Setup fee');
my $monthly = $sandbox->price($plan, 19900);
$sandbox->api('POST', '/v1/prices', { product => $fee, unit_amount => 49900, currency => 'usd' });

my $node = start_cluster(sandbox => $sandbox);
create_application($node, 'app');
$node->safe_psql('app', "UPDATE promo_codes SET stripe_product_id = '$fee' WHERE code = 'LAUNCH50'",
    extra_params => [ '-U', 'app_owner' ]);
my $arguments = "currency => 'usd', duration => 'once', monthly_price => '$monthly'";

# --- before: dormant, and a dry run changes nothing -----------------------------------------------

my $before = $sandbox->mark;
is(row($node, 'app', 'SELECT status, reason FROM stripe_sync_health')->{reason},
    'dormant: nothing is attached yet', 'a new installation is dormant');
attach($node, 'app', "$arguments, dry_run => true");
is($node->safe_psql('app', "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'promo_codes'::regclass AND tgname LIKE 'zzzz%'"),
    '0', 'a dry run installs nothing');
is($node->safe_psql('app', 'SELECT count(*) FROM stripe_sync.attachment'), '0', 'nor attaches it');

# --- attached by its owner ------------------------------------------------------------------------

my %report = map { (split /\|/)[ 0, 1 ] } split /\n/, attach($node, 'app', $arguments);
is($report{code}, 'found', 'report: a column found');
is($report{currency}, 'inherited', 'report: an item the arguments say');
is($report{minimum_amount}, 'missing', 'report: an item nobody says');
is(scalar(grep { /^trigger/ } keys %report), 0, 'report: none of the user\'s triggers sorts after ours');

await_synced($node, 'app', 'all codes leave pending');
is(statuses($node, 'app'), <<'END' =~ s/\n\z//r, 'five are synced, LAUNCH50 is in error');
BETA50 synced
ENTERPRISE99 synced
FIRSTMONTH synced
LAUNCH50 error
SOFTWAREOWNER synced
TESTCLIENT70 synced
END

sub stripe_row
{
    my ($code) = @_;
    return row($node, 'app', "SELECT p.*, floor(extract(epoch FROM p.expires_at))::bigint AS expires, s.warning, s.state, s.reason, s.hint
        FROM promo_codes p JOIN stripe_sync_promo_status s USING (code) WHERE code = '$code'");
}

# What Stripe holds of a code, as far as the table says something of it.
sub terms_are
{
    my ($code, $coupon_terms, $code_terms) = @_;
    my $row = stripe_row($code);
    my ($promotion_code, $coupon) = $sandbox->code($code);
    my %coupon = map { $_ => $coupon->{$_} } qw(percent_off amount_off currency duration duration_in_months name max_redemptions redeem_by);
    $coupon{products} = $coupon->{applies_to} ? $coupon->{applies_to}{products} : undef;
    is_deeply(\%coupon,
        { (map { $_ => undef } keys %coupon), %$coupon_terms },
        "$code: the coupon's terms");
    is_deeply({ map { $_ => $promotion_code->{$_} } qw(active expires_at max_redemptions code) },
        { code => $code, active => JSON::PP::true, expires_at => $row->{expires}, max_redemptions => undef, %$code_terms },
        "$code: the promotion code's terms");
    is($row->{stripe_coupon_id}, $coupon->{id}, "$code: coupon id in the row");
    is($row->{stripe_promotion_code_id}, $promotion_code->{id}, "$code: promotion code id in the row");
    ok(defined $row->{synced_at}, "$code: synced_at");
    is($row->{sync_error}, undef, "$code: no error");
    is_deeply([ @{ $coupon->{metadata} }{qw(stripe_sync_row description)} ],
        [ "public.promo_codes/$row->{id}", $row->{description} ], "$code: the coupon names its row");
    is_deeply($promotion_code->{metadata},
        { map { $_ => $coupon->{metadata}{$_} } qw(stripe_sync_row stripe_sync_installation) },
        "$code: the promotion code too");
    return $row;
}

my $row = terms_are('TESTCLIENT70',
    { amount_off => 12900, currency => 'usd', duration => 'forever', products => [$plan],
        name => "Special pricing for test client\x{2026}" },
    { max_redemptions => 1 });
like($row->{warning}, qr/^custom_yearly_price asks for 840\.00, but no list price per year is known/,
    'TESTCLIENT70: the yearly price is warned of');
ok(length $sandbox->code('TESTCLIENT70')->{code} && length(($sandbox->code('TESTCLIENT70'))[1]{name}) <= 40,
    'TESTCLIENT70: a name of at most 40 characters');

$row = terms_are('SOFTWAREOWNER',
    { percent_off => 100, duration => 'forever', name => 'Free access for software owner testing' }, {});
like($row->{warning}, qr/free for ever, for everybody who has it: max_uses is empty/,
    'SOFTWAREOWNER: loudly warned of');

$row = terms_are('BETA50',
    { percent_off => 50, duration => 'repeating', duration_in_months => 6, name => 'Beta testing - 50% off for 6 months' },
    { max_redemptions => 50 });
is($row->{warning}, undef, 'BETA50: nothing to warn of');

$row = terms_are('FIRSTMONTH',
    { percent_off => 100, duration => 'once', name => 'First month free for new customers' }, {});
is($row->{warning}, undef, 'FIRSTMONTH: no yearly price makes a free year of it');

terms_are('ENTERPRISE99',
    { amount_off => 10000, currency => 'usd', duration => 'forever', products => [$plan], name => 'Special enterprise pricing - $99/month' },
    { max_redemptions => 5 });

$row = stripe_row('LAUNCH50');
is($row->{sync_error},
    "discount_value is empty, while custom_monthly_price holds 50.00\n"
      . "A code of discount_type percentage needs its percentage in discount_value.\n"
      . 'If that is the percentage, set discount_value to it and the custom price to NULL; if it is a price, set discount_type to custom_price.',
    'LAUNCH50: names the empty column and the value in the wrong one');
is_deeply([ @$row{qw(state stripe_coupon_id stripe_promotion_code_id)} ], [ 'parked', undef, undef ], 'LAUNCH50: parked, without ids');
is(scalar $sandbox->codes('LAUNCH50'), 0, 'LAUNCH50: nothing of it in Stripe');

is(scalar $sandbox->writes($before), 10, 'a coupon and a promotion code for each of the five, once');
my @reads = $sandbox->requests(method => 'GET', since => $before);
cmp_ok(scalar @reads, '<=', 4, 'and few reads: account, price, the product\'s prices, yearly prices')
  or diag(join "\n", map { "$_->{path} " . join ' ', %{ $_->{params} } } @reads);

# --- as a dashboard goes on ------------------------------------------------------------------------

$node->safe_psql('app', <<'END', extra_params => [ '-U', 'app_owner' ]);
UPDATE promo_codes SET discount_value = 50, custom_monthly_price = NULL WHERE code = 'LAUNCH50';
INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('NEW20', '$20 off', 'fixed', 20);
END
await_synced($node, 'app', 'the corrected and the new code leave pending');
terms_are('LAUNCH50',
    { percent_off => 50, duration => 'once', products => [$fee], name => '50% off setup fee for launch customers' },
    { max_redemptions => 100 });
terms_are('NEW20', { amount_off => 2000, currency => 'usd', duration => 'once', name => '$20 off' }, {});
is($node->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');
is($node->safe_psql('app', 'SELECT codes, synced, pending, retrying, error FROM stripe_sync_status'), '7|7|0|0|0', 'status: all in step');
is($node->safe_psql('app', 'SELECT sum(codes) FROM promo_code_stats'), '7', 'the application\'s own summary is kept up');

# --- a second active price on the plan's product ---------------------------------------------------

$node->safe_psql('app', 'SELECT stripe_sync_stop()');
$sandbox->reset;
$plan = $sandbox->product('Plan');
$monthly = $sandbox->price($plan, 19900);
my $yearly = $sandbox->price($plan, 199000, 'year');
create_application($node, 'second');
attach($node, 'second', "currency => 'usd', duration => 'once', monthly_price => '$monthly'");
await_synced($node, 'second', 'with a second price: all codes leave pending');
is(statuses($node, 'second', "discount_type = 'custom_price'"),
    "ENTERPRISE99 error\nSOFTWAREOWNER synced\nTESTCLIENT70 error",
    'custom prices are parked, but for the free one');
foreach my $case ([ 'TESTCLIENT70', '840.00', '1861.00' ], [ 'ENTERPRISE99', '1188.00', '1890.00' ])
{
    my ($code, $asked, $becomes) = @$case;
    my $error = $node->safe_psql('second', "SELECT sync_error FROM promo_codes WHERE code = '$code'");
    like($error,
        qr/^price $yearly \(1990\.00 usd, per year\) would become \Q$becomes\E usd, where the row asks for \Q$asked\E\n/,
        "$code: names the price, what it would become and what was asked");
    is(scalar $sandbox->codes($code), 0, "$code: nothing of it in Stripe");
}
like($node->safe_psql('second', "SELECT warning FROM stripe_sync_promo_status WHERE code = 'FIRSTMONTH'"),
    qr/there are yearly prices: a whole year is discounted there/, 'FIRSTMONTH: now warned of');

$sandbox->api('POST', "/v1/prices/$yearly", { active => 'false' });
$node->safe_psql('second', "SELECT stripe_sync_retry('TESTCLIENT70')");
await_query($node, 'second', "SELECT sync_status FROM promo_codes WHERE code = 'TESTCLIENT70'", 'synced',
    'what the HINT says helps: deactivate the price, then stripe_sync_retry()', 10);

finish($node);
