# An older script has been at work: codes in Stripe with wrong terms, their ids in the table. And
# what owners do later: other terms, other texts, texts exchanged. What Stripe sells is what the rows
# say, or the row says why not; the history knows every promotion code.

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

my $node = start_cluster(sandbox => $sandbox);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);

sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }
sub state_of { return row($node, 'app', "SELECT * FROM stripe_sync_promo_status WHERE code = '$_[0]'") }

sub settled
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await_query($node, 'app', "SELECT stripe_sync_wait('2 minutes')", 't', $what);
}

# The promotion code that is on sale under a text, with its coupon; dies if there are several.
sub on_sale
{
    my ($text) = @_;
    my @on = grep { $_->{active} } $sandbox->codes($text);
    die "several are on: $text" if @on > 1;
    return unless @on;
    my ($coupon) = grep { $_->{id} eq $on[0]{promotion}{coupon} } $sandbox->objects('coupons');
    return ($on[0], $coupon);
}

# As the older script did it: the coupon's id is the code.
sub older_script
{
    my ($code, $coupon) = @_;
    my $made = $sandbox->foreign_code($code, { id => $code, name => $code, %$coupon });
    app("UPDATE promo_codes SET stripe_coupon_id = '$code', stripe_promotion_code_id = '$made->{id}',"
          . " sync_status = 'synced' WHERE code = '$code'");
    return $made->{id};
}

# --- the first user's start -----------------------------------------------------------------------

app(<<"END");
UPDATE promo_codes SET discount_value = 50, custom_monthly_price = NULL, stripe_product_id = '$fee' WHERE code = 'LAUNCH50';
END
my %old = (
    TESTCLIENT70 => older_script('TESTCLIENT70', { percent_off => 100, duration => 'forever' }),
    LAUNCH50 =>
      older_script('LAUNCH50', { percent_off => 50, duration => 'repeating', duration_in_months => 12 }),
    BETA50 =>
      older_script('BETA50', { percent_off => 50, duration => 'repeating', duration_in_months => 12 }));
my $before = $sandbox->mark;
attach($node, 'app', "currency => 'usd', duration => 'once', monthly_price => '$monthly'");
settled('attached');

my %says = (
    TESTCLIENT70 => 'discount: database 129.00 usd, Stripe 100 %',
    LAUNCH50 => 'duration: database once, Stripe repeating for 12 months',
    BETA50 => 'duration: database repeating for 6 months, Stripe repeating for 12 months');
foreach my $code (sort keys %says)
{
    my $row = state_of($code);
    is($row->{state}, 'conflict', "$code: a conflict");
    like($row->{reason}, qr/\Q$old{$code}\E \(coupon $code\).*\Q$says{$code}\E/, "$code: both sides of what differs");
    like($row->{hint}, qr/stripe_sync_resolve\('$code', 'db'\)/, "$code: the command to type");
}
is(scalar(grep { $_->{path} =~ /promo_|coupons\/(TEST|LAUNCH|BETA)/ } $sandbox->writes($before)),
    0, 'nothing of theirs is touched');

error_is(
    error_of($node, 'app', q{SELECT stripe_sync_resolve('TESTCLIENT70', 'both')}),
    { sqlstate => 'SY004', message => qr/must be 'db' or 'stripe'/ },
    'take: db or stripe');
error_is(
    error_of($node, 'app', q{SELECT stripe_sync_resolve('SOFTWAREOWNER', 'db')}),
    { sqlstate => 'SY004', message => qr/nothing to decide/ },
    'a code in step has nothing to decide');

$sandbox->control('POST', 'redeem', { promotion_code => $old{LAUNCH50}, times => 2 });
sql("SELECT stripe_sync_resolve(c, 'db') FROM unnest(ARRAY['TESTCLIENT70', 'LAUNCH50']) c");
settled('the rows are right');
my ($code, $coupon) = on_sale('TESTCLIENT70');
is("$coupon->{amount_off} $coupon->{duration} $coupon->{applies_to}{products}[0]",
    "12900 forever $plan", 'TESTCLIENT70 is sold as the row says');
is($code->{max_redemptions}, 1, 'with its limit');
($code, $coupon) = on_sale('LAUNCH50');
is("$coupon->{percent_off} $coupon->{duration} $coupon->{applies_to}{products}[0]",
    "50 once $fee", 'LAUNCH50 too');
is($code->{max_redemptions}, 98, 'less what was used of the old one');
is(state_of($_)->{state}, 'synced', "$_: synced") foreach qw(TESTCLIENT70 LAUNCH50);
is(app("SELECT stripe_promotion_code_id FROM promo_codes WHERE code = 'LAUNCH50'"), $code->{id}, 'the row shows it');
is_deeply([ map { $_->{active} ? 1 : 0 } grep { $_->{id} eq $old{LAUNCH50} } $sandbox->codes('LAUNCH50') ],
    [0], "the older script's promotion code is off");
is(sql(<<"END"), "1|LAUNCH50|t|t\n2|$coupon->{id}|f|f", 'the history has both');
SELECT revision, coupon_id, replaced_at IS NOT NULL, why_replaced LIKE '%duration: database once, Stripe repeating for 12 months%' IS TRUE
FROM stripe.promo_history WHERE code = 'LAUNCH50' ORDER BY revision
END

# 'stripe': the row is written as Stripe is, if its columns can say it; as its table's owner, whose
# triggers run.
app(<<'END');
CREATE TABLE written_by (role name);
CREATE FUNCTION note_role() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO written_by VALUES (current_user); RETURN NEW; END';
CREATE TRIGGER note_role BEFORE UPDATE ON promo_codes FOR EACH ROW EXECUTE FUNCTION note_role();
END
my $held = $node->background_psql('app');
$held->query_safe("BEGIN; SELECT FROM promo_codes WHERE code = 'BETA50' FOR UPDATE");
error_is(
    error_of($node, 'app', q{SET lock_timeout = '2s'; SELECT stripe_sync_resolve('BETA50', 'stripe')}),
    { sqlstate => '55P03', message => qr/being changed by another transaction/ },
    'a row that somebody holds is not waited for');
$held->query_safe('COMMIT');
$held->quit;
sql("SELECT stripe_sync_resolve('BETA50', 'stripe')");
settled('Stripe is right');
is(sql('SELECT string_agg(DISTINCT role, $$ $$) FROM written_by'), 'app_owner',
    "written as the table's owner, whoever decides");
app('DROP TRIGGER note_role ON promo_codes');
is(state_of('BETA50')->{state}, 'synced', 'BETA50: synced');
is(app("SELECT duration_in_months, max_uses, stripe_promotion_code_id FROM promo_codes WHERE code = 'BETA50'"),
    "12||$old{BETA50}", 'the row says what Stripe holds, and its promotion code is adopted');

# Only for who may update the table.
$sandbox->foreign_code('THEIRS', { percent_off => 33, duration => 'forever' });
app("INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('THEIRS', '', 'percentage', 10)");
settled('another conflict');
sql('CREATE ROLE nobody_here LOGIN; GRANT EXECUTE ON FUNCTION stripe_sync_resolve(text, text) TO nobody_here');
foreach my $take (qw(db stripe))
{
    error_is(
        error_of($node, 'app', "SELECT stripe_sync_resolve('THEIRS', '$take')", '-U', 'nobody_here'),
        { sqlstate => '42501' }, "$take: only for who may update the table");
}
app("UPDATE promo_codes SET is_active = false WHERE code = 'THEIRS'");
settled('a conflict switched off');
is(state_of('THEIRS')->{state}, 'synced', 'is none');

# What was decided holds though the row is switched off before anything is done about it.
my $theirs = $sandbox->foreign_code('TAKEN', { percent_off => 33, duration => 'forever' });
app("INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('TAKEN', '', 'percentage', 10)");
settled('one more conflict');
sql("SELECT stripe_sync_pause(); SELECT stripe_sync_resolve('TAKEN', 'stripe')");
app("UPDATE promo_codes SET is_active = false WHERE code = 'TAKEN'");
sql('SELECT stripe_sync_resume()');
settled('taken as Stripe has it, and switched off at once');
is(join(' ', map { $_->{id} . ($_->{active} ? ' on' : ' off') } $sandbox->codes('TAKEN')), "$theirs->{id} off",
    'the code that was taken is off, and no other was made');
is(state_of('TAKEN')->{state}, 'synced', 'TAKEN: synced');

# --- texts change hands ---------------------------------------------------------------------------

app(<<'END');
INSERT INTO promo_codes (code, description, discount_type, discount_value, max_uses) VALUES
  ('ALPHA', 'a', 'percentage', 10, 100), ('BRAVO', 'b', 'percentage', 20, 100), ('OTHER', 'o', 'percentage', 30, NULL);
END
settled('three codes');
my %ids = map { split /\|/ } split /\n/, app("SELECT description, id FROM promo_codes WHERE description IN ('a', 'b', 'o')");

sub sells
{
    my ($what, %percent) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    settled($what);
    my %now = map { my ($c, $k) = on_sale($_); $_ => $k ? $k->{percent_off} : undef } keys %percent;
    is_deeply(\%now, \%percent, $what);
    my $wrong = sql("SELECT string_agg(code || ' ' || state || ' ' || coalesce(reason, ''), ', ') FROM stripe_sync_promo_status"
          . " WHERE state <> 'synced' AND code IN ('" . join("', '", keys %percent) . "')");
    is($wrong, '', "$what: all in step");
    return;
}

app(<<"END");
BEGIN;
UPDATE promo_codes SET code = 'swapping' WHERE id = '$ids{a}';
UPDATE promo_codes SET code = 'ALPHA' WHERE id = '$ids{b}';
UPDATE promo_codes SET code = 'BRAVO' WHERE id = '$ids{a}';
COMMIT;
END
sells('two rows exchange their texts', ALPHA => 20, BRAVO => 10);
app("UPDATE promo_codes SET code = 'CHARLIE' WHERE id = '$ids{b}'; UPDATE promo_codes SET code = 'ALPHA' WHERE id = '$ids{o}'");
sells('a freed text is taken by another', CHARLIE => 20, ALPHA => 30, OTHER => undef);
app(<<"END");
DELETE FROM promo_codes WHERE id = '$ids{o}';
INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES ('alpha', 'n', 'percentage', 40);
END
sells('deleted and inserted anew in another case', alpha => 40);

# --- what is left, over detach and attach ---------------------------------------------------------

app("UPDATE promo_codes SET max_uses = 90 WHERE id = '$ids{a}'");
settled('a lower limit');
my ($now) = on_sale('BRAVO');
is($now->{max_redemptions}, 90, 'nothing was used: all are left');
is(sql("SELECT count(*) FROM stripe.promo_history WHERE key = '$ids{a}' AND replaced_at IS NOT NULL"), 2, 'two were before it');

# While the history is locked, a replacement waits with what it has to write there.
my $index = $node->background_psql('app');
$index->query_safe('BEGIN; LOCK TABLE stripe.promo_history IN SHARE MODE');
app("UPDATE promo_codes SET max_uses = 80 WHERE id = '$ids{b}'");
await('replaced in Stripe', sub { my ($on) = on_sale('CHARLIE'); return $on && ($on->{max_redemptions} // 0) == 80 });
$index->query_safe('COMMIT');
$index->quit;
settled('the history is free again');
is(sql("SELECT count(*) FROM stripe.promo_history WHERE key = '$ids{b}' AND code = 'CHARLIE'"), 2,
    'the history has what was replaced meanwhile');

# A history that takes nothing holds up no code, and gets later what it lacks.
sql('ALTER TABLE stripe.promo_history RENAME why_replaced TO why');
app("UPDATE promo_codes SET max_uses = 70 WHERE id = '$ids{b}'");
settled('a history that was altered holds nothing up');
is(sql("SELECT count(*) FROM stripe_sync_errors WHERE subject = 'history' AND message ~ 'why_replaced'"), 1,
    'the errors say what it lacks');
sql('ALTER TABLE stripe.promo_history RENAME why TO why_replaced');
app("UPDATE promo_codes SET max_uses = 60 WHERE id = '$ids{b}'");
settled('mended, the history is written again');
is(sql("SELECT string_agg(terms -> 'promotion_code' ->> 'max_redemptions', ' ' ORDER BY revision) FROM stripe.promo_history WHERE key = '$ids{b}' AND code = 'CHARLIE'"),
    '100 80 70 60', 'and lacks nothing');
sql('ALTER TABLE stripe.promo_history RENAME why_replaced TO why');
app("UPDATE promo_codes SET max_uses = 50 WHERE id = '$ids{b}'");
settled('altered once more');
sql('ALTER TABLE stripe.promo_history RENAME why TO why_replaced');
app("UPDATE promo_codes SET description = 'told later' WHERE id = '$ids{b}'");
settled('and mended, with a change that replaces nothing');
is(sql("SELECT string_agg(concat_ws('/', revision, terms -> 'promotion_code' ->> 'max_redemptions', (replaced_at IS NULL)::text), ' ' ORDER BY revision) FROM stripe.promo_history WHERE key = '$ids{b}' AND code = 'CHARLIE' AND revision > 5"),
    '6/60/false 7/50/true', 'the present one is told, too');

sql("UPDATE stripe.promo_history SET times_redeemed = 5 WHERE key = '$ids{a}' AND revision = 1");
sql("SELECT stripe_sync_detach('promo_codes')");
sql('DROP EXTENSION stripe_sync; CREATE EXTENSION stripe_sync; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app_owner');
ok(sql('SELECT count(*) > 5 FROM stripe.promo_history'), 'the history survives DROP EXTENSION');
my $altered = $node->background_psql('app');
$altered->query_safe('BEGIN; LOCK TABLE stripe.promo_history');
attach($node, 'app', "currency => 'usd', duration => 'once', monthly_price => '$monthly'");
await_query($node, 'app', "SELECT next_attempt > changed_at + interval '0.9 s' FROM stripe_sync.promo_state WHERE code = 'BRAVO'", 't',
    'without the history no row is pushed');
$altered->query_safe('COMMIT');
$altered->quit;
settled('installed and attached again');
my $again = state_of('BRAVO');
is($again->{state}, 'conflict', 'the history counts: 85 are left, and Stripe would sell 90');
like($again->{reason}, qr/max_redemptions: database 85, Stripe 90/, 'both sides');

# --- a schema that is somebody else's -------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE foreign_schema');
my $foreign = sub { return $node->safe_psql('foreign_schema', $_[0]) };
$foreign->('CREATE EXTENSION stripe_sync; CREATE SCHEMA stripe; CREATE TABLE stripe.customers (id text);');
error_is(
    error_of($node, 'foreign_schema', 'SELECT stripe_sync_create_promo_tables()'),
    { sqlstate => 'SY004', message => 'schema "stripe" is not stripe_sync\'s', hint => qr/stripe_sync\.mirror_schema/ },
    'a foreign schema stripe is refused');
$foreign->(q{COMMENT ON SCHEMA stripe IS 'stripe_sync: yours'; SELECT stripe_sync_create_promo_tables();});
is($foreign->("SELECT to_regclass('stripe.promo_history')"), 'stripe.promo_history', 'given over, it is used');

$node->safe_psql('postgres', 'CREATE ROLE early; CREATE DATABASE taken; GRANT CREATE ON DATABASE taken TO early');
my $early = sub { return $node->safe_psql('taken', $_[0]) };
$early->(q{SET ROLE early; CREATE SCHEMA stripe; COMMENT ON SCHEMA stripe IS 'stripe_sync: yours';
  CREATE TABLE stripe.promo_history (promotion_code_id text)});
$early->('CREATE EXTENSION stripe_sync');
error_is(
    error_of($node, 'taken', 'SELECT stripe_sync_create_promo_tables()'),
    { sqlstate => 'SY004', message => 'schema "stripe" belongs to early', detail => qr/^Its owner would read/,
        hint => qr/^ALTER SCHEMA stripe OWNER TO \w+; and look at what is in it/ },
    'nor is one that somebody made before us');
$early->('DROP TABLE stripe.promo_history; ALTER SCHEMA stripe OWNER TO CURRENT_USER; SELECT stripe_sync_create_promo_tables();'
      . ' ALTER SCHEMA stripe OWNER TO early; SELECT stripe_sync.ensure_history()');
is($early->('SELECT stripe_sync.mirror_schema()'), 'stripe', 'in use, it may be given to any role');

finish($node);
