package StripeSync;

# What the TAP tests share: a cluster that talks to a sandbox, the first user's database, waiting
# for conditions, errors in their parts.

use strict;
use warnings;

use Cwd qw(abs_path);
use Encode ();
use Exporter qw(import);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StripeSync::Offer qw(insert_various_sql other_terms rows_of);
use StripeSync::Sandbox;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  $KEY start_cluster create_application attach
  insert_codes insert_codes_sql insert_various insert_various_sql
  statuses row worker_pid try_query
  await await_query await_synced await_codes await_worker
  literal error_of error_is pushed_once finish
);

our $KEY = $StripeSync::Sandbox::KEY;

my $here = dirname(abs_path(__FILE__));

# A proxy of the machine's must stand between nobody.
delete @ENV{ grep { /_proxy$/i } keys %ENV };

# A running cluster whose workers ask that sandbox. key: what STRIPE_SECRET_KEY holds (undef = not
# set); databases: those that get a worker by themselves (none = all); conf: more lines of postgresql.conf; preload:
# 0 = the library is loaded on first use.
sub start_cluster
{
    my (%options) = @_;
    my $node = PostgreSQL::Test::Cluster->new($options{name} // 'main');
    $node->init(extra => [ '--locale=C.UTF-8', '--encoding=UTF8' ]);
    my $url = $options{sandbox} ? $options{sandbox}->url : 'http://127.0.0.1:9';
    my $databases = join ',', @{ $options{databases} // [] };
    my $preload = $options{preload} // 1;
    $node->append_conf('postgresql.conf', $preload
        ? "shared_preload_libraries = 'stripe_sync'\nstripe_sync.databases = '$databases'"
        : "shared_preload_libraries = ''");
    $node->append_conf('postgresql.conf', <<"END");
stripe_sync.api_base = '$url'
stripe_sync.rate_limit = 1000
restart_after_crash = on
autovacuum = off
max_worker_processes = 16
stripe_sync.test_restart_delay = 5
END
    $node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
    delete $ENV{STRIPE_SECRET_KEY};
    my $key = exists $options{key} ? $options{key} : $KEY;
    $ENV{STRIPE_SECRET_KEY} = $key if defined $key;
    $node->start;
    return $node;
}

# A database with the first user's table, made by the application's role app_owner, and the
# extension, made later by a superuser; app_owner may attach.
sub create_application
{
    my ($node, $db) = @_;
    my $exists = $node->safe_psql('postgres', "SELECT 1 FROM pg_roles WHERE rolname = 'app_owner'");
    $node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN') unless $exists;
    $node->safe_psql('postgres', "CREATE DATABASE $db");
    $node->safe_psql($db, 'GRANT CREATE ON SCHEMA public TO app_owner');
    $node->safe_psql($db, slurp_file("$here/../application.sql"),
        extra_params => [ '-U', 'app_owner' ]);
    $node->safe_psql($db, 'CREATE EXTENSION stripe_sync');
    $node->safe_psql($db,
        'GRANT EXECUTE ON FUNCTION stripe_sync_attach, stripe_sync_detach TO app_owner');
    return;
}

# Attaches promo_codes as its owner; returns the report's lines.
sub attach
{
    my ($node, $db, $arguments) = @_;
    $arguments //= "currency => 'usd', duration => 'once'";
    return $node->safe_psql($db,
        "SELECT * FROM stripe_sync_attach('promo_codes', $arguments)",
        extra_params => [ '-U', 'app_owner' ]);
}

# Ten percent off, named like its code.
sub insert_codes_sql
{
    return 'INSERT INTO promo_codes (code, description, discount_type, discount_value) VALUES '
      . join ', ', map { "('$_', '$_', 'percentage', 10)" } @_;
}

sub insert_codes
{
    my ($node, $db, @codes) = @_;
    $node->safe_psql($db, insert_codes_sql(@codes), extra_params => [ '-U', 'app_owner' ]);
    return;
}

# The same with various terms.
sub insert_various
{
    my ($node, $db, @codes) = @_;
    $node->safe_psql($db, insert_various_sql(@codes), extra_params => [ '-U', 'app_owner' ]);
    return;
}

# --- looking -------------------------------------------------------------------------------------

# "CODE status" per row, in the codes' order.
sub statuses
{
    my ($node, $db, $where) = @_;
    return $node->safe_psql($db,
        "SELECT code || ' ' || coalesce(sync_status, 'NULL') FROM promo_codes WHERE "
          . ($where // 'true') . ' ORDER BY code COLLATE "C"');
}

# One row as a hash.
sub row
{
    my ($node, $db, $query) = @_;
    my $text = $node->safe_psql($db, "SELECT to_jsonb(q) FROM ($query) q");
    die "no row, or several: $query" if $text eq '' || $text =~ /\n/;
    return JSON::PP->new->decode($text);
}

# The result of a query, or undef while the server does not take it (it may be recovering).
sub try_query
{
    my ($node, $db, $query, @options) = @_;
    my %options = @options;
    # not through psql's input: a server that refuses ends it before that is written
    my @psql = ('psql', '-XAtq', '-d', $node->connstr($db), @{ $options{extra_params} // [] }, '-c', $query);
    my ($out, $err) = ('', '');
    my $done = IPC::Run::run(\@psql, '<', '/dev/null', '>', \$out, '2>', \$err);
    chomp $out;
    return $done ? $out : undef;
}

sub worker_pid
{
    my ($node, $db) = @_;
    return $node->safe_psql($db, 'SELECT pid FROM stripe_sync.running_worker');
}

# --- waiting -------------------------------------------------------------------------------------

# A test that passes once `look` returns (true, what it saw); else it says what was awaited and what
# was seen last.
sub await
{
    my ($what, $look, $seconds) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $seconds //= 120;
    my $deadline = time + $seconds;
    my ($there, $seen);
    while (1)
    {
        ($there, $seen) = $look->();
        last if $there || time > $deadline;
        sleep 0.03;
    }
    ok($there, $what) or diag("awaited for $seconds s; last seen: " . ($seen // 'nothing'));
    return $seen;
}

sub await_query
{
    my ($node, $db, $query, $wanted, $what, $seconds) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await(
        $what,
        sub {
            my $seen = $node->safe_psql($db, $query);
            return ($seen eq $wanted, "$seen (wanted: $wanted)");
        },
        $seconds);
}

# Nothing pending any more, and the last of it in the row.
sub await_synced
{
    my ($node, $db, $what, $where) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $where //= 'true';
    return await_query($node, $db, <<"END", '', $what // 'nothing is pending');
SELECT string_agg(concat_ws(' ', code, sync_status, sync_error), ', ')
FROM promo_codes WHERE sync_status = 'pending' AND ($where)
END
}

# All of these codes are synced.
sub await_codes
{
    my ($node, $db, $what, @codes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $list = join ', ', map { "'$_'" } @codes;
    return await_query($node, $db, <<"END", '', $what);
SELECT string_agg(concat_ws(' ', code, sync_status, sync_error), '; ')
FROM promo_codes WHERE code IN ($list) AND sync_status IS DISTINCT FROM 'synced'
END
}

# A worker runs, and another one than `other`.
sub await_worker
{
    my ($node, $db, $what, $other) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await($what // "a worker serves $db",
        sub {
            my $pid = try_query($node, $db, 'SELECT pid FROM stripe_sync.running_worker') // '';
            return ($pid ne '' && $pid ne ($other // ''), "process $pid");
        });
    return worker_pid($node, $db);
}

# --- names and texts ------------------------------------------------------------------------------

# A literal of it, whatever it holds.
sub literal { return "convert_from('\\x" . unpack('H*', Encode::encode_utf8($_[0])) . "', 'UTF8')" }

# --- errors --------------------------------------------------------------------------------------

# What a statement that must fail said: sqlstate, message, detail, hint.
sub error_of
{
    my ($node, $db, $sql, @parameters) = @_;
    my ($code, $out, $err) = $node->psql($db, $sql,
        extra_params => [ '-v', 'VERBOSITY=verbose', @parameters ]);
    return { message => "no error; it returned: $out" } if $code == 0;
    my %error;
    my $in;
    foreach my $line (split /\n/, $err)
    {
        if ($line =~ /^(?:psql:\S+: )?(?:ERROR|FATAL):  (\w{5}): (.*)/)
        {
            @error{ 'sqlstate', 'message' } = ($1, $2);
            $in = 'message';
        }
        elsif ($line =~ /^(DETAIL|HINT|CONTEXT|LOCATION|NOTICE|WARNING):  (.*)/)
        {
            $in = lc $1;
            $error{$in} = $2;
        }
        elsif ($in)
        {
            $error{$in} .= "\n$line";
        }
    }
    return \%error;
}

# The parts named in `wanted`: text must be equal, a pattern must match, undef = absent.
sub error_is
{
    my ($error, $wanted, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @wrong;
    foreach my $part (sort keys %$wanted)
    {
        my ($is, $want) = ($error->{$part}, $wanted->{$part});
        my $fits =
            !defined $want ? !defined $is
          : !defined $is ? 0
          : ref $want ? $is =~ $want
          : $is eq $want;
        next if $fits;
        push @wrong, "$part: " . ($is // 'absent') . "\n  wanted: " . ($want // 'absent');
    }
    ok(!@wrong, $what) or diag(join "\n", @wrong);
    return;
}

# Exactly one coupon and one promotion code in Stripe for each of these rows, on, and with its terms.
sub pushed_once
{
    my ($node, $db, $sandbox, $what, @codes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $rows = rows_of($node, $db, @codes);
    my %prices = map { $_->{id} => $_ } $sandbox->objects('prices');
    my @coupons = $sandbox->objects('coupons');
    my @promotion_codes = $sandbox->objects('promotion_codes');
    my @wrong;
    foreach my $code (@codes)
    {
        my $row = $rows->{$code} // die "no row $code";
        my @of_row = grep { ($_->{metadata}{stripe_sync_row} // '') eq "public.promo_codes/$row->{id}" } @coupons;
        my @same_text = grep { lc $_->{code} eq lc $code } @promotion_codes;
        my ($shown, $there) = map { join ' ', @$_ }
          [ map { $_ // 'none' } @$row{qw(stripe_coupon_id stripe_promotion_code_id)} ],
          [ map { $_->{id} } @of_row, @same_text ];
        push @wrong, $shown eq $there
          ? map { "$code: $_" } other_terms($row, @same_text, @of_row, $prices{ $row->{monthly_price} // '' })
          : "$code: Stripe has $there, the row $shown";
    }
    is(join("\n", @wrong), '', $what);
    return;
}

my $broken = join '|', 'PANIC', 'TRAP:', 'terminated by signal (?!9\b)', 'XX000', 'SY000',
  'cache lookup failed', 'errstart was not called', 'is already held',
  'not owned by resource owner', 'reference leak';

# Ends a test: the cluster must not have crashed or complained of our own code meanwhile.
sub finish
{
    my ($node, %allowed) = @_;
    my $log = slurp_file($node->logfile);
    my @bad = grep { /$broken/ } split /\n/, $log;
    @bad = grep { $_ !~ $allowed{except} } @bad if $allowed{except};
    is(join("\n", @bad), '', 'the server log holds no crash and no internal error');
    $node->stop('fast');
    done_testing();
    return;
}

1;
