# A server that can't prove to be Stripe gets no request and so no key; once it can, all arrives.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

# --- authorities and certificates -----------------------------------------------------------------

sub openssl
{
    my (@arguments) = @_;
    my ($out, $err) = ('', '');
    IPC::Run::run([ 'openssl', @arguments ], '<', \undef, '>', \$out, '2>', \$err)
      or die "openssl @arguments: $err";
    return;
}

# An authority, and certificates signed by it: signed(authority, file, name, last year). Not by
# openssl x509, whose newer versions make no certificate that has expired.
append_to_file("$dir/ca.cnf", <<"END");
[ca]
default_ca = one
[one]
database = $dir/index
new_certs_dir = $dir
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
END
append_to_file("$dir/index", '');

sub authority
{
    my ($name) = @_;
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
        '-days', '2', '-subj', "/CN=$name", '-keyout', "$dir/$name.key", '-out', "$dir/$name.pem");
    return;
}

sub signed
{
    my ($authority, $file, $name, $year) = @_;
    append_to_file("$dir/$file.ext", "subjectAltName=$name\n");
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
        '-subj', "/CN=$file", '-keyout', "$dir/$file.key", '-out', "$dir/$file.csr");
    openssl('ca', '-batch', '-notext', '-config', "$dir/ca.cnf", '-in', "$dir/$file.csr",
        '-cert', "$dir/$authority.pem", '-keyfile', "$dir/$authority.key",
        '-startdate', '20200101000000Z', '-enddate', "${year}1231235959Z",
        '-extfile', "$dir/$file.ext", '-out', "$dir/$file.pem");
    return;
}

authority($_) foreach 'trusted', 'unknown';
signed('trusted', 'right', 'IP:127.0.0.1', 2099);
signed('trusted', 'renewed', 'IP:127.0.0.1', 2099);
signed('trusted', 'name', 'DNS:api.stripe.com', 2099);
signed('trusted', 'expired', 'IP:127.0.0.1', 2020);
signed('unknown', 'untrusted', 'IP:127.0.0.1', 2099);

# --- a server with one of them --------------------------------------------------------------------

my ($front, $out);
my $port = 0;

sub unserve
{
    return unless $front;
    kill 'KILL', $front;
    close $out;
    $front = undef;
    return;
}

sub serve
{
    my ($certificate) = @_;
    unserve();
    $front = open($out, '-|', 'python3', "$FindBin::RealBin/lib/tls_front.py",
        "$dir/$certificate.pem", "$dir/$certificate.key", $port, $sandbox->{port})
      or die "tls_front.py: $!";
    chomp($port = <$out> // die 'tls_front.py did not start');
    return;
}
END { my $status = $?; unserve(); $? = $status; }

serve('untrusted');
my $node = start_cluster(databases => ['app'],
    conf => "stripe_sync.api_base = 'https://127.0.0.1:$port'\n"
      . "stripe_sync.ca_file = '$dir/trusted.pem'");
create_application($node, 'app');
$node->safe_psql('app', 'DELETE FROM promo_codes', extra_params => [ '-U', 'app_owner' ]);
attach($node, 'app');

my %refused = (
    untrusted => qr/unable to get local issuer certificate|self.signed certificate/,
    name => qr/no alternative certificate subject name matches target (?:host name|ipv4 address) '127\.0\.0\.1'/i,
    expired => qr/certificate has expired/);
insert_various($node, 'app', 'FIRST');
foreach my $certificate ('untrusted', 'name', 'expired')
{
    serve($certificate);
    $node->safe_psql('app', 'SELECT count(*) FROM stripe_sync_promo()');
    my $health = row($node, 'app', 'SELECT status, reason FROM stripe_sync_health');
    is($health->{status}, 'down', "$certificate: health is down");
    like($health->{reason}, $refused{$certificate}, 'and says what is wrong with the certificate');
    is(statuses($node, 'app'), 'FIRST pending', 'the code waits');
}
is(scalar $sandbox->requests, 0, 'none of them was sent a request');

serve('right');
$node->safe_psql('app', 'SELECT count(*) FROM stripe_sync_promo()');
await_codes($node, 'app', 'a server that can prove who it is gets them', 'FIRST');

# --- in the middle of its work --------------------------------------------------------------------

my $mark = $sandbox->mark;
serve('untrusted');
insert_various($node, 'app', 'SECOND');
await_query($node, 'app', <<'END', 'down true', 'an impostor later: health is down and says why', 120);
SELECT status || ' ' || (reason ~ 'certificate') FROM stripe_sync_health
END
is(scalar $sandbox->requests(since => $mark), 0, 'it is sent nothing');

# The authority that signed it becomes trusted by a setting, without a restart.
$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.ca_file = '$dir/unknown.pem'");
$node->reload;
await_codes($node, 'app', 'another authority is taken by a reload', 'SECOND');
$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.ca_file = '$dir/trusted.pem'");
$node->reload;
serve('renewed');
insert_various($node, 'app', 'THIRD');
await_codes($node, 'app', 'and so is the former', 'THIRD');
pushed_once($node, 'app', $sandbox, 'each arrived once', 'FIRST', 'SECOND', 'THIRD');

finish($node);
