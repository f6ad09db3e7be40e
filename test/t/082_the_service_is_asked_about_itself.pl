# What the documents leave open is asked at the first run and once a week: each answer is the one that the
# service gives, a changed one is said, and whatever it is, the whole list arrives.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 24, set => { %NO_LIMITS, cap => 10 });
my $node = pull_node('main');
my $number = 0;

sub config { return $sim->post('/_sim/config', { @_ }); }
sub change { return $sim->post('/_sim/change', { entity => 'customer', @_ })->{ids}; }
sub fault { return $sim->post('/_sim/fault', { @_ }); }
sub now_ms { return $sim->get('/_sim/now')->{now_ms}; }

# What jdy_contract says of a stream: question => answer.
sub contract
{
	my ($name) = @_;

	return { map { split /\|/, $_, 2 } split /\n/, query($node, "SELECT question, answer FROM jdy_contract WHERE name = '$name'") };
}

sub evidence { return query($node, "SELECT evidence FROM jdy_contract WHERE name = '$_[0]' AND question = '$_[1]'"); }

# Calls of the list so far.
sub list_calls { return paths($sim)->{$LIST} // 0; }

# A stream of a service that was set up anew, stamps in whole seconds unless told otherwise.
sub scene
{
	my (%options) = @_;
	my $name = 's' . ++$number;

	$sim->post('/_sim/reset', {});
	config(stamp_granularity => 's');
	change(op => 'touch', count => 24, at_ms => now_ms() - 36000_000, stamp_spread_ms => 3600_000) unless $options{grain};
	config(%{ $options{set} }) if $options{set};
	add_stream($node, $name, probe => 1, entry => "'customer'", settle => "'0'", overlap => "'0'",
		detail => $options{details} ? 'true' : 'false', %{ $options{stream} // {} });
	return $name;
}

# The first run of such a stream finds these answers. Options: set => switches, gives => { question => answer }, details => 1,
# before => what is done first, stream => arguments of add_stream, grain => 1 (stamps as they are), keep => 1.
sub answers
{
	my ($what, %options) = @_;
	my $name;

	subtest $what => sub {
		$name = scene(%options);
		$options{before}->() if $options{before};
		sync_ok($node, $name, 'first run');
		my $contract = contract($name);
		for my $question (sort keys %{ $options{gives} })
		{
			is($contract->{$question}, $options{gives}{$question}, $question) or diag($contract->{$question} ? evidence($name, $question) : 'not asked');
		}
		is(differences($node, $name, entity => 'customer', $options{details} ? () : (form => 'list')), '', 'the whole list is here')
		  unless $options{part};
		return if $options{keep};
		calm($sim);
		drop_stream($node, $name);
	};
	return $name;
}

# ---------------------------------------------------------------------------
# Each answer.
# ---------------------------------------------------------------------------
answers('a service as it is most likely',
	details => 1,
	gives => {
		filter => 'honoured', 'start edge' => 'inclusive', 'end edge' => 'inclusive', grain => 'second', 'page size' => 10, 'echoed size' => 'asked',
		offset => 'asked size', order => 'stable', 'past the end' => 'empty', count => 'adds up', clock => 'right', 'list rows' => 'less than the detail' });

my %edge = (i => 'inclusive', e => 'exclusive');
for my $edges (qw(ie ei ee))
{
	my ($start, $end) = map { $edge{$_} } split //, $edges;
	answers("start $start, end $end",
		set => { lower_edge => $start, upper_edge => $end }, details => 1,
		gives => { 'start edge' => $start, 'end edge' => $end, grain => 'second' });
}
answers('stamps finer than a second', grain => 1, details => 1, gives => { 'start edge' => 'unknown', 'end edge' => 'unknown', grain => 'millisecond' });

my $request = sub { return sprintf q('{"api":"%s","request":[{"field":"modify_start_time","value":"%s"},{"field":"modify_end_time","value":"%s"}]}'), $LIST, @_ };
my @formats = (
	[ 's', $request->('{{LAST_SYNC_TIME}}', '{{CURRENT_TIME}}') ],
	[ 'datetime', $request->('{{LAST_SYNC_TIME|datetime}}', '{{CURRENT_TIME|datetime}}') ],
	[ 'date', $request->('_function left(FROM_UNIXTIME({LAST_SYNC_TIME}), 10)', '_function left(FROM_UNIXTIME({CURRENT_TIME}), 10)') ]);
for my $case (@formats)
{
	my ($format, $metadata) = @$case;
	my %yes = ('start edge' => 'inclusive', 'end edge' => 'inclusive', grain => $format eq 'date' ? 'day' : 'second');
	my %no = map { $_ => 'unknown' } keys %yes;
	my %other = (stream => { entry => 'NULL', metadata => $metadata }, details => 1);

	answers("windows as $format", %other, set => { window_format => $format }, gives => \%yes);
	answers("windows as $format, an end that is outside or stamps that are finer: who knows", %other,
		set => { window_format => $format, upper_edge => 'exclusive' }, gives => \%no);
}
answers('windows in seconds of stamps that are finer', stream => { entry => 'NULL', metadata => $formats[0][1] }, details => 1, grain => 1,
	set => { window_format => 's' }, gives => { 'start edge' => 'unknown', grain => 'unknown' });

answers('a page size that is not cut', set => { cap => 0 }, before => sub { change(op => 'insert', count => 190) },
	gives => { 'page size' => 'at least 200', offset => 'unknown', 'past the end' => 'empty' });
answers('a list that is too short', set => { cap => 100 }, gives => { 'page size' => 'at least 24', offset => 'unknown', 'past the end' => 'empty', count => 'adds up' });
answers('an empty list', set => { cap => 100 }, details => 1, before => sub { change(op => 'delete', count => 24) },
	gives => { 'page size' => 'unknown', 'past the end' => 'unknown', order => 'unknown', 'start edge' => 'unknown', count => 'adds up' });
answers('pages that count from what is given', set => { offset_rule => 'cap', echo_page_size => 'cap' },
	gives => { offset => 'given size', 'echoed size' => 'given', 'page size' => 10 });
answers('the same where the last page comes again', set => { offset_rule => 'cap', past_end => 'last' }, gives => { offset => 'given size', 'past the end' => 'last page again' });
answers('no stable order', set => { unstable_order => 'on' }, gives => { order => 'unstable' });
answers('behind the end the last page again', set => { past_end => 'last' }, gives => { 'past the end' => 'last page again', offset => 'asked size' });
answers('with its own number', set => { past_end => 'last', past_end_echo => 'last' }, gives => { 'past the end' => 'last page again', offset => 'asked size' });
answers('behind the end a refusal', set => { past_end => 'error' }, gives => { 'past the end' => 'refused', offset => 'asked size' });
answers('no count', set => { count_type => 'missing' }, gives => { count => 'none', 'page size' => 10, offset => 'asked size', 'past the end' => 'unknown' });
answers("no count, all in one answer, behind the end $_->[0]", set => { count_type => 'missing', cap => 100, past_end => $_->[0] },
	gives => { count => 'none', 'page size' => 'at least 24', 'past the end' => $_->[1] }) for [ 'empty', 'empty' ], [ 'last', 'last page again' ], [ 'error', 'refused' ];
answers("a count that is off by $_", set => { count_lie => $_ }, gives => { count => 'does not add up' }) for 1, -1;
answers('a count that is off by one once', before => sub { fault(kind => 'count_lie', path => $LIST, after => 3) }, gives => { count => 'adds up' });
answers('rows twice', set => { duplicates => 3 }, gives => { count => 'adds up', 'page size' => 10 });
for my $from (undef, "'2020-01-01'")
{
	my $name = answers('start and end that changed places' . ($from ? ', and windows are all that is read' : ''), details => 1, keep => 1, part => $from,
		stream => { entry => 'NULL', metadata => $request->('{{CURRENT_TIME}}000', '{{LAST_SYNC_TIME}}000'), $from ? (start_from => $from) : () },
		gives => { filter => 'shows nothing', 'start edge' => 'unknown' });

	is(query($node, "SELECT complete_until IS NULL, uncertified FROM jdy_coverage WHERE name = '$name'"),
		't|the time filter shows nothing of what is there, so only certificates prove anything', 'windows promise nothing');
	is(query($node, "SELECT what || ': ' || severity FROM jdy_incidents WHERE name = '$name'"), 'contract changed: filter: warning', 'a person is told');
	change(op => 'update', count => 3);
	sync_ok($node, $name, 'a run');
	is(differences($node, $name, entity => 'customer'), '', 'reads all of it');
	drop_stream($node, $name);
}
answers('a filter without effect', set => { filter_ignored => 'on' }, details => 1, gives => { filter => 'ignored', 'start edge' => undef, order => 'stable' });
answers("a clock that is $_->[1]", set => { clock_offset_ms => $_->[0] }, gives => { clock => $_->[1] }) for [ 120_000, 'ahead' ], [ -120_000, 'behind' ];
answers('no time told', set => { tells_time => 'off' }, gives => { clock => 'not told' });
answers('list rows with contacts', set => { contact_detail => 'contacts' }, details => 1, gives => { 'list rows' => 'less than the detail' });
answers('list rows with all of it', set => { contact_detail => 'all' }, details => 1, gives => { 'list rows' => 'as the detail' });
answers('a list that nothing checks the count of', stream => { entry => "'sal_order'" }, part => 1, gives => { count => 'given' });

# ---------------------------------------------------------------------------
# What cannot be asked.
# ---------------------------------------------------------------------------
my $refused = answers('a service that refuses large pages', keep => 1,
	before => sub { fault(kind => 'errcode', errcode => 1030002001, description => 'page_size too large', path => $LIST, after => 2, times => 4) },
	gives => { order => 'unknown', filter => 'honoured', count => 'unknown', 'echoed size' => 'unknown', 'page size' => 10 });
like(evidence($refused, 'order'), qr/page_size too large/, 'its words are on record');
is(evidence($refused, 'page size'), 'a load was given 10 rows where 100 were asked for', 'what the load learns is, too');
subtest 'a count that is not known' => sub {
	like(query($node, "SELECT uncertified FROM jdy_coverage WHERE name = '$refused'"), qr/^whether the service's count adds up is not known/, 'jdy_coverage says so');
	like(query($node, "SELECT why FROM jdy_status WHERE name = '$refused'"), qr/^ok: uncertified: whether the service's count adds up/, 'jdy_status, too');
	my $calls = list_calls();
	sync_ok($node, $refused, 'verify', "jdy_sync('$refused', 'verify')");
	is(query($node, "SELECT proven FROM jdy_certificates WHERE name = '$refused'"), 't', 'asks it again, and proves the list');
	is(contract($refused)->{count}, 'adds up', 'since it is known');
	is(query($node, "SELECT uncertified IS NULL FROM jdy_coverage WHERE name = '$refused'"), 't', 'nothing is wrong any more');
};
drop_stream($node, $refused);

my $silent = answers('a service that fails when it is asked', keep => 1,
	before => sub { fault(kind => 'status', status => 500, path => $LIST, after => 2, times => 4) },
	gives => { offset => 'unknown', order => 'unknown', filter => 'honoured', count => 'unknown', 'past the end' => 'unknown' });
like(evidence($silent, 'past the end'), qr/500/, 'says so, and asks nothing more');
drop_stream($node, $silent);

# ---------------------------------------------------------------------------
# Once a week.
# ---------------------------------------------------------------------------
my $weekly = scene(details => 1);
no_certificates($node);

sub week { my ($what) = @_; step_clock($node, '8 days'); return sync_ok($node, $weekly, $what); }
sub open_incidents { return query($node, "SELECT string_agg(what || ': ' || severity, ', ' ORDER BY what) FROM jdy_incidents WHERE name = '$weekly' AND closed_at IS NULL"); }

subtest 'calls' => sub {
	clock($node);
	my $before = list_calls();
	sync_ok($node, $weekly, 'first run');
	my $with = list_calls() - $before;
	my $other = 's' . ++$number;
	add_stream($node, $other, entry => "'customer'", settle => "'0'", overlap => "'0'");
	$before = list_calls();
	sync_ok($node, $other, 'first run of a stream whose service is known');
	cmp_ok($with - (list_calls() - $before), '<=', 14, 'at most 14 calls for the questions') or diag("$with of " . list_calls());
	drop_stream($node, $other);

	step_clock($node, '6 days');
	$before = list_calls();
	sync_ok($node, $weekly, 'a run within the week');
	cmp_ok(list_calls() - $before, '<=', 2, 'asks what changed, and no more');
	step_clock($node, '2 days');
	my $times = query($node, "SELECT min(asked_at), max(since) FROM jdy_contract WHERE name = '$weekly'");
	sync_ok($node, $weekly, 'a run a week later');
	cmp_ok(list_calls() - $before, '>', 10, 'does');
	is(query($node, "SELECT min(asked_at) > now() + interval '7 days', max(since) < now() + interval '1 day' FROM jdy_contract WHERE name = '$weekly'"), 't|t',
		'all of it; since when it is so, stays');
	is(open_incidents(), '', 'nothing has changed');
};

subtest 'changed answers' => sub {
	config(cap => 7, offset_rule => 'cap', past_end => 'error', lower_edge => 'exclusive', echo_page_size => 'cap', clock_offset_ms => 100_000);
	week('a week later');
	is(open_incidents(), join(', ', map { "contract changed: $_" } 'clock: info', 'echoed size: info', 'offset: info', 'page size: info', 'past the end: info', 'start edge: warning'),
		'an incident for each');
	like(query($node, "SELECT detail || ' ' || advice FROM jdy_incidents WHERE name = '$weekly' AND what = 'contract changed: page size' AND closed_at IS NULL"),
		qr/^The service's answer was "10" before and is "7" now: 7 rows came .* Nothing must be done/, 'says what, before, after, what to do');
	is(query($node, "SELECT count(*) FROM jdy_contract WHERE name = '$weekly' AND since > now() + interval '15 days'"), '6', 'since when');
	is(query($node, "SELECT uncertified FROM jdy_coverage WHERE name = '$weekly'"), '', 'nothing that proofs rest on');
	change(op => 'insert', count => 20);
	sync_ok($node, $weekly, 'the rules follow', "jdy_sync('$weekly', 'full')");
	is(differences($node, $weekly, entity => 'customer'), '', 'nothing is missing');
	week('and another week');
	is(open_incidents(), '', 'what stayed so is over');
};

subtest 'answers that nothing can be proven by' => sub {
	config(filter_ignored => 'on', unstable_order => 'on');
	week('a week later');
	is(open_incidents(), 'contract changed: filter: warning, contract changed: order: warning, no stable order: warning, time filter ignored: warning',
		'a filter that has no effect any more, an order that is none');
	like(query($node, "SELECT uncertified FROM jdy_coverage WHERE name = '$weekly'"), qr/^the list has no stable order and cannot be read .*; the service ignores the time filter/,
		'what cannot be proven');
	is(differences($node, $weekly, entity => 'customer'), '', 'nothing is missing');
	week('and another week');
	like(open_incidents(), qr/contract changed: filter: warning, contract changed: order: warning/, 'as long as it is bad it stays open');

	config(filter_ignored => 'off', unstable_order => 'off');
	week('better again');
	week('and still');
	sync_ok($node, $weekly, 'all of it is read once more', "jdy_sync('$weekly', 'full')");
	is(open_incidents(), '', 'all is over');
	is(query($node, "SELECT uncertified IS NULL FROM jdy_coverage WHERE name = '$weekly'"), 't', 'and nothing is said');
};

subtest 'a count that does not add up any more' => sub {
	config(count_lie => 1);
	week('a week later');
	like(open_incidents(), qr/^contract changed: count: warning/, 'is told');
	is(query($node, "SELECT uncertified FROM jdy_coverage WHERE name = '$weekly'"), "the service's count does not add up, so there is no certificate", 'jdy_coverage');
	like(query($node, "SELECT why FROM jdy_status WHERE name = '$weekly'"), qr/^ok: \d incidents?, see jdy_incidents; uncertified: the service's count does not add up, so there is no certificate, see jdy_contract/,
		'jdy_status');
	my $asked_at = query($node, "SELECT asked_at FROM jdy_contract WHERE name = '$weekly' AND question = 'clock'");
	step_clock($node, '4 days');
	sync_ok($node, $weekly, 'verify', "jdy_sync('$weekly', 'verify')");
	like(query($node, "SELECT proven || ' ' || why FROM jdy_certificates WHERE name = '$weekly'"), qr/^false the service's counts /, 'there is no certificate');
	step_clock($node, '4 days');
	sync_ok($node, $weekly, 'a run');
	is(query($node, "SELECT asked_at > '$asked_at' FROM jdy_contract WHERE name = '$weekly' AND question = 'clock'"), 't', 'all else is asked once a week, however often the count is');
	config(count_lie => 0);
	week('better again');
	like(open_incidents(), qr/^contract changed: count: info/, 'is told, too');
	is(query($node, "SELECT uncertified IS NULL FROM jdy_coverage WHERE name = '$weekly'"), 't', 'and nothing is wrong');
	sync_ok($node, $weekly, 'the gap is read once more', "jdy_resync('$weekly', now() - interval '1 hour', now() + interval '1 day')");
	week('the week after');
	is(open_incidents(), '', 'all is over');
};

subtest 'a change that passed while the service was silent' => sub {
	my ($page) = evidence($weekly, 'past the end') =~ /^page (\d+)/;
	fault(kind => 'status', status => 500, path => $LIST, page => 0 + $page, times => 4);
	week('a week later, when it does not answer');
	is(contract($weekly)->{'past the end'}, 'unknown', 'nothing is known');
	is(open_incidents(), '', 'which is no change');
	config(past_end => 'empty');
	week('another week later');
	is(open_incidents(), 'contract changed: past the end: info', 'is told against the last answer that was had');
};

subtest 'who may see it' => sub {
	query($node, 'CREATE ROLE doctor IN ROLE pg_monitor; CREATE ROLE stranger; GRANT SELECT ON jdy_contract TO doctor, stranger');
	is(query($node, 'SET ROLE doctor; SELECT count(answer) > 10, count(evidence) FROM jdy_contract'), 't|0', 'pg_monitor, without what was seen');
	is(query($node, 'SET ROLE stranger; SELECT count(*) FROM jdy_contract'), '0', 'a stranger, nothing');
	like(query($node, "SELECT jdy_explain('$weekly')"), qr/Contract: filter honoured, start edge exclusive, .*page size 7/, 'jdy_explain tells its owner');
};
drop_stream($node, $weekly);
is(query($node, 'SELECT count(*) FROM jdysync.contract'), '0', 'with the stream it is forgotten');

# ---------------------------------------------------------------------------
# Full ticks: what was found out makes their windows narrower.
# ---------------------------------------------------------------------------
# Rows of three seconds in a row, or of one, modified two minutes ago; by which rules is that proven?
sub rules_of
{
	my ($name, @changes) = @_;

	sync_ok($node, $name, 'first run');
	my $at = int(now_ms() / 1000) * 1000 - 120_000;
	change(op => 'insert', count => $_->[1], at_ms => $at + $_->[0], stamp_spread_ms => $_->[2]) for @changes;
	sync_ok($node, $name, 'they are read', "jdy_resync('$name', now() - interval '1 hour', now())");
	is(differences($node, $name, entity => 'customer'), '', 'all of them');
	return query($node, "SELECT string_agg(DISTINCT rule, ', ' ORDER BY rule) FROM jdysync.\"window\" JOIN jdysync.stream USING (stream_id) WHERE name = '$name'");
}

for my $known (1, 0)
{
	my %stream = $known ? () : (probe => 0);
	my @seconds = map { [ 1000 * $_, 45, 0 ] } 0 .. 2;

	subtest 'neighbours of a full second' => sub {
		my $name = scene(stream => { detail => 'true', %stream }, set => { cap => 100 });
		my $rules = rules_of($name, @seconds);
		is($rules, $known ? 'load, one answer' : 'last page to first, load, one answer', $known ? 'are left out when both edges are inside' : 'else are read with it');
		drop_stream($node, $name);
	};
	subtest 'neighbours of a full second when an edge is outside' => sub {
		my $name = scene(stream => { detail => 'true', %stream }, set => { cap => 100, lower_edge => 'exclusive' });
		is(rules_of($name, map { [ $_->[0], 55, 0 ] } @seconds), 'last page to first, load, one answer', 'are read with it');
		drop_stream($node, $name);
	};
	subtest 'a full second of finer stamps' => sub {
		my $name = scene(stream => { detail => 'true', %stream }, set => { cap => 100, stamp_granularity => 'ms' }, grain => 1);
		my $rules = rules_of($name, [ 0, 250, 999 ]);
		is($rules, $known ? 'load, one answer' : 'last page to first, load, one answer', $known ? 'is split' : 'else is read by pages');
		drop_stream($node, $name);
	};
}

done_testing();
