# Several sessions change the same few codes at random, their terms too, while Stripe fails, the worker
# and the server die and Stripe forgets idempotency keys at random: no statement of the application
# fails, and in the end Stripe holds what the rows say, and nothing twice.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(shuffle);
use StripeSync;
use StripeSync::Offer qw(other_terms rows_of);
use StripeSync::Sandbox;
use Test::More;

my $seed = $ENV{STRIPE_SYNC_STORM_SEED} // time;
diag("STRIPE_SYNC_STORM_SEED=$seed");
srand $seed;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app'],
    conf => "stripe_sync.max_parallel = 8\nstripe_sync.request_timeout = '1s'");
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', <<'END', @owner);
DELETE FROM promo_codes;
-- makes sessions of the application wait for each other
DROP TRIGGER refresh_promo_code_stats ON promo_codes;
END
attach($node, 'app');

my @codes = map { sprintf 'STORM-%02d', $_ } 1 .. 12;

# One change of one code.
sub change
{
    my ($code) = @_;
    my $insert = insert_various_sql($code);
    my $value = (5, 7.5, 20, 33.33)[ rand 4 ];
    my $uses = ('NULL', 10, 500)[ rand 3 ];
    my @changes = (
        ("UPDATE promo_codes SET is_active = NOT is_active WHERE code = '$code'") x 5,
        ("UPDATE promo_codes SET discount_value = $value WHERE code = '$code'") x 2,
        "UPDATE promo_codes SET max_uses = $uses WHERE code = '$code'",
        "UPDATE promo_codes SET discount_type = 'fixed', discount_value = $value, max_uses = $uses WHERE code = '$code'",
        "UPDATE promo_codes SET description = 'text " . int(rand 1000) . "' WHERE code = '$code'",
        "UPDATE promo_codes SET notes = 'touched' WHERE code = '$code'",
        "UPDATE promo_codes SET sync_status = 'pending' WHERE code = '$code'",
        "UPDATE promo_codes SET id = gen_random_uuid() WHERE code = '$code'",
        "DELETE FROM promo_codes WHERE code = '$code'",
        ("$insert ON CONFLICT (code) DO NOTHING") x 2,
        "DELETE FROM promo_codes WHERE code = '$code'; $insert ON CONFLICT (code) DO NOTHING",
        "$insert ON CONFLICT (code) DO UPDATE SET is_active = true",
    );
    return $changes[ rand @changes ] . ';';
}

# A session's transactions: one or two codes in their order, so that sessions of the application
# can't deadlock among themselves.
sub transaction
{
    my ($one, $two) = sort { $a <=> $b } map { int rand @codes } 1 .. 2;
    my @statements = map { change($codes[$_]) } $one == $two ? $one : ($one, $two);
    my $end = rand() < 0.1 ? 'ROLLBACK;' : 'COMMIT;';
    my $pause = rand() < 0.2 ? 'SELECT pg_sleep(0.05);' : '';
    my $level = rand() < 0.1 ? 'ISOLATION LEVEL REPEATABLE READ' : '';
    return "BEGIN $level; @statements $pause $end\n";
}

sub misbehave
{
    my @faults = (
        [ 'status', status => 500 ],
        [ 'status', status => 500, execute => \1 ],
        [ 'status', status => 500, stored => \1 ],
        [ 'status', status => 429, headers => { 'Retry-After' => '1' } ],
        ['reset_before'], ['reset_after'], ['truncate'],
        [ 'delay', seconds => 0.3 ],
        [ 'stall_before_headers', seconds => 3, execute => \1 ]);
    my ($fault, %options) = @{ $faults[ rand @faults ] };
    my $code = $codes[ rand @codes ];
    my %match = (method => 'POST', rand() < 0.5 ? (contains => $code) : ());
    $sandbox->fault($fault, %options, match => \%match);
    return;
}

# Any session may be in a transaction, and the worker in the middle of its work.
sub disaster
{
    my ($kind) = @_;
    if ($kind eq 'shutdown')
    {
        $node->stop('immediate');
        $node->start;
    }
    elsif ($kind eq 'clock')
    {
        $sandbox->control('POST', 'clock', { advance => 25 * 3600 });
    }
    else
    {
        my $pid = await_worker($node, 'app', "there is a worker to $kind") or die;
        kill $kind eq 'kill' ? 'KILL' : 'TERM', $pid;
        await_worker($node, 'app', "after a $kind another worker serves", $pid);
    }
    return;
}

my @sessions;

sub begin_sessions
{
    @sessions = map {
        $node->background_psql('app', extra_params => [ '-U', 'app_owner' ], on_error_stop => 0)
    } 1 .. 4;
    return;
}

# What the sessions were told since the last call. `lost`: the server ended them, maybe.
my @failed;

sub listen_to_sessions
{
    my ($lost) = @_;
    foreach my $session (@sessions)
    {
        eval { $session->query('SELECT 1'); 1 } or $lost or die $@;
        push @failed, grep { /ERROR|WARNING|FATAL/ } split /\n/, $session->{stderr};
        $session->{stderr} = '';
    }
    return unless $lost;
    # psql leaves a server that has ended it
    eval { $_->quit } foreach @sessions;
    begin_sessions();
    return;
}

# Each kind in the midst of a round and between two, in any order.
my @kinds = qw(shutdown kill terminate clock);
my @disasters = shuffle map { ( [ $_, 'in a round' ], [ $_, 'after one' ] ) } @kinds;
my %came;
begin_sessions();
foreach my $round (1 .. 24)
{
    my ($kind, $when) = $round % 3 == 0 ? @{ $disasters[ $round / 3 - 1 ] } : ('', '');
    my $lost = $kind eq 'shutdown' || $kind eq 'kill';
    misbehave() foreach 1 .. 2;
    # All of them at once, then wait for each.
    my $mark = $sandbox->mark;
    foreach my $session (@sessions)
    {
        $session->{stdin} .= join '', map { transaction() } 1 .. 4;
        $session->{run}->pump_nb;
    }
    if ($when eq 'in a round')
    {
        await("$kind in round $round: the worker is at its work",
            sub { my $sent = $sandbox->requests(since => $mark); return ($sent > 0, $sent) });
        disaster($kind);
    }
    listen_to_sessions($lost && $when eq 'in a round');
    if ($when eq 'after one')
    {
        disaster($kind);
        listen_to_sessions($lost);
    }
    $came{$kind}++ if $kind;
}
$_->quit foreach @sessions;
is_deeply(\%came, { map { $_ => 2 } @kinds }, 'each kind of disaster came in a round and after one');
# Two sessions may disagree under REPEATABLE READ whether we are there or not; a server that dies says so.
@failed = grep { !/could not serialize access|current transaction is aborted|^(?:psql:\S+: )?(?:WARNING|FATAL): +terminating connection/ } @failed;
is(join("\n", @failed), '', 'no statement of the application failed');

$sandbox->clear_faults;
# Rows against Stripe: a row that is on has one code that is on, its own, with its terms; any other text
# has none.
sub as_the_rows_say
{
    my ($what) = @_;
    is($node->safe_psql('app', "SELECT stripe_sync_wait('120 s')"), 't', "$what: nothing is pending");
    await_synced($node, 'app', "$what: nor in the rows");
    my $rows = rows_of($node, 'app', @codes);
    my %coupons = map { $_->{id} => $_ } $sandbox->objects('coupons');
    my %history = map { $_ => 1 } split /\n/,
      $node->safe_psql('app', 'SELECT promotion_code_id FROM stripe.promo_history');
    foreach my $code (@codes)
    {
        my $row = $rows->{$code};
        my @there = $sandbox->codes($code);
        my @on = grep { $_->{active} } @there;
        my $on = join ' ', map { $_->{id} } @on;
        my @wrong;
        push @wrong, "Stripe has on: $on" if $on ne ($row && $row->{is_active} ? $row->{stripe_promotion_code_id} // 'none' : '');
        push @wrong, "status $row->{sync_status}: " . ($row->{sync_error} // '') if $row && $row->{sync_status} ne 'synced';
        push @wrong, map { other_terms($row, $_, $coupons{ $row->{stripe_coupon_id} }) } @on if $row && !@wrong;
        push @wrong, map { "the history has not $_" } grep { !$history{$_} } map { $_->{id} } @there;
        is(join("\n", @wrong), '', "$what: $code: Stripe holds what the row says") or story($code);
    }
    return;
}
as_the_rows_say('the storm over');
$node->safe_psql('app', 'UPDATE promo_codes SET is_active = true', @owner);
as_the_rows_say('all switched on');

# Nothing is there twice, nor left over without a reason: what a row got next had other terms.
sub terms
{
    my ($coupon, $code) = @_;
    return join ' ', map { $_ // '-' } @$coupon{qw(percent_off amount_off currency duration duration_in_months)},
      $code ? @$code{qw(max_redemptions expires_at)} : ();
}
my (%before, @twice);
my %coupons = map { $_->{id} => $_ } $sandbox->objects('coupons');
foreach my $object (reverse($sandbox->objects('coupons')), reverse($sandbox->objects('promotion_codes')))
{
    my $of = "$object->{object} of $object->{metadata}{stripe_sync_row}";
    my $terms = $object->{object} eq 'coupon' ? terms($object) : terms($coupons{ $object->{promotion}{coupon} }, $object);
    push @twice, "$of: $object->{id}: $terms" if ($before{$of} // '') eq $terms;
    $before{$of} = $terms;
}
is(join("\n", @twice), '', 'nothing was made twice');
my %sold = map { $_->{promotion}{coupon} => 1 } $sandbox->objects('promotion_codes');
diag(sprintf '%d coupons, of which %d never got a code', scalar keys %coupons, scalar grep { !$sold{$_} } keys %coupons);
is($node->safe_psql('app', <<'END'), '0', 'no lease and no open operation is left') or story('');
SELECT count(*) FROM stripe_sync.promo_state WHERE lease IS NOT NULL OR in_flight IS NOT NULL
END

# What happened to a code.
sub story
{
    my ($code) = @_;
    diag($node->safe_psql('app', <<"END"));
SELECT to_jsonb(s) - 'observed' - 'settled'
FROM stripe_sync.promo_state s WHERE code = '$code' OR '$code' = '' AND in_flight IS NOT NULL
END
    foreach my $request ($sandbox->requests)
    {
        my $about = join ' ', map { "$_=$request->{params}{$_}" } sort keys %{ $request->{params} };
        my @ids = map { $_->{id} } $sandbox->codes($code);
        next unless grep { index("$request->{path} $about", $_) >= 0 } $code || (), @ids;
        diag(sprintf '%.3f %s %s %s %s %s', $request->{time}, $request->{method}, $request->{path},
            $request->{status} // '-', $request->{fault} // '', $about);
    }
    return;
}

finish($node);
