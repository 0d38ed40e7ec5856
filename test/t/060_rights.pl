# Who may do what: code around a promo table runs as its owner at most, whoever makes us touch the
# table; nothing is granted to anybody.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, conf => "stripe_sync.reconcile_interval = '1s'\n");
$node->safe_psql('postgres', <<'END');
CREATE ROLE app_owner LOGIN;
CREATE ROLE app_role LOGIN;
CREATE DATABASE app OWNER app_owner;
END
my $boss = $node->safe_psql('postgres', 'SELECT current_user');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
my @app = (extra_params => [ '-U', 'app_role' ]);
my $script = "$FindBin::RealBin/060_rights";

# --- the traps ------------------------------------------------------------------------------------

$node->safe_psql('app', slurp_file("$script.sql"), @owner);
$node->safe_psql('app', 'ALTER DATABASE app SET search_path = evil, pg_catalog, public', @owner);

# Looks without springing any: pg_catalog alone is on the path. The promo tables are for their owner
# to look at: planning a query is enough to run what hangs on them.
sub quietly
{
    my ($sql, @role) = @_;
    return $node->safe_psql('app', $sql,
        connstr => $node->connstr('app') . " options='-c search_path=pg_catalog'", @role);
}

sub await_quietly
{
    my ($sql, $wanted, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await($what, sub { my $seen = quietly($sql); return ($seen eq $wanted, $seen) });
}

# Every push has ended, somehow.
sub all_settled
{
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return await_quietly(<<'END', '', "$what: all is settled");
SELECT string_agg(concat_ws(' ', code, state, reason), ', ') FROM stripe_sync.promo_current
WHERE state IN ('pending', 'sending', 'retrying')
END
}

# What the traps said since the last call: trap => who => times; and what they gained.
my $log_seen = 0;
sub traps
{
    my $log = substr(slurp_file($node->logfile), $log_seen);
    $log_seen += length $log;
    my (%sprung, @won);
    foreach my $line (split /\n/, $log)
    {
        if ($line =~ /LOG:  EVIL\|(.*)\|(.*)\|([tf])\|(.*)/)
        {
            my $who = $2 . ($3 eq 't' ? ' SUPERUSER' : '') . ($4 eq 'worker' ? ', worker' : '');
            $sprung{$1}{$who}++;
        }
        push @won, $line if $line =~ /LOG:  EVIL-WON\|/;
    }
    return (\%sprung, \@won);
}

# Nothing was gained since the last call. `sprung`: pairs of trap and who that must be among them.
sub harmless
{
    my ($what, @sprung) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($sprung, $won) = traps();
    my @all = map { my $trap = $_; map { [ $trap, $_ ] } sort keys %{ $sprung->{$trap} } } sort keys %$sprung;
    is(join("\n", map { "$_->[0] as $_->[1]" } grep { $_->[1] !~ /^app_role$|^app_owner(, worker)?$/ } @all),
        '', "$what: no trap runs as anybody but the owner, or whoever writes");
    is(join("\n", grep { defined } @$won[0 .. 4]), '', "$what: no trap gains anything");
    while (my ($trap, $who) = splice @sprung, 0, 2)
    {
        ok($sprung->{$trap}{$who}, "$what: \"$trap\" was sprung as $who")
          or diag(join "\n", map { "$_->[0] as $_->[1]" } @all);
    }
    is(quietly("SELECT string_agg(rolname, ', ') FROM pg_roles WHERE rolsuper"), $boss,
        "$what: there is no other superuser") or die 'what follows would prove nothing';
    return;
}

harmless('before', default => 'app_owner', 'domain of the code' => 'app_owner');

# The traps do work: who carelessly writes an operator here as a superuser is caught.
$node->safe_psql('app', "BEGIN; SELECT 'a'::text = 'b'::text; ROLLBACK");
my ($control, $won) = traps();
ok($control->{'operator ='}{"$boss SUPERUSER"}, 'control: a superuser\'s operator springs a trap');
ok(scalar(grep { /CREATE ROLE evil_superuser/ } @$won), 'control: which gains what it wants');
is(quietly("SELECT count(*) FROM pg_roles WHERE rolname = 'evil_superuser'"), '0', '(rolled back)');

# --- installing, attaching ------------------------------------------------------------------------

$node->safe_psql('app', <<'END');
CREATE EXTENSION stripe_sync SCHEMA public;
GRANT EXECUTE ON FUNCTION public.stripe_sync_attach, public.stripe_sync_detach TO app_owner, app_role;
END
harmless('CREATE EXTENSION');

my $attach = "SELECT * FROM public.stripe_sync_attach('public.%s', currency => 'usd', duration => 'once')";
foreach my $call ('attach', 'detach')
{
    error_is(error_of($node, 'app', "SELECT public.stripe_sync_$call('public.promo_codes')", '-U', 'app_role'),
        { sqlstate => '42501', message => 'must be owner of the promo table', hint => qr/as the table's owner/ },
        "$call by a role that is not the owner");
}
like($node->safe_psql('app', sprintf($attach, 'promo_codes'), @owner), qr/^trigger zzzzz\|warning\|/m,
    'attached by the owner; a trigger after ours is warned of');
all_settled('attached by the owner');
my $worker = quietly('SELECT pid FROM stripe_sync.running_worker');
like($worker, qr/^\d+$/, 'a worker runs');
harmless('attached by the owner', 'promo_codes BEFORE UPDATE ROW' => 'app_owner, worker',
    'check of the table' => 'app_owner, worker');

$node->safe_psql('app', sprintf $attach, $_) foreach qw(pair_codes slot_codes);
all_settled('attached by a superuser');
$node->safe_psql('app', sprintf $attach, 'promo_codes');
all_settled('attached again by a superuser');
harmless('attached by a superuser');
is(quietly(<<'END'), <<'END' =~ s/\n\z//r, 'a code of any type is read; what is no code is parked');
SELECT p.relname || ' ' || s.code || ' ' || s.state || ' ' || coalesce(s.sqlstate, '-')
FROM stripe_sync.promo_state s JOIN pg_class p ON p.oid = s.promo_table ORDER BY 1
END
pair_codes (PAIR,1) parked SY005
promo_codes EARLY synced -
slot_codes ONE synced -
END

# --- written by the application -------------------------------------------------------------------

# Temporary tables cannot take the place of ours either.
$node->safe_psql('app', <<'END', @app);
CREATE TEMP TABLE stripe_sync_new (id text, code text, sync_status text);
CREATE TEMP TABLE promo_state (n integer);
CREATE TEMP TABLE pg_class (n integer);
SET standard_conforming_strings = off;
SET array_nulls = off;
BEGIN;
INSERT INTO public.promo_codes (code) VALUES ('ONE-MORE'), ('TWO-MORE'), ('THREE-MORE');
UPDATE public.promo_codes SET discount_value = 20 WHERE code = 'ONE-MORE';
COMMIT;
UPDATE public.promo_codes SET id = 'another key' WHERE code = 'TWO-MORE';
DELETE FROM public.promo_codes WHERE code = 'THREE-MORE';
INSERT INTO public.pair_codes (id, code) VALUES ('two', ROW('PAIR', 2));
INSERT INTO public.slot_codes (slot, part, number) VALUES ('two', 'second', 2);
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE public.promo_codes SET is_active = false WHERE code = 'EARLY';
UPDATE public.promo_codes SET notes = 'again' WHERE code = 'EARLY';
COMMIT;
END
all_settled('written by the application');
harmless('written by the application', 'promo_codes BEFORE INSERT ROW' => 'app_role', policy => 'app_role',
    'operator =' => 'app_role', 'promo_codes AFTER UPDATE ROW' => 'app_owner, worker',
    rule => 'app_owner, worker', 'generated column' => 'app_owner, worker');
is(quietly("SELECT code || ' ' || pg_catalog.format('%s', sync_status) FROM public.promo_codes ORDER BY code", @owner),
    "EARLY synced\nONE-MORE synced\nTWO-MORE synced", 'and pushed');
is($sandbox->code('EARLY')->{active} ? 1 : 0, 0, 'what was switched off is off');

is(quietly('SELECT pid FROM stripe_sync.running_worker'), $worker, 'the worker is the one it was, with its lock');

# --- found by the reconcile -----------------------------------------------------------------------

$node->safe_psql('app', <<'END', @owner);
ALTER TABLE public.promo_codes DISABLE TRIGGER ALL;
UPDATE public.promo_codes SET discount_value = 30 WHERE code = 'ONE-MORE';
ALTER TABLE public.promo_codes ENABLE TRIGGER ALL;
END
await_quietly("SELECT observed #>> '{coupon,percent_off}' FROM stripe_sync.promo_state WHERE code = 'ONE-MORE'", '30',
    'the reconcile finds a change');
all_settled('found by the reconcile');
harmless('found by the reconcile');

# --- called by a superuser, with the traps on the path --------------------------------------------

foreach my $call ('SELECT * FROM public.stripe_sync_promo()', "SELECT * FROM public.stripe_sync_promo('EARLY')",
    'SELECT public.stripe_sync_wait()', "SELECT public.stripe_sync_wait('10 s')",
    "SELECT public.stripe_sync_retry('ONE-MORE')", 'SELECT * FROM public.stripe_sync_check()',
    'TABLE public.stripe_sync_promo_status', 'TABLE public.stripe_sync_status', 'TABLE public.stripe_sync_health',
    'TABLE public.stripe_sync_errors', 'SELECT public.stripe_sync_start()')
{
    my ($code, undef, $error) = $node->psql('app', $call);
    is("$code $error", '0 ', $call);
}
like($node->safe_psql('app', 'SELECT * FROM public.stripe_sync_check()'),
    qr/^table public\.promo_codes\|ok\|attached; owner app_owner\|$/m, 'the check says who owns the table');
harmless('called by a superuser');

# --- a table that forces row level security on its owner ------------------------------------------

my $mark = $sandbox->mark;
my $two = "FROM stripe_sync.promo_state WHERE code = 'TWO-MORE' AND NOT deleted";
$node->safe_psql('app', <<'END', @owner);
DROP POLICY everybody ON public.promo_codes;
ALTER TABLE public.promo_codes FORCE ROW LEVEL SECURITY;
END
quietly("SELECT public.stripe_sync_retry('TWO-MORE')");
await_quietly("SELECT state $two", 'retrying', 'FORCE ROW LEVEL SECURITY later on: not read any more');
like(quietly("SELECT concat_ws(' ', reason, detail) $two"), qr/can't be read.*row-level security/s, 'and says why');
await_quietly(<<'END', 't', 'the reconcile reads an error, not an empty table');
SELECT count(*) > 0 FROM stripe_sync.error
WHERE subject = 'worker' AND message ~ 'row-level security' AND last_at > clock_timestamp() - interval '3 s'
END
is(quietly("SELECT count(*) FROM stripe_sync.promo_state WHERE state = 'missing'"), '0', 'nothing is missing');
is(scalar $sandbox->writes($mark), 0, 'and nothing is switched off');
error_is(error_of($node, 'app', sprintf($attach, 'promo_codes'), '-U', 'app_owner'),
    { sqlstate => 'SY004', message => qr/forces row level security/, hint => qr/NO FORCE ROW LEVEL SECURITY/ },
    'attaching such a table is refused');
$node->safe_psql('app', 'ALTER TABLE public.promo_codes NO FORCE ROW LEVEL SECURITY', @owner);
quietly("SELECT public.stripe_sync_retry('TWO-MORE')");
all_settled('no longer forced');
harmless('forced row level security');

# --- detaching, and the Vault of somebody who is not Vault ----------------------------------------

$node->safe_psql('app', "SELECT public.stripe_sync_detach('public.pair_codes')");
$node->safe_psql('app', "SELECT public.stripe_sync_detach('public.promo_codes')", @owner);
$node->safe_psql('app', sprintf($attach, 'promo_codes'), @owner);
all_settled('attached once more');
harmless('detached and attached once more');

$node->safe_psql('app', <<'END', @owner);
CREATE SCHEMA vault;
CREATE VIEW vault.decrypted_secrets AS SELECT 'stripe'::text AS name,
  evil.say('view of a false Vault', 'sk_test_' OPERATOR(pg_catalog.||) 'ofafalsevault0') AS decrypted_secret;
END
$node->safe_psql('postgres', "ALTER SYSTEM SET stripe_sync.vault_api_key = 'stripe'");
$node->reload;
$node->safe_psql('app', 'SELECT * FROM public.stripe_sync_check()');
harmless('a schema named vault that anybody made');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET stripe_sync.vault_api_key');
$node->reload;

# --- settings of the database ---------------------------------------------------------------------

create_application($node, 'odd');
$node->safe_psql('odd', slurp_file("${script}_settings.sql"));
my $sane = join ' ', map { "-c $_" } qw(role=none statement_timeout=0 default_transaction_read_only=off
  search_path=public idle_in_transaction_session_timeout=0);
sub odd { return $node->safe_psql('odd', $_[0], connstr => $node->connstr('odd') . " options='$sane' user=app_owner") }
# (It names a table that is not on the worker's path.)
odd('DROP TRIGGER refresh_promo_code_stats ON promo_codes');
odd("SELECT * FROM stripe_sync_attach('promo_codes', currency => 'usd', duration => 'once')");
odd(<<'END');
INSERT INTO promo_codes (code, description, discount_type, discount_value, expires_at)
VALUES ('ODD', E'it\'s \u00e9 odd \\', 'percentage', 12.5, '2030-01-02 03:04:05.678+00');
END
await('odd settings: all is settled', sub {
    my $seen = odd("SELECT string_agg(code, ' ') FROM promo_codes WHERE sync_status = 'pending'");
    return ($seen eq '', $seen);
});
is(odd("SELECT sync_status, sync_error FROM promo_codes WHERE code = 'ODD'"), 'synced|', 'odd settings: pushed');
my ($promotion_code, $coupon) = eval { $sandbox->code('ODD') };
is_deeply([ $promotion_code->{expires_at}, $coupon->{percent_off}, $coupon->{metadata}{description} ],
    [ 1893553445, 12.5, "it's \x{e9} odd \\" ], 'odd settings: with the right terms');

# --- granted to nobody ----------------------------------------------------------------------------

my @outsider = (extra_params => [ '-U', 'outsider' ]);
$node->safe_psql('postgres', <<'END');
CREATE ROLE anon;
CREATE ROLE "PUBLIC";
CREATE ROLE "we""ird 'role'";
CREATE ROLE outsider LOGIN;
CREATE ROLE connected LOGIN; -- may do nothing else
GRANT anon, "PUBLIC", "we""ird 'role'" TO outsider;
CREATE DATABASE granted;
CREATE DATABASE plain;
END
$node->safe_psql('granted', slurp_file("${script}_defaults.sql"));
# (Newer versions list the types of tables and views, too.)
my $members = <<'END';
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE d.deptype = 'e' AND e.extname = 'stripe_sync' AND d.classid <> 'pg_type'::regclass
END
foreach my $db ('granted', 'plain')
{
    my $sql = sub { return $node->safe_psql($db, $_[0]) };
    $sql->('CREATE EXTENSION stripe_sync; CREATE SCHEMA shop; SELECT stripe_sync_create_promo_tables(\'shop\')');
    is($sql->("SELECT string_agg(DISTINCT d.classid::regclass::text, ' ') $members"), 'pg_class pg_namespace pg_proc',
        "$db: members are of the kinds looked at here");
    cmp_ok($sql->("SELECT count(*) $members"), '>', 50, "$db: and there are some");
    # Ours, and what we made of the user's.
    my $objects = "SELECT d.classid, d.objid AS oid $members" . <<'END';
UNION ALL SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r'
UNION ALL SELECT 'pg_class'::regclass, 'stripe.promo_history'::regclass
UNION ALL SELECT 'pg_namespace'::regclass, 'stripe'::regnamespace
END
    foreach my $role ('outsider', 'connected', 'anon', 'PUBLIC', "we\"ird 'role'")
    {
        is($sql->(<<"END"), '', "$db: nothing is granted to $role");
SELECT string_agg(pg_describe_object(o.classid, o.oid, 0), ', ')
FROM ($objects) o,
  (SELECT @{[ literal($role) ]}::name) r(role)
WHERE CASE o.classid
  WHEN 'pg_proc'::regclass THEN has_function_privilege(role, o.oid, 'EXECUTE')
  WHEN 'pg_namespace'::regclass THEN has_schema_privilege(role, o.oid, 'USAGE, CREATE')
  WHEN 'pg_class'::regclass THEN CASE WHEN (SELECT c.relkind = 'S' FROM pg_class c WHERE c.oid = o.oid)
    THEN has_sequence_privilege(role, o.oid, 'USAGE, SELECT, UPDATE')
    ELSE has_table_privilege(role, o.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
      OR has_any_column_privilege(role, o.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END
  END
END
    }
    # By name, to PUBLIC, or with the right to pass it on.
    is($sql->(<<"END"), '', "$db: the owner alone is granted anything");
SELECT string_agg(pg_describe_object(o.classid, o.oid, 0) || ' ' || a.acl::text, ', ') FROM ($objects) o
CROSS JOIN LATERAL (SELECT relacl, relowner FROM pg_class WHERE o.classid = 'pg_class'::regclass AND oid = o.oid
  UNION ALL SELECT nspacl, nspowner FROM pg_namespace WHERE o.classid = 'pg_namespace'::regclass AND oid = o.oid
  UNION ALL SELECT proacl, proowner FROM pg_proc WHERE o.classid = 'pg_proc'::regclass AND oid = o.oid) a(acl, owner)
WHERE EXISTS (SELECT FROM aclexplode(a.acl) x WHERE x.grantee <> a.owner)
END
    my @calls = split /\n/, $sql->(<<'END');
SELECT 'SELECT ' || p.oid::regproc || '('
  || (SELECT coalesce(string_agg('(SELECT NULL::' || t::regtype || ')', ', '), '') FROM unnest(p.proargtypes) t) || ')'
FROM pg_proc p WHERE starts_with(p.proname, 'stripe_sync_')
UNION ALL SELECT 'TABLE ' || oid::regclass FROM pg_class WHERE starts_with(relname, 'stripe_sync_') AND relkind = 'v'
END
    cmp_ok(scalar @calls, '>=', 14, "$db: functions and views to try");
    foreach my $call (@calls, 'TABLE stripe_sync.installation', 'TABLE stripe_sync.promo_state', 'TABLE stripe.promo_history')
    {
        error_is(error_of($node, $db, $call, '-U', 'outsider'),
            { sqlstate => '42501', message => qr/^permission denied for/ }, "$db: $call");
    }
    # Of the settings, those that name nothing.
    my %harmless = map { ("stripe_sync.$_" => 1) } qw(connect_timeout max_parallel mirror_schema poll_interval rate_limit
      reconcile_interval request_timeout table_timeout);
    my @settings = split /\n/, $sql->("SELECT name FROM pg_settings WHERE name LIKE 'stripe\\_sync.%'");
    cmp_ok(scalar @settings, '>', keys %harmless, "$db: there are other settings");
    my @connected = (extra_params => [ '-U', 'connected' ]);
    is(join(' ', grep { !$harmless{$_} } split /\n/,
            $node->safe_psql($db, "SELECT name FROM pg_settings WHERE name LIKE 'stripe\\_sync.%'", @connected)),
        '', "$db: whoever may only connect is not shown those in pg_settings");
    foreach my $setting (grep { !$harmless{$_} } @settings)
    {
        error_is(error_of($node, $db, $_, '-U', 'connected'), { sqlstate => '42501' }, "$db: $_: not for them")
          foreach "SHOW $setting", "SELECT current_setting('$setting', true)";
    }
    is($sql->(<<"END"), '', "$db: every function with its owner's rights has a search_path of its own");
SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p
WHERE p.oid IN (SELECT d.objid $members AND d.classid = 'pg_proc'::regclass)
  AND p.prosecdef AND p.proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
END
    $sql->('DROP EXTENSION stripe_sync');
}

finish($node);
