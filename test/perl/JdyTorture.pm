# Carries out rounds of torture (JdyTorturePlan.pm) and says what is wrong with what comes of them.
#
#	my $torture = JdyTorture->new;
#	my @wrong = $torture->round(draw_plan(17, lists => [ $torture->lists ]));
#
# One PostgreSQL server and one simulator serve many rounds.  Judged by the simulator's truth and its
# history of changes:
#
#	after every run		what complete_until promises is in staging; nothing that exists is marked as deleted
#	at the end			every certificate names what the list held while it was counted, and its digest is right;
#						quiet runs succeed, make staging equal to the truth, give a certificate, and promise all up to now
#	audits, pushes		JdyTortureAudit.pm, JdyTorturePush.pm
#	always				no run hangs, no internal error, no secret in the log, no call beyond the budget, no worker left
package JdyTorture;

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use JdyTest;
use JdyTortureSession qw(literal $HANGS_AFTER);
use JdyTruth qw(%NO_LIMITS);
use JSON::PP;
use List::Util qw(max min);
use PostgreSQL::Test::Utils;
use POSIX qw(floor);
use Time::HiRes qw(time usleep);
use parent qw(JdyTortureSession JdyTortureAudit JdyTorturePush);

my $json = JSON::PP->new->utf8->canonical;

sub new
{
	my ($class, %options) = @_;
	my $self = bless { rounds => 0, stats => {}, out => $options{out} // \*STDOUT }, $class;

	# Many rounds: what they ask is not of interest, and plans hold secrets that nobody else has.
	$self->{sim} = start_sim(customers => 1, suppliers => 1, materials => 1, orders => 1, set => {%NO_LIMITS});
	$self->{node} = new_node($options{name} // 'torture', conf => join "\n", 'restart_after_crash = on', 'log_statement = none', 'autovacuum_naptime = 10s',
		"jdysync.max_workers = 4", "log_min_messages = warning", '');
	$self->open_session;
	return $self;
}

# The other lists of the service whose streams can be added by nothing but their names, as plans want them.
sub lists
{
	my ($self) = @_;

	return map {
		my ($entry, $path, $fields, $windows, $details, $bill, $format) = split /\|/, $_, -1;
		{ entry => $entry, path => $path, entity => $bill eq 't' ? 'sal_order' : 'customer', windows => $windows eq 't' ? 1 : 0,
			details => $details eq 't' ? 1 : 0, by_day => $format eq 'date' ? 1 : 0, one_key => $fields =~ /^\w+\z/ ? 1 : 0 }
	  } split /\n/, $self->patient(q{SELECT entry, api, array_to_string(id_fields, ','), start_param IS NOT NULL AND end_param IS NOT NULL,
		detail_api IS NOT NULL, number_field IS NOT DISTINCT FROM 'bill_no', COALESCE(window_format, '') FROM jdy_catalog
		WHERE kind = 'list' AND range_param IS NULL AND required = '{}' AND api NOT IN ('/jdy/v2/bd/customer', '/jdy/v2/bd/supplier', '/jdy/v2/bd/material', '/jdy/v2/scm/sal_order') ORDER BY api});
}

# ---------------------------------------------------------------------------
# A round.
# ---------------------------------------------------------------------------
sub round
{
	my ($self, $plan) = @_;

	$self->{plan} = $plan;
	$self->{wrong} = [];
	$self->{told} = [];
	$self->{name} = 't' . ++$self->{rounds};
	$self->{log_from} = -s $self->{node}->logfile;
	$self->{crashes} = 0;
	$self->{lies} = lies($plan);
	eval {
		$self->begin;
		$self->step($_) for @{ $plan->{steps} };
		$self->quiet;
		$self->judge_push;
		$self->judge_certificates;
		$self->judge_missed;
		$self->judge_calls;
		$self->end;
		1;
	} or $self->wrong("round broken off: $@");
	$self->judge_log;
	return @{ $self->{wrong} };
}

sub wrong
{
	my ($self, $what) = @_;

	push @{ $self->{wrong} }, $what;
	$self->tell("*** $what");
	# A person looks at the server as it is now, and removes the file when that is done.
	if ($ENV{JDY_TORTURE_STOP})
	{
		my $file = "$PostgreSQL::Test::Utils::tmp_check/stopped";
		append_to_file($file, '');
		$self->tell('stopped: psql -d "' . $self->{node}->connstr('postgres') . '", simulator ' . $self->{sim}->url . ", stream $self->{name}, until $file is removed");
		usleep(100_000) while -e $file;
	}
	return;
}

sub tell { my ($self, $what) = @_; push @{ $self->{told} }, $what; print { $self->{out} } "    $what\n" if $ENV{JDY_TORTURE_VERBOSE}; return; }

# The parts of the contract that the round itself breaks: what is judged less strictly then.
sub lies
{
	my ($plan) = @_;
	my $set = $plan->{set};
	my %lies = (
		late => $plan->{lag_ms} || $plan->{backdates} || $plan->{clock_back} || $plan->{unstamped},
		unstamped => $plan->{unstamped},
		backdates => $plan->{backdates},
		clock_back => $plan->{clock_back},
		restores => $plan->{restores},
		filter => ($set->{filter_ignored} // 'off') eq 'on',
		lags => $plan->{lag_ms},
		order => ($set->{unstable_order} // 'off') eq 'on',
		timeless => ($set->{tells_time} // 'on') eq 'off',
		no_count => ($set->{count_type} // 'doc') eq 'missing',
		duplicates => $set->{duplicates},
		displaced => $set->{duplicates} && ($set->{duplicates_mode} // 'extra') eq 'displace',
		count => $set->{count_lie} ? 1 : 0);

	for my $event (map { @{ $_->{events} // [] } } @{ $plan->{steps} })
	{
		my $kind = ($event->{post} // '') eq '/_sim/fault' ? $event->{body}{kind} : '';
		$lies{count} = 1 if $kind eq 'count_lie';

		# An empty page 1 of a list without counts: what it hid looks late afterwards.
		$lies{count} = $lies{late} = 1 if $kind eq 'wrong_page' && $lies{no_count} && ($set->{past_end_echo} // '') eq 'last';
		$lies{no_id} = 1 if $kind =~ /^id_/;
	}
	return { map { $_ => 1 } grep { $lies{$_} } keys %lies };
}

sub post { my ($self, $path, $body) = @_; return $self->{sim}->post($path, $body // {}); }

sub begin
{
	my ($self) = @_;
	my ($plan, $name) = @$self{qw(plan name)};
	my $list = $plan->{list};
	my %size = (customer => 'customers', supplier => 'suppliers', material => 'materials', sal_order => 'orders');
	my %server = (url => $self->{sim}->url, calls_per_minute => 0, rate_window => '100 ms', timeout => '1 s', connect_timeout => '2 s', max_response => '1 MB', %{ $plan->{server} });
	my %mapping = (%JdyTest::CREDENTIALS, outer_instance_id => 200_500_000 + $self->{rounds});
	my %arguments = (overlap => '2 s', %{ $plan->{stream} });
	my $source = $list->{format} ? 'metadata => ' . literal(metadata($list)) : 'entry => ' . literal($list->{entry} // $list->{entity});

	$self->{sim}->post('/_sim/reset', { seed => $plan->{service_seed}, (map { $_ => 0 } values %size), $size{ $list->{entity} } => $plan->{records} });
	$self->post('/_sim/config', { %NO_LIMITS, outer_instance_id => "$mapping{outer_instance_id}", account_id => 3_000_000_000_000_000_000 + $self->{rounds} . '', %{ $plan->{set} } });
	$self->{secret} = $mapping{client_secret};
	$self->{secrets} = [ $self->{secret} ];
	$self->{settle_s} = settle_seconds($arguments{settle} // '0');
	$self->{overlap} = $arguments{overlap};
	$self->{start_ms} = defined $arguments{start_from} && $list->{windows} && !$self->{lies}{filter} ? $self->sql("SELECT (extract(epoch FROM timestamptz '$arguments{start_from}') * 1000)::bigint") : 0;
	$self->patient("CREATE SERVER $name FOREIGN DATA WRAPPER jdysync OPTIONS (" . join(', ', map { "$_ " . literal($server{$_}) } sort keys %server) . ');'
		  . "CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (" . join(', ', map { "$_ '$mapping{$_}'" } sort keys %mapping) . ')');
	my $said = $self->patient("SELECT jdy_add_stream('$name', '$name', $source" . ($list->{details} || $list->{other} ? '' : ', detail => false')
		  . join('', map { ", $_ => " . literal($arguments{$_}) } sort keys %arguments) . ')');
	die "adding the stream: $said\n" if $said =~ /ERROR/;
	$self->begin_push;
	return;
}

sub settle_seconds
{
	my ($text) = @_;
	my ($n, $unit) = $text =~ /^(\d+) ?(ms|s|min)?\z/ or die "settle $text";

	return $n * { ms => 0.001, s => 1, min => 60 }->{ $unit // 's' };
}

sub metadata
{
	my ($list) = @_;
	my %times = (
		s => [ '{{LAST_SYNC_TIME}}', '{{CURRENT_TIME}}' ],
		datetime => [ '{{LAST_SYNC_TIME|datetime}}', '{{CURRENT_TIME|datetime}}' ],
		date => [ "_function FROM_UNIXTIME({{LAST_SYNC_TIME}}, '%Y-%m-%d')", "_function FROM_UNIXTIME({{CURRENT_TIME}}, '%Y-%m-%d')" ]);
	my ($start, $end) = @{ $times{ $list->{format} } };

	return $json->encode({ api => $list->{path}, effect => 'QUERY', id => 'id', number => 'number',
			request => [ { field => 'modify_start_time', value => $start }, { field => 'modify_end_time', value => $end },
				{ field => 'enable', value => '-1' } ] });
}

sub step
{
	my ($self, $step) = @_;
	my ($name, $do) = ($self->{name}, $step->{do});

	if ($do eq 'run')
	{
		$self->run($step);
		$self->judge_promise if $step->{mode} ne 'push';
	}
	elsif ($do eq 'post')
	{
		$self->post($step->{post}, $step->{body});
	}
	elsif ($do eq 'secret')
	{
		$self->rotate_secret;
	}
	elsif ($do eq 'alter_push')
	{
		$self->alter_push($step->{rows});
	}
	elsif ($do eq 'accept')
	{
		$self->patient("SELECT jdy_accept_deletes('$name')");
	}
	elsif ($do eq 'server')
	{
		$self->patient("ALTER SERVER $name OPTIONS (" . join(', ', map { "SET $_ '$step->{options}{$_}'" } sort keys %{ $step->{options} }) . ')');
	}
	elsif ($do eq 'alter')
	{
		my $said = $self->patient("SELECT jdy_alter_stream('$name', " . join(', ', map { "$_ => '$step->{arguments}{$_}'" } sort keys %{ $step->{arguments} }) . ')');
		$self->{settle_s} = settle_seconds($step->{arguments}{settle}) if defined $step->{arguments}{settle} && $said !~ /ERROR/;
		$self->{overlap} = $step->{arguments}{overlap} if defined $step->{arguments}{overlap} && $said !~ /ERROR/;
		$self->wrong("jdy_alter_stream: $said") if $said =~ /ERROR/;
	}
	return;
}

# The service makes its client secret anew, and so does whoever knows it: every ciphertext is another then.
sub rotate_secret
{
	my ($self) = @_;
	my $secret = sprintf '%032x', 0x1000_0000 + ++$self->{secret_turn};

	$self->post('/_sim/rotate_client_secret', { client_secret => $secret });
	push @{ $self->{secrets} }, $secret;
	return $self->patient("ALTER USER MAPPING FOR CURRENT_USER SERVER $self->{name} OPTIONS (SET client_secret '$secret')");
}

# One run; returns whether it ended well.
sub run
{
	my ($self, $step) = @_;
	my $pushes = $step->{mode} eq 'push';
	my $name = $pushes ? $self->push_name : $self->{name};
	my $call = $pushes ? "pending, delivered, calls, error FROM jdy_push('$name')" : "listed, details, calls, error FROM jdy_sync('$name', '$step->{mode}')";
	my ($text, $struck, $patient);

	$self->start_push if $step->{push_beside};
	$self->post('/_sim/script', { events => $step->{events} // [] });
	my $seen_ms = $self->{sim}->get('/_sim/now')->{now_ms};
	$call = "listed, details, calls, error FROM jdy_resync('$name', to_timestamp(" . int($seen_ms / 1000 - 7200) . "), to_timestamp(" . int($seen_ms / 1000 + 60) . '))' if $step->{mode} eq 'range';
	my $began = time;
	$self->start("SELECT status, $call");
	my $until = time + $HANGS_AFTER;
	until (defined($text = $self->finish($step->{when_halted} && !$struck ? 0.002 : 1)))
	{
		if ($step->{when_halted} && !$struck && $self->{sim}->get('/_sim/script')->{halted})
		{
			$struck = 1;
			$self->strike($step->{when_halted}, $name);
		}
		if (time > $began + 3 && !$patient++ && $self->{lies}{late})
		{
			# Settle was raised within this run, by minutes perhaps: rounds do not wait that long.
			my $cancelled = $self->look(
				"SELECT jdy_cancel(run_id) FROM jdy_progress WHERE name = '$self->{name}' AND waiting_for LIKE 'settle%'");
			$self->{stats}{settle_not_waited_for}++ if $cancelled eq 't';
		}
		if (time > $until)
		{
			my $look = $self->look("SELECT string_agg(format('%s: %s', p.phase, p.waiting_for), ', ') FROM jdy_progress p");
			$self->wrong("run hangs ($step->{mode}): $look");
			$self->open_session;	# which cancels the run
			die "it hangs\n";
		}
	}
	$self->post('/_sim/script/go_on') if $step->{when_halted};
	my $script = $self->{sim}->get('/_sim/script');
	$self->wrong("script: $script->{trouble}") if $script->{trouble} ne '';
	$self->post('/_sim/script', { events => [] });
	$text =~ s/\n.*//s if $text =~ /^ok/;
	$self->tell("$step->{mode}" . ($struck ? " [$step->{when_halted}]" : '') . ": $text ($script->{requests} requests, $script->{done} events, " . int(1000 * (time - $began)) . ' ms)');
	$self->{stats}{runs}++;
	$self->{stats}{ $step->{when_halted} }++ if $struck;
	if ($self->{session}{lost})
	{
		$self->wrong("connection lost: $text") if !$struck || $step->{when_halted} !~ /kill|restart/;
		$self->patient('SELECT 1');
		$self->patient('DELETE FROM jdysync.account');
	}
	$self->wrong("internal error: $text") if $text =~ /ERROR:\s+XX/;
	$self->wait_for_push if $step->{push_beside};
	$self->keep_settle;
	return $text =~ /^ok/;
}

# What was late, or stamped before, raises settle; rounds do not wait that long.
sub keep_settle
{
	my ($self) = @_;
	my $raised = $self->patient("SELECT extract(epoch FROM settle) FROM jdysync.stream WHERE name = '$self->{name}'");

	return if $raised eq '' || $raised <= $self->{settle_s};
	$self->{stats}{settle_raised}++;
	my $why = $self->patient("SELECT detail FROM jdy_incidents WHERE name = '$self->{name}' AND what = 'settle raised' ORDER BY opened_at DESC LIMIT 1");
	$self->wrong("settle was raised from $self->{settle_s} s to $raised s, though nothing was late: $why") if $self->{plan}{judge_settle} || !($self->{lies}{late} || $self->left_meanwhile($why));
	$self->patient("SELECT jdy_alter_stream('$self->{name}', settle => '" . 1000 * $self->{settle_s} . " ms', overlap => '$self->{overlap}')");
	return;
}

# A record that a certificate's or an audit's answer showed, and that left the list (its detail stays) before a window was asked,
# cannot be told from one that windows show too late.
sub left_meanwhile
{
	my ($self, $why) = @_;
	my ($id) = $why =~ /^Record "(\w+)".*No window showed that in time/ or return 0;

	return scalar grep { $_->[1] eq $id && $_->[3] ne 'listed' } $self->history;
}

sub strike
{
	my ($self, $how, $name) = @_;
	my $node = $self->{node};

	if ($how eq 'kill')
	{
		my $pid = $self->look("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner' LIMIT 1");
		$self->{crashes}++;
		kill 'KILL', $pid if $pid;
		poll_until(sub { !kill(0, $pid) }, 'the runner is dead') if $pid;
	}
	elsif ($how eq 'restart')
	{
		$self->{crashes}++;
		$node->stop('immediate');
		$node->start;
	}
	elsif ($how eq 'cancel')
	{
		$self->look("SELECT jdy_cancel(run_id) FROM jdy_progress WHERE name = '$name'");
	}
	elsif ($how eq 'secret')
	{
		my $secret = sprintf '%032x', 0x1000_0000 + ++$self->{secret_turn};
		$self->post('/_sim/rotate_client_secret', { client_secret => $secret });
		push @{ $self->{secrets} }, $secret;
		$self->look("ALTER USER MAPPING FOR CURRENT_USER SERVER $self->{name} OPTIONS (SET client_secret '$secret')");
	}
	$self->post('/_sim/script/go_on');
	return;
}

# ---------------------------------------------------------------------------
# The truth.
# ---------------------------------------------------------------------------

# What each change of each record left it as, in order: [ made_us, id, modify_ms, state ].
sub history
{
	my ($self) = @_;
	my $text = $self->{sim}{http}->get($self->{sim}->url . "/_sim/history?entity=$self->{plan}{list}{entity}")->{content};
	my @history;

	push @history, [ $1, $2, $3, $4 ] while $text =~ /"made_us":(\d+),"id":"(\d+)","modify_ms":(\d+),"state":"(\w+)"/g;
	return @history;
}

# Every record that differs between truth and staging: [ kind, id, modify_ms, what ].  kind: missing,
# different, extra, marked (it exists and staging says that it is gone).
sub differences
{
	my ($self) = @_;
	my $list = $self->{plan}{list};
	my $form = $list->{details} ? 'union' : 'list';
	my $by_content = $list->{other} && !$list->{one_key};
	my $url = $self->{sim}->url . "/_sim/truth?entity=$list->{entity}&form=$form" . ($list->{other} ? "&list=$list->{path}" : '');
	my $truth = $self->{sim}{http}->get($url)->{content};
	my $key = sub { $by_content ? "md5($_[0].data::text)" : "$_[0].id" };
	my $hidden = join ',', map { "'$_->[1]'" } grep { $_->[3] eq 'hidden' } values %{ { map { $_->[1] => $_ } $self->history } };

	my $text = $self->patient(qq{
WITH line AS MATERIALIZED (
	SELECT l.line::jsonb AS line FROM string_to_table(\$truth\$$truth\$truth\$, E'\\n') AS l (line) WHERE l.line <> ''),
t AS (
	SELECT DISTINCT ON (@{[$key->('r')]}) @{[$key->('r')]} AS id, r.number, r.data, r.modify_ms
	FROM (SELECT line->>'id' AS id, line->>'number' AS number, line->'data' AS data, (line->>'modify_ms')::bigint AS modify_ms FROM line) r
	@{[$hidden eq '' ? '' : "WHERE r.id NOT IN ($hidden)"]}
	ORDER BY 1, r.modify_ms),
s AS (
	SELECT DISTINCT ON (@{[$key->('s')]}) @{[$key->('s')]} AS id, s.number, s.data, s.modified_at, s.deleted_at IS NOT NULL OR s.out_of_scope_at IS NOT NULL AS gone,
		s.deleted_at IS NOT NULL AS deleted
	FROM jdysync."staging_$self->{name}" s ORDER BY 1, 4)
SELECT CASE WHEN s.id IS NULL THEN 'missing' WHEN t.id IS NULL THEN 'extra' WHEN s.gone THEN 'marked' ELSE 'different' END,
	COALESCE(t.id, s.id), COALESCE(t.modify_ms, (extract(epoch FROM s.modified_at) * 1000)::bigint, 0),
	CASE WHEN t.id IS NULL OR s.id IS NULL THEN '' ELSE concat_ws(' ', s.deleted::text, CASE WHEN s.number IS DISTINCT FROM t.number THEN s.number || '<>' || t.number END,
		(SELECT left(string_agg(k, ','), 60) FROM jsonb_object_keys(t.data || s.data) k WHERE t.data->k IS DISTINCT FROM s.data->k)) END
FROM t FULL JOIN s ON s.id = t.id
WHERE t.id IS NULL AND NOT s.gone OR s.id IS NULL OR s.gone AND t.id IS NOT NULL
	OR s.data <> t.data @{[$list->{other} ? '' : 'OR s.id = t.id AND s.number IS DISTINCT FROM t.number']}
ORDER BY 1, 2});
	die "comparing: $text\n" if $text =~ /ERROR|^lost/;
	return grep { $_->[0] eq 'extra' && $self->{lies}{filter} ? !$self->{plan}{stream}{start_from} : $_->[2] == 0 || $_->[2] >= $self->{start_ms} } map { [ split /\|/ ] } split /\n/, $text;
}

# { until_us, exceptions, due, set_aside, gaps, excepted => { ID => 1, '?' => how many that have none } }
sub coverage
{
	my ($self) = @_;
	my %coverage;

	@coverage{qw(until_us due set_aside gaps exceptions windows)} = split /\|/,
	  $self->patient("SELECT floor(extract(epoch FROM complete_until) * 1e6)::bigint, details_due, set_aside, gaps, array_to_string(exceptions, ' '), windows FROM jdy_coverage WHERE name = '$self->{name}'"), -1;
	$coverage{excepted}{$_}++ for split / /, $coverage{exceptions} // '';
	return \%coverage;
}

sub show { return join '; ', (map { join ' ', @$_ } @_[ 0 .. min($#_, 4) ]), @_ > 5 ? '… ' . @_ : (); }

# What complete_until says is true, and nothing that is there is taken for gone.
sub judge_promise
{
	my ($self) = @_;
	my $lies = $self->{lies};
	my @differences = $self->differences;
	my $coverage = $self->coverage;

	my %absent = map { $_->[1] => 1 } grep { $_->[3] ne 'listed' } $self->history;
	my @marked = grep { $_->[0] eq 'marked' && !$absent{ $_->[1] } } @differences;
	$self->wrong('marked as gone although it never went: ' . show(@marked)) if @marked && !$lies->{count} && !$lies->{restores} && !($self->{plan}{list}{other} && !$self->{plan}{list}{one_key});

	return if ($coverage->{until_us} // '') eq '' || grep { $lies->{$_} } qw(unstamped backdates clock_back count);
	my @broken = grep { $_->[0] ne 'extra' && $_->[2] * 1000 < $coverage->{until_us} && !$coverage->{excepted}{ $_->[1] }
	      && !($_->[0] eq 'marked' && ($absent{ $_->[1] } || $lies->{restores})) } @differences;

	# A row that came without its id is one record, be it new or one that is here as it was before.
	@broken = () if @broken <= ($coverage->{excepted}{'?'} // 0) && !grep { $_->[0] eq 'marked' } @broken;
	$self->wrong("promised up to $coverage->{until_us} and not there: " . show(@broken)) if @broken;
	return;
}

# ---------------------------------------------------------------------------
# Quiet.
# ---------------------------------------------------------------------------
sub pass_time
{
	my ($self, $seconds) = @_;

	return $self->post('/_sim/pass', { ms => int(1000 * $seconds) });
}

sub quiet
{
	my ($self) = @_;
	my ($plan, $lies, $name) = @$self{qw(plan lies name)};
	my $set = $plan->{set};
	my $by_day = $self->by_day;
	my $while = $self->{settle_s} + ($by_day && !$lies->{timeless} ? 2 * 86400 : 14);

	$self->{sim}->delete('/_sim/fault');
	$self->post('/_sim/config', { authorised => 'on', count_lie => 0, (map { $_ => 0 } qw(count_lag_ms rows_lag_ms details_lag_ms late_visibility_ms)) });
	$self->pass_time($while + ($lies->{clock_back} && !$lies->{timeless} ? 4000 : 0));
	$self->quiet_run('auto', 'the first quiet run');
	$self->judge_promise;
	my $coverage = $self->coverage;
	my $full = $lies->{clock_back} || $lies->{count} || $coverage->{set_aside} || $lies->{no_id} || $lies->{timeless}
	  || ($coverage->{gaps} // '{}') ne '{}' || ($plan->{list}{windows} && ($coverage->{until_us} // '') eq '');
	my $unlisted = $lies->{unstamped} || $lies->{backdates};
	my $by_audits = !$full && $unlisted && $self->audits_read_all && $self->is_dated;
	$self->pass_time($while);
	$self->quiet_run($full || ($unlisted && !$by_audits) ? 'full' : 'auto', 'the second quiet run');

	# What was stamped within overlap is left to windows.
	$self->pass_time($self->{settle_s} + 80) if $by_audits;
	$self->audit_all('an audit when all is quiet') if $by_audits;

	# What was not proven, as the ledger says, a full run brings.  What cannot be proven at all may be lost, and that is said.
	my $hopeless = $lies->{displaced} || ($lies->{order} && (!$plan->{list}{windows} || $lies->{filter}));
	my @differences = grep { $_->[0] ne 'extra' } $self->differences;
	my %absent = map { $_->[1] => 1 } grep { $_->[3] ne 'listed' } $self->history;

	# A restored record keeps its mark until something lists it: a certificate does.
	@differences = grep { !($_->[0] eq 'marked' && $absent{ $_->[1] }) } @differences;
	$self->wrong('not as it is, when all is quiet: ' . show(@differences)) if @differences && !$hopeless;

	my $certified = $self->certify(!$hopeless && !grep { $lies->{$_} } qw(no_count order displaced duplicates count lags));
	if ($certified)
	{
		@differences = $self->differences;
		$self->wrong('not as it is, with a certificate: ' . show(@differences)) if @differences;
	}
	$self->pass_time($while);
	$self->quiet_run('auto', 'the last run');
	$self->judge_promise;
	$self->judge_progress if !$by_day && $plan->{list}{windows} && !grep { $lies->{$_} } qw(filter timeless count no_count order displaced duplicates no_id lags);
	$self->judge_audits($hopeless);
	return;
}

sub by_day { my ($self) = @_; return ($self->{plan}{list}{format} // '') eq 'date' || $self->{plan}{list}{by_day}; }

sub quiet_run
{
	my ($self, $mode, $what) = @_;

	return if $self->run({ mode => $mode });
	return if $self->run({ mode => $mode });
	return $self->wrong("$what fails: $self->{told}[-1]");
}

# Certificates until deletes are marked; true when there is one.
sub certify
{
	my ($self, $expected) = @_;
	my ($name, $list) = @{$self}{qw(name plan)};
	$list = $list->{list};
	my $look = "SELECT proven, why FROM jdysync.certificate c JOIN jdysync.stream s USING (stream_id) WHERE s.name = '$name' ORDER BY certificate_id DESC LIMIT 1";
	my ($proven, $why) = ('', '');

	for my $pass (1 .. ($list->{details} ? 1 : 2))
	{
		$self->quiet_run('verify', 'the run that certifies');
		($proven, $why) = split /\|/, $self->patient($look), -1;
		last if $proven ne 't';
	}
	if ($proven ne 't')
	{
		$self->wrong("no certificate when all is quiet: $why") if $expected && !($list->{other} && $why =~ /does not count/);
		$self->tell("no certificate: $why");
		return 0;
	}
	$self->{stats}{certified}++;
	if ($self->patient("SELECT jdy_accept_deletes('$name')") ne '0')
	{
		$self->quiet_run('auto', 'the run after deletes were accepted');
	}
	return 1;
}

# The promise comes near the present when nothing is in its way.
sub judge_progress
{
	my ($self) = @_;
	my $coverage = $self->coverage;
	my $now_ms = $self->{sim}->get('/_sim/now')->{now_ms};

	return if ($coverage->{set_aside} // 0) > 0;
	if (($coverage->{until_us} // '') eq '' || $coverage->{until_us} < 1000 * ($now_ms - 1000 * $self->{settle_s} - 10_000) || $coverage->{due} || $coverage->{gaps} ne '{}')
	{
		$self->wrong('the promise does not come near the present: ' . join ', ', map { "$_ " . ($coverage->{$_} // '') } qw(until_us due gaps windows));
	}
	return;
}

# ---------------------------------------------------------------------------
# Certificates: each was true when it was counted, and its digest is that of its ids.
# ---------------------------------------------------------------------------
sub judge_certificates
{
	my ($self) = @_;
	my ($plan, $lies, $name) = @$self{qw(plan lies name)};
	my $list = $plan->{list};
	my $lag_us = 1000 * max(0, map { $plan->{set}{$_} // 0 } qw(count_lag_ms late_visibility_ms)) * (grep({ $plan->{set}{$_} } qw(count_lag_ms late_visibility_ms)) || 1);
	my @certificates = map { [ split /\|/ ] } split /\n/, $self->patient(qq{
SELECT c.certificate_id, c."count", encode(c.digest, 'hex'), (extract(epoch FROM (e.value->>'asked_at')::timestamptz) * 1e6)::bigint,
	(extract(epoch FROM (e.value->>'answered_at')::timestamptz) * 1e6)::bigint, COALESCE((extract(epoch FROM (c.assumptions->>'listed_from')::timestamptz) * 1e3)::bigint, 0)
FROM jdysync.certificate c JOIN jdysync.stream s USING (stream_id)
CROSS JOIN LATERAL (SELECT value FROM jsonb_array_elements(c.evidence) WITH ORDINALITY AS v (value, n) WHERE value->>'what' = 'count'
	ORDER BY n OFFSET (c.assumptions->>'pass')::int - 1 LIMIT 1) e
WHERE s.name = '$name' AND c.proven ORDER BY 1});

	$self->{stats}{certificates} += @certificates;
	return if !@certificates || $lies->{count};
	my @history = $self->history;
	my %restored;
	my %state;
	for my $change (@history)
	{
		$restored{ $change->[1] } = 1 if $change->[3] eq 'listed' && ($state{ $change->[1] } // 'listed') ne 'listed';
		$state{ $change->[1] } = $change->[3];
	}
	for my $certificate (@certificates)
	{
		my ($id, $count, $digest, $asked_us, $answered_us, $from_ms) = @$certificate;
		my $true = 0;
		my $near = '';
		my %listed;

		for my $i (0 .. @history)
		{
			# The state before this change held while the list was counted.
			if ($i == @history || $history[$i][0] >= $asked_us - $lag_us - 2000)
			{
				# Asked a tick or a day earlier than it begins, of which the service may show what it likes.
				for my $since ($self->{start_ms}, $from_ms)
				{
					my @ids = sort grep { $listed{$_} >= $since } keys %listed;
					$true ||= @ids == $count && (($list->{other} && !$list->{one_key}) || sha256_hex(join "\n", @ids) eq $digest);
					$near .= ' ' . @ids;
				}
				last if $true || $i == @history || $history[$i][0] > $answered_us + 1000;
			}
			my (undef, $record, $modify_ms, $state) = @{ $history[$i] };
			if ($state eq 'listed') { $listed{$record} = $modify_ms; }
			else { delete $listed{$record}; }
		}
		$self->wrong("certificate $id of $count was not true (lists then had$near)") if !$true && !%restored;
		$self->{stats}{untold_returns}++ if !$true && %restored;
	}
	my $intact = $self->patient(qq{
SELECT c."count" = count(i.id) AND c.digest = sha256(convert_to(COALESCE(string_agg(i.id, E'\\n' ORDER BY i.id COLLATE "C"), ''), 'UTF8'))
FROM (SELECT * FROM jdy_certificates WHERE proven AND name = '$name' ORDER BY certificate_id DESC LIMIT 1) c LEFT JOIN jdy_certified i USING (name)
GROUP BY c."count", c.digest});
	$self->wrong('the ids of the last certificate are not those of its digest') if $intact eq 'f';
	return;
}

# ---------------------------------------------------------------------------
# Budget, log, workers.
# ---------------------------------------------------------------------------
sub judge_calls
{
	my ($self) = @_;
	my $limit = $self->{plan}{server}{calls_per_minute} or return;
	my $stats = $self->{sim}->get('/_sim/stats');

	$self->wrong("$stats->{max_calls_in_window} calls in a window of $limit") if $stats->{max_calls_in_window} > $limit;
	return;
}

sub judge_log
{
	my ($self) = @_;

	open my $log, '<', $self->{node}->logfile or return;
	seek $log, $self->{log_from}, 0;
	my $text = do { local $/; <$log> } // '';
	for my $secret (@{ $self->{secrets} }, $JdyTest::CREDENTIALS{client_secret})
	{
		$self->wrong("a secret in the server's log") if $text =~ /\Q$secret\E/;
	}
	my ($crash) = $text =~ /^(.*(?:PANIC|TRAP|signal (?:6|7|11)\b).*)$/m;
	$self->wrong("crash: $crash") if $crash;
	($crash) = $text =~ /^(.*terminated by signal.*)$/m;
	$self->wrong("crash: $crash") if $crash && !$self->{crashes};
	return;
}

sub end
{
	my ($self) = @_;
	my $name = $self->{name};

	poll_until(sub { $self->patient("SELECT count(*) FROM jdy_progress WHERE name = '$name'") eq '0' }, 'no run is left', 30) or $self->wrong('a run is left');
	$self->end_push;
	my $said = $self->patient("SELECT jdy_drop_stream('$name', false)");
	$said .= $self->patient("DROP SERVER $name CASCADE");
	$self->wrong("dropping: $said") if $said =~ /ERROR/;
	return;
}

sub stop
{
	my ($self) = @_;

	$self->close_session;
	$self->{node}->stop('fast');
	$self->{sim}->stop;
	return;
}

1;
