# A restored dump, another cluster with another account, a promoted standby: nothing is written to
# Stripe until somebody says which of the two is the original; then all goes on without a double.

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
my $node = start_cluster(sandbox => $sandbox, databases => [ 'app', 'copy' ],
    conf => "wal_level = replica\nmax_wal_senders = 4\n");
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
my @codes = map { "CODE$_" } 1 .. 5;
# adopted as they are: without a mark of ours
$sandbox->foreign_code($_, { percent_off => 10, duration => 'once' }) for 'CODE2', 'CODE4';
insert_codes($node, 'app', @codes);
await_codes($node, 'app', 'the original is in step', @codes);
is(join(' ', sort map { $_->{code} } grep { !%{ $_->{metadata} } } $sandbox->objects('promotion_codes')),
    'CODE2 CODE4', 'two of its codes were adopted');

my $told = 'this database is a copy of the one that was attached';
my $tables = <<'END';
SELECT code, sync_status, is_active, stripe_coupon_id, stripe_promotion_code_id
FROM promo_codes ORDER BY code
END

sub blocked_as_copy
{
    my ($server, $db, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await_query($server, $db, 'SELECT status, reason FROM stripe_sync_health', "down|$told",
        "$what: health says so");
    is($server->safe_psql($db, 'SELECT next FROM stripe_sync_health'),
        "SELECT stripe_sync_rebind('new'); or ('keep') if the original is gone (moved, pg_upgrade).",
        "$what: and what to do");
    return;
}

# --- dumped and restored beside the original ------------------------------------------------------

my $dump = PostgreSQL::Test::Utils::tempdir() . '/app.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('app') ], 'pg_dump');
my $mark = $sandbox->mark;
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $dump ],
    'pg_restore');
is($node->safe_psql('copy', $tables), $node->safe_psql('app', $tables), 'the rows are the same');
is($node->safe_psql('copy', <<'END'), '5', 'our triggers are restored');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zzzz\_stripe\_sync%'
END
is($node->safe_psql('copy', <<'END'), '5', 'and still go with the extension');
SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.classid = 'pg_trigger'::regclass AND d.deptype = 'x' AND e.extname = 'stripe_sync'
END
my $state = 'SELECT code, state, coupon_id, promotion_code_id FROM stripe_sync.promo_state ORDER BY 1';
is($node->safe_psql('copy', $state), $node->safe_psql('app', $state), 'the state is restored');
$node->restart;
await_worker($node, 'copy', 'the copy has a worker');
blocked_as_copy($node, 'copy', 'a restored dump');
$node->safe_psql('copy', "UPDATE promo_codes SET is_active = false WHERE code = 'CODE1'", @owner);
insert_codes($node, 'copy', 'COPIED');
my $push = row($node, 'copy', "SELECT * FROM stripe_sync_promo('CODE1')");
is("$push->{status} $push->{error}", "pending $told", 'stripe_sync_promo() says why nothing is sent');
like($node->safe_psql('copy', "SELECT status, detail FROM stripe_sync_check() WHERE item = 'writes'"),
    qr/^fail\|\Q$told\E/, 'stripe_sync_check() too');
insert_codes($node, 'app', 'ORIGINAL');
await_codes($node, 'app', 'the original goes on', 'ORIGINAL');
is(join(' ', map { $_->{params}{code} // () } $sandbox->writes($mark)), 'ORIGINAL',
    'all this time only the original wrote to Stripe');

# --- a copy beside the original, with the same key --------------------------------------------------

# What it took over from the original's rows that are the user's, or held, is not its own.
$node->safe_psql('postgres', 'CREATE DATABASE beside');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('beside'), $dump ],
    'restored once more');
$node->safe_psql('beside', <<'END');
ALTER TABLE promo_codes DISABLE TRIGGER USER;
UPDATE promo_codes SET sync_status = 'manual', is_active = false WHERE code = 'CODE2';
DELETE FROM promo_codes WHERE code = 'CODE3';
ALTER TABLE promo_codes ENABLE TRIGGER USER;
UPDATE stripe_sync.promo_state SET state = CASE code WHEN 'CODE2' THEN 'excluded' ELSE 'missing' END
WHERE code IN ('CODE2', 'CODE3');
END
my %originals = map { $_->{id} => 1 } map { $sandbox->objects($_) } 'promotion_codes', 'coupons';
$mark = $sandbox->mark;
$node->safe_psql('beside', "SELECT stripe_sync_start(), stripe_sync_rebind('new')");
$node->safe_psql('beside', "SELECT * FROM stripe_sync_resolve('CODE3', 'db')");
$node->safe_psql('beside', "UPDATE promo_codes SET sync_status = 'pending' WHERE code = 'CODE2'");
is($node->safe_psql('beside', "SELECT stripe_sync_wait('2 min')"), 't', 'a copy that is new, with the same key');
is(join(' ', grep { $originals{ (split '/', $_)[-1] } } map { $_->{path} } $sandbox->writes($mark)), '',
    'writes to none of the original\'s promotion codes');
is($node->safe_psql('beside', "SELECT code, sync_status FROM promo_codes WHERE code IN ('CODE2', 'CODE4') ORDER BY 1"),
    "CODE2|synced\nCODE4|error", 'nor takes over one that was adopted there');
like($node->safe_psql('beside', "SELECT sync_error FROM promo_codes WHERE code = 'CODE4'"),
    qr/belongs to the database that this one was copied from/, 'and says why');
$node->safe_psql('beside', 'SELECT stripe_sync_stop()');
await_query($node, 'beside', 'SELECT count(*) FROM stripe_sync.running_worker', '0', 'and is stopped');
$node->safe_psql('postgres', 'DROP DATABASE beside');

# --- a copy beside the original, in another account -----------------------------------------------

my $staging_key = 'sk_test_staging0123456789';
$sandbox->control('POST', 'keys', { key => $staging_key, account => 'acct_staging' });
my $staging = start_cluster(name => 'staging', sandbox => $sandbox, key => $staging_key, databases => ['other']);
$staging->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN');
$staging->safe_psql('postgres', 'CREATE DATABASE app');
$staging->command_ok([ 'pg_restore', '--exit-on-error', '-d', $staging->connstr('app'), $dump ],
    'restored in another cluster');
is($staging->safe_psql('app', 'SELECT status, reason FROM stripe_sync_health'), 'down|no worker runs',
    'where no worker runs');
$mark = $sandbox->mark;
$staging->safe_psql('app', 'SELECT stripe_sync_start()');
blocked_as_copy($staging, 'app', 'another cluster');
is(scalar $sandbox->requests(since => $mark), 0, 'nothing is asked before');
$staging->safe_psql('app', "SELECT stripe_sync_rebind('new')");
my %there;
await("rebind('new'): the codes are made in the account of the copy's key",
    sub {
        %there = map { $_->{code} => $_->{id} }
          $sandbox->objects('promotion_codes', account => 'acct_staging');
        return (keys %there == @codes, join ' ', sort keys %there);
    }, 5);
await_codes($staging, 'app', 'the rows are in step', @codes);
is($staging->safe_psql('app', $tables =~ s/, stripe_coupon_id//r),
    join("\n", map { "$_|synced|t|$there{$_}" } @codes), 'and the rows show that account\'s ids');
is(scalar(grep { $_->{active} } $sandbox->objects('promotion_codes')), 6,
    'the original\'s codes are as they were');
isnt($staging->safe_psql('app', 'SELECT id FROM stripe_sync.installation'),
    $node->safe_psql('app', 'SELECT id FROM stripe_sync.installation'), 'it is another installation');
is($staging->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');
$staging->stop;

# --- a standby ------------------------------------------------------------------------------------

$ENV{STRIPE_SECRET_KEY} = $KEY;
$node->backup('b');

# A restored backup begins a new timeline, too, as does a standby that nothing was streamed to.
$node->command_ok([ 'cp', '-R', $node->data_dir . '/pg_wal', $node->basedir . '/wal' ], 'the WAL is kept');
foreach my $signal ('recovery', 'standby')
{
    my $restored = PostgreSQL::Test::Cluster->new("restored_by_$signal");
    $restored->init_from_backup($node, 'b');
    $restored->append_conf('postgresql.conf', "restore_command = 'cp " . $node->basedir . "/wal/%f %p'");
    append_to_file($restored->data_dir . "/$signal.signal", '');
    $restored->start;
    $restored->promote if $signal eq 'standby';
    $restored->poll_query_until('app', 'SELECT NOT pg_is_in_recovery()') or die;
    isnt($restored->safe_psql('app', 'SELECT timeline FROM stripe_sync.here()'), '1', "$signal: a new timeline");
    $mark = $sandbox->mark;
    $restored->safe_psql('app', "UPDATE promo_codes SET is_active = false WHERE code = 'CODE1'", @owner);
    await_query($restored, 'app', 'SELECT status, reason FROM stripe_sync_health',
        'down|this database runs on another machine or in another directory', "$signal: health says so");
    is(scalar $sandbox->writes($mark), 0, "$signal: a restored backup writes nothing");
    $restored->stop('immediate');
}

# Restored in its place: what happened since the backup is not known there.
my $there = $node->data_dir;
$node->stop('fast');
rename $there, "$there.aside" or die $!;
$node->command_ok([ 'cp', '-R', $node->backup_dir . '/b', $there ], 'a backup is put in place');
chmod 0700, $there or die $!;
append_to_file("$there/postgresql.conf", "restore_command = 'cp " . $node->basedir . "/wal/%f %p'\n");
append_to_file("$there/recovery.signal", '');
$node->start;
$node->poll_query_until('app', 'SELECT NOT pg_is_in_recovery()') or die;
$mark = $sandbox->mark;
$node->safe_psql('app', "UPDATE promo_codes SET is_active = false WHERE code = 'CODE1'", @owner);
await_query($node, 'app', 'SELECT status, reason FROM stripe_sync_health',
    'down|this server was restored from a backup', 'in its place: health says so');
is(scalar $sandbox->writes($mark), 0, 'in its place: nothing is written');
$node->stop('immediate');
PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $there);
rename "$there.aside", $there or die $!;
$node->start;

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('app', 'SELECT count(*) FROM stripe_sync.running_worker'), '0',
    'a standby has no worker');
is($standby->safe_psql('app', 'SELECT count(*) FROM stripe_sync_promo_status'), '6', 'but can be looked at');
my $error = error_of($standby, 'app', 'SELECT stripe_sync_start()');
is($error->{sqlstate}, '25006', 'and nothing else');
$node->stop('fast');
$mark = $sandbox->mark;
$standby->promote;
await_worker($standby, 'app', 'promoted it has one');
insert_codes($standby, 'app', 'PROMOTED');
await_codes($standby, 'app', 'which serves', 'PROMOTED');
is(scalar $sandbox->writes($mark), 2, 'and sends nothing anew');
my $place = 'SELECT host, timeline FROM stripe_sync.installation';
is($standby->safe_psql('app', $place), $standby->safe_psql('app', 'SELECT host, timeline FROM stripe_sync.here()'),
    'it remembers where it is now');
$standby->restart;
insert_codes($standby, 'app', 'RESTARTED');
await_codes($standby, 'app', 'so that it serves after a restart, too', 'RESTARTED');

# --- the original is gone, the copy takes its place -----------------------------------------------

$standby->safe_psql('app', 'SELECT stripe_sync_stop()');
await_query($standby, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0',
    'the original is stopped');
$mark = $sandbox->mark;
$standby->safe_psql('copy', "SELECT stripe_sync_rebind('keep')");
await_codes($standby, 'copy', "rebind('keep'): what waited is sent", 'CODE1', 'COPIED');
is($standby->safe_psql('copy', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');
my @done = map { $_->{path} =~ s{/v1/}{}r } grep { $_->{status} == 200 } $sandbox->writes($mark);
is_deeply([ sort @done ],
    [ 'coupons', 'promotion_codes', 'promotion_codes/' . $sandbox->code('CODE1')->{id} ],
    'one code is switched off, the new one is made, and no more') or diag("@done");
is($sandbox->code('CODE1')->{active}, JSON::PP::false, 'off is off');

finish($standby);
