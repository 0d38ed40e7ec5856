package StripeSync::Sandbox;

# The sandbox (test/sandbox) as a test sees it: its process, its control, Stripe's API.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP;
use Time::HiRes qw(sleep time);

my $script = abs_path(dirname(__FILE__) . '/../../../sandbox/stripe_sandbox.py');
my $json = JSON::PP->new->utf8->canonical;

our $KEY = 'sk_test_taptest0123456789';

my @running;

# Starts one on a free port; stop() and start_again() make an outage.
sub start
{
    my ($class) = @_;
    my $self = bless { http => HTTP::Tiny->new(timeout => 30, keep_alive => 0) }, $class;
    $self->_launch(0);
    push @running, $self;
    return $self;
}

sub _launch
{
    my ($self, $port) = @_;
    my $pid = open(my $out, '-|', 'python3', $script, '--port', $port)
      or die "sandbox: $!";
    my $line = <$out> // die "the sandbox did not start";
    $line =~ m{listening on (http://127\.0\.0\.1:(\d+))} or die "the sandbox said: $line";
    @$self{qw(pid out url port)} = ($pid, $out, $1, $2);
    return;
}

# Nobody listens any more; what it held is lost with it.
sub stop
{
    my ($self) = @_;
    return unless $self->{pid};
    kill 'TERM', delete $self->{pid};
    close delete $self->{out};
    return;
}

# A new, empty one at the same address.
sub start_again
{
    my ($self) = @_;
    $self->_launch($self->{port});
    return;
}

sub url { return $_[0]{url} }

END
{
    my $status = $?;
    $_->stop foreach @running;
    $? = $status;
}

sub _decoded
{
    my ($self, $what, $response) = @_;
    die "$what: $response->{status} $response->{content}" unless $response->{success};
    return $json->decode($response->{content});
}

sub control
{
    my ($self, $method, $path, $body) = @_;
    my %options = defined $body ? (content => $json->encode($body)) : ();
    return $self->_decoded("$method $path",
        $self->{http}->request($method, "$self->{url}/_sandbox/$path", \%options));
}

# Stripe's API as somebody else uses it: form parameters in, the object out.
sub api
{
    my ($self, $method, $path, $params, $key) = @_;
    my $form = $self->{http}->www_form_urlencode($params // {});
    my %options = (headers => { Authorization => 'Bearer ' . ($key // $KEY) });
    my $url = "$self->{url}$path";
    if ($method eq 'POST')
    {
        $options{content} = $form;
        $options{headers}{'Content-Type'} = 'application/x-www-form-urlencoded';
    }
    elsif ($form ne '')
    {
        $url .= "?$form";
    }
    return $self->_decoded("$method $path", $self->{http}->request($method, $url, \%options));
}

sub product
{
    my ($self, $name) = @_;
    return $self->api('POST', '/v1/products', { name => $name })->{id};
}

# A recurring price; the amount in minor units.
sub price
{
    my ($self, $product, $amount, $interval, $currency) = @_;
    return $self->api('POST', '/v1/prices',
        {
            product => $product,
            unit_amount => $amount,
            currency => $currency // 'usd',
            'recurring[interval]' => $interval // 'month'
        })->{id};
}

# A coupon and its promotion code, made in Stripe's dashboard, so to say.
sub foreign_code
{
    my ($self, $code, $coupon) = @_;
    my $id = $self->api('POST', '/v1/coupons', $coupon)->{id};
    return $self->api('POST', '/v1/promotion_codes',
        { 'promotion[type]' => 'coupon', 'promotion[coupon]' => $id, code => $code });
}

# Objects with all their fields, newest first.
sub objects
{
    my ($self, $kind, %where) = @_;
    my $query = join '&', "object=$kind", map { "$_=$where{$_}" } sort keys %where;
    return @{ $self->control('GET', "state?$query")->{$kind} };
}

# All promotion codes of that text.
sub codes
{
    my ($self, $text) = @_;
    return grep { lc $_->{code} eq lc $text } $self->objects('promotion_codes');
}

# The only promotion code of that text, and its coupon.
sub code
{
    my ($self, $text) = @_;
    my @codes = $self->codes($text);
    die "Stripe holds " . @codes . " promotion codes $text" unless @codes == 1;
    my ($coupon) = grep { $_->{id} eq $codes[0]{promotion}{coupon} } $self->objects('coupons');
    return wantarray ? ($codes[0], $coupon) : $codes[0];
}

# --- requests ------------------------------------------------------------------------------------

# A place in the log of requests, for requests(since => ...).
sub mark
{
    my ($self) = @_;
    my @all = $self->requests;
    return @all ? $all[-1]{seq} : 0;
}

# What was asked of the API; method and path (a glob) choose.
sub requests
{
    my ($self, %which) = @_;
    my $query = join '&', map { "$_=$which{$_}" } sort keys %which;
    return @{ $self->control('GET', "requests?$query")->{requests} };
}

# One line per request, for is_deeply and diag.
sub request_lines
{
    my ($self, %which) = @_;
    return map { "$_->{method} $_->{path} " . ($_->{status} // '-') } $self->requests(%which);
}

sub writes
{
    my ($self, $since) = @_;
    return $self->requests(method => 'POST', since => $since // 0);
}

# --- misbehaviour --------------------------------------------------------------------------------

sub fault
{
    my ($self, $fault, %more) = @_;
    return $self->control('POST', 'faults', { fault => $fault, %more })->{id};
}

sub hits
{
    my ($self, $id) = @_;
    my ($fault) = grep { $_->{id} == $id } @{ $self->control('GET', 'faults')->{faults} };
    return $fault->{hits};
}

sub stalled { return $_[0]->control('GET', 'faults')->{stalled} }

sub clear_faults { $_[0]->control('DELETE', 'faults'); return }

sub reset { $_[0]->control('POST', 'reset'); return }

1;
