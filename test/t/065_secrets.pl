# The Stripe key is nowhere to be read: not in a log at its most talkative, not in an error, a table, a
# view, a setting, a dump, a file of the data directory. And where it comes from: the environment, a file.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

# The middle of every key here; a fingerprint shows the last four characters at most.
my $secret = 'S3cretS3cret';
my %key = (
    environment => "sk_test_${secret}Environment0001",
    file => "sk_test_${secret}File0002",
    other => "rk_test_${secret}Other0003",
    revoked => "sk_test_${secret}Revoked0004",
    publishable => "pk_test_${secret}Publishable0005",
    none => "$secret is a private key, but not of Stripe 0006");

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, key => $key{environment}, conf => <<'END');
log_error_verbosity = verbose
log_statement = all
log_connections = on
log_parameter_max_length_on_error = -1
log_min_duration_statement = 0
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
track_activity_query_size = 100000
shared_preload_libraries = 'stripe_sync, auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_nested_statements = on
END
# Not from the start: at debug3 and lower PostgreSQL itself logs its environment while it starts, before
# any library of ours is loaded. stripe_sync_check() can only warn of it.
$node->safe_psql('postgres', "ALTER SYSTEM SET log_min_messages = debug5");
$node->safe_psql('postgres', "ALTER SYSTEM SET log_min_error_statement = debug5");
$node->reload;
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
$node->safe_psql('app', "DELETE FROM promo_codes WHERE code NOT IN ('BETA50')", @owner);
attach($node, 'app');
await_synced($node, 'app', 'pushed with the key of the environment');

my $codes = 0;
sub insert
{
    my $code = 'SECRET-' . ++$codes;
    insert_codes($node, 'app', $code);
    return $code;
}

# Everything that can be read in the database, as one text.
sub everything
{
    return $node->safe_psql('app', <<'END');
SELECT name, query_to_xml('SELECT * FROM ' || name, true, false, '')
FROM unnest(ARRAY['pg_stat_activity', 'pg_settings', 'pg_file_settings', 'pg_prepared_statements']) name
UNION ALL
SELECT c.oid::regclass::text, query_to_xml(format('SELECT * FROM %s', c.oid::regclass), true, false, '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'S') AND n.nspname IN ('stripe_sync', 'public');
SELECT stripe_sync_check();
SELECT stripe_sync_promo();
END
}

sub no_secret
{
    my ($text, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @lines = grep { /\Q$secret\E/i } split /\n/, $text;
    is(join("\n", @lines[0 .. ($#lines < 4 ? $#lines : 4)]), '', "no key in $what");
    return;
}

sub health
{
    return row($node, 'app', <<'END');
SELECT h.status, h.reason, h.next, w.blocked_detail, w.blocked_sqlstate
FROM stripe_sync_health h, stripe_sync.worker w
END
}

sub await_blocked
{
    my ($pattern, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    await($what, sub {
        my $health = health();
        my $seen = join ' / ', map { $_ // '' } @$health{qw(status reason blocked_detail next)};
        return (scalar($seen =~ $pattern), $seen);
    });
    return health();
}

# --- the key in the environment -------------------------------------------------------------------

my $seen = everything();
like($seen, qr/sk_test_\.\.\.0001/, 'a fingerprint is all that is shown');
no_secret($seen, 'anything that can be read');

$sandbox->fault('stall_before_headers', times => 1, match => { method => 'POST' });
my $stalled = insert();
await('a request is under way', sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
no_secret($node->safe_psql('app', 'TABLE pg_stat_activity'), 'pg_stat_activity meanwhile');
my $worker = worker_pid($node, 'app');
no_secret(slurp_file("/proc/$worker/cmdline"), 'the title of the process');
$sandbox->control('POST', 'faults/release');
await_synced($node, 'app');

like($node->safe_psql('app', "SELECT item, status, detail || fix FROM stripe_sync_check() WHERE status = 'warn'"),
    qr/^key[^|]*\|warn\|.*environment.*log_min_messages/m,
    'check warns of a server that logs its environment when it starts');

# --- a Stripe that says it back -------------------------------------------------------------------

my $key = $key{environment};
my $error = {
    message => "You sent 'Authorization: Bearer $key', $key.",
    type => 'invalid_request_error',
    code => "code_$key",
    param => "param[$key]" };
my @echoes = (
    [ 'a refusal', status => 400, body => { error => $error }, headers => { 'Request-Id' => "req_$key" } ],
    [ 'a permission', status => 403, body => { error => $error } ],
    [ 'an idempotency error', status => 400, body => { error => { %$error, type => 'idempotency_error' } } ],
    [ 'a limit', status => 429, body => { error => $error }, headers => { 'Stripe-Rate-Limited-Reason' => $key } ],
    [ 'a failure', status => 500, body => { error => $error } ],
    [ 'a missing object', status => 404, body => { error => { %$error, code => 'resource_missing' } } ],
    [ 'an error of another shape', status => 400, body => { error => "no: $key" } ],
    [ 'no JSON', status => 200, body => "$key <html>$key</html>" ],
    [ 'JSON with a fault in it', status => 200, body => "{\"id\": \"x\", \"$key\": $key" ],
    [ 'a page', status => 502, body => "<html>$key</html>" ]);
foreach my $echo (@echoes)
{
    my ($what, %fault) = @$echo;
    my $id = $sandbox->fault('status', times => 1, match => { method => 'POST' }, %fault);
    my $code = insert();
    await("$what that names the key is answered", sub { return ($sandbox->hits($id) == 1, $sandbox->hits($id)) });
    await('and noted, or got over', sub {
        my $state = $node->safe_psql('app', "SELECT state FROM stripe_sync.promo_state WHERE code = '$code'");
        return (scalar($state !~ /sending/), $state);
    });
    # a new number refused as used by another database stops everything
    $node->safe_psql('app', q{SELECT stripe_sync_rebind('keep')}) if $what eq 'an idempotency error';
    $node->safe_psql('app', 'SELECT stripe_sync_promo()');  # also where it blocked everything
}
my $redirect = $sandbox->fault('redirect', match => { method => 'POST' }, location => "http://127.0.0.1/$key");
insert();
await('a redirect that names the key', sub { return ($sandbox->hits($redirect) == 1, $sandbox->hits($redirect)) });
await_query($node, 'app', <<'END', 't',
SELECT count(*) > 3 FROM stripe_sync_errors WHERE concat_ws(' ', message, detail) ~ 'k_test_[*]{3}'
END
    'the errors are kept, with stars in place of the key');
no_secret(everything(), 'anything that can be read');

my $id = $sandbox->fault('status', times => 1, match => { path => '/v1/account' }, status => 401,
    body => { error => { message => "Invalid API Key provided: $key", type => 'invalid_request_error' } });
$node->safe_psql('app', 'SELECT stripe_sync_check()');
is($sandbox->hits($id), 1, 'a 401 that names the key');
like(health()->{blocked_detail} // '', qr/^Invalid API Key provided: sk_test_\*\*\*/, 'is shown without it');
no_secret(everything(), 'anything that can be read');
$node->safe_psql('app', 'SELECT stripe_sync_promo()');
$node->safe_psql('app', "SELECT stripe_sync_retry(code) FROM stripe_sync_promo_status WHERE sync_status = 'error'");
await_synced($node, 'app', 'all is well again');

# --- a key in a file ------------------------------------------------------------------------------

my $folder = $node->basedir . '/keys';
mkdir $folder, 0700;
my $file = "$folder/stripe";

sub write_key
{
    my ($name, $text, $mode) = @_;
    unlink "$name.new";
    append_to_file("$name.new", $text);
    chmod $mode // 0600, "$name.new";
    rename "$name.new", $name or die "$name: $!";
    return;
}

sub use_file
{
    my ($name) = @_;
    $node->safe_psql('app', "ALTER SYSTEM SET stripe_sync.api_key_file = '$name'");
    $node->safe_psql('app', 'SELECT pg_reload_conf()');
    return;
}

# Also has the worker look at the file.
sub check
{
    return $node->safe_psql('app', "SELECT * FROM stripe_sync_check() WHERE item LIKE 'key%' ORDER BY 1, 3");
}

$sandbox->control('POST', 'keys', { key => $key{environment}, revoked => JSON::PP::true });
$sandbox->control('POST', 'keys', { key => $key{revoked}, revoked => JSON::PP::true });
write_key($file, "  $key{file}\n\n");
use_file($file);
insert();
await_synced($node, 'app', 'a file takes the place of the environment');
is(check(), 'key|ok|sk_test_...0002|', 'check: nothing to warn of');

foreach my $mode (0640, 0604, 0644, 0660)
{
    chmod $mode, $file;
    is(check(), "key|ok|sk_test_...0002|\nkey file|warn|others can read the key file: $file|chmod 600 $file",
        sprintf('check: warns of a file of mode %04o', $mode));
}
chmod 0600, $file;

# Changed, without a reload.
write_key($file, $key{revoked});
my $waiting = insert();
my $health = await_blocked(qr/expired/, 'a changed file is read without a reload: its key is not valid');
is($health->{blocked_sqlstate}, 'SY001', 'of class SY001');
like($health->{next}, qr/stripe_sync\.api_key_file.*stripe_sync_check\(\)/, 'the remedy is named');
write_key($file, $key{other});
insert();
await_synced($node, 'app', 'changed again: at work at once');
is(check(), 'key|ok|rk_test_...0003|', 'with the key of the file');

# What can't be used says so, without what it holds.
my %unusable = (
    'no key' => [ $key{none}, qr/The Stripe API key can't be used/ ],
    'a publishable key' => [ $key{publishable}, qr/it is a publishable key/ ],
    'two keys' => [ "$key{file}\n$key{other}\n", qr/white space in it/ ],
    'something else behind a key' => [ "$key{file};x", qr/a character in it that no key has/ ],
    'binary data' => [ "\x00\xff$key{file}\x00", qr/can't be used/ ],
    'nothing' => [ '', qr/there is no Stripe key/ ]);
foreach my $what (sort keys %unusable)
{
    my ($text, $pattern) = @{ $unusable{$what} };
    write_key($file, $text);
    insert();
    $health = await_blocked($pattern, "a file that holds $what: says so");
    is($health->{blocked_sqlstate}, 'SY001', 'of class SY001');
    like($health->{next} // '', qr/Set a secret key|stripe_sync\.api_key_file/, 'and names the remedy');
}
no_secret(everything(), 'anything that can be read');

# Unreadable: never falls back to the environment, whose key may be another account's.
unlink $file;
insert();
$health = await_blocked(qr/the key file "\Q$file\E" can't be read.*No such file/, 'a file that is gone: says so');
like($health->{next}, qr/^Make it readable to the server's user, or correct stripe_sync\.api_key_file\.$/,
    'and what to do');
is($health->{blocked_sqlstate}, 'SY001', 'of class SY001');
like(check(), qr/^key\|fail\|the key file "\Q$file\E" can't be read/m, 'check says so too');
my $pushed = $node->safe_psql('app', "SELECT * FROM stripe_sync_promo('" . insert() . "')");
like($pushed, qr/\|waiting\|pending\|.*the key file "\Q$file\E" can't be read\|Make it readable/,
    'and stripe_sync_promo()');
SKIP:
{
    skip 'root reads everything', 1 if $> == 0;
    write_key($file, $key{file}, 0000);
    insert();
    await_blocked(qr/can't be read.*Permission denied/, 'a file that may not be read: says so');
}
unlink $file;
mkdir $file;
insert();
await_blocked(qr/the key file "\Q$file\E" can't be read.*directory/i, 'a directory: says so');
rmdir $file;
write_key($file, $key{file});
insert();
await_synced($node, 'app', 'readable again: at work at once');

# Where base backups would take it along.
my $data = $node->data_dir;
write_key("$data/stripe.key", $key{file});
symlink "$data/stripe.key", "$folder/link";
foreach my $name ("$data/stripe.key", 'stripe.key', './stripe.key', "$data/base/../stripe.key", "$folder/link")
{
    use_file($name);
    await_query($node, 'app', 'SHOW stripe_sync.api_key_file', $name, 'settings are reloaded');
    like(check(), qr/^key file\|warn\|the key file lies in the data directory: .*: \Q$name\E\|Move it elsewhere/m,
        "check: warns of $name");
}
use_file($file);
unlink "$data/stripe.key";
await_query($node, 'app', 'SHOW stripe_sync.api_key_file', $file, 'settings are reloaded');
is(check(), 'key|ok|sk_test_...0002|', 'check: elsewhere it is fine');

# --- a worker that crashes while a request is under way -------------------------------------------

$sandbox->fault('stall_before_headers', times => 1, match => { method => 'POST' });
my $crashed = insert();
await('a request is under way', sub { return ($sandbox->stalled == 1, $sandbox->stalled) });
$worker = worker_pid($node, 'app');
kill 'ABRT', $worker;
await_worker($node, 'app', 'another worker', $worker);
$sandbox->control('POST', 'faults/release');
await_synced($node, 'app', 'it went on after a crash');
my $log = slurp_file($node->logfile);
like($log, qr/stripe_sync worker.*was terminated by signal 6.*/, 'the log tells of the crash');
like($log, qr/LOG: .* plan:\n.*Query Text: .*stripe_sync\.promo_state/, 'and of the worker\'s plans');

# --- no setting holds one -------------------------------------------------------------------------

foreach my $statement ("ALTER SYSTEM SET stripe_sync.api_key = 'x'", "SET stripe_sync.api_key = 'x'",
    "ALTER DATABASE app SET stripe_sync.api_key = 'x'", "ALTER ROLE app_owner SET stripe_sync.webhook_secret = 'x'",
    "SELECT set_config('stripe_sync.secret', 'x', false)")
{
    my $failure = error_of($node, 'app', $statement);
    like("$failure->{sqlstate} $failure->{message}", qr/^42(602|704) (invalid|unrecognized) configuration parameter/,
        $statement);
}
is($node->safe_psql('app', <<'END'),
SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings
WHERE name LIKE 'stripe_sync.%' AND name ~ 'key|secret|token|password'
END
    'stripe_sync.api_key_file stripe_sync.vault_api_key', 'the settings name a file and a Vault secret, and hold none');
foreach my $setting ('api_key_file', 'vault_api_key')
{
    is(error_of($node, 'app', "SHOW stripe_sync.$setting", '-U', 'app_owner')->{sqlstate}, '42501',
        "$setting is for superusers to see");
}
# (Put together as it is inserted, since statements and plans are in the log by our own wish.)
$node->safe_psql('app', <<'END');
CREATE SCHEMA vault;
GRANT USAGE ON SCHEMA vault TO app_owner;
CREATE TABLE vault.decrypted_secrets (name text, decrypted_secret text);
ALTER TABLE vault.decrypted_secrets OWNER TO app_owner;
INSERT INTO vault.decrypted_secrets VALUES ('stripe', 'sk_test_' || repeat('S3cret', 2 + (random() * 0)::integer) || 'Vault0007');
END
$node->safe_psql('app', "ALTER SYSTEM SET stripe_sync.vault_api_key = 'stripe'");
$node->safe_psql('app', 'SELECT pg_reload_conf()');
await_query($node, 'app', 'SHOW stripe_sync.vault_api_key', 'stripe', 'settings are reloaded');
like(check(), qr/^key\|ok\|sk_test_\.\.\.0007\|$/m, 'a key from Vault');
insert();
await_synced($node, 'app', 'pushes');
$node->safe_psql('app', "DROP TABLE vault.decrypted_secrets");
like(check(), qr/^key\|fail\|the Vault secret "stripe" can't be read/m, 'no Vault: says so');

# --- over all -------------------------------------------------------------------------------------

no_secret(everything(), 'anything that can be read');
$node->command_ok([ 'pg_dump', '-f', "$folder/dump", $node->connstr('app') ], 'pg_dump');
no_secret(slurp_file("$folder/dump"), 'a dump');
no_secret(slurp_file($node->logfile), 'the log at debug5');
cmp_ok(-s $node->logfile, '>', 1_000_000, '(which is long)');
# Their pages: a table of Vault's was dropped, the rest never held one.
my ($found) = run_command([ 'grep', '-rlaiF', '--exclude-dir=base', '--exclude-dir=pg_wal', $secret, $data ]);
is($found, '', 'no key in the files of the data directory');
($found) = run_command([ 'grep', '-rlaiF', "${secret}Environment", $data ]);
is($found, '', 'the key of the environment not in tables or WAL either');
($found) = run_command([ 'grep', '-rlaiF', "${secret}File", $data ]);
is($found, '', 'nor that of the file');

finish($node, except => qr/terminated by signal 6/);
