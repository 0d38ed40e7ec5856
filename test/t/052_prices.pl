# A product with more prices than one answer of Stripe's holds: every one of them counts, those of
# the second page too.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;

# A product whose 101st price, which Stripe lists last, has that amount; its newest price.
sub product_with_prices
{
    my ($name, $last) = @_;
    my $product = $sandbox->product($name);
    my @prices = map { $sandbox->price($product, $_) } ($last, (19900) x 100);
    return @prices[ 0, -1 ];
}
my ($cheap, $with_cheap) = product_with_prices('One is cheaper', 9900);
my ($same, $all_alike) = product_with_prices('All alike', 19900);

my $node = start_cluster(sandbox => $sandbox);
create_application($node, 'app');
$node->safe_psql('app', 'DELETE FROM promo_codes');
attach($node, 'app', "currency => 'usd', duration => 'once', add_columns => true");
$node->safe_psql('app', <<"END", extra_params => [ '-U', 'app_owner' ]);
INSERT INTO promo_codes (code, description, discount_type, custom_monthly_price, stripe_price_id) VALUES
  ('ALIKE', 'Alike', 'custom_price', 70, '$all_alike'), ('CHEAP', 'Cheap', 'custom_price', 70, '$with_cheap')
END
await_synced($node, 'app', 'both codes leave pending');

is(statuses($node, 'app'), "ALIKE synced\nCHEAP error", 'only the one without a cheaper price is sent');
my (undef, $coupon) = $sandbox->code('ALIKE');
is($coupon->{amount_off}, 12900, 'what takes every price to the one asked for');
my $error = row($node, 'app', "SELECT * FROM promo_codes WHERE code = 'CHEAP'")->{sync_error};
like($error, qr/\Q$cheap\E/, 'the error names the price on the second page');
is(scalar $sandbox->requests(path => '/v1/coupons', method => 'POST'), 1, 'nothing was sent for it');

$sandbox->api('POST', "/v1/prices/$cheap", { active => 'false' });
$node->safe_psql('app', "SELECT stripe_sync_retry('CHEAP')");
await_codes($node, 'app', 'without that price it is sent', 'CHEAP');

finish($node);
