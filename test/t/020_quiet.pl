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

sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }

app('DELETE FROM promo_codes');
attach($node, 'app');

sub insert { insert_codes($node, 'app', @_); return }

# One column of a code's row.
sub column
{
    my ($code, $column) = @_;
    return app("SELECT $column FROM promo_codes WHERE code = '$code'");
}

sub change
{
    my ($code, $set) = @_;
    app("UPDATE promo_codes SET $set WHERE code = '$code'");
    return;
}

sub becomes
{
    my ($code, $status, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await($what // "$code becomes $status",
        sub {
            my $seen = column($code, "concat_ws(' ', sync_status, sync_error)");
            return (scalar($seen =~ /^$status\b/), $seen);
        });
    return;
}

sub settled
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(sql("SELECT stripe_sync_wait('20 s')"), 't', "$what: nothing is pending");
    return;
}

# Since the mark the worker has looked at everything that was due, and asked Stripe for this only.
sub asked
{
    my ($mark, $wanted, $what, %which) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    settled($what);
    my @lines = map {
        my $active = $_->{params}{active};
        "$_->{method} $_->{path}" . ($active ? " active=$active" : '')
    } $sandbox->requests(since => $mark, %which);
    is_deeply(\@lines, $wanted, $what) or diag(join "\n", @lines);
    return;
}

# The same for what changes something in Stripe: prices may be read to judge a change.
sub wrote { my ($mark, $wanted, $what) = @_; return asked($mark, $wanted, $what, method => 'POST') }

# How many codes of that text are on in Stripe.
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
my $version = column('QUIET', 'xmin');

my $mark = $sandbox->mark;
asked($mark, [], 'a row just pushed');
is(column('QUIET', 'xmin'), $version,
    "our own write is not written again, whatever the application's triggers set");

foreach my $touch (
    "notes = 'seen by the boss'",
    "sync_status = 'pending'",
    'used_count = used_count + 1',
    'discount_value = discount_value',
    "sync_status = NULL, sync_error = 'x'")
{
    $mark = $sandbox->mark;
    change('QUIET', $touch);
    becomes('QUIET', 'synced', "SET $touch: synced again");
    asked($mark, [], "SET $touch");
    $version = column('QUIET', 'xmin');
    sql('SELECT count(*) FROM stripe_sync_promo()');
    is(column('QUIET', 'xmin'), $version, 'and written once');
}

$mark = $sandbox->mark;
app(<<'END');
BEGIN;
UPDATE promo_codes SET is_active = false WHERE code = 'QUIET';
UPDATE promo_codes SET is_active = true WHERE code = 'QUIET';
COMMIT;
END
becomes('QUIET', 'synced', 'off and on in one transaction: synced');
asked($mark, [], 'off and on in one transaction');

my $worker = worker_pid($node, 'app');
$mark = $sandbox->mark;
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0',
    'the worker stops');
sql('SELECT stripe_sync_start()');
await_worker($node, 'app', 'and starts', $worker);
await('a worker started anew asks who it is',
    sub { my @lines = $sandbox->request_lines(since => $mark); return (scalar @lines, "@lines") });
asked($mark, ['GET /v1/account'], 'and nothing else');

# --- off, on, off ---------------------------------------------------------------------------------

$mark = $sandbox->mark;
foreach my $active (qw(false true false))
{
    change('QUIET', "is_active = $active");
    becomes('QUIET', 'synced', "is_active = $active is synced");
    is(active('QUIET'), $active eq 'true' ? 1 : 0, "is_active = $active is in Stripe");
}
my @writes = $sandbox->writes($mark);
is_deeply([ map { "$_->{path} $_->{params}{active}" } @writes ],
    [ map { "/v1/promotion_codes/$promo $_" } qw(false true false) ],
    'off, on, off: three requests');
is(scalar(uniq map { $_->{idempotency_key} } @writes), 3, 'three operations, not a replay');
is(scalar(grep { $_->{replayed} } @writes), 0, 'and none was answered from the store');

change('QUIET', "is_active = $_") foreach qw(true false true false);
settled('changed quickly four times');
is(active('QUIET'), 0, 'ends as the row says: off');
change('QUIET', "is_active = $_") foreach qw(true false true);
settled('three times more');
is(active('QUIET'), 1, 'ends as the row says: on');

# --- rolled back ----------------------------------------------------------------------------------

$mark = $sandbox->mark;
app('BEGIN; ' . insert_codes_sql('NEVER') . <<'END');
;
UPDATE promo_codes SET is_active = false WHERE code = 'QUIET';
DELETE FROM promo_codes WHERE code = 'QUIET';
ROLLBACK;
END
asked($mark, [], 'a rolled-back insert, update and delete');
is(sql("SELECT count(*) FROM stripe_sync.promo_state WHERE code = 'NEVER'"), '0',
    'nothing is left of it');

$mark = $sandbox->mark;
app('BEGIN; ' . insert_codes_sql('KEPT') . '; SAVEPOINT s; ' . insert_codes_sql('UNDONE') . <<'END');
;
UPDATE promo_codes SET is_active = false WHERE code = 'QUIET';
ROLLBACK TO s;
COMMIT;
END
becomes('KEPT', 'synced', 'what was before the savepoint is pushed');
wrote($mark, [ 'POST /v1/coupons', 'POST /v1/promotion_codes' ], 'what came after it is not');
is(scalar $sandbox->codes('UNDONE'), 0, 'the undone code is not in Stripe');

# --- deleted, changed keys ------------------------------------------------------------------------

$mark = $sandbox->mark;
my $kept = $sandbox->code('KEPT')->{id};
app("DELETE FROM promo_codes WHERE code = 'KEPT'");
wrote($mark, ["POST /v1/promotion_codes/$kept active=false"],
    "a deleted row's code is switched off");

insert('AGAIN');
becomes('AGAIN', 'synced');
my $first = $sandbox->code('AGAIN')->{id};
$mark = $sandbox->mark;
app(<<'END');
BEGIN;
DELETE FROM promo_codes WHERE code = 'AGAIN';
INSERT INTO promo_codes (code, description, discount_type, discount_value)
VALUES ('AGAIN', 'twenty percent', 'percentage', 20);
COMMIT;
END
becomes('AGAIN', 'synced', 'deleted and inserted again in one transaction: synced');
my ($on) = grep { $_->{active} } $sandbox->codes('AGAIN');
is(active('AGAIN'), 1, 'one code of that text is on');
isnt($on->{id}, $first, 'the new one');
is(column('AGAIN', 'stripe_promotion_code_id'), $on->{id}, 'the row shows it');
my @order = map { $_->{path} } $sandbox->writes($mark);
is($order[0], "/v1/promotion_codes/$first", 'the old code is switched off before the new is made')
  or diag(join "\n", @order);

insert('MOVED');
becomes('MOVED', 'synced');
change('MOVED', 'id = gen_random_uuid()');
becomes('MOVED', 'synced', "a row's key changed: synced");
settled("a row's key changed");
is(active('MOVED'), 1, 'one code of that text is on');
($on) = grep { $_->{active} } $sandbox->codes('MOVED');
is(column('MOVED', 'stripe_promotion_code_id'), $on->{id}, 'the row shows it');
change('MOVED', "description = 'after the move'");
settled('a moved row described anew');
is(($sandbox->code('MOVED'))[1]{name}, 'after the move', "the moved row's coupon is named anew");

insert('REPLACED');
becomes('REPLACED', 'synced');
app(<<'END');
BEGIN;
CREATE TEMP TABLE whole ON COMMIT DROP AS SELECT * FROM promo_codes WHERE code = 'REPLACED';
DELETE FROM promo_codes WHERE code = 'REPLACED';
UPDATE whole SET id = gen_random_uuid();
INSERT INTO promo_codes SELECT * FROM whole;
COMMIT;
END
becomes('REPLACED', 'synced', 'a row replaced with its ids under another key: synced');
settled('a row replaced');
is(active('REPLACED'), 1, 'one code of that text is on');
($on) = grep { $_->{active} } $sandbox->codes('REPLACED');
is(column('REPLACED', 'stripe_promotion_code_id'), $on->{id}, 'the row shows it');

insert('SWAP-A', 'SWAP-B');
change('SWAP-B', 'is_active = false');
becomes($_, 'synced') foreach qw(SWAP-A SWAP-B);
$mark = $sandbox->mark;
app("UPDATE promo_codes SET is_active = NOT is_active WHERE code LIKE 'SWAP-_'");
settled('two codes swap');
is_deeply([ active('SWAP-A'), active('SWAP-B') ], [ 0, 1 ], 'A is off, B is on');
is($sandbox->writes($mark), 2, 'by two requests');

# --- changed in place -----------------------------------------------------------------------------

$mark = $sandbox->mark;
change('QUIET', "description = 'Ten percent off everything'");
becomes('QUIET', 'synced', 'another description is synced');
wrote($mark, ["POST /v1/coupons/$coupon"], 'a description changes the coupon in place');
my $named = ($sandbox->code('QUIET'))[1];
is($named->{name}, 'Ten percent off everything', 'its name');
is($named->{metadata}{description}, 'Ten percent off everything', 'and its metadata');

# --- changed terms: another promotion code takes its place ----------------------------------------

$mark = $sandbox->mark;
change('QUIET', 'discount_value = 15, max_uses = 7');
becomes('QUIET', 'synced', 'changed terms: synced');
my $second = column('QUIET', 'stripe_promotion_code_id');
my @off = ("POST /v1/promotion_codes/$promo active=false");
wrote($mark, [ 'POST /v1/coupons', @off, 'POST /v1/promotion_codes' ], 'coupon first, then off, then on');
my ($on_sale) = grep { $_->{active} } $sandbox->codes('QUIET');
is($on_sale->{id}, $second, 'the row shows the new promotion code');
is($on_sale->{max_redemptions}, 7, 'with the new limit');
is(column('QUIET', 'stripe_coupon_id'), $on_sale->{promotion}{coupon}, 'and the new coupon');

$mark = $sandbox->mark;
change('QUIET', 'is_active = false, discount_value = 20');
becomes('QUIET', 'synced', 'off, with other terms');
wrote($mark, ["POST /v1/promotion_codes/$second active=false"], 'is only switched off');
like(sql("SELECT warning FROM stripe_sync_promo_status WHERE code = 'QUIET'"),
    qr/promotion code $second, switched off in Stripe, holds older terms/,
    'the older terms are warned of');

change('QUIET', 'is_active = true, discount_value = 10, max_uses = NULL');
becomes('QUIET', 'synced', 'on with the first terms: synced');
is(active('QUIET'), 1, 'and on again');
($on_sale) = grep { $_->{active} } $sandbox->codes('QUIET');
isnt($on_sale->{id}, $promo, 'by another promotion code: the first might have uses left that were used');
is(column('QUIET', 'sync_error'), '', 'without an error');

# --- codes that are in Stripe already -------------------------------------------------------------

my $foreign = $sandbox->foreign_code('fall10', { percent_off => 25, duration => 'forever' });
my $differs = 'discount: database 10 %, Stripe 25 %; duration: database once, Stripe forever';

sub foreign_untouched
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($now) = grep { $_->{id} eq $foreign->{id} } $sandbox->codes('FALL10');
    is_deeply($now, $foreign, $what);
    return;
}

insert('FALL10');
becomes('FALL10', 'error', 'a code that somebody else made with other terms is refused');
my $row = row($node, 'app', "SELECT * FROM stripe_sync_promo_status WHERE code = 'FALL10'");
is($row->{reason},
    "code FALL10 is already in Stripe as promotion code $foreign->{id}"
      . " (coupon $foreign->{promotion}{coupon}), which is not ours and has other terms: $differs",
    'the reason names it and both sides of each term');
is($row->{state}, 'conflict', 'a conflict');
is($row->{promotion_code_id}, undef, 'it is not taken');
is(column('FALL10', 'stripe_promotion_code_id'), '', "nor shown as the row's");
foreign_untouched('and untouched in Stripe');

change('FALL10', 'is_active = false');
becomes('FALL10', 'synced', 'such a row switched off is in step');
foreign_untouched('and leaves the foreign code alone');
change('FALL10', 'is_active = true');
becomes('FALL10', 'error', 'switched on again it is refused again');
like(column('FALL10', 'sync_error'), qr/$foreign->{id}.*\Q$differs\E/,
    'the reason names the foreign code and both sides');
foreign_untouched('the foreign code is as it was');
$sandbox->api('POST', "/v1/promotion_codes/$foreign->{id}", { active => 'false' });
sql("SELECT stripe_sync_retry('FALL10')");
becomes('FALL10', 'synced', 'once the foreign code is off, ours is made');
is(active('FALL10'), 1, 'and on');

my %terms = (percent_off => 10, duration => 'once', name => 'EQUAL10');
my $equal = $sandbox->foreign_code('EQUAL10', \%terms);
insert('EQUAL10');
becomes('EQUAL10', 'synced', 'a foreign code of equal terms is adopted');
is(column('EQUAL10', 'stripe_promotion_code_id'), $equal->{id}, 'the row shows its id');
is(column('EQUAL10', 'stripe_coupon_id'), $equal->{promotion}{coupon}, "and its coupon's");
is(scalar $sandbox->codes('EQUAL10'), 1, 'and no second code was made');

# --- manual rows ----------------------------------------------------------------------------------

# The application's own trigger would set every change to pending, and so take it back from manual.
app('ALTER TABLE promo_codes DISABLE TRIGGER update_promo_codes_zsync_status');
$mark = $sandbox->mark;
change('EQUAL10', "sync_status = 'manual', is_active = false");
asked($mark, [], 'a row set to manual is left alone');
is(column('EQUAL10', 'sync_status'), 'manual', 'and stays manual');
change('EQUAL10', "notes = 'still'");
asked($mark, [], 'also when it is touched');
change('EQUAL10', "sync_status = 'pending'");
becomes('EQUAL10', 'synced', 'set to pending it is taken care of again');
is(active('EQUAL10'), 0, 'and switched off as it says');

finish($node);
