# Codes that are in Stripe already, many at once: those in step are adopted by list calls alone,
# without one write; the others end as each would by itself.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);

sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }

# Made by an older script: a coupon each, with names and ids of its own.
sub sell
{
    my ($percent, @codes) = @_;
    return map { $sandbox->foreign_code($_, { id => "script-$_", percent_off => $percent, duration => 'once' }) }
      @codes;
}

# Rows of 10 %, in one statement; ids: those they carry, off: those that are not active.
sub insert
{
    my ($codes, %more) = @_;
    my %off = map { $_ => 1 } @{ $more{off} // [] };
    my @rows = map {
        sprintf "('%s', 'a description', 'percentage', 10, %s, %s)", $_,
          $more{ids}{$_} ? "'$more{ids}{$_}'" : 'NULL', $off{$_} ? 'false' : 'true'
    } @$codes;
    app('INSERT INTO promo_codes (code, description, discount_type, discount_value,'
          . ' stripe_promotion_code_id, is_active) VALUES '
          . join ', ', @rows);
    return;
}

# What was asked of Stripe, by kind; not who we are, what others did and what yearly prices there are.
sub asked
{
    my ($since) = @_;
    my %count;
    foreach my $request ($sandbox->requests(since => $since))
    {
        next if $request->{path} =~ m{^/v1/(account|events|prices)$} || ($request->{user_agent} // '') !~ /^stripe_sync/;
        my $text = $request->{params}{code} // '';
        my $path = $request->{path} =~ s{^(/v1/\w+)/.*}{$1/ID}r;
        ++$count{"$request->{method} $path" . ($path eq '/v1/promotion_codes' && $request->{method} eq 'GET' && $text ne '' ? ' of a text' : '')};
    }
    return \%count;
}

sub in_step
{
    my ($what, %ids) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await_synced($node, 'app', "$what: nothing is pending");
    my %shown = map { my ($code, @rest) = split /\|/; $code => "@rest" } split /\n/, sql(<<'END');
SELECT code, sync_status, stripe_promotion_code_id, stripe_coupon_id FROM promo_codes
END
    my %wanted = map { $_ => "synced $ids{$_} script-" . uc $_ } keys %ids;
    is_deeply({ map { $_ => $shown{$_} } keys %ids }, \%wanted, "$what: all are in step, and show their ids");
    return;
}

# --- the first attach -----------------------------------------------------------------------------

app('DELETE FROM promo_codes');
my @codes = map { "OLD-$_" } 1 .. 300;
my @off = grep { /5$/ } @codes;
my %id = map { $_->{code} => $_->{id} } sell(10, @codes);
$sandbox->api('POST', "/v1/promotion_codes/$id{$_}", { active => 'false' }) foreach @off;
# Stripe compares without case
my %row_id = map { (/[02468]$/ ? lc : $_) => $id{$_} } @codes;
my %carried = map { $_ => $row_id{$_} } grep { /[0-5]$/ } keys %row_id;
insert([ keys %row_id ], ids => \%carried, off => \@off);

my $mark = $sandbox->mark;
attach($node, 'app');
in_step('300 codes', %row_id);
is_deeply(asked($mark), { 'GET /v1/promotion_codes' => 3 }, 'by three list calls and nothing else');
is(sql("SELECT string_agg(DISTINCT concat_ws(' ', state, action), ', ') FROM stripe_sync.promo_state"),
    'synced adopted', 'which is what was done to them');

$mark = $sandbox->mark;
app("UPDATE promo_codes SET notes = 'seen'");
await_synced($node, 'app', 'touched');
is_deeply(asked($mark), {}, 'a touch sends nothing');
app("UPDATE promo_codes SET is_active = false WHERE code = 'OLD-1'");
await_synced($node, 'app', 'switched off');
is($sandbox->code('OLD-1')->{active}, JSON::PP::false, 'from then on they are pushed as any other');

app("SELECT stripe_sync_detach('promo_codes')");
app('UPDATE promo_codes SET stripe_promotion_code_id = NULL, stripe_coupon_id = NULL WHERE id::text < \'8\'');
$mark = $sandbox->mark;
attach($node, 'app');
in_step('attached again', %row_id);
is_deeply(asked($mark), { 'GET /v1/promotion_codes' => 3 }, 'three list calls once more');

# --- others among them ----------------------------------------------------------------------------

my %equal = map { $_->{code} => $_->{id} } sell(10, map { "EQUAL-$_" } 1 .. 100);
my %other = map { $_->{code} => $_->{id} } sell(20, map { "OTHER-$_" } 1 .. 20);
my @new = map { "NEW-$_" } 1 .. 40;
$mark = $sandbox->mark;
insert([ @new, keys %equal, keys %other ],
    ids => { map { /[13579]$/ ? ($_ => $other{$_}) : () } keys %other });
in_step('those in step', %equal);
is(statuses($node, 'app', "code LIKE 'OTHER-%' AND sync_status <> 'error'"), '',
    'what has other terms is a conflict');
is(sql(<<'END'), '20', 'and says so, with both sides');
SELECT count(*) FROM stripe_sync_promo_status WHERE state = 'conflict'
  AND reason LIKE '%which is not ours and has other terms: discount: database 10 \%, Stripe 20 \%'
END
is(statuses($node, 'app', "code LIKE 'NEW-%' AND sync_status <> 'synced'"), '', 'what is new is made');
my $asked = asked($mark);
cmp_ok(delete $asked->{'GET /v1/promotion_codes'}, '<=', 5, 'a list call for each hundred');
is_deeply($asked, {
        'GET /v1/promotion_codes of a text' => 10,
        'GET /v1/promotion_codes/ID' => 10,
        'POST /v1/coupons' => 40,
        'POST /v1/promotion_codes' => 40
    },
    'a look for each conflict, two writes for each new one: no coupon was made in vain');
app("DELETE FROM promo_codes WHERE code LIKE 'OTHER-%'");

# --- the list can't be read -----------------------------------------------------------------------

my $refused = $sandbox->fault('status', status => 403, times => 0,
    match => { method => 'GET', path => '/v1/promotion_codes' });
my %single = map { $_->{code} => $_->{id} } sell(10, map { "SINGLE-$_" } 1 .. 100);
$mark = $sandbox->mark;
insert([ keys %single ], ids => \%single);
in_step('without a list', %single);
is_deeply(asked($mark), { 'GET /v1/promotion_codes' => 1, 'GET /v1/promotion_codes/ID' => 100 },
    'refused once, each is asked for by itself');
$sandbox->clear_faults;

# --- killed in the middle -------------------------------------------------------------------------

my @late = sell(10, map { "LATE-$_" } 1 .. 160);
my %late = map { $_->{code} => $_->{id} } @late;
# the worker that follows knows nothing of the refusal
sql('SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'the worker stopped');
# the second page: Stripe asks to wait with it
$sandbox->fault('status', status => 429, times => 0, headers => { 'Retry-After' => '600' },
    match => { path => '/v1/promotion_codes', contains => $late[60]{id} });
insert([ keys %late ]);
$mark = $sandbox->mark;
sql('SELECT stripe_sync_start()');
await_query($node, 'app',
    "SELECT count(*) FROM promo_codes WHERE code LIKE 'LATE-%' AND sync_status = 'synced'", '100',
    'a page of codes is adopted, the next does not come');
my $killed = worker_pid($node, 'app');
$sandbox->clear_faults;  # it goes on waiting all the same
kill 'KILL', $killed;
await_worker($node, 'app', 'another worker runs', $killed);
in_step('killed and begun again', %late);
$asked = asked($mark);
cmp_ok(delete $asked->{'GET /v1/promotion_codes'}, '>=', 4, 'begun again, few as were left');
is_deeply($asked, {}, 'and still no write and no single look');

finish($node);
