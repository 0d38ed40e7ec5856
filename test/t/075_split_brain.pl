# A standby is promoted while the original goes on: both take themselves for the one installation. The
# one that looks at Stripe's events next, once in stripe_sync.poll_interval, sees what the other has
# written and stops before it writes; nothing is sold twice.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(name => 'original', sandbox => $sandbox, databases => ['app'],
    conf => "wal_level = replica\nmax_wal_senders = 4\nstripe_sync.poll_interval = '1s'\n");
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
my @codes = map { "CODE$_" } 1 .. 4;
insert_various($node, 'app', @codes);
await_codes($node, 'app', 'the original is in step', @codes);

$node->backup('b');
my $clone = PostgreSQL::Test::Cluster->new('promoted');
$clone->init_from_backup($node, 'b', has_streaming => 1);
$clone->start;
insert_various($node, 'app', 'STREAMED');
await_codes($node, 'app', 'and goes on while a standby follows', 'STREAMED');
$node->wait_for_catchup($clone);
$clone->promote;
await_worker($clone, 'app', 'promoted, the standby has a worker, beside the original\'s');
await_worker($node, 'app', 'which has not ended');

my $rival = 'another database writes to Stripe as this installation';
my $next = "SELECT stripe_sync_rebind('new'); in the copy, or ('keep') once no other is left.";

sub switch_off
{
    my ($server, $code) = @_;
    $server->safe_psql('app', "UPDATE promo_codes SET is_active = false WHERE code = '$code'", @owner);
    return;
}

# What was looked at last is not trusted any more.
sub look_again
{
    $node->safe_psql('app', 'SELECT pg_sleep(1.1)');
    return;
}

sub stops
{
    my ($server, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await_query($server, 'app', 'SELECT status, reason, next FROM stripe_sync_health', "down|$rival|$next",
        "$what: health says so, and what to type", 60);
    return;
}

# --- the one promoted writes first ----------------------------------------------------------------

switch_off($clone, 'CODE1');
insert_various($clone, 'app', 'PROMOTED');
await_codes($clone, 'app', 'the one promoted goes on', 'CODE1', 'PROMOTED');
look_again();
my $mark = $sandbox->mark;
switch_off($node, 'CODE2');
insert_various($node, 'app', 'PROMOTED', 'ORIGINAL');
stops($node, 'the original has something to write, and sees what the other wrote');
is(scalar $sandbox->writes($mark), 0, 'before it has written anything');
is($sandbox->code('CODE2')->{active}, JSON::PP::true, 'its change waits');
switch_off($clone, 'CODE3');
await_codes($clone, 'app', 'the one promoted, of which nobody took anything, goes on', 'CODE3');
is($clone->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'its health: ok');

# --- the other way round: both have written -------------------------------------------------------

$node->safe_psql('app', "SELECT stripe_sync_rebind('keep')");
await_codes($node, 'app', 'somebody says that the original is right: what waited is sent', 'CODE2');
is($sandbox->code('CODE2')->{active}, JSON::PP::false, 'off is off');
like($node->safe_psql('app', "SELECT sync_status || ' ' || sync_error FROM promo_codes WHERE code = 'PROMOTED'"),
    qr/^error .*PROMOTED is already in Stripe/, 'a text that both have is not made twice');
look_again();
$mark = $sandbox->mark;
switch_off($clone, 'CODE4');
stops($clone, 'now the one promoted sees what the original wrote');
is(scalar $sandbox->writes($mark), 0, 'before it has written anything');
is(join(' ', map { scalar $sandbox->codes($_) } @codes, 'PROMOTED', 'ORIGINAL'), '1 1 1 1 1 1', 'no text was made twice');
$clone->stop('fast');

finish($node);
