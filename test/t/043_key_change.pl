# A transaction gives a row another key, by UPDATE or by DELETE and INSERT, and is still open while the
# worker replaces the row's promotion code: it commits with the id of the one before, and the row keeps
# what was made for it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);
attach($node, 'app');

my $update = q{UPDATE promo_codes SET id = gen_random_uuid() WHERE code = '%1$s'};
my %changes = (
    UPDATED => $update,
    TWICE => "$update; $update",
    ANEW => <<'END' =~ s/\n/ /gr);
SELECT * INTO TEMP old FROM promo_codes WHERE code = '%1$s';
UPDATE old SET id = gen_random_uuid(); DELETE FROM promo_codes WHERE code = '%1$s';
INSERT INTO promo_codes SELECT * FROM old; DROP TABLE old
END
# What Stripe is at work on meanwhile: the new coupon, switching the old code off, the new code.
my %under_way = (COUPON => '/v1/coupons', OFF => '/v1/promotion_codes/*', CODE => '/v1/promotion_codes');
my @codes;
foreach my $how (sort keys %changes)
{
    push @codes, map { "$how-$_" } sort keys %under_way;
}
insert_codes($node, 'app', @codes);
await_codes($node, 'app', 'all are pushed', @codes);

foreach my $code (@codes)
{
    my ($how, $what) = split /-/, $code;
    my $old = $sandbox->code($code)->{id};
    $sandbox->fault('stall_before_headers', execute => \1, match => { method => 'POST', path => $under_way{$what} });
    $node->safe_psql('app', "UPDATE promo_codes SET discount_value = 20 WHERE code = '$code'", @owner);
    await("$code: is being replaced", sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
    my $session = $node->background_psql('app', extra_params => [ '-U', 'app_owner' ]);
    $session->query_safe('BEGIN; ' . sprintf($changes{$how}, $code));
    $sandbox->control('POST', 'faults/release');
    await("$code: has been replaced, while the transaction is open",
        sub {
            my ($on) = grep { $_->{active} && $_->{id} ne $old } $sandbox->codes($code);
            return (defined $on, join ' ', map { $_->{id} } $sandbox->codes($code));
        });
    $session->query_safe('COMMIT');
    $session->quit;
    await_codes($node, 'app', "$code: under another key it is in step", $code);
    my ($on) = grep { $_->{active} } $sandbox->codes($code);
    is(scalar $sandbox->codes($code), 2, "$code: nothing more was made");
    is($node->safe_psql('app', "SELECT stripe_promotion_code_id FROM promo_codes WHERE code = '$code'"), $on->{id},
        "$code: the row shows the one that is on");
    $sandbox->clear_faults;
}

finish($node);
