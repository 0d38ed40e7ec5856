# Stripe misbehaves, is slow or is gone; the worker dies; a waiting call is cancelled. Writes of the
# application commit all the same, and every code arrives exactly once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app'], conf => 'stripe_sync.max_parallel = 16');
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');

sub app { return $node->safe_psql('app', $_[0], @owner) }

sub insert_sql
{
    return "INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES "
      . join ', ', map { "('$_', '$_', 'percentage', 10)" } @_;
}

sub insert { app(insert_sql(@_)); return }

sub synced
{
    my ($what, @codes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $list = join ', ', map { "'$_'" } @codes;
    await_query($node, 'app',
        "SELECT string_agg(concat_ws(' ', code, sync_status, sync_error), '; ') FROM promo_codes WHERE code IN ($list) AND sync_status IS DISTINCT FROM 'synced'",
        '', $what, 40);
    return;
}

# Exactly one coupon and one promotion code for each of these rows, both the row's and both on.
sub once
{
    my ($what, @codes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @coupons = $sandbox->objects('coupons');
    my @promotion_codes = $sandbox->objects('promotion_codes');
    my @wrong;
    foreach my $code (@codes)
    {
        my $row = row($node, 'app', "SELECT id, stripe_coupon_id, stripe_promotion_code_id FROM promo_codes WHERE code = '$code'");
        my $mark = "public.promo_codes/$row->{id}";
        my $coupon_ids = join ' ', map { $_->{id} } grep { ($_->{metadata}{stripe_sync_row} // '') eq $mark } @coupons;
        my $code_ids = join ' ', map { $_->{id} } grep { ($_->{metadata}{stripe_sync_row} // '') eq $mark && $_->{active} } @promotion_codes;
        push @wrong, "$code: coupons $coupon_ids, promotion codes $code_ids"
          if $coupon_ids ne ($row->{stripe_coupon_id} // 'none') || $code_ids ne ($row->{stripe_promotion_code_id} // 'none')
          || 1 != grep { $_->{code} eq $code } @promotion_codes;
    }
    is(join("\n", @wrong), '', $what);
    return;
}

# --- answers that fail, lie or get lost ---------------------------------------------------------------

my %faults = (
    'F500'      => [ 'status', status => 500 ],
    'F500TWICE' => [ 'status', status => 500, times => 2 ],
    'F503'      => [ 'status', status => 503 ],
    'FSTORED'   => [ 'status', status => 500, stored => \1 ],
    'FDONE'     => [ 'status', status => 500, execute => \1 ],
    'FDONESTORED' => [ 'status', status => 500, execute => \1, stored => \1 ],
    'FINFLIGHT' => ['409_in_flight'],
    'FLOCK'     => [ 'status', status => 429, headers => { 'Request-Id' => undef, 'Stripe-Should-Retry' => 'true' },
        body => { error => { type => 'invalid_request_error', code => 'lock_timeout' } } ],
    'FBEFORE'   => ['reset_before'],
    'FAFTER'    => ['reset_after'],
    'FTRUNCATE' => ['truncate'],
    'FJSON'     => ['invalid_json'],
    'FBIG'      => ['big_body'],
    'FREPLAY'   => ['idempotency_replay_mark'],
);
my %paths = (A => '/v1/coupons', B => '/v1/promotion_codes');
my @codes;
foreach my $name (sort keys %faults)
{
    my ($fault, %options) = @{ $faults{$name} };
    foreach my $which (sort keys %paths)
    {
        # the text must be in no other: FDONE is in FDONESTORED
        my $code = "$name-$which";
        push @codes, $code;
        $sandbox->fault($fault, %options, match => { method => 'POST', path => $paths{$which}, contains => $code });
    }
}
my $mark = $sandbox->mark;
insert(@codes);
synced(scalar(@codes) . ' codes arrive, one fault each on the way', @codes);
my @unused = grep { !$_->{hits} } @{ $sandbox->control('GET', 'faults')->{faults} };
is(scalar @unused, 0, 'and every fault was met');
once('each has one coupon and one promotion code', @codes);
is(app("SELECT count(*) FROM promo_codes WHERE sync_error IS NOT NULL"), '0', 'no error is left in the rows');

# The number of a write is kept until its outcome is known: the same request, the same key, unless
# the key's stored answer is a failure for ever.
my %keys;
push @{ $keys{"$_->{path} " . ($_->{params}{code} // $_->{params}{id})} }, $_->{idempotency_key}
  foreach $sandbox->writes($mark);
my @other_keys;
foreach my $request (sort keys %keys)
{
    my %different = map { $_ => 1 } @{ $keys{$request} };
    push @other_keys, $request if keys %different > 1 && $request !~ /FSTORED|FREPLAY/;
}
is(join("\n", @other_keys), '', 'a request is sent again under its own idempotency key');
my ($stored) = grep { m{coupons FSTORED-A} } keys %keys;
cmp_ok(scalar @{ $keys{$stored} }, '>=', 2, 'a stored failure is not replayed for ever');
$sandbox->clear_faults;

# --- Retry-After ----------------------------------------------------------------------------------

$sandbox->fault('status', status => 429, headers => { 'Retry-After' => '2' }, match => { method => 'POST', contains => 'LIMITED' });
insert('LIMITED');
await_query($node, 'app', "SELECT sync_status || ' ' || split_part(sync_error, E'\\n', 1) FROM promo_codes WHERE code = 'LIMITED'",
    'pending Stripe did not create coupon ' . $node->safe_psql('app', "SELECT in_flight #>> '{operation,params,0,1}' FROM stripe_sync.promo_state WHERE code = 'LIMITED'")
      . ' yet: it limits requests', 'while it waits the row is pending and says why', 2);
synced('a rate-limited code arrives', 'LIMITED');
my @tries = grep { ($_->{params}{id} // '') =~ /^LIMITED/ } $sandbox->writes;
is(scalar @tries, 2, 'by a second try');
cmp_ok($tries[1]{time} - $tries[0]{time}, '>=', 1.9, 'not before Retry-After has passed');
is($tries[0]{idempotency_key}, $tries[1]{idempotency_key}, 'under the same key');

# --- a stalled request ------------------------------------------------------------------------------

my $stall = $sandbox->fault('stall_before_headers', match => { method => 'POST', contains => 'STALLED' });
insert('STALLED');
await('a request stalls', sub { return ($sandbox->stalled == 1, $sandbox->stalled . ' stalled') });
my @others = map { "BESIDE-$_" } 1 .. 10;
my $began = time;
insert(@others);
synced('ten other codes go by', @others);
cmp_ok(time - $began, '<', 5, 'without waiting for it');
is(app("SELECT sync_status FROM promo_codes WHERE code = 'STALLED'"), 'pending', 'which is still pending');
is($node->safe_psql('app', "SELECT state FROM stripe_sync_promo_status WHERE code = 'STALLED'"), 'sending', 'sending');

# The application goes on with the very row.
$began = time;
app("UPDATE promo_codes SET description = 'changed meanwhile' WHERE code = 'STALLED'");
cmp_ok(time - $began, '<', 2, 'the application changes the stalled row without waiting');
$sandbox->control('POST', 'faults/release');
synced('let go, it arrives', 'STALLED');
once('once, as do the others', 'STALLED', @others);
is(($sandbox->code('STALLED'))[1]{name}, 'changed meanwhile', 'with what it says now');

# --- calls that wait ----------------------------------------------------------------------------------

$sandbox->fault('stall_before_headers', match => { method => 'POST', contains => 'WAITED' });
insert('WAITED');
foreach my $call ('stripe_sync_wait()', 'stripe_sync_promo()', "stripe_sync_promo('WAITED')")
{
    $began = time;
    error_is(error_of($node, 'app', "SET statement_timeout = '300ms'; SELECT * FROM $call"),
        { sqlstate => '57014', message => 'canceling statement due to statement timeout' },
        "$call ends at statement_timeout");
    cmp_ok(time - $began, '<', 5, 'at once');
}
is($node->safe_psql('app', "SELECT stripe_sync_wait('200 ms')"), 'f', 'stripe_sync_wait() ends at its own timeout: false');

my $waiting = $node->background_psql('app', on_error_stop => 0);
$waiting->query_until(qr/calling/, "\\echo calling\nSELECT * FROM stripe_sync_promo();\n");
await_query($node, 'app', "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT * FROM stripe_sync_promo%' AND state = 'active'", '1', 'a call waits');
is(app("UPDATE promo_codes SET notes = 'x' WHERE code = 'WAITED' RETURNING 1") , '1', 'it holds no lock of the row');
$node->safe_psql('app', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT * FROM stripe_sync_promo%' AND state = 'active'");
await_query($node, 'app', "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT * FROM stripe_sync_promo%' AND state = 'active'", '0', 'cancelled it ends');
like($waiting->query('SELECT 40 + 2'), qr/42/, 'and its session goes on');
$waiting->quit;
$sandbox->clear_faults;
synced('the code arrives all the same', 'WAITED');
once('once', 'WAITED');

# --- an answer that never comes -----------------------------------------------------------------------

$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.request_timeout = '500ms'");
$node->reload;
$sandbox->fault('stall_before_headers', execute => \1, match => { method => 'POST', path => $paths{$_}, contains => "NOANSWER-$_" }) foreach sort keys %paths;
$sandbox->fault('stall_in_body', match => { method => 'POST', path => $paths{$_}, contains => "HALFANSWER-$_" }) foreach sort keys %paths;
@codes = map { ("NOANSWER-$_", "HALFANSWER-$_") } sort keys %paths;
insert(@codes);
synced('answers that never come: the codes arrive', @codes);
once('once', @codes);
$sandbox->clear_faults;
$node->safe_psql('postgres', 'ALTER SYSTEM RESET stripe_sync.request_timeout');
$node->reload;

# --- nobody listens -----------------------------------------------------------------------------------

$sandbox->stop;
my @lost = map { "OUTAGE-$_" } 1 .. 40;
my $session = $node->background_psql('app', extra_params => [ '-U', 'app_owner' ]);
my $longest = 0;
foreach my $code (@lost)
{
    $began = time;
    $session->query_safe(insert_sql($code));
    $longest = time - $began if time - $began > $longest;
}
$session->quit;
cmp_ok($longest, '<', 1, sprintf 'during an outage no commit waits (longest of %d: %.0f ms)', scalar @lost, $longest * 1000);
await_query($node, 'app',
    "SELECT DISTINCT sqlstate || ' ' || substring(reason, '^Stripe could not be reached') FROM stripe_sync.promo_state WHERE state = 'retrying'",
    'SY007 Stripe could not be reached', 'rows that were tried say what is wrong');
is(app("SELECT count(*) FROM promo_codes WHERE code LIKE 'OUTAGE-%' AND sync_status = 'pending'"), '40', 'all are pending');
my $row = row($node, 'app', q(SELECT message, hint FROM stripe_sync_errors WHERE sqlstate = 'SY007' AND message LIKE 'Stripe could not be reached%' LIMIT 1));
like($row->{hint}, qr/stripe_sync_check\(\)/, 'the errors view says what to do');
$sandbox->start_again;
synced('when Stripe is back they arrive by themselves', @lost);
once('once', @lost);
is($sandbox->writes, 80, 'by two requests each');

# --- the worker dies ------------------------------------------------------------------------------------

my %done = (KILLED => undef, TERMINATED => undef);
foreach my $death (sort keys %done)
{
    foreach my $which (sort keys %paths)
    {
        # executed, but the answer stays away
        $sandbox->fault('stall_before_headers', execute => \1, match => { method => 'POST', path => $paths{$which}, contains => "$death-$which" });
    }
    @codes = map { "$death-$_" } sort keys %paths;
    insert(@codes);
    await("$death: two requests are under way", sub { return ($sandbox->stalled == 2, $sandbox->stalled) });
    my $pid = worker_pid($node, 'app');
    if ($death eq 'KILLED')
    {
        kill 'KILL', $pid;
    }
    else
    {
        $node->safe_psql('app', "SELECT pg_terminate_backend($pid)");
    }
    await_worker($node, 'app', "$death: another worker", $pid);
    app("UPDATE promo_codes SET is_active = false WHERE code = '$death-A'");
    $sandbox->clear_faults;
    synced("$death: the codes arrive", @codes);
    once("$death: once", "$death-B");
    is($sandbox->codes("$death-A"), 1, "$death: once, also the one switched off meanwhile");
    is(scalar(grep { $_->{active} } $sandbox->codes("$death-A")), 0, "$death: which is off");
}
is($node->safe_psql('app', 'SELECT count(*) FROM stripe_sync.promo_state WHERE lease IS NOT NULL'), '0', 'no lease is left');
is($node->safe_psql('app', 'SELECT status FROM stripe_sync_health'), 'ok', 'health: ok');

finish($node);
