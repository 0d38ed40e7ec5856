# The server's clock was ahead and is right again: what was put off or judged by it is looked at anew.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use StripeSync;
use StripeSync::Sandbox;
use Test::More;

my $sandbox = StripeSync::Sandbox->start;
my $node = start_cluster(sandbox => $sandbox, databases => ['app']);
create_application($node, 'app');
my @owner = (extra_params => [ '-U', 'app_owner' ]);
sub sql { return $node->safe_psql('app', $_[0]) }
sub app { return $node->safe_psql('app', $_[0], @owner) }
app('DELETE FROM promo_codes');
attach($node, 'app');
insert_codes($node, 'app', qw(WAITS JUDGED TOUCHED LOCKED LEFT RESTS));
await_codes($node, 'app', 'in step', qw(WAITS JUDGED TOUCHED LOCKED LEFT RESTS));

# As a worker leaves them whose clock is five hours ahead.
sql('SELECT stripe_sync_stop()');
app("UPDATE promo_codes SET is_active = false WHERE code = 'WAITS'");
app("UPDATE promo_codes SET discount_value = 40, expires_at = now() + interval '1 hour' WHERE code = 'JUDGED'");
sql(q{SELECT stripe_sync.take_changes('public.promo_codes', 100);
  UPDATE stripe_sync.promo_state SET state = 'retrying', reason = 'no answer', next_attempt = now() + interval '5 hours',
    attempted_at = now() + interval '5 hours' WHERE code = 'WAITS';
  UPDATE stripe_sync.promo_state SET state = 'expired', settled = 'expired', next_attempt = NULL, attempted_at = now() + interval '5 hours'
    WHERE code IN ('JUDGED', 'TOUCHED', 'LOCKED')});
app("UPDATE promo_codes SET code = code WHERE code = 'TOUCHED'");
my $holder = $node->background_psql('app');
$holder->query_safe("BEGIN; SELECT FROM stripe_sync.promo_state WHERE code = 'LOCKED' FOR UPDATE");
sql('SELECT stripe_sync_start()');
sub states { return "SELECT string_agg(state, ' ' ORDER BY code) FROM stripe_sync_promo_status WHERE code IN ($_[0])" }
await_query($node, 'app', states("'WAITS', 'JUDGED'"), 'synced synced', 'what was put off is done, and what was taken for expired is not');
await_query($node, 'app', states("'TOUCHED'"), 'synced', 'nor what was touched since');
is(sql(states("'LOCKED'")), 'expired', 'what somebody holds has to wait');
$holder->query_safe('COMMIT');
$holder->quit;
await_query($node, 'app', states("'LOCKED'"), 'synced', 'and is looked at after that');
is(scalar(grep { $_->{active} } $sandbox->codes('WAITS')), 0, 'the one is off');
is(scalar(grep { $_->{active} } $sandbox->codes('JUDGED')), 1, 'the other is sold');
is(sql('SELECT count(*) FROM stripe_sync.promo_state WHERE next_attempt <= now()'), '0', 'and nothing is looked at any more');

# What is known of deleted rows is kept for 30 days, also of one left to its user in the middle of a write.
sql('SELECT stripe_sync_stop()');
app("DELETE FROM promo_codes WHERE code IN ('LEFT', 'RESTS')");
sql(q{SELECT stripe_sync.take_changes('public.promo_codes', 100);
  UPDATE stripe_sync.promo_state SET state = 'excluded', next_attempt = NULL, in_flight = '{}', changed_at = now() - interval '31 days',
    synced_at = now() - interval '31 days' WHERE code = 'LEFT';
  UPDATE stripe_sync.promo_state SET state = 'excluded', next_attempt = NULL, in_flight = '{}', changed_at = now() - interval '29 days',
    synced_at = now() - interval '31 days' WHERE code = 'RESTS'});
sql('SELECT stripe_sync_start()');
await_query($node, 'app', "SELECT string_agg(code, ' ' ORDER BY code) FROM stripe_sync.promo_state", 'JUDGED LOCKED RESTS TOUCHED WAITS',
    'then it is forgotten');

finish($node);
