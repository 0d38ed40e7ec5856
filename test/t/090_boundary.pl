# The exception boundary (src/pg/boundary.hpp): PostgreSQL's errors and C++ exceptions keep what
# they say across it, no destructor is skipped, nothing grows.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('boundary');
$node->init;
$node->start;

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION test_throw(kind text) RETURNS void LANGUAGE c AS 'stripe_sync', 'stripe_sync_test_throw';
CREATE FUNCTION test_live() RETURNS int LANGUAGE c AS 'stripe_sync', 'stripe_sync_test_live';
CREATE FUNCTION test_catch(sql text) RETURNS text LANGUAGE c AS 'stripe_sync', 'stripe_sync_test_catch';
CREATE FUNCTION test_pass(sql text) RETURNS text LANGUAGE c AS 'stripe_sync', 'stripe_sync_test_pass';
CREATE FUNCTION test_growth(times int, nth int) RETURNS bigint LANGUAGE c AS 'stripe_sync', 'stripe_sync_test_growth';
-- what a caller sees of an error
CREATE FUNCTION seen(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE s text; m text; d text; h text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
  RETURN concat_ws('|', s, m, d, h) || '|live ' || test_live();
END $$;
CREATE FUNCTION rich() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'SY042', MESSAGE = 'msg', DETAIL = 'det', HINT = 'hin';
END $$;
SQL

sub is_sql {
    my ($sql, $expected, $name) = @_;
    is($node->safe_psql('postgres', $sql), $expected, $name);
}

# C++ -> PostgreSQL: each kind of throw, with destructors run
is_sql(q{SELECT seen($$SELECT test_throw('error')$$)}, 'SY003|a message|a detail|a hint|live 0', 'Error keeps its four parts');
is_sql(q{SELECT seen($$SELECT test_throw('bad_alloc')$$)}, '53200|out of memory|||live 0', 'bad_alloc');
is_sql(q{SELECT seen($$SELECT test_throw('length_error')$$)}, 'XX000|too long|||live 0', 'std::exception');
is_sql(q{SELECT seen($$SELECT test_throw('int')$$)}, 'XX000|unknown error in stripe_sync|||live 0', 'anything else');
is_sql(q{SELECT length(seen($$SELECT test_throw('long')$$)) BETWEEN 4000 AND 4200}, 't', 'long texts are cut, not lost');

# PostgreSQL -> C++
is_sql(q{SELECT test_catch('SELECT rich()')}, 'SY042|msg|det|hin|live 0', 'a PostgreSQL error keeps its four parts');
is_sql(q{SELECT test_catch('SELECT 1/0')}, '22012|division by zero|||live 0', 'an error of the executor');
is_sql(q{SELECT test_catch('syntax error')}, '42601|syntax error at or near "syntax"|||live 0', 'an error of the parser');
is_sql(q{SELECT test_catch('SELECT 1')}, 'no error', 'no error');

# SQL -> C++ -> SPI -> C++ -> SPI
is_sql(q{SELECT test_pass($$SELECT test_pass('SELECT 7')$$)}, '7', 'nested calls return');
is_sql(q{SELECT seen($$SELECT test_pass('SELECT test_pass(''SELECT rich()'')')$$)}, 'SY042|msg|det|hin|live 0', 'an error passes through nested calls');
is_sql(q{SELECT test_catch($$SELECT test_pass('SELECT test_throw(''error'')')$$)}, 'SY003|a message|a detail|a hint|live 0', 'a throw passes through nested calls');
is_sql(q{SELECT test_catch($$SELECT test_catch('SELECT 1/0')$$)}, 'no error', 'a caught error stays inside');

# no growth
my $caught = $node->safe_psql('postgres', 'SELECT test_growth(20000, 1)');
cmp_ok($caught, '<=', 64 * 1024, "10,000 caught errors leave the memory contexts as they were ($caught bytes)");
my $mixed = $node->safe_psql('postgres', 'SELECT test_growth(2000, 3)');
cmp_ok($mixed, '<=', 64 * 1024, "1,000 mixed subtransactions too ($mixed bytes)");
is_sql('SELECT test_live()', '0', 'no object was left alive');

# cancel goes through and is not swallowed by a subtransaction
my ($rc, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '200ms'; SELECT test_catch('SELECT pg_sleep(60)')});
like($err, qr/canceling statement due to statement timeout/, 'statement_timeout ends a call that catches errors');

$node->stop;
done_testing();
