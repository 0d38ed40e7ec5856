# The worker or the whole server dies, or the worker meets an error, at each point between claiming a
# row and having its outcome stored: nothing is lost, nothing is done twice. Needs a build with fault
# points (TESTING=1).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Offer qw(other_terms rows_of);
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');
my $fault = $node->data_dir . '/stripe_sync.fault';

sub fault_at
{
    append_to_file("$fault.new", "$_[0]\n");
    rename "$fault.new", $fault or die "$fault: $!";
    return;
}

# Starts a server that shut itself down at once.
sub start_again
{
    my $pid_file = $node->data_dir . '/postmaster.pid';
    return if -e $pid_file && kill 0, (split /\n/, slurp_file($pid_file))[0];
    $node->{_pid} = undef;
    $node->start;
    return;
}

# A statement while the server may be recovering, or down.
sub patiently
{
    my ($sql) = @_;
    my $deadline = time + 120;
    while (time < $deadline)
    {
        my $out = try_query($node, 'app', $sql, @owner);
        return $out if defined $out;
        start_again();
        select undef, undef, undef, 0.02;
    }
    die "the server does not come back for: $sql";
}

fault_at('claimed 0 error');
insert_various($node, 'app', 'PROBE');
$node->poll_query_until('app', "SELECT sync_status = 'synced' FROM promo_codes")
  or BAIL_OUT('no code is pushed');
die 'built without fault points: make TESTING=1' if -e $fault;

# Each point that a push of so many writes passes, with each of the actions: those of an operation are
# passed once for each, "claim" once.
sub cases
{
    my ($writes, @actions) = @_;
    my @points = map { [ $_, 0 ] } 'row', 'claim', 'claimed';
    push @points, map { my $point = $_; map { [ $point, $_ ] } 0 .. $writes - 1 } 'sent', 'answered', 'save', 'saved';
    return map { my $action = $_; map { [ @$_, $action ] } @points } @actions;
}

# Does it to a code, which meets that fault and is in step afterwards.
sub meets
{
    my ($what, $code, $do, $point, $skip, $action) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $mistake = $action eq 'error' || $action eq 'exception';
    my $worker = $mistake ? worker_pid($node, 'app') : '';
    fault_at("$point $skip $action");
    # its own outcome may get lost
    patiently($do);
    await("$what: $action at $point after $skip",
        sub {
            my $seen = patiently("SELECT sync_status FROM promo_codes WHERE code = '$code'");
            # after an error it rests for a while; not when somebody calls
            try_query($node, 'app', 'SELECT * FROM stripe_sync_promo()') if $mistake;
            return ($seen eq 'synced' && !-e $fault, $seen . (-e $fault ? ', the fault not met' : ''));
        });
    unlink $fault;
    is(worker_pid($node, 'app'), $worker, 'and no process ended') if $mistake;
    return;
}

my @all = ('kill', 'shutdown', 'error', 'exception');
my @pushed;
foreach my $case (cases(2, @all))
{
    my ($point, $skip, $action) = @$case;
    my $code = uc "$action-$point-$skip";
    meets('pushed', $code, insert_various_sql($code) . ' ON CONFLICT (code) DO NOTHING', @$case);
    push @pushed, $code;
}
pushed_once($node, 'app', $sandbox, 'each code has one coupon and one promotion code', @pushed);

# Switching off, one request.
foreach my $case (cases(1, 'kill', 'shutdown'))
{
    my ($point, $skip, $action) = @$case;
    my $code = uc "$action-$point-0";
    my $mark = $sandbox->mark;
    meets('switched off', $code, "UPDATE promo_codes SET is_active = false WHERE code = '$code'", @$case);
    is(($sandbox->codes($code))[0]{active}, JSON::PP::false, 'off is off');
    my @executed = grep { ($_->{status} // 0) == 200 && !$_->{replayed} } $sandbox->writes($mark);
    is(scalar @executed, 1, 'by one execution')
      or diag(join "\n", $sandbox->request_lines(since => $mark));
}

# Other terms, three requests: a coupon, the old code switched off, the new one made, with what the old
# one left.
my @replaced = cases(3, 'kill', 'shutdown');
my @codes = map { uc "new-$_->[2]-$_->[0]-$_->[1]" } @replaced;
insert_codes($node, 'app', @codes);
await_codes($node, 'app', 'codes to be replaced', @codes);
my %old = map { $_ => ($sandbox->codes($_))[0]{id} } @codes;
$sandbox->control('POST', 'redeem', { promotion_code => $_, times => 3 }) foreach values %old;
foreach my $i (0 .. $#codes)
{
    my ($code, $old) = ($codes[$i], $old{ $codes[$i] });
    meets('replaced', $code, "UPDATE promo_codes SET discount_type = 'fixed', discount_value = 7.77, max_uses = 10 WHERE code = '$code'",
        @{ $replaced[$i] });
    my $row = rows_of($node, 'app', $code)->{$code};
    my $new = $row->{stripe_promotion_code_id};
    is($node->safe_psql('app', <<"END"), "1|$old|10|3|t|t\n2|$new||0|f|f", 'the history has both');
SELECT revision, promotion_code_id, terms #>> '{coupon,percent_off}', times_redeemed, replaced_at IS NOT NULL, why_replaced IS NOT NULL
FROM stripe.promo_history WHERE promo_table = 'public.promo_codes' AND key = '$row->{id}' ORDER BY revision
END
    my @there = $sandbox->codes($code);
    my @coupons = grep { $_->{metadata}{stripe_sync_row} eq "public.promo_codes/$row->{id}" } $sandbox->objects('coupons');
    is(join(', ', scalar @coupons, map { $_->{id} . ($_->{active} ? ' on' : ' off') } @there), "2, $new on, $old off",
        'there are two coupons and two codes: one is on, the former off');
    $row->{max_uses} -= 3;
    my ($coupon) = grep { $_->{id} eq $row->{stripe_coupon_id} } @coupons;
    is(join("\n", other_terms($row, $there[0], $coupon)), '', 'it has the terms of the row, and the uses that are left');
}

is(statuses($node, 'app', "sync_status <> 'synced'"), '', 'all is in step');
is($node->safe_psql('app', <<'END'), '0', 'no lease and no open operation is left');
SELECT count(*) FROM stripe_sync.promo_state WHERE lease IS NOT NULL OR in_flight IS NOT NULL
END

finish($node, except => qr/fault at/);
