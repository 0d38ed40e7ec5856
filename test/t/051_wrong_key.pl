# Wrong keys, addresses and workers: nothing is lost, and message, DETAIL, HINT, the health view,
# the errors view and stripe_sync_check() say what to do. (Wrong tables: test/sql/attach_refused.sql.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, key => undef);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', 'DELETE FROM promo_codes', @owner);

my $inserted = 0;

sub insert
{
    my $code = sprintf 'CODE%02d', ++$inserted;
    $node->safe_psql('app', <<"END", @owner);
INSERT INTO promo_codes (code, description, discount_type, discount_value)
VALUES ('$code', '', 'percentage', 10)
END
    return $code;
}

# Why the worker sends nothing, as parts of an error.
sub blocked
{
    return row($node, 'app', <<'END');
SELECT blocked_sqlstate AS sqlstate, blocked_message AS message, blocked_detail AS detail,
  blocked_hint AS hint
FROM stripe_sync.worker
END
}

# What everything says while nothing can be sent. wanted: sqlstate, message, detail, hint.
sub blocked_is
{
    my ($what, %wanted) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $code = insert();
    my $push = row($node, 'app', "SELECT * FROM stripe_sync_promo('$code')");
    error_is(blocked(), \%wanted, "$what: SQLSTATE, message, DETAIL and HINT");
    my %part = (message => $wanted{message}, hint => $wanted{hint});
    error_is({ status => $push->{status}, message => $push->{error}, hint => $push->{hint} },
        { %part, status => 'pending' }, "$what: stripe_sync_promo() says why it waits");
    my $health = row($node, 'app', 'SELECT * FROM stripe_sync_health');
    error_is({ status => $health->{status}, message => $health->{reason}, hint => $health->{next} },
        { %part, status => 'down' }, "$what: health");
    is($health->{pending},
        $node->safe_psql('app', "SELECT count(*) FROM promo_codes WHERE sync_status = 'pending'"),
        "$what: whatever is pending waits, nothing is lost");
    my $status = row($node, 'app',
        "SELECT reason AS message, hint, next FROM stripe_sync_promo_status WHERE code = '$code'");
    error_is($status, { %part, next => 'SELECT * FROM stripe_sync_health;' },
        "$what: the status view");
    check_fails($what, 'key', $wanted{message}, $wanted{hint});
    return;
}

# The item of stripe_sync_check() that fails.
sub check_fails
{
    my ($what, $item, $detail, $fix) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $check = row($node, 'app', "SELECT * FROM stripe_sync_check() WHERE item = '$item'");
    error_is({ status => $check->{status}, detail => $check->{detail}, hint => $check->{fix} },
        { status => 'fail', detail => ref $detail ? $detail : qr/^\Q$detail\E/, hint => $fix },
        "$what: stripe_sync_check()");
    return;
}

sub checked
{
    my ($item) = @_;
    return $node->safe_psql('app',
        "SELECT status, detail, fix FROM stripe_sync_check() WHERE item = '$item'");
}

my $key_file = PostgreSQL::Test::Utils::tempdir() . '/key';

sub set_key
{
    my ($key) = @_;
    unlink $key_file;
    umask 077;
    append_to_file($key_file, "$key\n");
    return;
}

sub set
{
    my ($setting, $value) = @_;
    $node->safe_psql('postgres', "ALTER SYSTEM SET $setting = '$value'");
    $node->reload;
    $node->poll_query_until('app', "SELECT current_setting('$setting') = '$value'")
      or die "$setting is not taken";
    return;
}

sub all_synced
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $node->safe_psql('app', 'SELECT count(*) FROM stripe_sync_promo()');
    await_synced($node, 'app', "$what: everything that waited arrives");
    is(statuses($node, 'app', "sync_status <> 'synced'"), '', "$what: and is synced");
    return;
}

# --- no key, or none that could be one ------------------------------------------------------------

my $set_key = qr/^Start the server with STRIPE_SECRET_KEY .* or .* stripe_sync\.api_key_file/;
attach($node, 'app');
blocked_is('no key', sqlstate => 'SY001', message => 'there is no Stripe key', detail => undef,
    hint => $set_key);

set('stripe_sync.api_key_file', $key_file);
blocked_is('no such file', sqlstate => 'SY001',
    message => qq(the key file "$key_file" can't be read),
    detail => 'No such file or directory',
    hint => qr/^Make it readable to the server's user, or correct stripe_sync\.api_key_file\.$/);
set_key('');
blocked_is('an empty file', sqlstate => 'SY001', message => 'there is no Stripe key',
    hint => $set_key);

my $blank = 'there is white space in it or around it';
my %not_keys = (
    'a sentence' => [ 'hunter2 is my password', $blank ],
    'a word' => [ 'hunter2', 'it does not begin with sk_live_, sk_test_, rk_live_ or rk_test_' ],
    'a publishable key' => [ 'pk_test_0123456789abcdef', 'it is a publishable key' ],
    'a webhook secret' => [ 'whsec_0123456789abcdef', 'it is a webhook secret' ],
    'half a key' => [ 'sk_test_', 'nothing follows its prefix' ],
    'a header line' => [ "sk_test_0123456789\r\nX-Evil: 1", $blank ],
);
foreach my $what (sort keys %not_keys)
{
    my ($key, $why) = @{ $not_keys{$what} };
    set_key($key);
    blocked_is($what, sqlstate => 'SY001', message => "The Stripe API key can't be used: $why",
        hint => qr/^Set a secret key \(sk_live_\.\.\., .*SELECT stripe_sync_check\(\);$/);
}
is(scalar $sandbox->requests, 0, 'nothing was asked with any of them');

# --- keys that Stripe refuses ---------------------------------------------------------------------

my $refused = 'Stripe refused to read the account: the API key';
my $valid_key = qr/^Set a valid secret key \(.*SELECT stripe_sync_check\(\);$/;
set_key('sk_test_x');
blocked_is('an unknown key', sqlstate => 'SY001', message => "$refused is not valid",
    detail => qr/^Invalid API Key provided: /, hint => $valid_key);

my $revoked = 'sk_test_revoked0123456789';
$sandbox->control('POST', 'keys', { key => $revoked, revoked => \1 });
set_key($revoked);
blocked_is('a revoked key', sqlstate => 'SY001', message => "$refused has expired",
    detail => qr/^Expired API Key provided: sk_test_\*+6789 \(code api_key_expired\) \(request req_/,
    hint => $valid_key);

# --- the right one --------------------------------------------------------------------------------

set_key($KEY);
all_synced('the right key');
my $check = $node->safe_psql('app', 'SELECT item, status, detail FROM stripe_sync_check()');
unlike($check, qr/\|fail\|/, 'stripe_sync_check(): nothing fails');
like($check, qr/^key\|ok\|sk_test_\.\.\.6789$/m, 'it shows the end of the key only');
foreach my $line (
    'mode\|ok\|test',
    'account\|ok\|acct_sandbox00000001',
    'worker\|ok\|runs as process \d+',
    'table public\.promo_codes\|ok\|attached; owner app_owner',
    'writers of public\.promo_codes\|ok\|may insert, update or delete: app_owner .*',
    map { "$_\\|ok\\|allowed" } (map { "read $_" } 'products', 'prices'),
    (map { ("read $_", "write $_") } 'coupons', 'promotion codes'))
{
    like($check, qr/^$line$/m, "it says: $line");
}
is(scalar $sandbox->objects($_), $inserted, "the check made no $_")
  foreach qw(coupons promotion_codes);

chmod 0644, $key_file;
like(checked('key file'),
    qr/^warn\|others can read the key file: \S+\|chmod 600 /,
    'a key file that others can read is warned of');
chmod 0600, $key_file;

# A key that is revoked while all is well is found by the push.
$sandbox->control('POST', 'keys', { key => $KEY, revoked => \1 });
insert();
await_query($node, 'app', 'SELECT status FROM stripe_sync_health', 'down',
    'a key revoked later: health is down');
like(row($node, 'app', 'SELECT reason FROM stripe_sync_health')->{reason},
    qr/the API key has expired$/, 'and says why');
$sandbox->control('POST', 'keys', { key => $KEY, revoked => \0 });
all_synced('a key valid again');

# --- another mode, another account ----------------------------------------------------------------

my $mark = $sandbox->mark;
set_key('sk_live_0123456789abcdef');
blocked_is('a key of the other mode', sqlstate => 'SY004',
    message => 'the Stripe key is a live key, this database is in step with test mode',
    detail => 'Pushing would mix objects of both modes.',
    hint => 'Set the test key again, or SELECT stripe_sync_rebind();');

my $elsewhere = 'sk_test_elsewhere0123456789';
$sandbox->control('POST', 'keys', { key => $elsewhere, account => 'acct_elsewhere' });
set_key($elsewhere);
blocked_is('a key of another account', sqlstate => 'SY004',
    message => 'the Stripe key opens account acct_elsewhere,'
      . ' this database is in step with acct_sandbox00000001',
    detail => "Pushing would write this database's codes to another account.",
    hint => 'Set the former key again, or SELECT stripe_sync_rebind();');
is(scalar(grep { $_->{path} ne '/v1/account' } $sandbox->requests(since => $mark)), 0,
    'neither was asked for more than its account');
set_key($KEY);
all_synced('the former key');

error_is(error_of($node, 'app', "SELECT stripe_sync_rebind('other')"),
    {
        sqlstate => 'SY004',
        message => "installation must be 'keep' or 'new', not 'other'",
        hint => qr/^keep: .* new: /
    },
    'stripe_sync_rebind() takes nothing else');

# --- restricted keys ------------------------------------------------------------------------------

my $restricted = 'rk_test_restricted0123456789';
$sandbox->control('POST', 'keys', { key => $restricted, forbid => ['POST /v1/coupons'] });
set_key($restricted);
my $code = insert();
$node->safe_psql('app', 'SELECT count(*) FROM stripe_sync_promo()');
my $why = row($node, 'app', <<"END");
SELECT sqlstate, reason AS message, detail, hint FROM stripe_sync.promo_state WHERE code = '$code'
END
error_is($why,
    {
        sqlstate => 'SY001',
        message => qr/^Stripe refused to create coupon \S+: the API key lacks a permission$/,
        detail => qr/rak_coupon_write/,
        hint => qr/^Give the restricted key the permission rak_coupon_write .*stripe_sync_check\(\);$/
    },
    'a key without the right to write coupons');
error_is(row($node, 'app', "SELECT * FROM stripe_sync_errors WHERE subject = '$code'"), $why,
    'the errors view says the same');
is($node->safe_psql('app', 'SELECT status, reason, next FROM stripe_sync_health'),
    "degraded|1 promo codes wait: $why->{message}|$why->{hint}", 'health, too');
check_fails('a key without a right', 'write coupons',
    qr/^Stripe refused to check whether the key may write coupons: .*rak_coupon_write/,
    $why->{hint});
is(scalar $sandbox->codes($code), 0, 'nothing of the code is in Stripe');
is(statuses($node, 'app', "code = '$code'"), "$code pending", 'it waits');

$sandbox->control('POST', 'keys', { key => $restricted, forbid => ['GET /v1/account'] });
all_synced('a key that may write, but not read its account');
like(checked('account'), qr/^warn\|the key may not read its account: taken for acct_sandbox00000001/,
    'is warned of, the account known by the refusal');

# Another account's, or one whose account nothing tells.
my $rebind = 'Set the former key again, or SELECT stripe_sync_rebind();';
my $unnamed = 'rk_test_unnamed012345abcd';
my %unread = (forbid => ['GET /v1/account']);
$mark = $sandbox->mark;
$sandbox->control('POST', 'keys', { key => $elsewhere, %unread });
set_key($elsewhere);
blocked_is('a key of another account that may not read it', sqlstate => 'SY004',
    message => 'the Stripe key opens account acct_elsewhere,'
      . ' this database is in step with acct_sandbox00000001',
    detail => "Pushing would write this database's codes to another account.",
    hint => $rebind);
$sandbox->control('POST', 'keys', { key => $unnamed, named => \0, %unread });
set_key($unnamed);
blocked_is('a key whose account nothing tells', sqlstate => 'SY004',
    message => 'the Stripe key has changed and may not read its account',
    detail => "Another account's key would write this database's codes there.",
    hint => "Allow the restricted key to read the account. Or: $rebind");
is(scalar(grep { $_->{path} ne '/v1/account' } $sandbox->requests(since => $mark)), 0,
    'neither was asked for more than its account');
$node->safe_psql('app', 'SELECT stripe_sync_rebind()');
all_synced('what the user vouches for');
$node->restart;
all_synced('and stays so with the same key');

# Bound by that key alone: no other is known to be of the same account.
$node->safe_psql('app', 'UPDATE stripe_sync.installation SET account = NULL');
$node->restart;
all_synced('known by the key alone');
is(checked('account'),
    'warn|the key may not read its account: it is known by the key alone'
      . '|Allow the restricted key to read the account.',
    'is warned of');
$sandbox->control('POST', 'keys', { key => $elsewhere, forbid => [] });
set_key($elsewhere);
blocked_is('a key beside one whose account was not known', sqlstate => 'SY004',
    message => 'the Stripe key has changed, and the former one might not read its account',
    detail => 'Whether acct_elsewhere is the account this database is in step with'
      . " can't be told.",
    hint => $rebind);
set_key($unnamed);
$sandbox->control('POST', 'keys', { key => $unnamed, forbid => [] });
all_synced('the same key, which may read its account now');
is(checked('account'), 'ok|acct_sandbox00000001|', 'from now on it is known');
set_key($KEY);

# --- no worker ------------------------------------------------------------------------------------

my $start = 'SELECT stripe_sync_start();';
$node->safe_psql('app', 'SELECT stripe_sync_stop()');
await_query($node, 'app', 'SELECT count(*) FROM stripe_sync.running_worker', '0',
    'stopped: the worker ends');
$code = insert();
foreach my $call ('stripe_sync_promo()', 'stripe_sync_wait()')
{
    error_is(error_of($node, 'app', "SELECT * FROM $call"),
        { sqlstate => 'SY004', message => 'the worker of this database is stopped', hint => $start },
        "stopped: $call says so");
}
is($node->safe_psql('app', 'SELECT status, reason, next FROM stripe_sync_health'),
    "down|the worker was stopped|$start", 'stopped: health');
check_fails('stopped', 'worker', 'the worker of this database is stopped', $start);
$node->restart;
is(worker_pid($node, 'app'), '', 'stopped over a restart too');
$node->safe_psql('app', 'SELECT stripe_sync_start()');
all_synced('started');

$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 1');
$node->restart;
$code = insert();
is(statuses($node, 'app', "code = '$code'"), "$code pending",
    'without worker slots the application writes as ever');
my $no_slots = 'no worker could be started: all background worker slots are taken';
foreach my $call ('stripe_sync_start()', 'stripe_sync_promo()')
{
    error_is(error_of($node, 'app', "SELECT * FROM $call"),
        {
            sqlstate => 'SY004',
            message => $no_slots,
            detail => 'max_worker_processes limits them.',
            hint => "Raise max_worker_processes and restart the server, then $start"
        },
        "no slots: $call says so");
}
is($node->safe_psql('app', 'SELECT status, reason, next FROM stripe_sync_health'),
    "down|no worker runs|$start", 'no slots: health');
check_fails('no slots', 'worker', $no_slots, qr/^Raise max_worker_processes/);
$node->safe_psql('postgres', 'ALTER SYSTEM RESET max_worker_processes');
$node->restart;
$node->safe_psql('app', 'SELECT stripe_sync_start()');
all_synced('slots again');

# --- wrong addresses ------------------------------------------------------------------------------

my $url = $sandbox->url;
my $readable = 'without https:// the API key would cross the network readable by others';
my %addresses = (
    'http://192.0.2.1' => $readable,
    'http://localhost.example.com' => $readable,
    'http://user:secret@127.0.0.1' => 'it must not hold a user name or password',
    'api.stripe.com' => 'it is not a URL',
    "$url/?x=" => 'it must end before any ? or #',
);
foreach my $address (sort keys %addresses)
{
    $mark = $sandbox->mark;
    set('stripe_sync.api_base', $address);
    blocked_is("api_base $address", sqlstate => 'SY004',
        message => "stripe_sync.api_base can't be used: $addresses{$address}",
        hint => qr/^Set it to https:\/\/api\.stripe\.com, or for a local sandbox/);
    is(scalar $sandbox->requests(since => $mark), 0, "api_base $address: nothing was sent");
}
set('stripe_sync.api_base', 'http://127.0.0.1:9');
blocked_is('an address where nobody listens', sqlstate => 'SY007',
    message => qr/^Stripe could not be reached to read the account: /,
    detail => 'Address: http://127.0.0.1:9', hint => qr/stripe_sync_check\(\);?$/);
set('stripe_sync.api_base', $url);
all_synced('the right address');

# --- calls that can't be answered -----------------------------------------------------------------

error_is(error_of($node, 'app', "SELECT * FROM stripe_sync_promo('NOSUCH')"),
    {
        sqlstate => 'SY004',
        message => 'no attached table holds the promo code "NOSUCH"',
        hint => 'SELECT code FROM stripe_sync_promo_status;'
    },
    'an unknown code');
$sandbox->fault('stall_before_headers', match => { method => 'POST' }, times => 0);
$code = insert();
error_is(error_of($node, 'app', 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT stripe_sync_wait()'),
    {
        sqlstate => 'SY004',
        message => "can't wait for the worker in a repeatable read transaction",
        detail => 'Its snapshot never sees what the worker commits.',
        hint => 'Call it in a READ COMMITTED transaction.'
    },
    "a REPEATABLE READ transaction can't wait");
$sandbox->clear_faults;
is($node->safe_psql('app', <<"END"), "$code||at commit", 'rows of the caller go at its commit');
BEGIN;
UPDATE promo_codes SET description = 'x' WHERE code = '$code';
SELECT promo_code, action, status FROM stripe_sync_promo('$code');
COMMIT;
END
all_synced('at commit');
is(scalar $sandbox->objects('promotion_codes'), $inserted,
    'each code is in Stripe once, whatever went wrong before');

finish($node);
