# The first user's table, inspected and mended: what stands in the wrong column is found, shown, and
# put right when its code is named; what the application may ask; and each command that a view names.

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
$sandbox->price($sandbox->product('Other'), 99000, 'year');

my $node = start_cluster(sandbox => $sandbox);
create_application($node, 'app');
$node->safe_psql('postgres', 'CREATE ROLE visitor LOGIN');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
my @visitor = (extra_params => [ '-U', 'visitor' ]);

sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }

sql(<<'END');
SELECT stripe_sync_grant('app_owner', 'operator');
GRANT EXECUTE ON FUNCTION stripe_sync_promo_valid TO visitor;
END
app("UPDATE promo_codes SET stripe_product_id = '$fee' WHERE code = 'LAUNCH50'");
app("UPDATE promo_codes SET stripe_product_id = '$plan' WHERE code = 'BETA50'");
attach($node, 'app', "currency => 'usd', duration => 'once', monthly_price => '$monthly'");
await_synced($node, 'app', 'all codes leave pending');

# Severity, column and finding of each line, as the table's owner sees them.
sub inspected
{
    my ($code) = @_;
    return app("SELECT severity, column_name, finding FROM stripe_sync_inspect('$code')");
}

sub valid
{
    my ($code) = @_;
    return $node->safe_psql('app', "SELECT valid, reason, kind, amount, currency, duration, duration_in_months FROM stripe_sync_promo_valid('$code')", @visitor);
}

# --- inspected ------------------------------------------------------------------------------------

my $launch = row($node, 'app', "SELECT * FROM stripe_sync_inspect('LAUNCH50')");
is_deeply(
    { map { $_ => $launch->{$_} } qw(severity column_name value finding fixable) },
    {
        severity => 'error',
        column_name => 'discount_value',
        value => undef,
        finding => 'discount_value is empty, while custom_monthly_price holds 50.00',
        fixable => JSON::PP::true
    },
    'LAUNCH50: one finding, which fix can mend');
like($launch->{remedy}, qr/SELECT \* FROM stripe_sync_fix\('LAUNCH50'\);$/, 'and the command that does');

like(inspected('BETA50'), qr/^ok\|\|in step with Stripe: sold as promotion code promo_\w+, used 0 times$/,
    'BETA50: in step');
like(inspected('SOFTWAREOWNER'), qr/^warning\|max_uses\|ATTENTION: .* for everybody who has it: max_uses is empty[^\n]*$/,
    'SOFTWAREOWNER: loudly warned of');
is(inspected('FIRSTMONTH'),
    'warning|stripe_product_id|the discount (duration once) applies to all products, and there are yearly prices: a whole year is discounted there. Set stripe_product_id to limit it.',
    'FIRSTMONTH: a free year, as the worker knows who has seen the prices');
is(inspected('TESTCLIENT70'),
    'warning|custom_monthly_price|custom_yearly_price asks for 840.00, but no list price per year is known: the code does not offer it. Name the list price per year, or ignore this.',
    'TESTCLIENT70: what is asked and not offered');

# --- fixed ------------------------------------------------------------------------------------------

my $mark = $sandbox->mark;
my @shown = split /\n/, app('SELECT promo_code, column_name, old_value, new_value, outcome, next FROM stripe_sync_fix()');
my $next = "SELECT * FROM stripe_sync_fix('LAUNCH50', apply => true);";
is_deeply(\@shown,
    [ "LAUNCH50|discount_value||50.00|would be changed|$next", "LAUNCH50|custom_monthly_price|50.00||would be changed|$next" ],
    'fix shows it');
is(app('SELECT DISTINCT outcome FROM stripe_sync_fix(apply => true)'), 'left: it touches money, name the code',
    'in bulk it is left');
is(app("SELECT discount_value, custom_monthly_price FROM promo_codes WHERE code = 'LAUNCH50'"), '|50.00', 'the row is as it was');

my $holder = $node->background_psql('app');
$holder->query_safe("BEGIN; UPDATE promo_codes SET notes = 'held' WHERE code = 'LAUNCH50'");
is(app("SELECT DISTINCT outcome FROM stripe_sync_fix('LAUNCH50', apply => true)"),
    'failed: the row is being changed by another transaction', 'it does not wait for another transaction');
$holder->query_safe('ROLLBACK');
$holder->quit;
is(scalar $sandbox->writes($mark), 0, 'nothing was sent');

is(app("SELECT DISTINCT outcome FROM stripe_sync_fix('LAUNCH50', apply => true)"), 'changed', 'by its name it is mended');
await_codes($node, 'app', 'LAUNCH50 is synced', 'LAUNCH50');
my ($code, $coupon) = $sandbox->code('LAUNCH50');
is_deeply(
    [ @$coupon{qw(percent_off duration)}, $coupon->{applies_to}{products}, $code->{max_redemptions}, $code->{active} ],
    [ 50, 'once', [$fee], 100, JSON::PP::true ],
    'as 50 % once on the fee\'s product');
like(inspected('LAUNCH50'), qr/^ok\|\|in step with Stripe/, 'nothing is left to find');

# ids that got lost
$mark = $sandbox->mark;
sql(<<'END');
SET session_replication_role = replica;
UPDATE promo_codes SET stripe_coupon_id = NULL, stripe_promotion_code_id = NULL WHERE code = 'BETA50';
END
like(inspected('BETA50'), qr/^warning\|stripe_coupon_id\|Stripe holds the row's objects, but the row does not carry their ids$/, 'BETA50: its ids are missing');
is(app('SELECT promo_code, column_name, outcome FROM stripe_sync_fix(apply => true)'),
    "BETA50|stripe_coupon_id|changed\nBETA50|stripe_promotion_code_id|changed", 'which is mended in bulk');
await_codes($node, 'app', 'BETA50 is in step', 'BETA50');
is(app("SELECT stripe_promotion_code_id FROM promo_codes WHERE code = 'BETA50'"), ($sandbox->code('BETA50'))[0]{id}, 'with the id that Stripe knows');
is(scalar $sandbox->writes($mark), 0, 'without a request');

# what only prices tell, of a row that was in step
my $yearly = $sandbox->price($plan, 199000, 'year');
sql("SELECT stripe_sync_retry('TESTCLIENT70')");
await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'TESTCLIENT70'", 'parked', 'a second price on the product parks TESTCLIENT70');
like(inspected('TESTCLIENT70'),
    qr/^error\|custom_monthly_price\|price $yearly \(1990\.00 usd, per year\) would become 1861\.00 usd, where the row asks for 840\.00\nwarning\|\|promotion code promo_\w+ is still active in Stripe, with the terms it was made with$/,
    'named with its column, and what is sold meanwhile');

# --- what the application may ask ----------------------------------------------------------------------

is(valid(' launch50'), 't||percentage|50||once|', 'a visitor asks for a code');
is(valid('TESTCLIENT70'), 't||fixed|129.00|usd|forever|', 'what Stripe sells is valid, whatever keeps the row');
is(valid('BETA50'), 't||percentage|50||repeating|6', 'months');
is(valid('LAUNCH'), 'f|unknown|||||', 'only the whole code');
app("UPDATE promo_codes SET is_active = false WHERE code = 'BETA50'");
is(valid('BETA50'), 'f|inactive|||||', 'switched off it is not valid from the commit on');
$sandbox->fault('status', status => 500, match => { path => '/v1/coupons' }, times => 0);
insert_codes($node, 'app', 'NEW10');
await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'NEW10'", 'retrying', 'NEW10 can not be made yet');
is(valid('NEW10'), 'f|unavailable|||||', 'and is not valid before Stripe has it');

# --- each command that a view names ----------------------------------------------------------------------

# Runs what the views name next; returns what they named and what failed.
sub typed
{
    my ($view) = @_;
    my @failed;
    my @named = grep { $_ ne '' } split /\n/, sql("SELECT DISTINCT next FROM $view WHERE next IS NOT NULL");
    foreach my $command (@named)
    {
        my ($status, undef, $error) = $node->psql('app', $command);
        push @failed, "$command\n$error" if $status != 0;
    }
    return (join("\n", sort @named), join("\n", @failed));
}

my ($named, $failed) = typed('stripe_sync_promo_status');
is($failed, '', 'retrying, parked, warned of: each command of promo_status can be typed');
is($named, join("\n", (map { "SELECT * FROM stripe_sync_inspect('$_');" } qw(ENTERPRISE99 FIRSTMONTH SOFTWAREOWNER TESTCLIENT70)), "SELECT * FROM stripe_sync_promo('NEW10');"),
    'each names its code') or diag($named);
foreach my $view (qw(stripe_sync_status stripe_sync_health))
{
    ($named, $failed) = typed($view);
    like($named, qr/^SELECT .*;$/, "$view names a command");
    is($failed, '', 'which can be typed');
}
$sandbox->clear_faults;
await_query($node, 'app', "SELECT count(*) FROM stripe_sync_promo('NEW10') WHERE status = 'synced'", '1', 'NEW10 is made as soon as it can be');

$sandbox->foreign_code('THEIRS', { percent_off => 40, duration => 'forever' });
insert_codes($node, 'app', 'THEIRS', 'GONE');
await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'THEIRS'", 'conflict', 'THEIRS is in Stripe already');
await_codes($node, 'app', 'GONE is synced', 'GONE');
sql("SET session_replication_role = replica; DELETE FROM promo_codes WHERE code = 'GONE'");
sql('SELECT stripe_sync_retry(\'GONE\')');
await_query($node, 'app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'GONE'", 'missing', 'GONE vanishes unseen');
like(inspected('THEIRS'), qr/^error\|\|code THEIRS is already in Stripe as promotion code promo_\w+.*other terms: discount: database 10 %, Stripe 40 %/, 'a conflict is told with both sides');
like(inspected('GONE'), qr/^error\|\|the row vanished without our trigger seeing it deleted/, 'a missing row is told');
is(valid('THEIRS'), 'f|unavailable|||||', 'somebody else\'s code is not sold by us');
is(valid('GONE'), 'f|unavailable|||||', 'nor is one without a row');
(undef, $failed) = typed('stripe_sync_promo_status');
is($failed, '', 'conflict, missing: each command can be typed');
($named, $failed) = typed('stripe_sync_health');
is($failed, '', 'errors: the command of health can be typed');

sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker is stopped');
insert_codes($node, 'app', 'LATER');
like(inspected('LATER'), qr/^error\|\|the worker was stopped\ninfo\|\|the last change of the row is not in Stripe yet$/, 'a waiting row is told why');
($named, $failed) = typed('stripe_sync_health');
is($named, 'SELECT stripe_sync_start();', 'health names the command');
is($failed, '', 'which can be typed');
await_codes($node, 'app', 'and helps', 'LATER');

finish($node);
