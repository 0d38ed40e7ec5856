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
my @owner = (extra_params => [ '-U', 'app_owner' ]);

sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }

app("UPDATE promo_codes SET stripe_product_id = '$fee' WHERE code = 'LAUNCH50'");
my $arguments = "currency => 'usd', duration => 'once', monthly_price => '$monthly'";

# --- before: dormant, and a dry run changes nothing -----------------------------------------------

my $before = $sandbox->mark;
is(sql('SELECT status, reason FROM stripe_sync_health'),
    'ok|dormant: nothing is attached yet', 'a new installation is dormant');
attach($node, 'app', "$arguments, dry_run => true");
is(sql(<<'END'), '0', 'a dry run installs nothing');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'promo_codes'::regclass AND tgname LIKE 'zzzz%'
END
is(sql('SELECT count(*) FROM stripe_sync.attachment'), '0', 'nor attaches it');

# --- attached by its owner ------------------------------------------------------------------------

my %report = map { (split /\|/)[ 0, 1 ] } split /\n/, attach($node, 'app', $arguments);
is($report{code}, 'found', 'report: a column found');
is($report{currency}, 'inherited', 'report: an item the arguments say');
is($report{minimum_amount}, 'missing', 'report: an item nobody says');
is(join(' ', grep { /^trigger/ } keys %report), '', 'report: no trigger of theirs sorts after ours');

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
    return row($node, 'app', <<"END");
SELECT p.*, floor(extract(epoch FROM p.expires_at))::bigint AS expires,
  s.warning, s.state, s.reason, s.hint
FROM promo_codes p JOIN stripe_sync_promo_status s USING (code) WHERE code = '$code'
END
}

# What Stripe holds of a code, as far as the table says something of it; what is not named must be
# empty. Returns the row.
sub terms_are
{
    my ($code, $coupon_terms, $code_terms) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $row = stripe_row($code);
    my ($promotion_code, $coupon) = $sandbox->code($code);

    my @terms = qw(percent_off amount_off currency duration duration_in_months name
      max_redemptions redeem_by);
    my %coupon = map { $_ => $coupon->{$_} } @terms;
    $coupon{products} = $coupon->{applies_to} ? $coupon->{applies_to}{products} : undef;
    my %none = map { $_ => undef } keys %coupon;
    is_deeply(\%coupon, { %none, %$coupon_terms }, "$code: the coupon's terms");

    my %limits = map { $_ => $promotion_code->{$_} } qw(active expires_at max_redemptions code);
    my %usual = (
        code => $code,
        active => JSON::PP::true,
        expires_at => $row->{expires},
        max_redemptions => undef);
    is_deeply(\%limits, { %usual, %$code_terms }, "$code: the promotion code's terms");

    is($row->{stripe_coupon_id}, $coupon->{id}, "$code: coupon id in the row");
    is($row->{stripe_promotion_code_id}, $promotion_code->{id}, "$code: promotion code id too");
    ok(defined $row->{synced_at}, "$code: synced_at");
    is($row->{sync_error}, undef, "$code: no error");
    my %marks = %{ $coupon->{metadata} };
    is(delete $marks{description}, $row->{description}, "$code: the whole description");
    is($marks{stripe_sync_row}, "public.promo_codes/$row->{id}", "$code: the coupon names its row");
    is_deeply($promotion_code->{metadata}, \%marks, "$code: the promotion code too");
    return $row;
}

my $row = terms_are('TESTCLIENT70',
    {
        amount_off => 12900,
        currency => 'usd',
        duration => 'forever',
        products => [$plan],
        name => "Special pricing for test client\x{2026}"
    },
    { max_redemptions => 1 });
like($row->{warning},
    qr/^custom_yearly_price asks for 840\.00, but no list price per year is known/,
    'TESTCLIENT70: the yearly price is warned of');
cmp_ok(length +($sandbox->code('TESTCLIENT70'))[1]{name}, '<=', 40,
    'TESTCLIENT70: a name of at most 40 characters');

my $name = 'Free access for software owner testing';
$row = terms_are('SOFTWAREOWNER', { percent_off => 100, duration => 'forever', name => $name }, {});
like($row->{warning}, qr/free for ever, for everybody who has it: max_uses is empty/,
    'SOFTWAREOWNER: loudly warned of');

$row = terms_are('BETA50',
    {
        percent_off => 50,
        duration => 'repeating',
        duration_in_months => 6,
        name => 'Beta testing - 50% off for 6 months'
    },
    { max_redemptions => 50 });
is($row->{warning}, undef, 'BETA50: nothing to warn of');

$name = 'First month free for new customers';
$row = terms_are('FIRSTMONTH', { percent_off => 100, duration => 'once', name => $name }, {});
is($row->{warning}, undef, 'FIRSTMONTH: no yearly price makes a free year of it');

terms_are('ENTERPRISE99',
    {
        amount_off => 10000,
        currency => 'usd',
        duration => 'forever',
        products => [$plan],
        name => 'Special enterprise pricing - $99/month'
    },
    { max_redemptions => 5 });

$row = stripe_row('LAUNCH50');
is($row->{sync_error}, <<'END' =~ s/\n\z//r, 'LAUNCH50: names the empty column and the other value');
discount_value is empty, while custom_monthly_price holds 50.00
A code of discount_type percentage needs its percentage in discount_value.
If that is the percentage, set discount_value to it and the custom price to NULL; if it is a price, set discount_type to custom_price.
END
is($row->{state}, 'parked', 'LAUNCH50: parked');
is($row->{$_}, undef, "LAUNCH50: no $_") foreach qw(stripe_coupon_id stripe_promotion_code_id);
is(scalar $sandbox->codes('LAUNCH50'), 0, 'LAUNCH50: nothing of it in Stripe');

is(scalar $sandbox->writes($before), 10, 'two writes for each of the five');
my @reads = $sandbox->request_lines(method => 'GET', since => $before);
cmp_ok(scalar @reads, '<=', 5, "few reads: account, price, the product's prices, yearly prices, events")
  or diag(join "\n", @reads);

# --- as a dashboard goes on -----------------------------------------------------------------------

app(<<'END');
UPDATE promo_codes SET discount_value = 50, custom_monthly_price = NULL WHERE code = 'LAUNCH50';
INSERT INTO promo_codes (code, description, discount_type, discount_value)
VALUES ('NEW20', '$20 off', 'fixed', 20);
END
await_synced($node, 'app', 'the corrected and the new code leave pending');
$name = '50% off setup fee for launch customers';
terms_are('LAUNCH50',
    { percent_off => 50, duration => 'once', products => [$fee], name => $name },
    { max_redemptions => 100 });
terms_are('NEW20',
    { amount_off => 2000, currency => 'usd', duration => 'once', name => '$20 off' }, {});
is(sql('SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');
is(sql('SELECT codes, synced, pending, retrying, error FROM stripe_sync_status'),
    '7|7|0|0|0', 'status: all in step');
is(sql('SELECT sum(codes) FROM promo_code_stats'), '7', "the application's summary is kept up");

# --- a second active price on the plan's product --------------------------------------------------

sql('SELECT stripe_sync_stop()');
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

my %becomes = (TESTCLIENT70 => [ '840.00', '1861.00' ], ENTERPRISE99 => [ '1188.00', '1890.00' ]);
foreach my $code (sort keys %becomes)
{
    my ($asked, $becomes) = @{ $becomes{$code} };
    my ($why) = split /\n/,
      $node->safe_psql('second', "SELECT sync_error FROM promo_codes WHERE code = '$code'");
    is($why,
        "price $yearly (1990.00 usd, per year) would become $becomes usd,"
          . " where the row asks for $asked",
        "$code: names the price, what it would become and what was asked");
    is(scalar $sandbox->codes($code), 0, "$code: nothing of it in Stripe");
}
like($node->safe_psql('second', <<'END'), qr/there are yearly prices: a whole year is discounted/,
SELECT warning FROM stripe_sync_promo_status WHERE code = 'FIRSTMONTH'
END
    'FIRSTMONTH: now warned of');

$sandbox->api('POST', "/v1/prices/$yearly", { active => 'false' });
$node->safe_psql('second', "SELECT stripe_sync_retry('TESTCLIENT70')");
await_codes($node, 'second',
    'what the HINT says helps: deactivate the price, then stripe_sync_retry()', 'TESTCLIENT70');

finish($node);
