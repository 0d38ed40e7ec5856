# What is sent, and what is not: nothing for a row in step, one execution for each change, nothing
# for what was rolled back; changed terms and foreign codes are refused with both sides named.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(uniq);
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');

sub app { return $node->safe_psql('app', $_[0], @owner) }

sub insert
{
    my (@codes) = @_;
    app("INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES "
          . join ', ', map { "('$_', 'ten percent', 'percentage', 10)" } @codes);
    return;
}

sub status_of
{
    my ($code) = @_;
    return app("SELECT sync_status FROM promo_codes WHERE code = '$code'");
}

sub becomes
{
    my ($code, $status, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await($what // "$code becomes $status", sub {
        my $seen = app("SELECT concat_ws(' ', sync_status, sync_error) FROM promo_codes WHERE code = '$code'");
        return (!!($seen =~ /^$status\b/), $seen);
    });
    return;
}

# Since the mark the worker has looked at everything that was due, and asked Stripe for this only.
sub asked
{
    my ($mark, $wanted, $what, %which) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($node->safe_psql('app', "SELECT stripe_sync_wait('20 s')"), 't', "$what: nothing is pending");
    my @lines = map {
        my $active = $_->{params}{active};
        "$_->{method} $_->{path}" . ($active ? " active=$active" : '')
    } $sandbox->requests(since => $mark, %which);
    is_deeply(\@lines, $wanted, $what) or diag(join "\n", @lines);
    return;
}

# The same for what changes something in Stripe: prices may be read to judge a change.
sub wrote { my ($mark, $wanted, $what) = @_; return asked($mark, $wanted, $what, method => 'POST') }

# What is switched on in Stripe, by text.
sub active
{
    my ($code) = @_;
    return scalar grep { $_->{active} } $sandbox->codes($code);
}

# --- rows in step ---------------------------------------------------------------------------------

insert('QUIET');
becomes('QUIET', 'synced');
my $promo = $sandbox->code('QUIET')->{id};
my $coupon = $sandbox->code('QUIET')->{promotion}{coupon};
my $written = "SELECT xmin FROM promo_codes WHERE code = 'QUIET'";
my $version = app($written);

my $mark = $sandbox->mark;
asked($mark, [], 'a row just pushed');
is(app($written), $version, 'our own write is not written again, whatever the application\'s triggers set');

foreach my $touch (
    "notes = 'seen by the boss'", "sync_status = 'pending'", 'used_count = used_count + 1',
    'discount_value = discount_value', "sync_status = NULL, sync_error = 'x'")
{
    $mark = $sandbox->mark;
    app("UPDATE promo_codes SET $touch WHERE code = 'QUIET'");
    becomes('QUIET', 'synced', "SET $touch: synced again");
    asked($mark, [], "SET $touch");
    $version = app($written);
    $node->safe_psql('app', 'SELECT count(*) FROM stripe_sync_promo()');
    is(app($written), $version, 'and written once');
}

$mark = $sandbox->mark;
app("BEGIN; UPDATE promo_codes SET is_active = false WHERE code = 'QUIET'; UPDATE promo_codes SET is_active = true WHERE code = 'QUIET'; COMMIT");
becomes('QUIET', 'synced', 'off and on in one transaction: synced');
asked($mark, [], 'off and on in one transaction');

my $worker = worker_pid($node, 'app');
$mark = $sandbox->mark;
$node->safe_psql('app', 'SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker stops');
$node->safe_psql('app', 'SELECT stripe_sync_start()');
await_worker($node, 'app', 'and starts', $worker);
asked($mark, ['GET /v1/account'], 'a worker started anew asks who it is, and nothing else');

# --- off, on, off ---------------------------------------------------------------------------------

$mark = $sandbox->mark;
foreach my $active (qw(false true false))
{
    app("UPDATE promo_codes SET is_active = $active WHERE code = 'QUIET'");
    becomes('QUIET', 'synced', "is_active = $active is synced");
    is(active('QUIET'), $active eq 'true' ? 1 : 0, "is_active = $active is in Stripe");
}
my @writes = $sandbox->writes($mark);
is_deeply([ map { "$_->{path} $_->{params}{active}" } @writes ],
    [ map { "/v1/promotion_codes/$promo $_" } qw(false true false) ], 'off, on, off: three requests');
is(scalar(uniq map { $_->{idempotency_key} } @writes), 3, 'three operations, not a replay');
is(scalar(grep { $_->{replayed} } @writes), 0, 'and none was answered from the store');

app("UPDATE promo_codes SET is_active = $_ WHERE code = 'QUIET'") foreach qw(true false true false);
becomes('QUIET', 'synced', 'changed quickly four times: synced');
is($node->safe_psql('app', "SELECT stripe_sync_wait('20 s')"), 't', 'and nothing pending');
is(active('QUIET'), 0, 'ends as the row says: off');
app("UPDATE promo_codes SET is_active = $_ WHERE code = 'QUIET'") foreach qw(true false true);
is($node->safe_psql('app', "SELECT stripe_sync_wait('20 s')"), 't', 'three more');
is(active('QUIET'), 1, 'ends as the row says: on');

# --- rolled back ------------------------------------------------------------------------------------

$mark = $sandbox->mark;
app("BEGIN; INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('NEVER', '', 'percentage', 10);
    UPDATE promo_codes SET is_active = false WHERE code = 'QUIET'; DELETE FROM promo_codes WHERE code = 'QUIET'; ROLLBACK");
asked($mark, [], 'a rolled-back insert, update and delete');
is($node->safe_psql('app', "SELECT count(*) FROM stripe_sync.promo_state WHERE code = 'NEVER'"), '0', 'nothing is left of it');

$mark = $sandbox->mark;
app("BEGIN; INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('KEPT', '', 'percentage', 10);
    SAVEPOINT s; INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('UNDONE', '', 'percentage', 10);
    UPDATE promo_codes SET is_active = false WHERE code = 'QUIET'; ROLLBACK TO s; COMMIT");
becomes('KEPT', 'synced', 'what was before the savepoint is pushed');
is_deeply([ map { $_->{path} } $sandbox->writes($mark) ], [ '/v1/coupons', '/v1/promotion_codes' ],
    'a rolled-back savepoint: nothing after it is');
is(scalar $sandbox->codes('UNDONE'), 0, 'the undone code is not in Stripe');

# --- deleted, changed keys ------------------------------------------------------------------------

$mark = $sandbox->mark;
my $kept = $sandbox->code('KEPT')->{id};
app("DELETE FROM promo_codes WHERE code = 'KEPT'");
wrote($mark, ["POST /v1/promotion_codes/$kept active=false"], 'a deleted row\'s code is switched off');

insert('AGAIN');
becomes('AGAIN', 'synced');
my $first = $sandbox->code('AGAIN')->{id};
$mark = $sandbox->mark;
app("BEGIN; DELETE FROM promo_codes WHERE code = 'AGAIN';
    INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('AGAIN', 'twenty percent', 'percentage', 20); COMMIT");
becomes('AGAIN', 'synced', 'deleted and inserted again in one transaction: synced');
my ($on) = grep { $_->{active} } $sandbox->codes('AGAIN');
is(active('AGAIN'), 1, 'one code of that text is on');
isnt($on->{id}, $first, 'the new one');
is(app("SELECT stripe_promotion_code_id FROM promo_codes WHERE code = 'AGAIN'"), $on->{id}, 'the row shows it');
my @order = map { $_->{path} =~ s{.*/v1/}{}r } $sandbox->writes($mark);
is($order[0], "promotion_codes/$first", 'the old code is switched off before the new one is made')
  or diag(join "\n", @order);

insert('MOVED');
becomes('MOVED', 'synced');
app("UPDATE promo_codes SET id = gen_random_uuid() WHERE code = 'MOVED'");
becomes('MOVED', 'synced', 'a row\'s key changed: synced');
is($node->safe_psql('app', "SELECT stripe_sync_wait('20 s')"), 't', 'and nothing pending');
is(active('MOVED'), 1, 'one code of that text is on');
($on) = grep { $_->{active} } $sandbox->codes('MOVED');
is(app("SELECT stripe_promotion_code_id FROM promo_codes WHERE code = 'MOVED'"), $on->{id} // 'none', 'the row shows it');

insert('SWAP-A', 'SWAP-B');
app("UPDATE promo_codes SET is_active = false WHERE code = 'SWAP-B'");
becomes($_, 'synced') foreach qw(SWAP-A SWAP-B);
$mark = $sandbox->mark;
app("UPDATE promo_codes SET is_active = NOT is_active WHERE code LIKE 'SWAP-_'");
is($node->safe_psql('app', "SELECT stripe_sync_wait('20 s')"), 't', 'two codes swap: nothing pending');
is_deeply([ active('SWAP-A'), active('SWAP-B') ], [ 0, 1 ], 'A is off, B is on');
is($sandbox->writes($mark), 2, 'by two requests');

# --- changed in place -----------------------------------------------------------------------------

$mark = $sandbox->mark;
app("UPDATE promo_codes SET description = 'Ten percent off everything' WHERE code = 'QUIET'");
becomes('QUIET', 'synced', 'another description is synced');
wrote($mark, ["POST /v1/coupons/$coupon"], 'a description changes the coupon in place');
is_deeply([ map { ($_->{name}, $_->{metadata}{description}) } ($sandbox->code('QUIET'))[1] ],
    [ ('Ten percent off everything') x 2 ], 'its name and its metadata');

# --- changed terms: refused for now ------------------------------------------------------------------

$mark = $sandbox->mark;
app("UPDATE promo_codes SET discount_value = 15, max_uses = 7 WHERE code = 'QUIET'");
becomes('QUIET', 'error', 'changed terms are refused');
my $row = row($node, 'app', "SELECT sqlstate, s.reason, s.hint, p.sync_error, p.stripe_promotion_code_id FROM stripe_sync_promo_status s
    JOIN stripe_sync.promo_state t USING (promo_table, key) JOIN promo_codes p ON p.code = s.code WHERE s.code = 'QUIET'");
is($row->{reason},
    "promotion code $promo in Stripe has other terms than the row: discount: database 15 %, Stripe 10 %; max_redemptions: database 7, Stripe unlimited",
    'the reason names the promotion code and both sides of each term');
like($row->{hint}, qr/^Put the old values back, or set is_active to false/, 'the hint says what can be done');
is($row->{sqlstate}, 'SY005', 'of class SY005');
like($row->{sync_error}, qr/^\Q$row->{reason}\E\n/, 'the row says so itself');
is($row->{stripe_promotion_code_id}, $promo, 'the row keeps its ids');
wrote($mark, [], 'nothing is sent of them');

$mark = $sandbox->mark;
app("UPDATE promo_codes SET is_active = false WHERE code = 'QUIET'");
becomes('QUIET', 'synced', 'switching off works with changed terms too');
wrote($mark, ["POST /v1/promotion_codes/$promo active=false"], 'and is sent');
like($node->safe_psql('app', "SELECT warning FROM stripe_sync_promo_status WHERE code = 'QUIET'"),
    qr/promotion code $promo, switched off in Stripe, holds older terms/, 'the older terms are warned of');

$mark = $sandbox->mark;
app("UPDATE promo_codes SET is_active = true WHERE code = 'QUIET'");
becomes('QUIET', 'error', 'switching on with changed terms is refused');
wrote($mark, [], 'and not sent');
app("UPDATE promo_codes SET discount_value = 10, max_uses = NULL WHERE code = 'QUIET'");
becomes('QUIET', 'synced', 'the old values put back: synced');
is(active('QUIET'), 1, 'and on again');
is(app("SELECT sync_error IS NULL FROM promo_codes WHERE code = 'QUIET'"), 't', 'without an error');

# --- codes that are in Stripe already ---------------------------------------------------------------

my $foreign = $sandbox->foreign_code('fall10', { percent_off => 25, duration => 'forever' });
$mark = $sandbox->mark;
insert('FALL10');
becomes('FALL10', 'error', 'a code that somebody else made with other terms is refused');
$row = row($node, 'app', "SELECT state, reason, hint, promotion_code_id, coupon_id FROM stripe_sync_promo_status WHERE code = 'FALL10'");
like($row->{reason},
    qr/^code FALL10 is already in Stripe as promotion code $foreign->{id} \(coupon $foreign->{promotion}{coupon}\), which is not ours and has other terms: discount: database 10 %, Stripe 25 %; duration: database once, Stripe forever$/,
    'the reason names it and both sides of each term');
is($row->{state}, 'conflict', 'a conflict');
is($row->{promotion_code_id}, undef, 'it is not taken');
is(app("SELECT stripe_promotion_code_id IS NULL FROM promo_codes WHERE code = 'FALL10'"), 't', 'nor shown as the row\'s');
sub foreign_now { return (grep { $_->{id} eq $foreign->{id} } $sandbox->codes('FALL10'))[0] }
is_deeply(foreign_now(), $foreign, 'and untouched in Stripe');

app("UPDATE promo_codes SET is_active = false WHERE code = 'FALL10'");
becomes('FALL10', 'synced', 'such a row switched off is in step');
is_deeply(foreign_now(), $foreign, 'and leaves the foreign code alone');
app("UPDATE promo_codes SET is_active = true WHERE code = 'FALL10'");
becomes('FALL10', 'error', 'switched on again it is refused again');
like(app("SELECT sync_error FROM promo_codes WHERE code = 'FALL10'"), qr/$foreign->{id}.*discount: database 10 %, Stripe 25 %/,
    'the reason names the foreign code and both sides');
is_deeply(foreign_now(), $foreign, 'the foreign code is as it was');
$sandbox->api('POST', "/v1/promotion_codes/$foreign->{id}", { active => 'false' });
$node->safe_psql('app', "SELECT stripe_sync_retry('FALL10')");
becomes('FALL10', 'synced', 'once the foreign code is off, ours is made');
is(active('FALL10'), 1, 'and on');

my $equal = $sandbox->foreign_code('EQUAL10', { percent_off => 10, duration => 'once', name => 'ten percent' });
$mark = $sandbox->mark;
insert('EQUAL10');
becomes('EQUAL10', 'synced', 'a foreign code of equal terms is adopted');
is(app("SELECT stripe_promotion_code_id || ' ' || stripe_coupon_id FROM promo_codes WHERE code = 'EQUAL10'"),
    "$equal->{id} $equal->{promotion}{coupon}", 'the row shows its ids');
is(scalar $sandbox->codes('EQUAL10'), 1, 'and no second code was made');

# --- manual rows ------------------------------------------------------------------------------------

# The application's own trigger would set every change to pending, and so take it back from manual.
app('ALTER TABLE promo_codes DISABLE TRIGGER update_promo_codes_zsync_status');
$mark = $sandbox->mark;
app("UPDATE promo_codes SET sync_status = 'manual', is_active = false WHERE code = 'EQUAL10'");
asked($mark, [], 'a row set to manual is left alone');
is(status_of('EQUAL10'), 'manual', 'and stays manual');
app("UPDATE promo_codes SET notes = 'still' WHERE code = 'EQUAL10'");
asked($mark, [], 'also when it is touched');
app("UPDATE promo_codes SET sync_status = 'pending' WHERE code = 'EQUAL10'");
becomes('EQUAL10', 'synced', 'set to pending it is taken care of again');
is(active('EQUAL10'), 0, 'and switched off as it says');

finish($node);
