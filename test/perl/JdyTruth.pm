# What the tests of the pull share: streams on the simulator, and whether
# staging holds what really exists at the source.
#
#	my $node = pull_node('main');					# a server made for tests: no limits, quick retries
#	add_stream($node, 'customer', settle => "'2 s'");
#	sync_ok($node, 'customer', 'the first load');
#	is(differences($node, 'customer'), '', 'staging equals the truth');
package JdyTruth;

use strict;
use warnings;

use Exporter qw(import);
use JdyTest;
use POSIX qw(ceil);
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(pull_node pull_server add_stream skip_probe drop_stream no_certificates query sync_stream sync_ok sync_fails
  differences is_true calm wait_out wait_settled truth paths %NO_LIMITS);

# Simulator switches that leave only what a test is about.
our %NO_LIMITS = (rate_limit => 0, token_limit => 0);

# Short waits, no call budget: tests are about rows here, not about time.
my %QUICK = (
	calls_per_minute => 0,
	rate_window => '100 ms',
	concurrency => 4,
	timeout => '5 s',
	connect_timeout => '2 s',
	max_attempts => 4);

sub pull_node
{
	my ($name, %options) = @_;

	$options{server} = { %QUICK, %{ $options{server} // {} } };
	return new_node($name, %options);
}

# Another server, for the simulator started last.
sub pull_server
{
	my ($node, $name, %options) = @_;

	$options{server} = { %QUICK, %{ $options{server} // {} } };
	create_server($node, $name, %options);
	return $name;
}

# Named arguments are SQL text.  Unless given: server kingdee, settle and overlap of two seconds.  How the service
# answers counts as asked, once and for all, with nothing found out but that it counts: tests
# that count calls are not about that.  probe => 1: as any other stream.
sub add_stream
{
	my ($node, $name, %arguments) = @_;
	my $server = delete $arguments{server} // "'kingdee'";
	my $probe = delete $arguments{probe};

	%arguments = (settle => "'2 s'", overlap => "'2 s'", %arguments);
	my $more = join '', map { ", $_ => $arguments{$_}" } sort keys %arguments;
	my $added = $node->safe_psql('postgres', "SELECT jdy_add_stream('$name', $server$more)");

	skip_probe($node, $name) unless $probe;
	return $added;
}

# Nothing is asked of the service but whether it heeds the time filter.
sub skip_probe
{
	my ($node, $name, $database) = @_;

	return $node->safe_psql($database // 'postgres', qq{INSERT INTO jdysync.contract (stream_id, question, answer, since, asked_at, evidence)
		SELECT s.stream_id, q.question, CASE q.question WHEN 'count' THEN 'given' ELSE 'unknown' END, now(), 'infinity', 'not asked'
		FROM jdysync.stream s CROSS JOIN (VALUES ('start edge'), ('count'), ('clock'), ('list rows')) AS q (question) WHERE s.name = '$name'
		ON CONFLICT (stream_id, question) DO UPDATE SET asked_at = EXCLUDED.asked_at});	# a scheduled run may have come first
}

sub drop_stream
{
	my ($node, $name) = @_;

	$node->safe_psql('postgres', "SELECT jdy_drop_stream('$name', false)");
	return;
}

# Runs of the streams that there are do nothing but pull, however far the clock is stepped.
sub no_certificates { my ($node) = @_; $node->safe_psql('postgres', "UPDATE jdysync.stream SET verify_at = 'infinity', audit_at = 'infinity'"); return; }

sub query { my ($node, $sql) = @_; return $node->safe_psql('postgres', $sql); }

# One run: {ok, err, and the columns of jdy_sync}.  err is psql's text with SQLSTATE.
sub sync_stream
{
	my ($node, $name, $call) = @_;
	my @columns = qw(run_id stream status listed details inserted updated unchanged deleted rejected calls retries elapsed error);
	my ($status, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT * FROM " . ($call // "jdy_sync('$name')"));
	my %run;

	@run{@columns} = split /\|/, $out, -1 if $status == 0;
	return { %run, ok => $status == 0 && ($run{status} // '') eq 'ok', err => $err };
}

sub sync_ok
{
	my ($node, $name, $what, $call) = @_;
	my $run = sync_stream($node, $name, $call);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($run->{ok}, $what) or diag($run->{err});
	return $run;
}

# The run fails with exactly this SQLSTATE, this text (a pattern) somewhere in message, detail
# or hint, and a HINT.  Options: call (instead of jdy_sync), no_hint => why none would help here.
sub sync_fails
{
	my ($node, $name, $sqlstate, $text, $what, %options) = @_;

	($sqlstate // '') =~ /^[0-9A-Z]{5}\z/ && $sqlstate !~ /^XX/ or die 'sync_fails wants one SQLSTATE that users may see';
	my $run = sync_stream($node, $name, $options{call});

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	subtest $what => sub {
		ok(!$run->{ok}, 'the run fails') or return;
		my ($said) = $run->{err} =~ /ERROR:  (\w{5}): /;
		is($said, $sqlstate, 'SQLSTATE') or diag($run->{err});
		like($run->{err}, $text, 'text');
		if ($options{no_hint})
		{
			unlike($run->{err}, qr/^HINT:/m, "no hint: $options{no_hint}");
		}
		else
		{
			like($run->{err}, qr/^HINT:  \S/m, 'what to do');
		}
		unlike($run->{err}, qr/f2adcfef73369bfc4e1384677d38a0ff/, 'no secret');
	};
	return $run;
}

# The truth as the simulator tells it, a line of JSON for each record that exists.
sub truth
{
	my ($sim, %options) = @_;
	my $entity = $options{entity} // 'customer';
	my $form = $options{form} // 'union';
	my $url = $sim->url . "/_sim/truth?entity=$entity&form=$form";

	return $sim->{http}->get($url)->{content};
}

# What differs between the truth and staging: '' or up to 5 lines.  Options: entity
# (default: the stream's name), form (union, list, detail), sim, extra => 1
# (records that exist no more may still be there), where (SQL on the truth's t.id, t.data), staging.
sub differences
{
	my ($node, $name, %options) = @_;
	my $sim = $options{sim} // $JdyTest::current;
	my $truth = truth($sim, entity => $options{entity} // $name, form => $options{form});
	my $where = $options{where} // 'true';
	my $extra = $options{extra} ? 'false' : 'true';
	my $data = $options{data} // 's.data';

	$truth .= "\n" if $truth ne '' && $truth !~ /\n\z/;
	return $node->safe_psql('postgres', qq{
CREATE TEMP TABLE truth_line (line jsonb);
COPY truth_line FROM STDIN WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');
$truth\\.
WITH t AS (
	SELECT t.* FROM (SELECT line->>'id' AS id, line->>'number' AS number, line->'data' AS data FROM truth_line) t
	WHERE $where),
s AS (SELECT s.id, s.number, $data AS data FROM jdysync."staging_$name" s WHERE s.deleted_at IS NULL)
SELECT CASE WHEN s.id IS NULL THEN 'missing' WHEN t.id IS NULL THEN 'extra' ELSE 'different' END,
	COALESCE(t.id, s.id), t.number, s.number,
	(SELECT left(string_agg(k, ','), 60) FROM jsonb_object_keys(t.data || s.data) k WHERE t.data->k IS DISTINCT FROM s.data->k)
FROM t FULL JOIN s ON s.id = t.id
WHERE s.id IS NULL OR (t.id IS NULL AND $extra) OR s.data <> t.data OR (t.id = s.id AND s.number IS DISTINCT FROM t.number)
ORDER BY 1, 2 LIMIT 5});
}

# A test: staging equals the truth.
sub is_true
{
	my ($node, $name, $what, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(differences($node, $name, %options), '', $what);
}

# No faults, no churn, no other switches than those the simulator began with.
sub calm
{
	my ($sim, %set) = @_;

	$sim->delete('/_sim/fault');
	$sim->post('/_sim/churn', {});
	$sim->post('/_sim/config', \%set) if %set;
	return;
}

# Waits until the service's clock is $seconds further: by looking at it.
sub wait_out
{
	my ($sim, $seconds) = @_;
	my $until = $sim->get('/_sim/now')->{now_ms} + 1000 * $seconds;

	return poll_until(sub { $sim->get('/_sim/now')->{now_ms} >= $until }, 'time passes');
}

# Waits until a run proves what was stamped up to now, so that the one after asks for none of it.
# Date has whole seconds, and a call was asked at that minus what it took: a run at t proves all before
# floor(t) - settle - 1, settle rounded up.  So it proves the second s from s + settle + 2 on; and as
# the next window is asked a second wider, it takes one second more until that does not show s again.
sub wait_settled
{
	my ($sim, $settle_s) = @_;
	my $now = sub { return int($sim->get('/_sim/now')->{now_ms} / 1000); };
	my $until = $now->() + ceil($settle_s) + 3;

	return poll_until(sub { $now->() >= $until }, 'what was changed has settled');
}

# Calls so far of each path.
sub paths { my ($sim) = @_; return $sim->get('/_sim/stats')->{paths}; }

1;
