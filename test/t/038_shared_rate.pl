# Databases of one server that have the same key keep to one limit together, and heed together what
# Stripe says to one of them.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $rate = 10;
my $sandbox = StripeSync::Sandbox->start;
my @same_key = ('one', 'two');
my $node = start_cluster(sandbox => $sandbox, databases => [ @same_key, 'other' ],
    conf => "stripe_sync.rate_limit = $rate\nstripe_sync.vault_api_key = 'stripe'");
my %key = (one => $KEY, two => $KEY, other => 'sk_test_another0123456789');
foreach my $db (sort keys %key)
{
    create_application($node, $db);
    $node->safe_psql($db, <<"END");
CREATE SCHEMA vault;
CREATE VIEW vault.decrypted_secrets AS SELECT 'stripe'::text AS name, '$key{$db}'::text AS decrypted_secret;
END
    $node->safe_psql($db, 'DELETE FROM promo_codes', extra_params => [ '-U', 'app_owner' ]);
    attach($node, $db);
    insert_codes($node, $db, "FIRST-$db");
    await_codes($node, $db, "$db pushes", "FIRST-$db");
}

# Requests in the order of their arrival; about: what is in their parameters.
sub arrived
{
    my ($since, $about) = @_;
    my @all = sort { $a->{time} <=> $b->{time} } $sandbox->requests(since => $since);
    return @all unless $about;
    return grep { join(' ', $_->{path}, values %{ $_->{params} }) =~ $about } @all;
}

sub many { my ($db) = @_; return map { "MANY-$db-$_" } 1 .. 40 }

# --- one rate, and switching off before all -------------------------------------------------------

my $mark = $sandbox->mark;
insert_codes($node, $_, many($_)) foreach @same_key;
await('both are at work', sub {
    my @requests = map { scalar arrived($mark, qr/MANY-$_-/) } @same_key;
    return ((grep { $_ >= 10 } @requests) == 2, "requests: @requests");
});
my $off_mark = $sandbox->mark;
foreach my $db (@same_key)
{
    $node->safe_psql($db, "UPDATE promo_codes SET is_active = false WHERE code = 'FIRST-$db'");
}
my @waiting = map { $node->safe_psql($_, "SELECT count(*) FROM promo_codes WHERE sync_status = 'pending'") } @same_key;
cmp_ok($_, '>', 10, 'many wait') foreach @waiting;
await_codes($node, $_, "$_: one is switched off meanwhile", "FIRST-$_") foreach @same_key;
my @later = arrived($off_mark);
my @places = grep { ($later[$_]{params}{active} // '') eq 'false' } 0 .. $#later;
is(scalar @places, 2, 'by a request each');
cmp_ok($places[-1], '<', 12, 'which are among the next') or diag("places: @places");
await_codes($node, $_, "$_: the others follow", many($_)) foreach @same_key;

my @all = arrived($mark);
my $seconds = $all[-1]{time} - $all[0]{time};
diag(sprintf '%d requests in %.1f s, the switching off at places %s', scalar @all, $seconds, "@places");
cmp_ok(scalar @all, '>=', 160, 'two requests each');
# What was sent early may arrive late, when the machine is busy: half a second.
cmp_ok(scalar @all, '<=', $rate + $rate * ($seconds + 0.5), 'no more than one rate, after one burst');

# --- told to wait ---------------------------------------------------------------------------------

$mark = $sandbox->mark;
my $told = $sandbox->fault('status', status => 429, headers => { 'Retry-After' => '20' },
    match => { method => 'POST', contains => 'TOLD' });
insert_codes($node, 'one', 'TOLD');
await('Stripe tells one of them to wait', sub { return ($sandbox->hits($told) == 1, $sandbox->hits($told)) });
insert_codes($node, $_, "HELD-$_") foreach 'two', 'other';
await_codes($node, 'other', 'who has another key goes on', 'HELD-other');
await_query($node, $_, "SELECT status, reason ~ 'limits requests' FROM stripe_sync_health", 'degraded|t',
    "$_: health says why it waits") foreach @same_key;
await_codes($node, 'one', 'then it goes on', 'TOLD');
await_codes($node, 'two', 'as does the other', 'HELD-two');
my ($first) = grep { $_->{status} == 429 } arrived($mark);
foreach my $code ('TOLD', 'HELD-two')
{
    my ($next) = grep { $_->{time} > $first->{time} } arrived($mark, qr/$code/);
    cmp_ok($next->{time} - $first->{time}, '>=', 19.9, "$code was not sent before its time");
}
my ($other) = arrived($mark, qr/HELD-other/);
cmp_ok($other->{time} - $first->{time}, '<', 19, 'the other key did not wait for it');
cmp_ok($node->safe_psql($_, 'SELECT requests_per_second FROM stripe_sync.worker'), '<', $rate,
    "$_: the rate is lower for a while") foreach @same_key;

# --- told to wait when asked whose key it is -------------------------------------------------------

$mark = $sandbox->mark;
$sandbox->fault('status', status => 429, headers => { 'Retry-After' => '600' }, match => { path => '/v1/account' });
$node->safe_psql('other', 'SELECT stripe_sync_rebind()');
insert_codes($node, 'other', 'ASKED');
await_query($node, 'other', "SELECT reason ~ 'limits requests' FROM stripe_sync_health", 't', 'health says why');
is($node->safe_psql('other', "SELECT next_try > now() + '5 min' FROM stripe_sync_health"), 't',
    'and when it is asked again');
$node->safe_psql('other', "SELECT count(*) FROM stripe_sync_promo('ASKED')");
is(scalar arrived($mark), 1, 'not before, whoever waits');

finish($node);
