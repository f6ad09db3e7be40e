# Lists whose windows are given as dates: a tick is a day, in the server's time zone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 330, set => { %NO_LIMITS, window_format => 'date' });
my $node = pull_node('main');
my $metadata = <<'METADATA';
{"api":"/jdy/v2/bd/customer","id":"id","number":"number","request":[
  {"field":"modify_start_time","value":"_function FROM_UNIXTIME({{LAST_SYNC_TIME}}, '%Y-%m-%d')"},
  {"field":"modify_end_time","value":"_function FROM_UNIXTIME({{CURRENT_TIME}}, '%Y-%m-%d')"}]}
METADATA

sub change { return scalar @{ $sim->post('/_sim/change', { @_ })->{ids} }; }
sub calls { my $calls = $sim->get('/_sim/stats')->{paths}->{'/jdy/v2/bd/customer'}; $sim->post('/_sim/stats/reset'); return $calls; }

add_stream($node, 'daily', metadata => "\$json\$$metadata\$json\$");
sync_ok($node, 'daily', 'first load');
is_true($node, 'daily', 'everything is there', entity => 'customer');

calls();
sync_ok($node, 'daily', 'a run without changes');
cmp_ok(calls(), '<=', 5, 'makes a few calls');

change(op => 'insert', count => 3);
change(op => 'update', count => 4);
change(op => 'update', count => 3, at_ms => $sim->get('/_sim/now')->{now_ms} - 26 * 3600 * 1000);
sync_ok($node, 'daily', 'a run after changes');
is_true($node, 'daily', 'brings those of today and of yesterday', entity => 'customer');

is( query($node, q{SELECT upper(windows) AT TIME ZONE 'Asia/Shanghai' BETWEEN date_trunc('day', (now() - interval '10 min') AT TIME ZONE 'Asia/Shanghai')
	AND date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai') FROM jdy_coverage WHERE name = 'daily'}), 't', 'what is proven ends at midnight, in the time zone of the server');

# More rows of one day than an answer holds, and no way to split a day.
change(op => 'insert', count => 250);
calls();
sync_ok($node, 'daily', 'a run after an import');
is_true($node, 'daily', 'brings all of it', entity => 'customer');
cmp_ok(calls(), '<', 60, 'the day is read by its pages: not second by second');

change(op => 'update', count => 5);
sync_ok($node, 'daily', 'another run on that day');
is_true($node, 'daily', 'finds later changes of that day', entity => 'customer');
is(query($node, "SELECT gaps = '{}' AND details_due = 0 FROM jdy_coverage WHERE name = 'daily'"), 't', 'and nothing is owed');

# An audit compares days.
my $audit = q{SELECT windows > 3, found, why FROM jdy_audits ORDER BY audit_id DESC LIMIT 1};
sync_ok($node, 'daily', 'an audit', q{jdy_sync('daily', 'audit')});
is(query($node, $audit), 't|0|', 'finds nothing');
change(op => 'insert', count => 1, at_ms => $sim->get('/_sim/now')->{now_ms} - 40 * 86400 * 1000);
change(op => 'touch', ids => [ query($node, q{SELECT id FROM jdysync.staging_daily ORDER BY modified_at LIMIT 1}) ], at_ms => $sim->get('/_sim/now')->{now_ms} - 40 * 86400 * 1000);
sync_ok($node, 'daily', 'an audit after two were dated back', q{jdy_sync('daily', 'audit')});
is(query($node, $audit), 't|2|', 'finds them');
is_true($node, 'daily', 'and they are here', entity => 'customer');

# One bound alone cannot be split at all: such a list is read whole.
(my $half = $metadata) =~ s/,\s*\{"field":"modify_end_time".*\}\]\}/]}/s;
$sim->post('/_sim/config', { window_format => 'ms' });
$half =~ s/_function FROM_UNIXTIME\(\{\{LAST_SYNC_TIME\}\}, '%Y-%m-%d'\)/{{LAST_SYNC_TIME}}000/;
add_stream($node, 'half', metadata => "\$json\$$half\$json\$");
sync_ok($node, 'half', 'first load of a list with a start alone');
change(op => 'update', count => 5);
calls();
sync_ok($node, 'half', 'the next run');
is_true($node, 'half', 'finds changes', entity => 'customer');
cmp_ok(calls(), '<', 20, 'by reading the list once');
is(query($node, "SELECT complete_until IS NULL FROM jdy_coverage WHERE name = 'half'"), 't', 'and promises nothing');

done_testing();
