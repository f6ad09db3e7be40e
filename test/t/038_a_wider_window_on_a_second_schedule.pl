# omissionRemedy, as people paste it: a second schedule that reads a wider window again and finds what came to light
# too late for the first. Both take turns, no time is lost, and what is wrong with it is said at once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

my $DAY = 86_400;
my $LIST = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 30, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "autovacuum = off\n");
my @WINDOW = ({ field => 'modify_start_time', value => '_function {LAST_SYNC_TIME}*1000' }, { field => 'modify_end_time', value => '_function {CURRENT_TIME}*1000' });
my $FROM = { field => 'modify_start_time', label => '修改时间起', type => 'string', is_required => JSON::PP::false, describe => '', value => '{{DAYS_AGO_3|datetime}}' };

# Metadata as SQL; a remedy's entries, or the whole remedy.
sub metadata
{
	my ($remedy, %more) = @_;
	my $whole = ref $remedy eq 'ARRAY' ? { crontab => '0 3 * * *', adapter => 'JdyQueryAdapter', takeOverRequest => $remedy } : $remedy;
	my $json = JSON::PP->new->canonical->encode({ api => $LIST, effect => 'QUERY', request => [ @WINDOW, { field => 'enable', value => '-1' } ],
		$whole ? ('$omissionRemedy$' => $whole) : (), %more });

	return "'" . ($json =~ s/'/''/gr) . "'::jsonb";
}

sub agenda { return query($node, "SELECT string_agg(CASE WHEN remedy THEN 'remedy ' ELSE '' END || to_char(due_at AT TIME ZONE 'Asia/Shanghai', 'MM-DD HH24:MI'), ', ' ORDER BY remedy) FROM jdysync.agenda"); }
sub last_run { return query($node, 'SELECT COALESCE(max(run_id), 0) FROM jdysync.run'); }
sub made { my ($after) = @_; return query($node, "SELECT string_agg(mode || ' ' || status, ', ' ORDER BY mode, status DESC) FROM jdysync.run WHERE run_id > $after AND finished_at IS NOT NULL"); }
sub makes { my ($after, $runs, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; poll_until(sub { made($after) eq $runs }, $runs, 60); return is(made($after), $runs, $what); }
sub watermark { return query($node, "SELECT watermark FROM jdysync.stream WHERE name = 'customer'"); }
sub asked { return grep { $_->{url} =~ m{^\Q$LIST\E\?} && $_->{url} =~ $_[0] } @{ $sim->get('/_sim/requests?n=1000') }; }

subtest 'what is wrong is said when the stream is added' => sub {
	my @cases = (
		[ { crontab => '60 3 * * *', takeOverRequest => [$FROM] }, '22023', qr/schedule is neither an interval nor cron.*"60 3 \* \* \*" go from 0 to 59/s, 'a bad crontab' ],
		[ { crontab => '1 day', takeOverRequest => [$FROM] }, '22023', qr/"crontab" of "omissionRemedy" is not cron.*"1 day"/s, 'an interval' ],
		[ { takeOverRequest => [$FROM] }, '22023', qr/metadata lacks "crontab"/, 'none' ],
		[ { crontab => '0 3 * * *', takeOverRequests => [$FROM] }, '22023', qr/"omissionRemedy" has an unknown key.*takeOverRequests.*Perhaps you meant "takeOverRequest"/s, 'an unknown key' ],
		[ [ { %$FROM, value => 'yesterday' } ], '22023', qr/is not a time.*"modify_start_time" is "yesterday"/s, 'a value that is no time' ],
		[ [ { %$FROM, value => '_function nonsense(1)' } ], '22023', qr/nonsense/, 'an expression that fails' ],
		[ [ $FROM, { field => 'create_start_time', value => '{{DAYS_AGO_3}}' } ], '22023', qr/a parameter that carries no window.*"create_start_time".*"modify_start_time"/s, 'a time of another parameter' ]);

	for my $case (@cases)
	{
		my ($remedy, $sqlstate, $text, $what) = @$case;
		my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jdy_add_stream('customer', 'kingdee', " . metadata($remedy) . ')');
		like($err, qr/ERROR:  $sqlstate: .*$text/s, $what);
	}
	for my $case ([ metadata([]), 'pasted, but empty' ], [ metadata([ { field => 'modify_end_time', value => '{{CURRENT_TIME}}' } ]), 'an end alone' ],
		[ metadata([$FROM], request => []) =~ s{/bd/customer}{/bd/region}r, 'a list without a time filter' ])
	{
		my ($status, undef, $err) = $node->psql('postgres', "SELECT jdy_add_stream('useless', 'kingdee', $case->[0])");
		is($status, 0, "$case->[1]: the stream is added");
		like($err, qr/WARNING:  a part of the metadata has no effect.*"omissionRemedy" of stream "useless" reads no wider window/s, 'with a warning');
		is(agenda(), '', 'and nothing runs by itself');
		drop_stream($node, 'useless');
	}
};

subtest 'it finds what the first schedule cannot' => sub {
	clock($node, "'2031-06-10 10:00:00+08'");
	add_stream($node, 'customer', metadata => metadata([$FROM]), schedule => "'20 * * * *'");
	no_certificates($node);
	is(agenda(), '06-10 10:20, remedy 06-11 03:00', 'two schedules');
	is(query($node, "SELECT to_char(next_run AT TIME ZONE 'Asia/Shanghai', 'DD HH24:MI') FROM jdy_status"), '10 10:20', 'jdy_status tells the next of both');
	sync_ok($node, 'customer', 'the first load');
	is_true($node, 'customer', 'all is there');

	# A change two days old comes to light, another of five days ago.
	my $late = $sim->post('/_sim/change', { op => 'insert', count => 3, at_ms => int((time - 2 * $DAY) * 1000) })->{ids};
	my $older = $sim->post('/_sim/change', { op => 'insert', count => 1, at_ms => int((time - 5 * $DAY) * 1000) })->{ids};
	my $before = last_run();
	clock($node, "'2031-06-10 10:20:01+08'");
	makes($before, 'auto ok', 'a run of the first schedule');
	is(query($node, "SELECT count(*) FROM jdysync.staging_customer WHERE id = '$late->[0]'"), '0', 'looks where changes are expected');
	my ($watermark, $asked) = (watermark(), scalar asked(qr/./));
	$before = last_run();
	clock($node, "'2031-06-11 03:00:01+08'");
	makes($before, 'auto ok, remedy ok', 'the second schedule, and what the first missed at night, once each');
	is(query($node, "SELECT count(*) FROM jdysync.staging_customer WHERE id IN ('" . join("', '", @$late) . "') AND detailed_at IS NOT NULL"), '3', 'finds them, with their details');
	is(query($node, "SELECT count(*) FROM jdysync.staging_customer WHERE id = '$older->[0]'"), '0', 'in its window, which is no wider');
	is(query($node, "SELECT mode FROM jdy_runs WHERE run_id > $before AND listed >= 3"), 'remedy', 'jdy_runs shows which run that was');
	is(query($node, "SELECT from_time BETWEEN now() - interval '3 days 1 min' AND now() - interval '3 days' AND to_time BETWEEN now() - interval '1 min' AND now() + interval '1 min' FROM jdysync.run WHERE run_id > $before AND mode = 'remedy'"),
		't', 'and its window is kept');
	is(query($node, "SELECT watermark >= '$watermark', isempty(gaps) FROM jdysync.stream JOIN jdy_coverage USING (name)"), 't|t', 'nothing promised is taken back');
	cmp_ok(query($node, "SELECT count(*) FROM jdysync.\"window\" w JOIN jdysync.run r USING (run_id) WHERE r.mode = 'remedy' AND upper(w.span) - lower(w.span) > interval '2 days'"), '>=', 1, 'what it read is proven');
	is(query($node, q{SELECT count(*) FROM jdysync.run a, jdysync.run b WHERE a.run_id < b.run_id AND a.finished_at > b.started_at}), '0', 'one run after the other');
	is(agenda(), '06-11 03:20, remedy 06-12 03:00', 'both go on');
	$sim->post('/_sim/change', { op => 'touch', ids => $older });
};

subtest 'both at the same instant' => sub {
	query($node, "SELECT jdy_alter_stream('customer', schedule => '0 3 * * *')");
	my $before = last_run();
	$sim->post('/_sim/config', { latency_ms => 50 });
	clock($node, "'2031-06-12 03:00:00.5+08'");
	makes($before, 'auto ok, remedy ok', 'none is lost');
	$sim->post('/_sim/config', { latency_ms => 0 });
	is(query($node, q{SELECT count(*) FROM jdysync.run a, jdysync.run b WHERE a.run_id < b.run_id AND a.finished_at > b.started_at}), '0', 'and they do not overlap');
	is(agenda(), '06-13 03:00, remedy 06-13 03:00', 'both go on');
	is_true($node, 'customer', 'staging equals the truth');
};

subtest 'missed over a restart' => sub {
	query($node, "SELECT jdy_alter_stream('customer', schedule => '20 * * * *')");
	switch_jdysync($node, 'off');
	clock($node, "'2031-06-20 12:00:00+08'");
	my $before = last_run();
	$node->restart;
	forget_calls($node);
	clock($node, "'2031-06-20 12:00:01+08'");
	switch_jdysync($node, 'on');
	makes($before, 'auto ok, remedy ok', 'once each');
	is(agenda(), '06-20 12:20, remedy 06-21 03:00', 'then as the clock says');
};

subtest 'it fails alone' => sub {
	my $before = last_run();
	$sim->post('/_sim/fault', { kind => 'status', status => 403, path => $LIST, times => 1 });
	clock($node, "'2031-06-21 03:00:01+08'");
	poll_sql($node, "SELECT count(*) = 3 FROM jdysync.run WHERE run_id > $before AND finished_at IS NOT NULL");
	like(made($before), qr/^auto ok, (?:auto failed, remedy ok|remedy ok, remedy failed)$/, 'whichever met the trouble is tried again');
	is(query($node, 'SELECT sum(failures) FROM jdysync.agenda'), '0', 'and has its pace again');
};

subtest 'other parameters' => sub {
	query($node, "SELECT jdy_alter_stream('customer', metadata => " . metadata([ $FROM, { field => 'enable', value => '1' } ]) . ')');
	is(query($node, "SELECT epoch, loaded_at IS NOT NULL FROM jdysync.stream"), '1|t', 'a changed remedy is no other stream: nothing is read again for it');
	my $before = last_run();
	$sim->post('/_sim/stats/reset');
	clock($node, "'2031-06-22 03:00:01+08'");
	makes($before, 'auto ok, remedy ok', 'it runs');
	cmp_ok(scalar(asked(qr/[?&]enable=1(?:&|$)/)), '>=', 1, 'the list is asked as it says');
	is(query($node, "SELECT count(*) FROM jdysync.\"window\" w JOIN jdysync.run r USING (run_id) WHERE r.run_id > $before AND upper(w.span) - lower(w.span) > interval '2 days'"), '0',
		'what is asked otherwise proves nothing');
	my $wide = grep { $_->{url} !~ /[?&]enable=1(?:&|$)/ && $_->{url} =~ /modify_start_time=(\d+)/ && $1 < (time - 2 * $DAY) * 1000 } asked(qr/./);
	is($wide, 0, 'and the wider window is asked in no other way');
};

subtest 'changed, paused, taken away' => sub {
	query($node, "SELECT jdy_alter_stream('customer', metadata => " . metadata({ crontab => '30 4 1 * *', takeOverRequest => [$FROM] }) . ')');
	like(agenda(), qr/remedy 07-01 04:30$/, 'another crontab');
	query($node, "SELECT jdy_pause('customer')");
	is(agenda(), '', 'a paused stream has neither');
	query($node, "SELECT jdy_resume('customer')");
	like(agenda(), qr/^06-22 \d\d:20, remedy 07-01 04:30$/, 'a resumed one has both');
	clock($node, "'2031-07-01 04:32:00+08'");
	query($node, "SELECT jdy_alter_stream('customer', metadata => " . metadata(undef) . ')') if poll_sql($node, "SELECT bool_and(due_at > '2031-07-01 04:32:00+08') AND NOT EXISTS (SELECT FROM jdysync.run WHERE finished_at IS NULL) FROM jdysync.agenda");
	like(agenda(), qr/^07-01 \d\d:20$/, 'without it there is one schedule');
	is(query($node, "SELECT epoch FROM jdysync.stream"), '1', 'of the same stream');
};

done_testing();
