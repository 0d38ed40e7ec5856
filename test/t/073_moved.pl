# The files of a server, moved or copied, and pg_upgrade: the system identifier or the host tells, and
# nothing is written to Stripe until somebody says which is the original.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
insert_codes($node, 'app', 'FIRST');
await_codes($node, 'app', 'the original is in step', 'FIRST');

my $known = grep { -s } '/etc/machine-id', '/var/lib/dbus/machine-id';
is($node->safe_psql('app', "SELECT status FROM stripe_sync_check() WHERE item = 'machine'"), $known ? '' : 'warn',
    'stripe_sync_check() warns of a machine that has no id');

my $next = "SELECT stripe_sync_rebind('new'); or ('keep') if the original is gone (moved, pg_upgrade).";
my $moved = 'this database runs on another machine or in another directory';

sub stands_still
{
    my ($server, $why, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $mark = $sandbox->mark;
    await_query($server, 'app', 'SELECT status, reason, blocked_until, next FROM stripe_sync_health', "down|$why||$next",
        "$what: health says so, and what to type");
    is($server->safe_psql('app', "SELECT status, fix FROM stripe_sync_check() WHERE item = 'writes'"), "fail|$next",
        "$what: as does stripe_sync_check()");
    $server->safe_psql('app', "UPDATE promo_codes SET is_active = false WHERE code = 'FIRST'", @owner);
    like($server->safe_psql('app', "SELECT action, status, error FROM stripe_sync_promo('FIRST')"), qr/^waiting\|pending\|\Q$why\E$/,
        "$what: as does stripe_sync_promo()");
    is(scalar $sandbox->requests(since => $mark), 0, "$what: nothing is asked of Stripe");
    $server->safe_psql('app', "UPDATE promo_codes SET is_active = true WHERE code = 'FIRST'", @owner);
    return;
}

# --- restarted where it was -----------------------------------------------------------------------

$node->restart;
insert_codes($node, 'app', 'RESTARTED');
await_codes($node, 'app', 'a restart moves nothing', 'RESTARTED');
like($node->safe_psql('app', 'SELECT host FROM stripe_sync.installation'), qr/^[0-9a-f]{64}$/, 'the host is known by a hash');

# --- a copy of the files, started beside it -------------------------------------------------------

$node->stop('fast');
$node->backup_fs_cold('files');
$node->start;
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($node, 'files');
$clone->start;
my $identity = 'SELECT system_identifier, database, timeline FROM stripe_sync.here()';
is($clone->safe_psql('app', $identity), $node->safe_psql('app', $identity),
    'a copy of the files: same system identifier, same database, same timeline');
stands_still($clone, $moved, 'a copy of the files');
insert_codes($node, 'app', 'ORIGINAL');
await_codes($node, 'app', 'the original goes on', 'ORIGINAL');

my $mark = $sandbox->mark;
insert_codes($clone, 'app', 'CLONED');
$clone->safe_psql('app', "SELECT stripe_sync_rebind('new')");
await_codes($clone, 'app', "rebind('new'): what is new in the copy is pushed", 'CLONED');
is(join(' ', map { $_->{path} } $sandbox->writes($mark)), '/v1/coupons /v1/promotion_codes', 'and no more');
$clone->restart;
$clone->safe_psql('app', "UPDATE promo_codes SET is_active = false WHERE code = 'CLONED'", @owner);
await('it is at home there now, also after a restart', sub {
    my $active = $sandbox->code('CLONED')->{active};
    return (!$active, $active);
});
$clone->stop('fast');

# --- moved, and no copy ---------------------------------------------------------------------------

$node->stop('fast');
my $data = $node->data_dir;
rename $data, "$data.moved" or die "rename: $!";
symlink "$data.moved", $data or die "symlink: $!";
$node->start;
stands_still($node, $moved, 'moved');
$mark = $sandbox->mark;
$node->safe_psql('app', 'SELECT stripe_sync_rebind()');
insert_codes($node, 'app', 'MOVED');
await_codes($node, 'app', "rebind('keep'): it goes on", 'FIRST', 'MOVED');
is(join(' ', map { $_->{path} } $sandbox->writes($mark)), '/v1/coupons /v1/promotion_codes', 'and sends nothing anew');
is($node->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

# --- pg_upgrade -----------------------------------------------------------------------------------

my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init(extra => [ '--locale=C.UTF-8', '--encoding=UTF8' ]);
$upgraded->append_conf('postgresql.conf', scalar slurp_file($node->data_dir . '/postgresql.conf') =~ s/^(port|unix_socket_directories|listen_addresses).*//gmr);
$upgraded->append_conf('postgresql.conf', 'port = ' . $upgraded->port . "\nunix_socket_directories = '" . $upgraded->host . "'");
$node->stop('fast');
my $bindir = (run_command([ 'pg_config', '--bindir' ]))[0];
chdir PostgreSQL::Test::Utils::tempdir() or die $!;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $node->data_dir, '-D', $upgraded->data_dir, '-b', $bindir, '-B', $bindir,
        '-s', $node->host, '-p', $node->port, '-P', $upgraded->port ], 'pg_upgrade');
$upgraded->start;
my $state = 'SELECT code, state, promotion_code_id FROM stripe_sync_promo_status ORDER BY 1';
isnt($upgraded->safe_psql('app', $state), '', '(with what it knew)');
stands_still($upgraded, 'this database is a copy of the one that was attached', 'upgraded');
$mark = $sandbox->mark;
$upgraded->safe_psql('app', "SELECT stripe_sync_rebind('keep')");
insert_codes($upgraded, 'app', 'UPGRADED');
await_codes($upgraded, 'app', "rebind('keep'): it goes on", 'FIRST', 'UPGRADED');
is(join(' ', map { $_->{path} } $sandbox->writes($mark)), '/v1/coupons /v1/promotion_codes', 'and sends nothing anew');

finish($upgraded);
