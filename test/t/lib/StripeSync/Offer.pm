package StripeSync::Offer;

# What a row of promo_codes offers, and whether Stripe sells just that: a reading of the rows of the
# tests' own, beside the one that is tested.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP;

our @EXPORT_OK = qw(insert_various_sql rows_of other_terms);

# Terms that rows are inserted with: discount_type, discount_value, duration, duration_in_months,
# max_uses, days until expires_at. NULL: as attached, or without limit.
my @terms = (
    [qw(percentage 10 NULL NULL NULL NULL)],
    [qw(percentage 12.5 repeating 6 100 NULL)],
    [qw(fixed 5 NULL NULL NULL 700)],
    [qw(percentage 33.33 forever NULL 7 400)],
    [qw(fixed 1234.56 NULL NULL 2000000 NULL)],
    [qw(percentage 100 repeating 1 NULL 30.4)],
    [qw(fixed 0.99 NULL NULL 1 1000)]);

# Inserts codes with various terms, which depend on their texts alone; each is named like its code.
sub insert_various_sql
{
    my @rows = map {
        my ($type, $value, $duration, $months, $uses, $days) = @{ $terms[ unpack('%16C*', $_) % @terms ] };
        $duration = "'$duration'" unless $duration eq 'NULL';
        "('$_', '$_', '$type', $value, $duration, $months, $uses, now() + $days * interval '1 day')";
    } @_;
    return 'INSERT INTO promo_codes (code, description, discount_type, discount_value, duration,'
      . ' duration_in_months, max_uses, expires_at) VALUES ' . join ', ', @rows;
}

# Rows by their code; what was said when attaching stands in them where they say nothing.
sub rows_of
{
    my ($node, $db, @codes) = @_;
    my $json = $node->safe_psql($db, <<"END");
SELECT coalesce(jsonb_object_agg(r.row ->> 'code', r.row), '{}') FROM (
  SELECT to_jsonb(a) || jsonb_strip_nulls(to_jsonb(p))
    || jsonb_build_object('expires_at', floor(extract(epoch FROM (to_jsonb(p) ->> 'expires_at')::timestamptz))) AS row
  FROM promo_codes p, stripe_sync.attachment a
  WHERE a.promo_table = 'promo_codes'::regclass AND p.code IN (@{[ join ', ', map { "'$_'" } @codes ]})) r
END
    return JSON::PP->new->utf8->decode($json);
}

# Of a coupon and a promotion code, what is otherwise than the row says; nothing if all is as it says.
# list_price: that of a row with a price of its own.
sub other_terms
{
    my ($row, $promotion_code, $coupon, $list_price) = @_;
    my %said = (
        name => $row->{description},
        duration => $row->{duration},
        months => $row->{duration_in_months},
        limit => $row->{max_uses},
        expires => $row->{expires_at},
        active => $row->{is_active} ? 1 : 0,
        coupon => $coupon->{id},
        mark => "public.promo_codes/$row->{id}");
    my %sold = (
        name => $coupon->{name},
        duration => $coupon->{duration},
        months => $coupon->{duration_in_months},
        limit => $promotion_code->{max_redemptions},
        expires => $promotion_code->{expires_at},
        active => $promotion_code->{active} ? 1 : 0,
        coupon => $promotion_code->{promotion}{coupon},
        mark => $promotion_code->{metadata}{stripe_sync_row});
    if ($row->{discount_type} eq 'custom_price')
    {
        $said{price} = sprintf '%.0f', $row->{custom_monthly_price} * 100;
        $sold{price} = $list_price->{unit_amount} - ($coupon->{amount_off} // 0)
          - $list_price->{unit_amount} * ($coupon->{percent_off} // 0) / 100;
        $said{products} = $list_price->{product};
    }
    else
    {
        my $fixed = $row->{discount_type} eq 'fixed';
        $said{percent} = $fixed ? undef : $row->{discount_value} + 0;
        $said{amount} = $fixed ? sprintf('%.0f', $row->{discount_value} * 100) . " $row->{currency}" : undef;
        $sold{percent} = $coupon->{percent_off};
        $sold{amount} = $coupon->{amount_off} && "$coupon->{amount_off} $coupon->{currency}";
        $said{products} = $row->{stripe_product_id};
    }
    $sold{products} = $coupon->{applies_to} && join ' ', @{ $coupon->{applies_to}{products} };
    # Nothing that no row asks for.
    my $restrictions = $promotion_code->{restrictions};
    $sold{restriction} = join ' ', grep { $_ } $coupon->{max_redemptions}, $coupon->{redeem_by},
      $promotion_code->{customer}, $restrictions->{first_time_transaction}, $restrictions->{minimum_amount};
    $said{restriction} = '';
    return map { "$_: the row says " . ($said{$_} // 'nothing') . ', Stripe sells ' . ($sold{$_} // 'nothing') }
      grep { ($said{$_} // '') ne ($sold{$_} // '') } sort keys %said;
}

1;
