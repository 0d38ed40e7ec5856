# stripe_sync_diff(): what a push would do, against Stripe as it is now, and nothing of it done; and
# what is done afterwards is what it showed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $plan = $sandbox->product('Plan');
my $fee = $sandbox->product('Setup fee');
my $monthly = $sandbox->price($plan, 19900);

my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);

sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }

sub settled
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await_query($node, 'app', "SELECT stripe_sync_wait('2 minutes')", 't', $what);
}

sub diff
{
    my ($code) = @_;
    return @{ JSON::PP->new->decode(sql("SELECT coalesce(json_agg(d), '[]') FROM stripe_sync_diff('$code') d")) };
}

# "step action [field: database | Stripe]", without and with the reason.
sub line
{
    my ($l) = @_;
    my $text = join ' ', grep { defined } $l->{step}, $l->{action};
    $text .= " [$l->{field}: " . ($l->{database} // '-') . ' | ' . ($l->{stripe} // '-') . ']' if defined $l->{field};
    return $text;
}
sub lines { return map { line($_) } diff($_[0]) }
sub said { return map { line($_) . " $_->{why}" } diff($_[0]) }

# All that a push may write, here and in Stripe.
sub everything
{
    return sql(<<'END') . join ' ', map { "$_->{id} $_->{active}" } $sandbox->objects('promotion_codes');
SELECT s FROM stripe_sync.promo_state s ORDER BY key;
SELECT p FROM promo_codes p ORDER BY id;
SELECT count(*) FROM stripe.promo_history;
SELECT last_value FROM stripe_sync.operation_number;
END
}

# Looks without a trace; returns what the looks were.
sub only_looks
{
    my ($what, @codes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.promo_inbox', '0', "$what: the worker knows the rows");
    my ($before, $mark) = (everything(), $sandbox->mark);
    my %found = map { $_ => [ diff($_) ] } @codes;
    my @requests = $sandbox->requests(since => $mark);
    is(join(' ', grep { $_ ne 'GET' } map { $_->{method} } @requests), '', "$what: only read in Stripe");
    ok(@requests >= @codes, "$what: read now") or diag(join "\n", map { $_->{path} } @requests);
    is(everything(), $before, "$what: nothing is written");
    return %found;
}

# The requests of a plan in the plan's words.
sub in_words
{
    my ($request) = @_;
    my $p = $request->{params};
    return "create coupon $p->{id}" if $request->{path} eq '/v1/coupons';
    return "create promotion code $p->{code}" if $request->{path} eq '/v1/promotion_codes';
    my ($kind, $id) = $request->{path} =~ m{^/v1/(coupons|promotion_codes)/(\S+)$};
    return "update coupon $id" if $kind eq 'coupons';
    my ($code) = grep { $_->{id} eq $id } $sandbox->objects('promotion_codes');
    my $verb = { false => 'switch off', true => 'switch on' }->{ $p->{active} // '' } // 'update';
    return "$verb promotion code $code->{code} ($id)";
}

sub operations
{
    my %seen;
    return grep { !$seen{$_}++ } map { $_->{action} } grep { defined $_->{step} } @_;
}

# --- the first user's start -----------------------------------------------------------------------

# As the older script did it: the coupon's id is the code.
my %old;
my %terms = (
    TESTCLIENT70 => { percent_off => 100, duration => 'forever' },
    LAUNCH50 => { percent_off => 50, duration => 'repeating', duration_in_months => 12 },
    BETA50 => { percent_off => 50, duration => 'repeating', duration_in_months => 12 });
app(<<"END");
UPDATE promo_codes SET discount_value = 50, custom_monthly_price = NULL, stripe_product_id = '$fee' WHERE code = 'LAUNCH50';
UPDATE promo_codes SET expires_at = NULL
END
foreach my $code (sort keys %terms)
{
    $old{$code} = $sandbox->foreign_code($code, { id => $code, name => $code, %{ $terms{$code} } })->{id};
    app("UPDATE promo_codes SET stripe_coupon_id = '$code', stripe_promotion_code_id = '$old{$code}' WHERE code = '$code'");
}
attach($node, 'app', "currency => 'usd', duration => 'once', monthly_price => '$monthly'");
settled('attached');
$sandbox->control('POST', 'redeem', { promotion_code => $old{LAUNCH50}, times => 2 });

my %shown = only_looks('conflicts', sort keys %terms);
my ($coupon) = map { $_->{action} =~ /^create coupon (LAUNCH50-[0-9a-f]{6})$/ } @{ $shown{LAUNCH50} };
is_deeply(
    [ map { line($_) } @{ $shown{LAUNCH50} } ],
    [
        'conflict [duration: once | repeating for 12 months]',
        "conflict [products: $fee | all]",
        'conflict [max_redemptions: 100 | unlimited]',
        "1 create coupon $coupon [duration: once | repeating for 12 months]",
        "1 create coupon $coupon [products: $fee | all]",
        "2 switch off promotion code LAUNCH50 ($old{LAUNCH50}) [active: false | true]",
        "3 create promotion code LAUNCH50 [coupon: $coupon | LAUNCH50]",
        '3 create promotion code LAUNCH50 [max_redemptions: 98 | unlimited]'
    ],
    'a conflict: both sides, and the plan');
is($shown{LAUNCH50}[0]{why}, "promotion code $old{LAUNCH50} (coupon LAUNCH50) is not this row's", 'why');
is($shown{LAUNCH50}[0]{next}, "SELECT * FROM stripe_sync_resolve('LAUNCH50', 'db');", 'the command that carries the plan out');
is((grep { !/^if resolved with 'db': / } map { $_->{why} } grep { $_->{step} } @{ $shown{LAUNCH50} }), 0, 'only that');
is(line($shown{TESTCLIENT70}[0]), 'conflict [discount: 129.00 usd | 100 %]', 'a custom price, with the prices of now');
is(sql("SELECT next FROM stripe_sync_promo_status WHERE code = 'LAUNCH50'"), "SELECT * FROM stripe_sync_diff('LAUNCH50');",
    'stripe_sync_promo_status leads here');

my $mark = $sandbox->mark;
foreach my $code (sort keys %terms)
{
    sql("SELECT stripe_sync_resolve('$code', 'db')");
    settled("$code: the row is right");
}
my @done = map { in_words($_) } $sandbox->writes($mark);
is_deeply(\@done, [ map { operations(@{ $shown{$_} }) } sort keys %terms ], 'exactly that is carried out, in that order');
my ($made) = grep { ($_->{params}{code} // '') eq 'LAUNCH50' } $sandbox->writes($mark);
is($made->{params}{max_redemptions}, 98, 'with those values');
foreach my $code (sort keys %terms)
{
    my $id = app("SELECT stripe_promotion_code_id FROM promo_codes WHERE code = '$code'");
    is_deeply([ said($code) ], ["none in step with Stripe: sold as promotion code $id"], "$code: then it is in step");
}

# --- Stripe as it is now, and not as it was last seen ---------------------------------------------

my $launch = app("SELECT stripe_promotion_code_id FROM promo_codes WHERE code = 'LAUNCH50'");
$sandbox->api('POST', "/v1/promotion_codes/$launch", { active => 'false' });
$sandbox->api('POST', "/v1/coupons/$coupon", { name => 'Mine' });
my %drift = only_looks('changed in Stripe', 'LAUNCH50');
is_deeply(
    [ map { line($_) . " $_->{why}" } @{ $drift{LAUNCH50} } ],
    [
        "1 switch on promotion code LAUNCH50 ($launch) [active: true | false] changed in Stripe: the row is active",
        "2 update coupon $coupon [name: 50% off setup fee for launch customers | Mine] changed in Stripe: differs"
    ],
    'what nobody told the database of is seen');
is(sql("SELECT state, active_in_stripe FROM stripe_sync_promo_status WHERE code = 'LAUNCH50'"), 'synced|t', 'though it does not know of it');
is($drift{LAUNCH50}[0]{next}, "SELECT stripe_sync_retry('LAUNCH50');", 'with the command that carries it out');
$mark = $sandbox->mark;
sql($drift{LAUNCH50}[0]{next});
settled('retried');
is_deeply([ map { in_words($_) } $sandbox->writes($mark) ], [ operations(@{ $drift{LAUNCH50} }) ], 'it carries out that and nothing else');
is_deeply([ said('LAUNCH50') ], ["none in step with Stripe: sold as promotion code $launch"], 'then it is in step');
$mark = $sandbox->mark;
sql("SELECT stripe_sync_retry('LAUNCH50')");
settled('retried in step');
is_deeply([ $sandbox->writes($mark) ], [], 'what is in step is only looked at');

# A text that somebody else has by now is no surprise.
$sandbox->foreign_code('TAKEN', { percent_off => 33, duration => 'forever' });
sql('SELECT stripe_sync_pause()');
app("INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('TAKEN', 'Taken', 'percentage', 10)");
is((grep { /conflict/ } lines('TAKEN'))[0], 'conflict [discount: 10 % | 33 %]', 'a conflict is seen before the push');

# --- while writes are paused ----------------------------------------------------------------------

app("UPDATE promo_codes SET discount_value = 60 WHERE code = 'LAUNCH50'; DELETE FROM promo_codes WHERE code = 'BETA50'");
my %paused = only_looks('paused', 'LAUNCH50', 'BETA50');
like(line($paused{LAUNCH50}[0]), qr/^1 create coupon LAUNCH50-\w{6} \[discount: 60 % \| 50 %\]$/, 'paused: the plan is shown');
is($paused{LAUNCH50}[0]{next}, "SELECT * FROM stripe_sync_promo('LAUNCH50');", 'with the command that hastens it');
like($paused{BETA50}[0]{action} . " $paused{BETA50}[0]{why}",
    qr/^switch off promotion code BETA50 \(promo_\w+\) the row is deleted$/, 'a deleted row, whose code is still on');
is(sql('SELECT reason FROM stripe_sync_health'), 'writes to Stripe are paused', 'it is paused all the same');
$mark = $sandbox->mark;
sql('SELECT stripe_sync_resume()');
settled('resumed');
my @wrote = map { in_words($_) } $sandbox->writes($mark);
is_deeply([ sort grep { /LAUNCH50|BETA50/ } @wrote ], [ sort map { operations(@$_) } values %paused ], 'that is what is carried out');

# --- rows that are not pushed ---------------------------------------------------------------------

app("UPDATE promo_codes SET discount_value = NULL WHERE code = 'FIRSTMONTH'");
settled('an invalid row');
my @invalid = diff('FIRSTMONTH');
is($invalid[0]{action}, 'parked', 'invalid: parked');
like($invalid[0]{why}, qr/^discount_value is empty.*goes on as it was: 100 %, once/, 'why, and what is sold meanwhile');
is($invalid[0]{next}, "SELECT * FROM stripe_sync_inspect('FIRSTMONTH');", 'what to type');
like("$invalid[1]{action} $invalid[1]{why}", qr/^switch off promotion code FIRSTMONTH \(promo_\w+\) if is_active were false/,
    'and what switching it off would do');

is(sql(<<'END'), 'at commit|written by this transaction: it can be compared when that has ended', 'a row of the own transaction');
BEGIN;
UPDATE promo_codes SET discount_value = 80 WHERE code = 'LAUNCH50';
SELECT action, why FROM stripe_sync_diff('LAUNCH50');
ROLLBACK;
END
settled('rolled back');
is(sql(<<'END'), "none\n0", 'nothing is wanted any longer than the call lasts');
BEGIN;
SELECT action FROM stripe_sync_diff('SOFTWAREOWNER');
SELECT count(*) FROM stripe_sync.diff_wanted;
COMMIT;
END

# --- several at once, cancelled, under way --------------------------------------------------------

my $slow = $sandbox->fault('stall_before_headers', execute => JSON::PP::true, seconds => 120, match => { method => 'GET', path => '/v1/promotion_codes*' });
my %session = map { $_ => $node->background_psql('app') } qw(LAUNCH50 SOFTWAREOWNER ENTERPRISE99 again);
my %asks = (LAUNCH50 => 'LAUNCH50', SOFTWAREOWNER => 'SOFTWAREOWNER', ENTERPRISE99 => 'ENTERPRISE99', again => 'LAUNCH50');
foreach my $who (sort keys %session)
{
    $session{$who}->query_until(qr/asks/, "\\echo asks\nSELECT '$who got ' || count(*) || ' ' || string_agg(DISTINCT promo_code.code, ' ') FROM stripe_sync_diff('$asks{$who}') d JOIN promo_codes promo_code ON promo_code.id::text = d.key;\n");
}
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.diff_wanted', '3', 'three codes are waited for by four');
await('Stripe is slow', sub { return ($sandbox->stalled >= 1, $sandbox->stalled) });
error_is(
    error_of($node, 'app', q{SET statement_timeout = '200ms'; SELECT stripe_sync_diff('TESTCLIENT70')}),
    { sqlstate => '57014' }, 'a statement timeout ends the wait');
is(sql('SELECT count(*) FROM stripe_sync.diff_wanted'), '3', 'and what it asked for');
$sandbox->clear_faults;
foreach my $who (sort keys %session)
{
    my $got = $session{$who}->query_until(qr/got \d+ \S+/, '');
    like($got, qr/\b\Q$who\E got [1-9]\d* \Q$asks{$who}\E$/m, "$who: gets its own answer");
    $session{$who}->quit;
}
is(sql('SELECT count(*) FROM stripe_sync.diff_wanted'), '0', 'nobody waits any more');
lines('SOFTWAREOWNER');
is(sql('SELECT DISTINCT code_key FROM stripe_sync.diff'), 'softwareowner', 'only the last answer is kept');

# Asks about LAUNCH50, which takes long, and meanwhile about others; $meanwhile is done before they are looked at.
sub behind_a_slow_one
{
    my ($meanwhile, @codes) = @_;
    my $first = $sandbox->fault('stall_before_headers', execute => JSON::PP::true, match => { method => 'GET', path => '/v1/promotion_codes*' });
    my @asking = map { $node->background_psql('app', on_error_stop => 0) } 'LAUNCH50', @codes;
    foreach my $i (0 .. @codes)
    {
        my $code = ('LAUNCH50', @codes)[$i];
        $asking[$i]->query_until(qr/asks/, "\\echo asks\nSELECT action FROM stripe_sync_diff('$code');\n\\echo :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE.\n");
        await('Stripe is slow', sub { return ($sandbox->hits($first) == 1, $sandbox->hits($first)) }) if $i == 0;
    }
    await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.diff_wanted', 1 + @codes, 'others wait');
    $meanwhile->();
    $sandbox->control('POST', 'faults/release', {});
    my @told = map { $_->query_until(qr/^\w{5} .*\.$/m, '') } @asking;
    $_->quit foreach @asking;
    return @told;
}
my @renamed = behind_a_slow_one(sub { app("UPDATE promo_codes SET code = 'RENAMED' WHERE code = 'SOFTWAREOWNER'") }, 'SOFTWAREOWNER');
like($renamed[1], qr/^SY004 the promo code changed while Stripe was asked\.$/m, 'a code that no row has any more: not what was found before');
app("UPDATE promo_codes SET code = 'SOFTWAREOWNER' WHERE code = 'RENAMED'");
settled('renamed and back');

foreach my $status ([ 401, 'SY001' ], [ 429, 'SY002' ], [ 503, 'SY007' ])
{
    my $refusal;
    my (undef, @told) = behind_a_slow_one(
        sub { $refusal = $sandbox->fault('status', status => $status->[0], times => 0, match => { method => 'GET', path => '/v1/promotion_codes*' }) },
        'SOFTWAREOWNER', 'ENTERPRISE99');
    is((grep { /^$status->[1] Stripe can't be compared with: /m } @told), 2, "a $status->[0] is everybody's answer");
    is($sandbox->hits($refusal), 1, 'and Stripe is not asked about the others');
    $sandbox->clear_faults;
}

# What was found can't be stored, nor that: it is kept, and Stripe is not asked again.
my $log = -s $node->logfile;
$mark = $sandbox->mark;
sql('ALTER TABLE stripe_sync.diff ADD CONSTRAINT disk_full CHECK (false) NOT VALID');
my $patient = $node->background_psql('app');
$patient->query_until(qr/asks/, "\\echo asks\nSELECT 'told ' || action FROM stripe_sync_diff('SOFTWAREOWNER');\n");
await('it was tried again', sub { my $failures = () = slurp_file($node->logfile, $log) =~ /violates check constraint "disk_full"/g; return ($failures > 2, $failures) });
sql('ALTER TABLE stripe_sync.diff DROP CONSTRAINT disk_full');
like($patient->query_until(qr/told \w+/, ''), qr/told none/, 'it is told once it can be stored');
$patient->quit;
my @looks = $sandbox->requests(since => $mark);
is(scalar(@looks), 1, 'after one look at Stripe') or diag(join "\n", map { $_->{path} } @looks);

$sandbox->fault('stall_before_headers', execute => JSON::PP::true, seconds => 120, match => { method => 'POST', path => '/v1/coupons' });
insert_codes($node, 'app', 'UNDERWAY');
await('a push is under way', sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
like((said('UNDERWAY'))[0], qr/^1 create promotion code UNDERWAY \[coupon: UNDERWAY-\w{6} \| -\] not in Stripe$/,
    'what it has done by now is in Stripe');
$sandbox->clear_faults;
settled('the push ends');

# --- what can't be known --------------------------------------------------------------------------

sub fails
{
    my ($what, $wanted, $code) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    error_is(error_of($node, 'app', "SELECT * FROM stripe_sync_diff('" . ($code // 'LAUNCH50') . "')"), $wanted, $what);
    return;
}

fails('an unknown code', { sqlstate => 'SY004', message => 'no attached table holds the promo code "NONE"' }, 'NONE');
foreach my $status ([ 403, 'SY001' ], [ 429, 'SY002' ], [ 500, 'SY007' ])
{
    $sandbox->fault('status', status => $status->[0], match => { method => 'GET', path => '/v1/promotion_codes/*' });
    fails("a $status->[0]", { sqlstate => $status->[1], message => qr/^Stripe can't be compared with: /, hint => qr/./ });
    $sandbox->clear_faults;
}
sql("UPDATE stripe_sync.installation SET system_identifier = '1'; SELECT stripe_sync.wake_worker(false)");
fails('a copy', { sqlstate => 'SY004', message => 'this database is a copy of the one that was attached', hint => qr/stripe_sync_rebind/ });
sql('UPDATE stripe_sync.installation SET system_identifier = (SELECT system_identifier::text FROM pg_control_system()); SELECT stripe_sync.wake_worker(false)');
await_query($node, 'app', 'SELECT status FROM stripe_sync_health', 'degraded', 'at home again');

sql('CREATE ROLE looker LOGIN; SELECT stripe_sync_grant($$looker$$, $$operator$$)');
is($node->safe_psql('app', "SELECT action FROM stripe_sync_diff('SOFTWAREOWNER')", extra_params => [ '-U', 'looker' ]),
    'none', 'an operator may look, and needs no right on the table');

# A code that is adopted bears no mark of its row's: only the database tells that it has one.
my $adopted = $sandbox->foreign_code('ADOPTED', { percent_off => 10, duration => 'once' })->{id};
insert_codes($node, 'app', 'ADOPTED');
settled('adopted');
sql('SELECT stripe_sync_pause()');
app("CREATE TABLE second (LIKE promo_codes INCLUDING ALL); INSERT INTO second SELECT * FROM promo_codes WHERE code = 'ADOPTED';"
      . " SELECT stripe_sync_attach('second', currency => 'usd', duration => 'once')");
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.promo_inbox', '0', 'the worker knows the second table');
my %second = map { $_->{promo_table} => "$_->{action} $_->{why}" } diff('ADOPTED');
is($second{promo_codes}, "none in step with Stripe: sold as promotion code $adopted", 'the row that has it');
like($second{second}, qr/^conflict promotion code $adopted belongs to another row of this database: public.promo_codes\//, 'and one that would take it');
sql('SELECT stripe_sync_resume()');
settled('resumed');
like(sql("SELECT reason FROM stripe_sync_promo_status WHERE promo_table = 'second'::regclass"),
    qr/^promotion code $adopted belongs to another row/, 'as the push finds');
app("SELECT stripe_sync_detach('second')");

app('TRUNCATE promo_codes CASCADE');
settled('all rows are gone');
my @missing = said('SOFTWAREOWNER');
like($missing[0], qr/^missing the row vanished/, 'a missing row');
like($missing[1], qr/^1 switch off promotion code SOFTWAREOWNER .* if resolved with 'db': the row is deleted$/, 'and what resolving it does');

$sandbox->stop;
fails('Stripe is not reached', { sqlstate => 'SY007', hint => qr/./ }, 'SOFTWAREOWNER');

finish($node);
