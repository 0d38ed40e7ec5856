# Text is only ever text, wherever it stands: codes, descriptions, ids, names of tables and columns, and
# what Stripe says. It is no SQL, no line of the log, no command of a terminal.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox);
$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE outsider LOGIN');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
my @outsider = (extra_params => [ '-U', 'outsider' ]);

# What looks like SQL, like the end of a string or of a line of the log, everywhere it can stand.
my @texts = (
    q{'); DROP TABLE stripe_sync.promo_state; --}, q{$$; DROP EXTENSION stripe_sync; $$}, q{\\'; \\! true; \\},
    q{"''" %s %L %I %}, "two\nLOG:  EVIL-FORGED\r\nlines", q({NULL,"a\\\\",}), "\x{1F600} \x{202E}r\x{E9}\x{0301}",
    "\e[2J\e]0;EVIL-TITLE\a \x{9B}31m", 'NULL', ' ', q{${HOME} `id` $(id) &amp; <b>});
my $texts = @texts;

sub identifier { return '"' . $_[0] =~ s/"/""/gr . '"' }

my ($schema, $id, $code) = map { identifier($_) } q{it's "a" schema; --}, q{i"d'; --}, q{co\\de', '%L};
my $table = "$schema." . identifier(q{$$t\\a'b%s"le});
my $regclass = literal($table) . '::regclass';
$node->safe_psql('postgres', 'CREATE DATABASE texts OWNER app_owner');
$node->safe_psql('texts', <<"END", @owner);
CREATE SCHEMA $schema;
CREATE TABLE $table ($id text, second text, $code text NOT NULL, description text,
  discount_type text NOT NULL DEFAULT 'percentage', discount_value numeric NOT NULL DEFAULT 10,
  stripe_product_id text, currency text, is_active boolean NOT NULL DEFAULT true, PRIMARY KEY ($id, second));
END
$node->safe_psql('texts', 'CREATE EXTENSION stripe_sync; GRANT EXECUTE ON FUNCTION stripe_sync_attach TO app_owner');
my $map = literal(q{{"code": "co\\\\de', '%L", "sync_error": "err\"or'; --"}}) . '::jsonb';
like($node->safe_psql('texts', "SELECT * FROM stripe_sync_attach($regclass, duration => 'once', map => $map)", @owner),
    qr/^code\|found\|column co\\de', '%L\|$/m, 'a table and columns of any name are attached');
my $insert = '';
foreach my $n (1 .. $texts)
{
    my $text = literal($texts[ $n - 1 ]);
    $insert .= <<"END";
INSERT INTO $table ($id, second, $code, description, stripe_product_id, currency) VALUES
  ($text, 'a', 'GOOD-$n', $text, NULL, NULL), ('b', $text, $text, 'a code', NULL, NULL),
  ('c', $text, 'PRODUCT-$n', 'a product, a currency', $text, $text);
END
}
$node->safe_psql('texts', $insert, @owner);

sub texts_settled
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is($node->safe_psql('texts', "SELECT stripe_sync_wait('20 s')"), 't', $what);
}
texts_settled('rows of all kinds are seen to');
my $which = "SELECT string_agg($code, ', ' ORDER BY $code) FROM $table WHERE sync_status";
is($node->safe_psql('texts', "$which <> 'synced' AND $code LIKE 'GOOD-%'"), '', 'any key and any description are pushed');
is($node->safe_psql('texts', "$which <> 'error' AND $id = 'b'"), 'NULL', 'a code of other characters is parked');
is($node->safe_psql('texts', "$which <> 'error' AND $id = 'c'"), 'PRODUCT-10', 'so are products and currencies, but for blanks');
is($node->safe_psql('texts', "SELECT count(*) FROM stripe_sync.promo_state WHERE state = 'parked' AND reason IS NULL"), '0', 'each with its reason');
foreach my $n (grep { $texts[ $_ - 1 ] !~ /\n/ } 1 .. $texts)
{
    my $coupon = ($sandbox->code("GOOD-$n"))[1];
    is($coupon->{metadata}{description} // '', $texts[ $n - 1 ] =~ s/^\s+|\s+$//gr, "description $n arrives as it is");
}
$node->safe_psql('texts', "UPDATE $table SET is_active = false, description = description || ' x' WHERE $code LIKE 'GOOD-%'", @owner);
texts_settled('changed rows of any key are found again');
is(scalar(grep { $_->{active} } map { $sandbox->codes("GOOD-$_") } 1 .. $texts), 0, 'and switched off');
$node->safe_psql('texts', "DELETE FROM $table WHERE $code IN ('GOOD-1', 'GOOD-2', 'GOOD-5')", @owner);
texts_settled('deleted ones too');

foreach my $text (map { literal($_) } @texts)
{
    foreach my $call ("stripe_sync_promo(' ' || $text)", "stripe_sync_retry('x' || $text)",
        "stripe_sync_attach($regclass, duration => $text)",
        "stripe_sync_attach($regclass, currency => $text, duration => 'once')",
        "stripe_sync_attach($regclass, duration => 'once', map => jsonb_build_object($text, $text))",
        "stripe_sync_attach($regclass, duration => 'once', map => jsonb_build_object('code', $text))",
        "stripe_sync_rebind($text)")
    {
        my $error = error_of($node, 'texts', "SELECT $call");
        next if ($error->{sqlstate} // '') =~ /^SY00[45]$/;
        next if $error->{message} =~ /^no error/ && $call =~ /promo\(|retry\(/;  # there is such a code
        fail("$call: " . ($error->{sqlstate} // '') . ' ' . $error->{message});
    }
}
my $products = join ', ', map { literal($_) } @texts;
$node->safe_psql('texts', <<"END", @owner);
SELECT * FROM stripe_sync_attach($regclass, duration => 'once', map => $map,
  monthly_price => @{[ literal($texts[0]) ]}, yearly_price => @{[ literal($texts[4]) ]}, products => ARRAY[$products]);
END
texts_settled('prices and products of anything as arguments');
is($node->safe_psql('texts', "SELECT count(*) FROM pg_extension WHERE extname = 'stripe_sync'"), '1', 'all is still there');

# Nor by what Stripe says.
$sandbox->fault('status', times => 1, match => { method => 'POST' }, status => 400,
    body => { error => { type => 'invalid_request_error', message => "EVIL-ANSWER\e[2J\nLOG:  EVIL-FORGED\r\x{9B}31m" } });
$node->safe_psql('texts', "INSERT INTO $table ($id, second, $code) VALUES ('d', 'd', 'REFUSED')", @owner);
texts_settled('a refusal in strange words');
like($node->safe_psql('texts', "SELECT reason || ' ' || detail FROM stripe_sync_promo_status WHERE code = 'REFUSED'"),
    qr/EVIL-ANSWER \[2J LOG:  EVIL-FORGED/, 'is shown on one line');

# Nor by what anybody wrote on Stripe's objects: on codes that rows adopt, or that are in their way.
my %hostile = map { substr("key $_ $texts[$_]" =~ s/[\[\]]//gr, 0, 40) => $texts[$_] } 0 .. $#texts;
my $installation = $node->safe_psql('texts', 'SELECT id FROM stripe_sync.installation');
my %marked = (
    STRANGE => { null => "a\0b", description => $texts[7] },
    LONG => { map { ("long $_" => "'" . $_ x 499) } 0 .. 9 },
    'NO-ROW' => { stripe_sync_row => $texts[0], stripe_sync_installation => $texts[1] },
    'OTHER-ROW' => { stripe_sync_row => 'public.marked/1', stripe_sync_installation => $texts[4] },
    FORGED => { stripe_sync_row => 'public.marked/1', stripe_sync_installation => $installation },
    CONFLICT => { stripe_sync_row => 'public.marked/CONFLICT' });
foreach my $text (keys %marked)
{
    my %metadata = (%hostile, %{ $marked{$text} });
    my %fields = map { ("metadata[$_]" => $metadata{$_}) } keys %metadata;
    my $coupon = $sandbox->api('POST', '/v1/coupons',
        { percent_off => $text eq 'CONFLICT' ? 90 : 10, duration => 'once', name => "\e]0;EVIL-TITLE\a'; DROP\nLOG:  EVIL-FORGED", %fields });
    $sandbox->api('POST', '/v1/promotion_codes',
        { 'promotion[type]' => 'coupon', 'promotion[coupon]' => $coupon->{id}, code => $text, %fields });
}
my %then = map { $_ => [ $sandbox->code($_) ] } keys %marked;
$node->safe_psql('texts', <<"END", @owner);
CREATE TABLE public.marked (code text PRIMARY KEY, description text, discount_type text DEFAULT 'percentage',
  discount_value numeric DEFAULT 10, is_active boolean DEFAULT true);
SELECT * FROM stripe_sync_attach('marked', duration => 'once', add_columns => true);
INSERT INTO marked (code, description) VALUES @{[ join ', ', map { "('$_', '$_')" } keys %marked ]};
END
texts_settled('codes that are there already, with metadata of all kinds');
my $decided = 'SELECT string_agg(concat_ws(\' \', code, state), \', \' ORDER BY code COLLATE "C") FROM stripe_sync.promo_state WHERE promo_table = \'marked\'::regclass';
is($node->safe_psql('texts', $decided),
    'CONFLICT conflict, FORGED conflict, LONG synced, NO-ROW synced, OTHER-ROW synced, STRANGE synced',
    'equal terms are adopted, others and a mark of ours are not');
is_deeply({ map { $_ => [ $sandbox->code($_) ] } keys %marked }, \%then, 'nothing is written to them');
foreach my $call (map { ("stripe_sync_diff('$_')", "stripe_sync_inspect('$_')", "stripe_sync_promo('$_')") } keys %marked)
{
    is($node->safe_psql('texts', "SELECT string_agg(c::text, '') FROM $call c") =~ tr/\x00-\x09\x0b-\x1f\x7f//, 0, "$call shows none of it");
}
$node->safe_psql('texts', "SELECT * FROM stripe_sync_resolve('CONFLICT', 'stripe')");
$node->safe_psql('texts', "UPDATE marked SET description = 'other', is_active = code = 'LONG' WHERE code <> 'FORGED'", @owner);
texts_settled('the adopted ones are changed and switched off');
foreach my $text (grep { $_ ne 'FORGED' } sort keys %marked)
{
    my ($promotion_code, $coupon) = $sandbox->code($text);
    is($promotion_code->{active} ? 'on' : 'off', $text eq 'LONG' ? 'on' : 'off', "$text: which Stripe shows");
    my %others = (%hostile, %{ $marked{$text} });
    delete @others{qw(description stripe_sync_row stripe_sync_installation)};
    is(join(', ', grep { $promotion_code->{metadata}{$_} ne $others{$_} || $coupon->{metadata}{$_} ne $others{$_} } sort keys %others),
        '', "$text: what is not ours is as it was");
}
is($node->safe_psql('texts', "SELECT count(*) FROM pg_extension WHERE extname = 'stripe_sync'"), '1', 'all is still there');

is($node->safe_psql('texts', <<'END'), '', 'nothing we say holds a control character');
SELECT string_agg(t.text, ', ') FROM stripe_sync.promo_state s,
  unnest(ARRAY[s.reason, s.detail, s.hint] || s.warnings) t(text) WHERE t.text ~ '[\u0001-\u001f\u007f-\u009f]'
END
is($node->safe_psql('texts', "SELECT count(*) FROM stripe_sync_errors e WHERE e::text ~ '[\\u0001-\\u001f\\u007f-\\u009f]'"),
    '0', 'nor the list of errors');
# What sessions write of their own statements is PostgreSQL's.
my $log = slurp_file($node->logfile);
my @ours = grep { !/062_texts/ } split /\n(?=\d{4}-\d\d-\d\d )/, $log;
is(scalar(grep { /[\x00-\x08\x0B-\x1F\x7F]|\xC2[\x80-\x9F]/ } @ours), 0, 'nor a line of the worker in the log');
unlike($log, qr/^(?:LOG:  )?EVIL-FORGED/m, 'no line of the log is forged');

# --- granted one by one, and no more than that ----------------------------------------------------

$node->safe_psql('texts', "GRANT SELECT ON stripe_sync_promo_status TO outsider;
    GRANT EXECUTE ON FUNCTION stripe_sync_attach, stripe_sync_detach TO outsider;
    CREATE SCHEMA theirs AUTHORIZATION outsider;
    GRANT USAGE ON SCHEMA $schema TO outsider; GRANT ALL ON $table TO outsider");
cmp_ok($node->safe_psql('texts', 'SELECT count(*) FROM stripe_sync_promo_status', @outsider), '>', 10,
    'a view that was granted can be read');
error_is(error_of($node, 'texts', 'TABLE stripe_sync.promo_state', '-U', 'outsider'), { sqlstate => '42501' },
    'what lies beneath can not');
$node->safe_psql('texts', <<'END', @outsider);
CREATE TABLE theirs.codes (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
INSERT INTO theirs.codes VALUES (1, 'THEIRS', 'percentage', 5);
SELECT * FROM stripe_sync_attach('theirs.codes', duration => 'once');
END
texts_settled('a role that was granted stripe_sync_attach() attaches its own table');
is($node->safe_psql('texts', 'SELECT sync_status FROM theirs.codes'), 'synced', 'and its codes are pushed');
my $state = "(SELECT oid FROM pg_class WHERE relname = 'promo_state')::regclass";
foreach my $other ($regclass, "'pg_catalog.pg_proc'", $state)
{
    error_is(error_of($node, 'texts', "SELECT stripe_sync_attach($other, duration => 'once')", '-U', 'outsider'),
        { sqlstate => '42501', message => 'must be owner of the promo table' }, "but not $other");
}
$node->safe_psql('postgres', 'GRANT app_owner TO outsider');
is($node->safe_psql('texts', "SELECT stripe_sync_detach($regclass)", @outsider), '', 'a member of the owner may');

finish($node);
