# The extension and its worker come and go: created, dropped, rolled back, with and without preload,
# detached and attached again. The user's table stays whole throughout, and its codes are taken up
# again without a second one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, preload => 0);
my @owner = (extra_params => [ '-U', 'app_owner' ]);

sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }

my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'stripe_sync worker'";

sub no_worker
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await_query($node, 'postgres', $workers, '0', $what);
    return;
}

# How many triggers of ours and of theirs the table has.
sub triggers
{
    return sql(<<'END');
SELECT count(*) FILTER (WHERE tgname LIKE 'zzzz\_stripe\_sync%') || ' of ours, '
  || count(*) FILTER (WHERE tgname NOT LIKE 'zzzz\_stripe\_sync%') || ' of theirs'
FROM pg_trigger WHERE tgrelid = 'promo_codes'::regclass AND NOT tgisinternal
END
}

# What the rows show of us.
sub shown
{
    return sql(<<'END');
SELECT string_agg(concat_ws(' ', code, sync_status, stripe_coupon_id, stripe_promotion_code_id,
  is_active, synced_at IS NOT NULL), ', ' ORDER BY code) FROM promo_codes
END
}

# --- created --------------------------------------------------------------------------------------

create_application($node, 'app');
app("DELETE FROM promo_codes WHERE discount_type = 'custom_price'");
sql('DROP EXTENSION stripe_sync');
no_worker('dropped before use: no worker');

my $create_and_attach = <<'END' . insert_codes_sql('WITHIN') . ';';
CREATE EXTENSION stripe_sync;
SELECT count(*) FROM stripe_sync_attach('promo_codes', duration => 'once');
END
sql("BEGIN; $create_and_attach ROLLBACK");
no_worker('created, attached and rolled back: no worker stays');
is(triggers(), '0 of ours, 3 of theirs', 'nor a trigger but theirs');
is(scalar $sandbox->requests, 0, 'and nothing was sent');
sql("BEGIN; $create_and_attach COMMIT");
await_codes($node, 'app', 'created, attached and written in one transaction', 'WITHIN');
await_synced($node, 'app', 'its earlier rows are pushed too');
my $worker = await_worker($node, 'app');

# --- dropped, and rolled back ---------------------------------------------------------------------

my $session = $node->background_psql('app');
$session->query_safe('BEGIN; DROP EXTENSION stripe_sync;');
$session->query_safe(insert_codes_sql('MEANWHILE'));
# makes the worker look at what is dropped
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
$session->query_safe('ROLLBACK;');
$session->quit;
is(triggers(), '5 of ours, 3 of theirs', 'dropped and rolled back: our triggers are there again');
is(statuses($node, 'app', "code = 'MEANWHILE'"), '', 'as is everything else');
insert_codes($node, 'app', 'AFTER-ROLLBACK');
await_codes($node, 'app', 'and the worker serves', 'AFTER-ROLLBACK');
is(worker_pid($node, 'app'), $worker, 'the same one');

# --- detached -------------------------------------------------------------------------------------

my $before = shown();
my $mark = $sandbox->mark;
sql('GRANT EXECUTE ON FUNCTION stripe_sync_attach, stripe_sync_detach TO app_owner');
app("SELECT stripe_sync_detach('promo_codes')");
is(triggers(), '0 of ours, 3 of theirs', 'detached: our triggers are gone, theirs are not');
is(sql('SELECT count(*) FROM stripe_sync.promo_state'), '0', 'and so is our state');
is(shown(), $before, 'the columns keep what they show');
app("UPDATE promo_codes SET description = 'while detached' WHERE code = 'WITHIN'");
insert_codes($node, 'app', 'UNSEEN');
is(sql("SELECT stripe_sync_wait('5 s')"), 't', 'nothing is pending');
is(scalar $sandbox->requests(since => $mark), 0, 'what is written now is not sent');
app("DELETE FROM promo_codes WHERE code = 'UNSEEN'");
app("UPDATE promo_codes SET description = 'WITHIN' WHERE code = 'WITHIN'");
$mark = $sandbox->mark;
attach($node, 'app');
await_synced($node, 'app', 'attached again: nothing is pending');
is(shown(), $before, 'and all is in step, with the ids it had');
is(scalar $sandbox->writes($mark), 0, 'and not one write to Stripe')
  or diag(join "\n", $sandbox->request_lines(since => $mark));

# --- dropped for good, and back -------------------------------------------------------------------

sql('DROP EXTENSION stripe_sync');
is(triggers(), '0 of ours, 3 of theirs', 'dropped: our triggers are gone, theirs are not');
is(shown(), $before, 'the columns keep what they show');
insert_codes($node, 'app', 'LONELY');
is(statuses($node, 'app', "code = 'LONELY'"), 'LONELY pending', 'the application writes as ever');
is(sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'stripe_sync'"), '0',
    'nothing of ours is left');
app("DELETE FROM promo_codes WHERE code = 'LONELY'");

$mark = $sandbox->mark;
sql('CREATE EXTENSION stripe_sync');
sql("SELECT count(*) FROM stripe_sync_attach('promo_codes', currency => 'usd', duration => 'once')");
await_synced($node, 'app', 'created again and attached: nothing is pending');
is(shown(), $before, "the rows' own codes are adopted");
is(scalar(grep { $_->{path} =~ m{^/v1/(coupons|promotion_codes)$} } $sandbox->writes($mark)), 0,
    'and none is made');

# --- a restart without preload --------------------------------------------------------------------

$node->restart;
is(sql('SELECT status, reason, next FROM stripe_sync_health'),
    'down|no worker runs|SELECT stripe_sync_start();', 'restarted without preload: health says so');
insert_codes($node, 'app', 'UNSERVED');
is(statuses($node, 'app', "code = 'UNSERVED'"), 'UNSERVED pending', 'a code waits');
is(sql("SELECT promo_code, action, status FROM stripe_sync_promo('UNSERVED')"),
    'UNSERVED|created|synced', 'stripe_sync_promo() starts a worker and waits for it');
insert_codes($node, 'app', 'SERVED');
await_codes($node, 'app', 'which stays', 'SERVED');

# --- preloaded ------------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'stripe_sync'
END
$node->safe_psql('postgres', 'CREATE DATABASE empty');
$node->restart;
await_worker($node, 'app', 'preloaded: the worker is there after a restart');
insert_codes($node, 'app', 'PRELOADED');
await_codes($node, 'app', 'and serves', 'PRELOADED');
await_query($node, 'postgres', $workers, '1', 'a database without the extension keeps no worker');

sql('SELECT stripe_sync_stop()');
no_worker('stopped');
insert_codes($node, 'app', 'STOPPED');
$node->restart;
no_worker('stopped also over a restart');
is(statuses($node, 'app', "code = 'STOPPED'"), 'STOPPED pending', 'changes are collected');
sql('BEGIN; SELECT stripe_sync_start(); ROLLBACK');
no_worker('a start that is rolled back starts nothing');
sql('SELECT stripe_sync_start()');
await_codes($node, 'app', 'started, it catches up', 'STOPPED');
sql('SELECT stripe_sync_start()');
await_query($node, 'postgres', $workers, '1', 'started twice there is one');

# --- settings -------------------------------------------------------------------------------------

my $elsewhere = StripeSync::Sandbox->start;
$node->append_conf('postgresql.conf', "stripe_sync.api_base = '" . $elsewhere->url . "'");
$node->reload;
await('a reload takes the worker to another address',
    sub {
        insert_codes($node, 'app', 'RELOAD-' . int(rand 1e9));
        my $requests = $elsewhere->requests;
        return ($requests, "$requests requests");
    });
foreach my $setting ('api_base', 'api_key_file', 'vault_api_key', 'max_parallel', 'rate_limit')
{
    my $error = error_of($node, 'app', "SET stripe_sync.$setting = '1'", '-U', 'app_owner');
    is($error->{sqlstate}, '55P02', "stripe_sync.$setting is not a session's to set");
}

finish($node);
