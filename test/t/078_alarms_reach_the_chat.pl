# Incidents reach the robots of chat groups as the services want them, signed as they check it: one message when an incident
# opens, one when it is over; refusals, which come with HTTP 200, are refusals; a push does not tell of itself without end.
use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 5, set => {%NO_LIMITS});
my $node = pull_node('main');
my %robots = (
	dingtalk => q{path '/robot/send', query 'access_token=r0b0t', secret 'SECd1ng'},
	wecom => q{path '/cgi-bin/webhook/send', query 'key=r0b0t'},
	feishu => q{path '/open-apis/bot/v2/hook/r0b0t', body_secret 'SECfe1shu'});

# What incidents are of.
add_stream($node, $_, metadata => q{'{"api":"/jdy/v2/bd/customer","effect":"QUERY","id":"id"}'}) for qw(old customer unsigned first second);

sub told
{
	my ($robot) = @_;

	return map { $_->{text} } grep { $_->{robot} eq $robot } $sim->lines('/_sim/robot');
}
sub open_one { my ($name) = @_; query($node, "INSERT INTO jdysync.incident (name, severity, what, detail, advice) VALUES ('$name', 'critical', 'failing', 'Run 7 failed.', 'Look into it.')"); return; }
sub close_all { query($node, 'UPDATE jdysync.incident SET closed_at = now() WHERE closed_at IS NULL'); return; }

for my $robot (sort keys %robots)
{
	my ($secret) = $robots{$robot} =~ /secret '(\w+)'/;

	$sim->post('/_sim/config', { robot_secret => $secret // '' });
	query($node, "CREATE SERVER $robot FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "', auth 'webhook', rate_window '100 ms', max_attempts '1', timeout '5 s')");
	query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER $robot OPTIONS ($robots{$robot})");
	open_one('old');
	query($node, qq{SELECT jdy_add_push('alarms_$robot', '$robot', 'jdy_incidents_$robot', '{"api":"$robot","effect":"EXECUTE"}', baseline => true)});
	is(push_ok($node, "alarms_$robot", "$robot: a push")->{delivered}, 0, 'what was there is not told');
	open_one('customer');
	is(push_ok($node, "alarms_$robot", 'an incident')->{delivered}, 1, 'is told');
	my @told = told($robot);
	is(scalar(@told), 1, 'in one message');
	like($told[0], qr/严重 critical: jdysync customer 运行失败 failing\n\n自 since \d{4}-\d\d-\d\d \d\d:\d\d \(UTC\+8\), postgres\n\nRun 7 failed\.\n\n.*jdy_runs.*\n\nLook into it\./, 'Chinese and English');
	is(push_ok($node, "alarms_$robot", 'nothing new')->{calls}, 0, 'is told once');
	close_all();
	is(push_ok($node, "alarms_$robot", 'over')->{delivered}, 2, 'is told, too');
	like((told($robot))[-1], qr/已恢复 over: jdysync (customer|old)/, 'as such');
	unlike(query($node, "SELECT string_agg(concat(c.url, c.error), ' ') FROM jdy_calls c") . query($node, "SELECT string_agg(concat(p.url, p.headers, p.body), ' ') FROM jdy_preview('alarms_$robot') p"),
		qr/r0b0t|SEC/, 'no call and no preview shows a secret');

	# Refused, with HTTP 200.
	if (defined $secret)
	{
		$sim->post('/_sim/config', { robot_secret => 'another' });
		open_one('unsigned');
		my $run = push_ok($node, "alarms_$robot", 'a wrong signature');
		is("$run->{delivered} $run->{dead}", '0 1', 'is a refusal');
		like(query($node, "SELECT last_error FROM jdy_deliveries WHERE push = 'alarms_$robot' AND status = 'dead'"), qr/sign not match/, "in the service's words");
		$sim->post('/_sim/config', { robot_secret => $secret });
		query($node, "SELECT jdy_replay('alarms_$robot')");
		is(push_ok($node, "alarms_$robot", 'replayed')->{delivered}, 1, 'arrives');
		close_all();
	}
	query($node, "SELECT jdy_drop_push('alarms_$robot')");
	query($node, 'DELETE FROM jdysync.incident');
}

# Too fast: told later, nothing lost.
$sim->post('/_sim/config', { robot_secret => '', robot_rate_limit => 1 });
query($node, q{SELECT jdy_add_push('alarms', 'wecom', 'jdy_incidents_wecom', '{"api":"wecom","effect":"EXECUTE"}')});
my $before = told('wecom');
open_one('first');
push_row($node, 'alarms');
open_one('second');
push_row($node, 'alarms');
is(query($node, q{SELECT count(*) FROM jdy_deliveries WHERE push = 'alarms' AND status = 'dead'}), '0', 'too fast is no refusal');
$sim->post('/_sim/config', { robot_rate_limit => 0 });
poll_until(sub { push_row($node, 'alarms'); scalar(told('wecom')) >= $before + 2 }, 'told later');
is(scalar(grep { /jdysync (first|second)/ } told('wecom')), 2, 'both are told, once');
close_all();
push_ok($node, 'alarms', 'and that they are over');

# A chat that is away: its push fails, which is an incident, which it does not tell of itself; another does.
query($node, q{SELECT jdy_add_push('other', 'dingtalk', 'jdy_incidents_dingtalk', '{"api":"dingtalk","effect":"EXECUTE"}', baseline => true)});
$sim->post('/_sim/fault', { kind => 'status', status => 503, path => '/cgi-bin/webhook/send', times => -1 });
open_one('customer');
push_row($node, 'alarms') for 1 .. 6;
like(query($node, q{SELECT string_agg(name || ': ' || what, ', ' ORDER BY id) FROM jdy_incidents WHERE closed_at IS NULL}), qr/customer: failing.*(alarms: failing|server wecom: target away)/, 'its push fails');
is(query($node, q{SELECT count(*) FROM jdy_incidents_wecom WHERE payload::text ~ 'alarms|server wecom'}), '0', 'which it does not tell itself');
push_ok($node, 'other', 'another push');
like(join("\n", told('dingtalk')), qr/jdysync (alarms|server wecom)/, 'tells');
$sim->delete('/_sim/fault');
$sim->post('/_sim/config', { robot_rate_limit => 0 });
poll_until(sub { push_row($node, 'alarms')->{ok} }, 'the chat is back');
push_ok($node, 'alarms', 'again') for 1 .. 2;
my $told = told('wecom');
push_ok($node, 'alarms', 'and again');
is(scalar(told('wecom')), $told, 'it comes to rest');

# Without superuser: a view of one's own, and what one may see.
query($node, q{CREATE ROLE ops LOGIN; GRANT CREATE ON SCHEMA public TO ops; GRANT USAGE ON SCHEMA jdysync TO ops; GRANT USAGE ON FOREIGN SERVER feishu TO ops;
	GRANT SELECT ON jdy_incidents_feishu TO ops; GRANT EXECUTE ON FUNCTION jdy_add_push, jdy_push TO ops; ALTER TABLE jdysync.staging_customer OWNER TO ops;
	CREATE USER MAPPING FOR ops SERVER feishu OPTIONS (path '/open-apis/bot/v2/hook/r0b0t', body_secret 'SECfe1shu')});
$sim->post('/_sim/config', { robot_secret => 'SECfe1shu' });
close_all();
query($node, 'DELETE FROM jdysync.incident');
open_one($_) for qw(old customer);
my $seen = told('feishu');
query($node, q{SET SESSION AUTHORIZATION ops; CREATE VIEW my_alarms AS SELECT id, payload FROM jdy_incidents_feishu;
	SELECT jdy_add_push('mine', 'feishu', 'my_alarms', '{"api":"robot","effect":"EXECUTE"}')});
is(query($node, q{SET SESSION AUTHORIZATION ops; SELECT status, delivered FROM jdy_push('mine')}), 'ok|1', 'an owner without superuser is told');
my @mine = told('feishu');
is(scalar(@mine) - $seen, 1, 'once');
like($mine[-1], qr/jdysync customer/, 'of what he may see');

done_testing();
