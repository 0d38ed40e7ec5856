# Another database that takes itself for this one, where nothing here can tell: a machine or a backup
# restored with identifier, host and path. Stripe tells: numbers that were used before, and events of
# our objects under keys that we never gave out.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }
app('DELETE FROM promo_codes');
attach($node, 'app');

my $rival = 'another database writes to Stripe as this installation';
my $next = "SELECT stripe_sync_rebind('new'); in the copy, or ('keep') once no other is left.";
my @events = (method => 'GET', path => '/v1/events');
my $number = 0;

# The server's files as they were at snapshot(), in their place again.
sub snapshot
{
    $node->stop('fast');
    $node->backup_fs_cold('snapshot' . ++$number);
    $node->start;
    return;
}

sub restore
{
    $node->stop('fast');
    rename $node->data_dir, $node->data_dir . ".later$number" or die "rename: $!";
    PostgreSQL::Test::RecursiveCopy::copypath($node->backup_dir . "/snapshot$number", $node->data_dir);
    chmod 0700, $node->data_dir or die "chmod: $!";
    $node->start;
    return;
}

sub switch_code
{
    my ($code, $active) = @_;
    app("UPDATE promo_codes SET is_active = $active WHERE code = '$code'");
    return;
}

sub pauses
{
    my ($what, $shown) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await_query($node, 'app', 'SELECT status, reason, blocked_until, next FROM stripe_sync_health', "down|$rival||$next",
        "$what: health says so, and what to type");
    like(sql('SELECT blocked_detail FROM stripe_sync.worker'), $shown, "$what: the detail says what showed it");
    $node->restart;
    await_query($node, 'app', 'SELECT reason FROM stripe_sync_health', $rival, "$what: restarted, it stays so");
    my $mark = $sandbox->mark;
    insert_codes($node, 'app', "WAITS$number");
    is(sql("SELECT status, error FROM stripe_sync_promo('WAITS$number')"), "pending|$rival", "$what: stripe_sync_promo() says so");
    sql('SELECT stripe_sync_resume()');
    sql('SELECT count(*) FROM stripe_sync_promo()');
    is(scalar $sandbox->requests(since => $mark), 0, "$what: nothing is asked of Stripe, nor after stripe_sync_resume()");
    return;
}

# --- all is well ----------------------------------------------------------------------------------

insert_codes($node, 'app', map { "CODE$_" } 1 .. 5);
await_codes($node, 'app', 'the original is in step', map { "CODE$_" } 1 .. 5);
is(scalar $sandbox->requests(@events), 1, 'events are read once, before the first write');
my ($write) = $sandbox->writes;
my ($read) = $sandbox->requests(@events);
cmp_ok($read->{seq}, '<', $write->{seq}, 'and not after it');
sql("ALTER SYSTEM SET stripe_sync.poll_interval = '1s'");
$node->reload;
await('more is read while more is written', sub {
    switch_code('CODE5', 'NOT is_active');
    my $seen = $sandbox->requests(@events);
    return ($seen >= 3, "$seen times");
});
is(sql('SELECT stripe_sync_wait()'), 't', '(all is sent)');
is(sql('SELECT newest_event IS NOT NULL FROM stripe_sync.installation'), 't', 'the place is remembered');

# What people do in the dashboard, and other programs, is no rival.
my $code2 = $sandbox->code('CODE2');
$sandbox->api('POST', "/v1/promotion_codes/$code2->{id}", { 'metadata[note]' => 'by hand' });
$sandbox->api('POST', "/v1/coupons/$code2->{promotion}{coupon}", { name => 'By hand' });
my $before = $sandbox->requests(@events);
await('those events are read', sub {
    switch_code('CODE5', 'NOT is_active');
    my $seen = $sandbox->requests(@events);
    return ($seen >= $before + 2, "$seen times");
});
is(sql('SELECT stripe_sync_wait()'), 't', 'and all goes on');
is(sql('SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

# --- an old state of the server in its place: its events show it ----------------------------------

snapshot();
my @later = map { "LATER$_" } 1 .. 70;
insert_codes($node, 'app', @later);
await_codes($node, 'app', 'the original goes on, for more than a page of events', @later);
$sandbox->api('POST', "/v1/promotion_codes/$code2->{id}", { 'metadata[note]' => 'by hand again' });
restore();
is(sql('SELECT host = (SELECT h.host FROM stripe_sync.here() h) FROM stripe_sync.installation'), 't',
    '(restored where it was, it can not tell by itself)');
my $mark = $sandbox->mark;
switch_code('CODE2', 'false');
pauses('restored, with events', qr/^\S+ was written to under idempotency key stripe_sync-\d+-[0-9a-f]{64} \(event evt_\w+\), which is none of this database's\.$/);
is(scalar $sandbox->writes($mark), 0, 'restored, with events: nothing was written');
sql("SELECT stripe_sync_rebind('keep')");
await_codes($node, 'app', "rebind('keep'): it goes on", 'CODE2', 'WAITS1');
is($sandbox->code('CODE2')->{active}, JSON::PP::false, 'what was switched off is off');
await('what the other wrote is looked at, and is no rival any more', sub {
    switch_code('CODE5', 'NOT is_active');
    my $seen = $sandbox->requests(@events, since => $mark);
    return ($seen >= 4, "$seen times");
});
is(sql('SELECT stripe_sync_wait()'), 't', '(all is sent)');
is(sql('SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

# --- where events may not be read -----------------------------------------------------------------

$sandbox->control('POST', 'keys', { key => $KEY, forbid => ['GET /v1/events'] });
like(sql("SELECT status, detail, fix FROM stripe_sync_check() WHERE item = 'read events'"),
    qr/^warn\|Stripe refused .*rak_event_read.* noticed late, or not at all\.\|Give the restricted key the permission rak_event_read/,
    'without the right to read events: a warning');
is(sql("SELECT count(*) FROM stripe_sync_check() WHERE status = 'fail'"), '0', 'and no failure');
snapshot();
switch_code('CODE3', 'false');
await_codes($node, 'app', 'it writes', 'CODE3');
restore();
$mark = $sandbox->mark;
switch_code('CODE3', 'false');
pauses('restored, the same request', qr/^Idempotency key stripe_sync-\d+-\w+, new here, had been used before, to switch off .* \(request req_\w+\)\.$/);
is_deeply([ map { $_->{replayed} } $sandbox->writes($mark) ], [ JSON::PP::true ], 'restored, the same request: one was sent, and not done again');
sql("SELECT stripe_sync_rebind('keep')");
await_codes($node, 'app', "rebind('keep'): it goes on", 'CODE3', 'WAITS2');
pushed_once($node, 'app', $sandbox, 'without doing anything twice', 'CODE1', 'CODE4');

snapshot();
switch_code('CODE4', 'false');
await_codes($node, 'app', 'it writes', 'CODE4');
restore();
$mark = $sandbox->mark;
insert_codes($node, 'app', 'OTHER');
pauses('restored, another request', qr/^Idempotency key stripe_sync-\d+-\w+, new here, had been used before, to create coupon OTHER-\w+ \(request req_\w+\)\.$/);
is_deeply([ map { $_->{status} } $sandbox->writes($mark) ], [400], 'restored, another request: one was sent, and refused');
sql("SELECT stripe_sync_rebind('new')");
await_codes($node, 'app', "rebind('new'): what is new is pushed", 'OTHER');

# --- events that can't be had hold up nothing ------------------------------------------------------

$sandbox->control('POST', 'keys', { key => $KEY, forbid => [] });
foreach my $trouble ([ 'status', status => 500 ], ['invalid_json'], ['stall_before_headers'])
{
    my $fault = $sandbox->fault(@$trouble, match => { path => '/v1/events' });
    await("events: $trouble->[0]", sub {
        switch_code('OTHER', 'NOT is_active');
        return ($sandbox->hits($fault), 'not met');
    });
    is(sql('SELECT stripe_sync_wait()'), 't', "events: $trouble->[0]: writes go on");
    $sandbox->clear_faults;
}

# Stripe keeps events for thirty days.
$sandbox->control('POST', 'clock', { advance => 31 * 24 * 3600 });
$mark = $sandbox->mark;
await('an event that Stripe has forgotten', sub {
    switch_code('OTHER', 'NOT is_active');
    my @statuses = map { $_->{status} } $sandbox->requests(@events, since => $mark);
    return (scalar("@statuses" =~ /\b400 200\b/), "@statuses");
});
is(sql('SELECT stripe_sync_wait()'), 't', 'is no place to go on from: the newest are read');
is(sql('SELECT count(*) FROM stripe_sync.worker WHERE blocked_since IS NOT NULL'), '0', 'and all goes on');

finish($node);
