# The worker or the whole server dies, or the worker meets an error, at each point between claiming a
# row and having its outcome stored: nothing is lost, nothing is done twice. Needs a build with fault
# points (TESTING=1).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

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
if (-e $fault)
{
    $node->stop;
    plan skip_all => 'built without fault points: make TESTING=1';
}

# A push of two writes passes the points of an operation twice, "claim" once.
my @cases;
foreach my $action ('kill', 'shutdown', 'error', 'exception')
{
    push @cases, map { [ $_, 0, $action ] } 'row', 'claim', 'claimed';
    foreach my $point ('sent', 'answered', 'save', 'saved')
    {
        push @cases, map { [ $point, $_, $action ] } 0, 1;
    }
}
my $met = 0;
my $worker = '';
my @pushed;
foreach my $case (@cases)
{
    my ($point, $skip, $action) = @$case;
    my $code = uc "$action-$point-$skip";
    my $mistake = $action eq 'error' || $action eq 'exception';
    $worker = worker_pid($node, 'app') if $mistake;
    fault_at("$point $skip $action");
    # its own outcome may get lost
    patiently(insert_various_sql($code) . ' ON CONFLICT (code) DO NOTHING');
    await("$action at $point after $skip",
        sub {
            my $seen = patiently("SELECT sync_status FROM promo_codes WHERE code = '$code'");
            # after an error it rests for a while; not when somebody calls
            try_query($node, 'app', 'SELECT * FROM stripe_sync_promo()') if $mistake;
            return ($seen eq 'synced' && !-e $fault, $seen);
        },
        120);
    is(worker_pid($node, 'app'), $worker, 'and no process ended') if $mistake;
    $met++ unless -e $fault;
    unlink $fault;
    push @pushed, $code;
}
is($met, scalar @cases, 'every point was passed');
pushed_once($node, 'app', $sandbox, 'each code has one coupon and one promotion code', @pushed);

# Switching off, one request.
foreach my $point ('claim', 'claimed', 'sent', 'answered', 'save', 'saved')
{
    my $code = uc "kill-$point-0";
    my $mark = $sandbox->mark;
    fault_at("$point 0 kill");
    patiently("UPDATE promo_codes SET is_active = false WHERE code = '$code'");
    await("switched off, killed at $point",
        sub {
            my $seen = patiently("SELECT sync_status FROM promo_codes WHERE code = '$code'");
            return ($seen eq 'synced' && !-e $fault, $seen);
        });
    unlink $fault;
    is(($sandbox->codes($code))[0]{active}, JSON::PP::false, 'off is off');
    my @executed = grep { ($_->{status} // 0) == 200 && !$_->{replayed} } $sandbox->writes($mark);
    is(scalar @executed, 1, 'by one execution')
      or diag(join "\n", $sandbox->request_lines(since => $mark));
}
is(statuses($node, 'app', "sync_status <> 'synced'"), '', 'all is in step');
is($node->safe_psql('app', <<'END'), '0', 'no lease and no open operation is left');
SELECT count(*) FROM stripe_sync.promo_state WHERE lease IS NOT NULL OR in_flight IS NOT NULL
END

finish($node, except => qr/fault at/);
