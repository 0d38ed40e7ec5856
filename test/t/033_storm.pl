# Several sessions change the same few codes at random while Stripe fails, the worker and the server
# die and Stripe forgets idempotency keys at random: no statement of the application fails, and in the
# end Stripe holds what the rows say.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
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

# One change of one code. What is inserted has the same terms always: changed ones are refused.
sub change
{
    my ($code) = @_;
    my $insert = insert_codes_sql($code);
    my @changes = (
        ("UPDATE promo_codes SET is_active = NOT is_active WHERE code = '$code'") x 5,
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

# Between rounds, when no session is in a transaction, while the worker is in the middle of its work.
sub disaster
{
    my ($kind) = @_;
    if ($kind eq 'shutdown')
    {
        $node->stop('immediate');
        $node->start;
    }
    elsif ($kind eq 'kill' || $kind eq 'terminate')
    {
        my $pid = try_query($node, 'app', 'SELECT pid FROM stripe_sync.running_worker');
        kill $kind eq 'kill' ? 'KILL' : 'TERM', $pid if $pid;
        await_worker($node, 'app', "after a $kind another worker serves", $pid) if $pid;
    }
    else
    {
        $sandbox->control('POST', 'clock', { advance => 25 * 3600 });
    }
    return;
}

sub sessions
{
    return map {
        $node->background_psql('app', extra_params => [ '-U', 'app_owner' ], on_error_stop => 0)
    } 1 .. 4;
}

my @sessions = sessions();
my @failed;
my %disasters;
foreach my $round (1 .. 25)
{
    misbehave() foreach 1 .. 2;
    if ($round % 5 == 0)
    {
        my $kind = ('shutdown', 'kill', 'terminate', 'clock')[ rand 4 ];
        $disasters{$kind}++;
        $_->quit foreach @sessions;
        disaster($kind);
        @sessions = sessions();
    }
    # All of them at once, then wait for each.
    foreach my $session (@sessions)
    {
        $session->{stdin} .= join '', map { transaction() } 1 .. 4;
        $session->{run}->pump_nb;
    }
    foreach my $session (@sessions)
    {
        $session->query('SELECT 1');
        push @failed, grep { /ERROR|WARNING|FATAL/ } split /\n/, $session->{stderr};
        $session->{stderr} = '';
    }
}
$_->quit foreach @sessions;
diag('disasters: ' . join ', ', map { "$_ $disasters{$_}" } sort keys %disasters);
# Two sessions may disagree under REPEATABLE READ whether we are there or not.
@failed = grep { !/could not serialize access|current transaction is aborted/ } @failed;
is(join("\n", @failed), '', 'no statement of the application failed');

$sandbox->clear_faults;
is($node->safe_psql('app', "SELECT stripe_sync_wait('120 s')"), 't',
    'the storm over, nothing is pending');
await_synced($node, 'app', 'nor in the rows');

# Rows against Stripe: a row that is on has one code that is on, its own; any other text has none.
my %rows;
foreach my $line (split /\n/, $node->safe_psql('app', <<'END'))
SELECT code, coalesce(sync_status, ''), is_active, coalesce(stripe_promotion_code_id, ''),
  coalesce(stripe_coupon_id, ''), description, coalesce(split_part(sync_error, E'\n', 1), '')
FROM promo_codes
END
{
    my ($code, @row) = split /\|/, $line, -1;
    $rows{$code} = \@row;
}
my %names = map { $_->{id} => $_->{name} } $sandbox->objects('coupons');
foreach my $code (@codes)
{
    my ($status, $active, $id, $coupon, $description, $error) = @{ $rows{$code} // [] };
    my $on = join ' ', map { $_->{id} } grep { $_->{active} } $sandbox->codes($code);
    my @wrong;
    push @wrong, "Stripe has on: $on" if $on ne (($active // 'f') eq 't' ? $id : '');
    push @wrong, "status $status: $error" if ($status // 'synced') ne 'synced';
    push @wrong, "in Stripe it is named $names{$coupon}, not $description"
      if $coupon && $names{$coupon} ne $description;
    is(join("\n", @wrong), '', "$code: Stripe holds what the row says") or story($code);
}
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
