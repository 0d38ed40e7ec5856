# Rows that can't be pushed: each says why and what to do, nothing is sent for it, others go on;
# corrected it is pushed; switched off while wrong it is switched off. And rows whose time comes.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $sandbox = StripeSync::Sandbox->start;
my $plan = $sandbox->product('Plan');
my $monthly = $sandbox->price($plan, 19900);
my $looked_up = $sandbox->api('POST', '/v1/prices',
    { product => $sandbox->product('Other'), unit_amount => 10000, currency => 'usd', 'recurring[interval]' => 'month', lookup_key => 'other_monthly' })->{id};

my $node = start_cluster(sandbox => $sandbox, conf => 'stripe_sync.max_parallel = 16');
$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE app OWNER app_owner');
$node->safe_psql('app', 'GRANT CREATE ON SCHEMA public TO app_owner; CREATE EXTENSION stripe_sync;
    GRANT EXECUTE ON FUNCTION stripe_sync_attach TO app_owner');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
sub app { return $node->safe_psql('app', $_[0], @owner) }

app(<<'SQL');
CREATE TABLE promo_codes (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL, code text, description text, discount_type text, discount_value numeric,
  custom_monthly_price numeric, custom_yearly_price numeric, max_uses int, used_count int, starts_at timestamptz, expires_at timestamptz,
  is_active boolean DEFAULT true, currency text, duration text, duration_in_months int, stripe_product_id text, stripe_price_id text,
  first_time_only boolean, minimum_amount numeric, stripe_customer_id text);
-- the same as text, attached without any setting
CREATE TABLE texts (
  name text PRIMARY KEY, code text, discount_type text DEFAULT 'percentage', discount_value text DEFAULT '10', custom_monthly_price text, max_uses text,
  starts_at text, expires_at text, is_active text, currency text, duration text, duration_in_months text, first_time_only text, minimum_amount text);
SQL
attach($node, 'app', "currency => 'usd', duration => 'once', monthly_price => '$monthly'");
app("SELECT count(*) FROM stripe_sync_attach('texts')");

# Names stand for rows; the code is the name unless it is what is wrong.
my %base = (discount_type => "'percentage'", discount_value => '10');

sub insert
{
    my ($name, %values) = @_;
    %values = (%base, code => "'$name'", %values, name => "'$name'");
    my @columns = sort keys %values;
    return 'INSERT INTO promo_codes (' . join(', ', @columns) . ') VALUES (' . join(', ', @values{@columns}) . ');';
}

# What to set to make the row `wrong`, and what to make it right again.
sub assign
{
    my ($name, %values) = @_;
    return 'UPDATE promo_codes SET ' . join(', ', map { "$_ = $values{$_}" } sort keys %values) . " WHERE name = '$name';";
}

my $percent_need = 'Stripe needs a percentage above 0 and up to 100, with at most two decimals.';
my $code_need = 'Stripe takes letters A-Z and a-z, digits and - in a code.';
my $take_out = 'Take that character out of the code.';
my $positive_need = 'Stripe needs an amount above 0.';
my $months_hint = 'Set duration_in_months to a whole number above 0, or to NULL.';
my $uses_need = 'Stripe needs a whole number of redemptions above 0, or no limit.';
my $uses_hint = 'Set max_uses to a whole number, or to NULL for no limit.';
my $currency_need = 'Stripe needs a three-letter ISO code that it supports, such as usd or eur.';
my $customer_need = 'Stripe needs an id such as cus_NffrFeUfNV2Hib.';
my $customer_hint = "Set stripe_customer_id to the customer's id in Stripe, or to NULL.";
my $list_need = 'The list price is needed to know what to take off.';
my $price_hint = 'Set stripe_price_id to the id or lookup key of an active price.';
my $below_need = 'A coupon can only take something off the list price.';
my $below_hint = 'Set custom_monthly_price to less than the list price.';
my $list = "price $monthly (199.00 usd, per month)";
my %custom = (discount_type => "'custom_price'", discount_value => 'NULL');
my $long = 'L' x 501;

sub finer { return ("discount_value: $_[0] is finer than this currency's smallest unit",
    "Stripe's smallest step is $_[1], and amounts are never rounded here.", "Use a multiple of $_[1].") }

# name => [ what is wrong, reason, detail, hint ]; a pattern where a time stands in it
my %wrong = (
    P0 => [ { discount_value => 0 }, 'discount_value: 0 % is no discount', $percent_need, 'Use a percentage above 0.' ],
    P150 => [ { discount_value => 150 }, 'discount_value: 150 % is more than 100 %', $percent_need, 'Use at most 100.' ],
    P100DOT01 => [ { discount_value => '100.01' }, 'discount_value: 100.01 % is more than 100 %', $percent_need, 'Use at most 100.' ],
    PFINE => [ { discount_value => '33.333' }, 'discount_value: 33.333 % has more than two decimals', $percent_need, 'Use at most two decimals.' ],
    PNEGATIVE => [ { discount_value => -10 }, 'discount_value: -10 % is no discount', $percent_need, 'Use a percentage above 0.' ],
    PNAN => [ { discount_value => "'NaN'" }, 'discount_value: "NaN" is not a percentage', $percent_need, 'Write a number such as 12.5.' ],
    PINFINITE => [ { discount_value => "'Infinity'" }, 'discount_value: "Infinity" is not a percentage', $percent_need, 'Write a number such as 12.5.' ],
    PHUGE => [ { discount_value => '1e300' }, qr/^discount_value: 10{300} % is more than 100 %$/, $percent_need, 'Use at most 100.' ],
    PNULL => [ { discount_value => 'NULL' }, 'discount_value is empty', 'A code of discount_type percentage needs its percentage in discount_value.', 'Set discount_value to the percentage.' ],
    PELSEWHERE => [ { discount_value => 'NULL', custom_monthly_price => '50.00' }, 'discount_value is empty, while custom_monthly_price holds 50.00',
        'A code of discount_type percentage needs its percentage in discount_value.',
        'If that is the percentage, set discount_value to it and the custom price to NULL; if it is a price, set discount_type to custom_price.' ],
    F0 => [ { discount_type => "'fixed'", discount_value => 0 }, 'discount_value is 0', $positive_need, 'Set discount_value to the amount to take off.' ],
    FNEGATIVE => [ { discount_type => "'fixed'", discount_value => '-5.00' }, 'discount_value is -5.00', $positive_need, 'Set discount_value to the amount to take off.' ],
    FNAN => [ { discount_type => "'fixed'", discount_value => "'NaN'" }, 'discount_value: "NaN" is not an amount of money', 'Stripe needs a decimal number of usd.', 'Write digits with a decimal point, such as 12.50.' ],
    FNULL => [ { discount_type => "'fixed'", discount_value => 'NULL' }, 'discount_value is empty', 'A code of discount_type fixed needs the amount to take off in discount_value.', 'Set discount_value to the amount.' ],
    FFINE => [ { discount_type => "'fixed'", discount_value => '10.005' }, finer('10.005 usd', '0.01 usd') ],
    FHUGE => [ { discount_type => "'fixed'", discount_value => '1000000' }, 'discount_value: 1000000 usd is more than Stripe takes', "Stripe's largest amount is 999999.99 usd.", 'Use a smaller amount.' ],
    YEN => [ { discount_type => "'fixed'", discount_value => '100.5', currency => "'jpy'" }, finer('100.5 jpy', '1 jpy') ],
    DINAR => [ { discount_type => "'fixed'", discount_value => '1.234', currency => "'KWD'" }, finer('1.234 kwd', '0.010 kwd') ],
    KRONA => [ { discount_type => "'fixed'", discount_value => '100.50', currency => "'isk'" }, finer('100.50 isk', '1.00 isk') ],
    SHILLING => [ { discount_type => "'fixed'", discount_value => '100', currency => "'ugx'" }, q{discount_value: 100 ugx can't be sent: Stripe's unit of this currency is not certain},
        q{Stripe's documentation lists ugx both with and without decimals.}, q{Use a percentage, or make this code in Stripe's Dashboard.} ],
    DOLLARS => [ { discount_type => "'fixed'", discount_value => '5', currency => "'dollars'" }, 'currency: "dollars" is not a currency that Stripe takes', $currency_need, 'Set the currency to such a code.' ],
    BITCOIN => [ { discount_type => "'fixed'", discount_value => '5', currency => "'btc'" }, 'currency: "btc" is not a currency that Stripe takes', $currency_need, 'Set the currency to such a code.' ],
    SPACED => [ { code => "'SPA CED'" }, 'code "SPA CED" has a space at position 4', $code_need, $take_out ],
    UNDERSCORED => [ { code => "'UNDER_SCORED'" }, 'code "UNDER_SCORED" has "_" at position 6', $code_need, $take_out ],
    UMLAUT => [ { code => "'FÜNF'" }, 'code "FÜNF" has U+00DC at position 2', $code_need, $take_out ],
    EMOJI => [ { code => "'SALE🎉'" }, 'code "SALE🎉" has U+1F389 at position 5', $code_need, $take_out ],
    TABBED => [ { code => "E'TAB\\tBED'" }, qr/^code "TAB.BED" has U\+0009 at position 4$/s, $code_need, $take_out ],
    PERCENT => [ { code => "'50%'" }, 'code "50%" has "%" at position 3', $code_need, $take_out ],
    EMPTY => [ { code => "''" }, 'code is empty', $code_need, 'Give the row a code.' ],
    BLANKS => [ { code => "'   '" }, 'code is empty', $code_need, 'Give the row a code.' ],
    NOCODE => [ { code => 'NULL' }, 'code is empty', $code_need, 'Give the row a code.' ],
    LONG => [ { code => "'$long'" }, 'code has 501 characters', 'Stripe takes at most 500.', 'Use a shorter code.' ],
    FAR => [ { expires_at => "now() + interval '6 years'" }, qr/^expires_at is \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00, more than 5 years ahead$/, 'Stripe takes an expiry at most 5 years ahead.',
        'Set expires_at to at most 5 years from now, or to NULL for a code that never expires.' ],
    NEVERSTARTS => [ { starts_at => "'infinity'" }, 'starts_at is infinity: the promo code would never start', 'A code is switched on in Stripe when its start has come.', 'Set starts_at to a time, or is_active to false.' ],
    BACKWARDS => [ { starts_at => "now() + interval '2 days'", expires_at => "now() + interval '1 day'" }, qr/^starts_at \([-\d: ]+\+00\) is not before expires_at \([-\d: ]+\+00\)$/,
        'A code must start before it expires.', 'Correct one of the two.' ],
    ATONCE => [ { starts_at => "date_trunc('day', now()) + interval '2 days'", expires_at => "date_trunc('day', now()) + interval '2 days'" }, qr/^starts_at \(.*\) is not before expires_at \(.*\)$/,
        'A code must start before it expires.', 'Correct one of the two.' ],
    NOPRICE => [ {%custom}, 'custom_monthly_price and custom_yearly_price are empty', 'A code of discount_type custom_price needs the price to pay in one of them.', 'Set custom_monthly_price or custom_yearly_price.' ],
    VALUEONLY => [ { %custom, discount_value => '20.00' }, 'custom_monthly_price and custom_yearly_price are empty, while discount_value holds 20.00', 'A code of discount_type custom_price needs the price to pay in one of them.',
        'Set custom_monthly_price or custom_yearly_price, or discount_type to percentage or fixed if discount_value is the discount.' ],
    NOLIST => [ { %custom, custom_yearly_price => '840.00' }, 'no list price is known for custom_yearly_price (840.00)', 'Stripe takes discounts, not prices: the list price tells what to take off.',
        'Give the row a stripe_price_id, or attach the table again with monthly_price => ... or yearly_price => ...' ],
    NOSUCHPRICE => [ { %custom, custom_monthly_price => '70.00', stripe_price_id => "'price_0123456789unknown'" }, 'stripe_price_id is price_0123456789unknown, which is no active price in Stripe', $list_need, $price_hint ],
    NOSUCHKEY => [ { %custom, custom_monthly_price => '70.00', stripe_price_id => "'no_such_key'" }, 'stripe_price_id is no_such_key, which is no active price in Stripe', $list_need, $price_hint ],
    OTHERINTERVAL => [ { %custom, custom_yearly_price => '70.00', stripe_price_id => "'$monthly'" }, "stripe_price_id names $list, but the row asks for custom_yearly_price (70.00)",
        'custom_monthly_price needs a list price per month, custom_yearly_price one per year.', 'Set stripe_price_id to a price of the asked interval, or to NULL.' ],
    LIST => [ { %custom, custom_monthly_price => '199.00' }, "custom_monthly_price (199.00) is not below $list", $below_need, $below_hint ],
    ABOVE => [ { %custom, custom_monthly_price => '250' }, "custom_monthly_price (250) is not below $list", $below_need, $below_hint ],
    CNEGATIVE => [ { %custom, custom_monthly_price => '-1' }, 'custom_monthly_price is -1', 'The price to pay is a number, 0 or more.', 'Set custom_monthly_price to the price to pay, or to NULL.' ],
    CNAN => [ { %custom, custom_monthly_price => "'NaN'" }, 'custom_monthly_price is NaN', 'The price to pay is a number, 0 or more.', 'Set custom_monthly_price to the price to pay, or to NULL.' ],
    CFINE => [ { %custom, custom_monthly_price => '70.005' }, q{custom_monthly_price: 70.005 usd is finer than this currency's smallest unit}, q{Stripe's smallest step is 0.01 usd, and amounts are never rounded here.}, 'Use a multiple of 0.01 usd.' ],
    EUROS => [ { %custom, custom_monthly_price => '70.00', currency => "'eur'" }, "custom_monthly_price (70.00) is in eur, but its list is $list", 'Asked price and list price must be in one currency.',
        'Correct the currency, or name a list price in eur.' ],
    OTHERPRODUCT => [ { %custom, custom_monthly_price => '70.00', stripe_product_id => "'prod_other'" }, "stripe_product_id is prod_other, but $list belongs to product $plan",
        q{A custom price applies to its list price's product.}, 'Set stripe_product_id to that product or to NULL, or name another list price.' ],
    NOMONTHS => [ { duration => "'repeating'" }, 'duration is repeating, but for how many months is said nowhere', 'Stripe needs a number of months above 0 with repeating.', 'Set duration_in_months, or duration to once or forever.' ],
    MONTHS0 => [ { duration => "'repeating'", duration_in_months => 0 }, 'duration_in_months is 0', 'Stripe needs a whole number of months above 0.', $months_hint ],
    TWICE => [ { duration => "'twice'" }, 'duration is "twice"', 'Stripe needs one of once, repeating and forever.', q{Set duration to one of these, or to NULL for the table's default.} ],
    BOGO => [ { discount_type => "'bogo'" }, 'discount_type is "bogo"', 'The types are percentage, fixed and custom_price.', 'Set discount_type to one of these.' ],
    NOTYPE => [ { discount_type => 'NULL' }, 'discount_type is empty', 'The types are percentage, fixed and custom_price.', 'Set discount_type to one of these.' ],
    USESNEGATIVE => [ { max_uses => -1 }, 'max_uses is -1', $uses_need, $uses_hint ],
    CUSTOMER => [ { stripe_customer_id => "'bob\@example.org'" }, 'stripe_customer_id is "bob@example.org", which is not a customer\'s id', $customer_need, $customer_hint ],
    CUSTOMERPATH => [ { stripe_customer_id => "'cus_/../coupons'" }, 'stripe_customer_id is "cus_/../coupons", which is not a customer\'s id', $customer_need, $customer_hint ],
    MINNEGATIVE => [ { minimum_amount => '-5' }, 'minimum_amount is -5', $positive_need, 'Set minimum_amount to an amount above 0, or to NULL.' ],
    MINFINE => [ { minimum_amount => '5.005' }, q{minimum_amount: 5.005 usd is finer than this currency's smallest unit}, q{Stripe's smallest step is 0.01 usd, and amounts are never rounded here.}, 'Use a multiple of 0.01 usd.' ],
    MINCURRENCY => [ { minimum_amount => '5', currency => "'xxx'" }, 'currency: "xxx" is not a currency that Stripe takes', $currency_need, 'Set the currency to such a code.' ]);
my @wrong = sort keys %wrong;

# Odd rows that can be pushed, with what Stripe then holds; and rows that are in step without a request.
my %odd = (
    PLEAST => [ { discount_value => '0.01' }, { percent_off => 0.01 } ],
    PMOST => [ { discount_value => '100.000' }, { percent_off => 100 } ],
    YENGOOD => [ { discount_type => "'fixed'", discount_value => '100.00', currency => "'JPY'" }, { amount_off => 100, currency => 'jpy' } ],
    DINARGOOD => [ { discount_type => "'fixed'", discount_value => '1.23', currency => "' kwd '" }, { amount_off => 1230, currency => 'kwd' } ],
    KRONAGOOD => [ { discount_type => "'fixed'", discount_value => '100', currency => "'isk'" }, { amount_off => 10000, currency => 'isk' } ],
    NOCURRENCY => [ { discount_type => "'fixed'", discount_value => '5', currency => "' '" }, { amount_off => 500, currency => 'usd' } ],
    TRIMMED => [ { code => "E' \\tTRIMMED\\n'" }, { percent_off => 10 } ],
    FOREVER => [ { expires_at => "'infinity'", starts_at => "'-infinity'", duration => "'FOREVER'" }, { percent_off => 10, duration => 'forever' }, { expires_at => undef } ],
    LOOKEDUP => [ { %custom, custom_monthly_price => '70', stripe_price_id => "'other_monthly'" }, { percent_off => 30 } ],
    BYID => [ { %custom, custom_monthly_price => '70', stripe_price_id => "'$looked_up'" }, { percent_off => 30 } ],
    NEARLYUSED => [ { max_uses => 5, used_count => 4 }, {}, { max_redemptions => 1 } ],
    MINIMUM => [ { minimum_amount => '50.00', first_time_only => 'true' }, {},
        { restrictions => { first_time_transaction => JSON::PP::true, minimum_amount => 5000, minimum_amount_currency => 'usd' } } ],
    LEASTMINIMUM => [ { minimum_amount => '0' }, { percent_off => 10 } ]);
my %over = (
    PAST => [ { expires_at => "now() - interval '1 second'" }, 'expired' ],
    ALWAYSPAST => [ { expires_at => "'-infinity'" }, 'expired' ],
    USEDUP => [ { max_uses => 5, used_count => 5 }, 'exhausted' ],
    OVERUSED => [ { max_uses => 5, used_count => 7 }, 'exhausted' ],
    NOUSES => [ { max_uses => 0 }, 'exhausted' ]);

sub status_rows
{
    my $rows = row($node, 'app', <<'END')->{rows};
SELECT jsonb_object_agg(p.name, jsonb_build_object('sync_status', p.sync_status, 'sync_error', p.sync_error, 'coupon', p.stripe_coupon_id,
  'state', s.state, 'active_in_stripe', s.active_in_stripe, 'promotion_code_id', s.promotion_code_id, 'reason', s.reason, 'detail', s.detail, 'hint', s.hint, 'sqlstate', t.sqlstate)) AS rows
FROM promo_codes p JOIN stripe_sync.promo_state t ON t.promo_table = 'promo_codes'::regclass AND t.key = p.id::text
JOIN stripe_sync_promo_status s ON s.promo_table = t.promo_table AND s.key = t.key
END
    return $rows;
}

sub status_row { return status_rows()->{ $_[0] } // {} }

# What Stripe holds of a code: promotion code and coupon; nothing, or several, is a failure of the test.
sub held
{
    my ($code) = @_;
    my @held = eval { $sandbox->code($code) };
    return wantarray ? (@held ? @held : ({}, {})) : $held[0] // {};
}

# Those of the codes that are on (or off) in Stripe.
sub those
{
    my ($on, @names) = @_;
    my %active;
    $active{ lc $_->{code} } += $_->{active} ? 1 : 0 foreach $sandbox->objects('promotion_codes');
    return join ' ', grep { ($active{ lc $_ } // 0) == ($on eq 'on' ? 1 : 0) } @names;
}

# Those rows that do not say exactly what they should.
sub misunderstood
{
    my @names = @_;
    my $rows = status_rows();
    my @bad;
    foreach my $name (@names)
    {
        my (undef, $reason, $detail, $hint) = @{ $wrong{$name} };
        my $row = $rows->{$name} // {};
        # with what is sold meanwhile, if something is
        my $sold = $row->{active_in_stripe} ? " In Stripe, promotion code $row->{promotion_code_id} ($name) goes on as it was: 10 %, once." : '';
        my %seen = (reason => [ $row->{reason}, $reason ], detail => [ $row->{detail}, ($detail // '') . $sold ], hint => [ $row->{hint}, $hint ],
            state => [ $row->{state}, 'parked' ], status => [ $row->{sync_status}, 'error' ], sqlstate => [ $row->{sqlstate}, 'SY005' ],
            sync_error => [ $row->{sync_error}, join "\n", map { $_ // '' } @$row{qw(reason detail hint)} ]);
        foreach my $part (sort keys %seen)
        {
            my ($is, $want) = map { $_ // 'NULL' } @{ $seen{$part} };
            push @bad, "$name $part: $is\n  wanted: $want" unless ref $want ? $is =~ $want : $is eq $want;
        }
    }
    return join "\n", @bad;
}

# Nothing waits for its first look any more.
sub await_judged
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await_query($node, 'app', "SELECT string_agg(code || ' ' || state, ', ') FROM stripe_sync_promo_status WHERE sync_status = 'pending'", '', $what);
}

sub writes_since
{
    my ($mark) = @_;
    return map { my $params = $_->{params}; "$_->{path} " . join ' ', map { "$_=$params->{$_}" } grep { /^(id|code|active)$/ } sort keys %$params } $sandbox->writes($mark);
}

# --- wrong from the start -----------------------------------------------------------------------------

my $mark = $sandbox->mark;
app(join "\n", 'BEGIN;', (map { insert($_, %{ $wrong{$_}[0] }) } @wrong), (map { insert($_, %{ $odd{$_}[0] }) } sort keys %odd),
    (map { insert($_, %{ $over{$_}[0] }) } sort keys %over), 'COMMIT;');
await_judged(scalar(@wrong) . ' wrong rows among good ones are judged');
is(misunderstood(@wrong), '', 'each says what is wrong, what Stripe needs and what to do, in the row and in the view');
is(app('SELECT count(*) FROM promo_codes WHERE name = ANY (\'{' . join(',', @wrong) . '}\') AND (stripe_coupon_id IS NOT NULL OR synced_at IS NOT NULL)'), '0', 'none has an id');
my @written = writes_since($mark);
is(scalar @written, 2 * keys %odd, 'two requests for each of the good ones, none for the others') or diag(join "\n", @written);
foreach my $name (sort keys %odd)
{
    my (undef, $coupon_terms, $code_terms) = @{ $odd{$name} };
    my $row = status_row($name);
    is("$row->{state} " . ($row->{sync_error} // ''), 'synced ', "$name is synced");
    my ($code, $coupon) = held($name);
    is_deeply({ map { $_ => $coupon->{$_} } keys %$coupon_terms }, $coupon_terms, "$name: the coupon's terms");
    is_deeply({ map { $_ => $code->{$_} } keys %{ $code_terms // {} } }, $code_terms // {}, "$name: the promotion code's terms");
}
is(app("SELECT code = E' \\tTRIMMED\\n' FROM promo_codes WHERE name = 'TRIMMED'"), 't', 'the blanks around a code stay in the row');
foreach my $name (sort keys %over)
{
    my $row = status_row($name);
    is_deeply([ @$row{qw(state sync_status sync_error coupon)} ], [ $over{$name}[1], 'synced', undef, undef ], "$name is $over{$name}[1], which is in step, without anything in Stripe");
}
is($node->safe_psql('app', 'SELECT status, reason, errors FROM stripe_sync_health'), 'degraded|' . @wrong . ' promo codes are in error|' . @wrong, 'health counts them');
is($node->safe_psql('app', 'SELECT sum(times) FROM stripe_sync_errors'), scalar @wrong, 'errors lists them') or diag($node->safe_psql('app', 'SELECT subject, message FROM stripe_sync_errors'));

# looked at again, they say the same, and nothing is sent
$mark = $sandbox->mark;
app("UPDATE promo_codes SET sync_status = 'pending' WHERE name = ANY ('{" . join(',', @wrong) . "}')");
await_judged('looked at again');
is(misunderstood(@wrong), '', 'they say the same');
is(join("\n", writes_since($mark)), '', 'and nothing is sent');

# --- corrected ------------------------------------------------------------------------------------------

sub correction
{
    my ($name) = @_;
    my %values = map { $_ => $base{$_} // ($_ eq 'code' ? "'$name'" : 'NULL') } keys %{ $wrong{$name}[0] };
    return %values;
}
$mark = $sandbox->mark;
app(join "\n", map { assign($_, correction($_)) } @wrong);
await_judged('corrected');
is(app("SELECT string_agg(concat_ws(' ', name, sync_status, sync_error), '; ') FROM promo_codes WHERE sync_status <> 'synced' OR sync_error IS NOT NULL"), '', 'all are synced, without an error');
is(scalar(writes_since($mark)), 2 * @wrong, 'by two requests each');
is(those('off', @wrong), '', 'and on in Stripe');
is($node->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health is ok again');

# --- made wrong later: what was sold before goes on, until it is switched off -----------------------------

$mark = $sandbox->mark;
app(join "\n", 'BEGIN;', (map { assign($_, %{ $wrong{$_}[0] }) } @wrong), 'COMMIT;');
await_judged('made wrong');
is(misunderstood(@wrong), '', 'each says why');
is(join("\n", writes_since($mark)), '', 'nothing is sent');
my $ids = app('SELECT string_agg(stripe_promotion_code_id, \' \' ORDER BY id) FROM promo_codes');
like($ids, qr/promo_/, 'their ids stay in the rows');

app("UPDATE promo_codes SET is_active = false WHERE name = ANY ('{" . join(',', @wrong) . "}')");
await_judged('switched off while wrong');
is(those('on', @wrong), '', 'off in Stripe');
my @offs = writes_since($mark);
is(scalar(grep { m{^/v1/promotion_codes/promo_\w+ active=false$} } @offs), scalar @wrong, 'by one request each');
is(scalar @offs, scalar @wrong, 'and no other') or diag(join "\n", @offs);

$mark = $sandbox->mark;
app("UPDATE promo_codes SET is_active = true WHERE name = ANY ('{" . join(',', @wrong) . "}')");
await_judged('switched on while still wrong');
is(misunderstood(@wrong), '', 'refused, each saying why');
is(join("\n", writes_since($mark)), '', 'nothing is sent');

app(join "\n", 'BEGIN;', (map { assign($_, correction($_)) } @wrong), 'COMMIT;');
await_judged('corrected again');
is(those('off', @wrong), '', 'on in Stripe');
is(scalar(writes_since($mark)), scalar @wrong, 'by one request each');
is(app('SELECT string_agg(stripe_promotion_code_id, \' \' ORDER BY id) FROM promo_codes'), $ids, 'the same promotion codes');

# wrong and off in one statement; wrong and deleted
$mark = $sandbox->mark;
my @half = grep { $_ lt 'M' } @wrong;
my @rest = grep { $_ ge 'M' } @wrong;
app(join "\n", 'BEGIN;', (map { assign($_, %{ $wrong{$_}[0] }, is_active => 'false') } @half), (map { assign($_, %{ $wrong{$_}[0] }) } @rest),
    (map { "DELETE FROM promo_codes WHERE name = '$_';" } @rest), 'COMMIT;');
await_judged('made wrong and switched off, or deleted, at once');
await('off in Stripe', sub { my $on = those('on', @wrong); return ($on eq '', $on) });
is(scalar(writes_since($mark)), scalar @wrong, 'by one request each');

# --- a table of texts, attached without settings -------------------------------------------------------------

my $duration_need = 'Stripe needs one of once, repeating and forever.';
my %text = (
    TDURATION => [ {}, 'how long the discount lasts is said nowhere', $duration_need, 'Give the row a duration, or attach the table again with duration => ...' ],
    TTEN => [ { discount_value => 'ten', duration => 'once' }, 'discount_value: "ten" is not a percentage', $percent_need, 'Write a number such as 12.5.' ],
    TCOMMA => [ { discount_value => '12,5', duration => 'once' }, 'discount_value: "12,5" is not a percentage', $percent_need, 'Write a number such as 12.5.' ],
    TFIXED => [ { discount_type => 'fixed', duration => 'once' }, 'discount_value is 10, but of which currency is said nowhere', 'Stripe needs a currency with an amount.', 'Give the row a currency, or attach the table again with currency => ...' ],
    TMINIMUM => [ { minimum_amount => '5', duration => 'once' }, 'minimum_amount is 5, but of which currency is said nowhere', 'Stripe needs a currency with a minimum amount.', 'Give the row a currency, or attach the table again with currency => ...' ],
    TEXPIRES => [ { expires_at => 'tomorrow', duration => 'once' }, 'expires_at is "tomorrow", which is not a time', 'Stripe needs a point in time.', 'Set expires_at to a time, or to NULL.' ],
    TSTARTS => [ { starts_at => 'soon', duration => 'once' }, 'starts_at is "soon", which is not a time', 'Stripe needs a point in time.', 'Set starts_at to a time, or to NULL.' ],
    TFIRST => [ { first_time_only => 'maybe', duration => 'once' }, 'first_time_only is "maybe"', 'It must be true or false.', 'Set first_time_only to true or false.' ],
    TACTIVE => [ { is_active => 'perhaps', duration => 'once' }, 'is_active is "perhaps"', 'It must be true or false.', 'Set is_active to true or false.' ],
    TUSES => [ { max_uses => 'many', duration => 'once' }, 'max_uses is many', $uses_need, $uses_hint ],
    TUSESHALF => [ { max_uses => '1.5', duration => 'once' }, 'max_uses is 1.5', $uses_need, $uses_hint ],
    TMONTHS => [ { duration => 'repeating', duration_in_months => 'six' }, 'duration_in_months is six', 'Stripe needs a whole number of months above 0.', $months_hint ],
    TCUSTOM => [ { discount_type => 'custom_price', custom_monthly_price => '70' }, 'no list price is known for custom_monthly_price (70)', 'Stripe takes discounts, not prices: the list price tells what to take off.',
        'Give the row a stripe_price_id, or attach the table again with monthly_price => ... or yearly_price => ...' ]);
$mark = $sandbox->mark;
foreach my $name (sort keys %text)
{
    my %values = (code => $name, %{ $text{$name}[0] }, name => $name);
    app('INSERT INTO texts (' . join(', ', sort keys %values) . ') VALUES (' . join(', ', map { "'$values{$_}'" } sort keys %values) . ')');
}
app("INSERT INTO texts (name, code, is_active, duration, duration_in_months, max_uses) VALUES ('TGOOD', 'TGOOD', 'TRUE', ' Repeating ', ' 3 ', '7')");
await_judged('rows of texts are judged');
is(app("SELECT string_agg(name || ' ' || sync_error, E'\\n' ORDER BY name COLLATE \"C\") FROM texts WHERE sync_status = 'error'"),
    join("\n", map { join "\n", "$_ $text{$_}[1]", @{ $text{$_} }[ 2, 3 ] } sort keys %text), 'each says why');
is(app("SELECT name FROM texts WHERE sync_status = 'synced'"), 'TGOOD', 'the good one is synced');
is(scalar(writes_since($mark)), 2, 'by two requests, the only ones');
is_deeply([ map { ($_->[1]{duration}, $_->[1]{duration_in_months}, $_->[0]{max_redemptions}) } [ held('TGOOD') ] ], [ 'repeating', 3, 7 ], 'with its terms');

# --- refused by Stripe ------------------------------------------------------------------------------------------

$mark = $sandbox->mark;
app(insert('NOPRODUCT', stripe_product_id => "'prod_0123456789unknown'") . insert('NOCUSTOMER', stripe_customer_id => "'cus_0123456789unknown'") . insert('NEIGHBOUR'));
await_judged('an unknown product and an unknown customer');
foreach my $name ('NOPRODUCT', 'NOCUSTOMER')
{
    my $row = status_row($name);
    my $id = $name eq 'NOPRODUCT' ? 'prod_0123456789unknown' : 'cus_0123456789unknown';
    is_deeply([ @$row{qw(state sync_status sqlstate)} ], [ 'parked', 'error', 'SY003' ], "$name is refused");
    like(join("\n", @$row{qw(reason detail)}), qr/$id/, "$name: Stripe's words name it");
    like($row->{detail}, qr/\breq_\w+/, "$name: and the request");
    ok(length $row->{hint}, "$name: a hint says what to do");
    is($row->{sync_error}, join("\n", @$row{qw(reason detail hint)}), "$name: in the row too");
}
is(status_row('NEIGHBOUR')->{state}, 'synced', 'the row beside them is synced');
is(scalar(writes_since($mark)), 5, 'one request for the first, two for the second, two for the neighbour') or diag(join "\n", writes_since($mark));
$mark = $sandbox->mark;
app("UPDATE promo_codes SET stripe_product_id = NULL, stripe_customer_id = NULL WHERE name IN ('NOPRODUCT', 'NOCUSTOMER')");
await_judged('corrected');
is(app("SELECT string_agg(name || ' ' || sync_status, ', ' ORDER BY name) FROM promo_codes WHERE name IN ('NOPRODUCT', 'NOCUSTOMER')"), 'NOCUSTOMER synced, NOPRODUCT synced', 'both are synced');
is(join(' ', sort map { s/ .*//r } writes_since($mark)), '/v1/coupons /v1/promotion_codes /v1/promotion_codes', 'the coupon that was made is used')
  or diag(join "\n", writes_since($mark));
is(scalar(grep { $_->{id} =~ /^(NOPRODUCT|NOCUSTOMER)-/ } $sandbox->objects('coupons')), 2, 'one coupon each');

# --- a time comes ---------------------------------------------------------------------------------------------------

$mark = $sandbox->mark;
app(insert('STARTS', starts_at => "now() + interval '3 seconds'")
      . insert('NEVER', starts_at => "now() + interval '3 seconds'")
      . insert('LATER', starts_at => "now() + interval '1 day'")
      . insert('ENDS', expires_at => "now() + interval '4 seconds'")
      . insert('BOTH', starts_at => "now() + interval '2 seconds'", expires_at => "now() + interval '5 seconds'"));
await_judged('rows with a start or an end a few seconds ahead');
my %inactive = map { $_ => !held($_)->{active} } qw(STARTS NEVER LATER BOTH ENDS);
is_deeply(\%inactive, { STARTS => 1, NEVER => 1, LATER => 1, BOTH => 1, ENDS => '' }, 'what starts later is made inactive');
is($node->safe_psql('app', "SELECT string_agg(concat_ws(' ', code, state, sync_status), ', ' ORDER BY code) FROM stripe_sync_promo_status WHERE code IN ('STARTS', 'NEVER', 'LATER', 'ENDS', 'BOTH')"),
    'BOTH scheduled synced, ENDS synced synced, LATER scheduled synced, NEVER scheduled synced, STARTS scheduled synced', 'and scheduled, which is in step');
is(scalar(writes_since($mark)), 10, 'two requests each');
$mark = $sandbox->mark;
app("UPDATE promo_codes SET is_active = false WHERE name = 'NEVER'");
app("UPDATE promo_codes SET starts_at = now() - interval '1 second' WHERE name = 'LATER'");
await_query($node, 'app', "SELECT string_agg(code || ' ' || state, ', ' ORDER BY code) FROM stripe_sync_promo_status WHERE code IN ('STARTS', 'NEVER', 'LATER', 'ENDS', 'BOTH')",
    'BOTH expired, ENDS expired, LATER synced, NEVER synced, STARTS synced', 'started, ended', 15);
my %requests;
push @{ $requests{ $_->{path} =~ s{.*/}{}r } }, $_ foreach $sandbox->writes($mark);
my %start = map { split /\|/ } split /\n/, app("SELECT code, extract(epoch FROM starts_at) FROM promo_codes WHERE name IN ('STARTS', 'BOTH')");
foreach my $code (qw(STARTS BOTH))
{
    my @of = @{ $requests{ held($code)->{id} } // [] };
    is(join(' ', map { $_->{params}{active} // 'none' } @of), 'true', "$code: switched on, by one request");
    my $late = @of ? $of[0]{time} - $start{$code} : -1;
    ok($late >= 0 && $late < 2, "$code: when its start had come") or diag("$late s after it");
}
is(join(' ', map { $_->{params}{active} // 'none' } @{ $requests{ held('LATER')->{id} } // [] }), 'true', 'LATER: a start moved to the past switches on at once');
is(scalar @{ $requests{ held('NEVER')->{id} } // [] }, 0, 'NEVER: switched off before its start it is left inactive');
is(scalar @{ $requests{ held('ENDS')->{id} } // [] }, 0, 'ENDS: Stripe ends it by itself, nothing is asked');
is(keys %requests, 3, 'and no other request');
is(app("SELECT string_agg(concat_ws(' ', name, sync_status, sync_error), ', ' ORDER BY name) FROM promo_codes WHERE name IN ('ENDS', 'BOTH')"), 'BOTH synced, ENDS synced', 'expired is in step');

finish($node);
