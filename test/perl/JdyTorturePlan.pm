# A round of torture, drawn from a seed: a small service with habits of its own, a stream, and
# what happens: runs, and between any two requests changes, faults, jumps of the clock, a kill.
#
#	my $plan = draw_plan(17);
#
# A plan says all of that in so many words and can be kept as JSON: what a round
# that found something was must not change when this file does (test/seeds).
package JdyTorturePlan;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(draw_plan);

# What no document settles, each as likely as the others to be another than usual.
my %habits = (
	cap => [ 7, 10, 20, 50 ],
	cap_wrong_total_page => ['off'],
	echo_page_size => ['cap'],
	offset_rule => ['cap'],
	lower_edge => ['exclusive'],
	upper_edge => ['exclusive'],
	past_end => [ 'last', 'error' ],
	past_end_echo => ['last'],
	enable_default => ['enabled'],
	window_default => ['nothing'],
	count_type => [ 'string', 'int', 'missing' ],
	stamp_granularity => ['s'],
	not_found => [ 'null_data', 'empty_data', 'http404' ],
	ids_as_numbers => ['on'],
	row_modify_time => ['on'],
	gzip => ['off'],
	nonce_replay_refused => ['on'],
	expired_code => [ '401', '1020002008' ],
	router_mode => [ '404', '5001' ],
	new_token_kills_old => ['on'],
	other_accounts => [ 1, 3 ],
	description_cn => ['on'],
	duplicates => [ 0.05, 3 ],
	retry_after => [0],
	concurrency_limit => [ 2, 5 ],
	concurrency_code => ['5007']);

# Habits that take a proof away: rarer, so that most rounds can be judged strictly.
my %vices = (
	filter_ignored => ['on'],
	unstable_order => ['on'],
	tells_time => ['off'],
	duplicates_mode => ['displace'],
	count_lie => [ 1, -1, 5 ]);

my @list_faults = qw(status errcode reset reset_after cut html empty json nul surrogate bad_utf8 deep huge redirect
  wrong_page no_rows no_count count_lie id_missing id_null dup_row conflict_row gzip_bomb stall drip);
my @detail_faults = qw(status errcode gone reset reset_after cut html empty json nul surrogate bad_utf8 deep huge redirect gzip_bomb stall drip);

sub dice { my ($n) = @_; return int(rand($n)); }
sub chance { my ($p) = @_; return rand() < $p; }
sub pick { return $_[ dice(scalar @_) ]; }

# One of several, each with a weight.
sub weigh
{
	my (@choices) = @_;
	my $sum = 0;
	my $at;

	$sum += $choices[ 2 * $_ + 1 ] for 0 .. $#choices / 2;
	$at = rand($sum);
	for (0 .. $#choices / 2)
	{
		return $choices[ 2 * $_ ] if ($at -= $choices[ 2 * $_ + 1 ]) < 0;
	}
	return $choices[0];
}

# Options: lists => paths of the other lists, each as { path, entity, windows, detail, fields }.
sub draw_plan
{
	my ($seed, %options) = @_;
	my %plan = (seed => $seed);

	srand($seed);
	draw_list(\%plan, @{ $options{lists} });
	draw_service(\%plan);
	draw_stream(\%plan);
	draw_steps(\%plan);
	draw_audit(\%plan) if chance(0.33);
	draw_push(\%plan) if chance(0.33);
	return \%plan;
}

sub draw_list
{
	my ($plan, @lists) = @_;
	my $kind = weigh(customer => 10, format => 3, sal_order => 2, supplier => 1, material => 1, rows => 2, other => @lists ? 4 : 0);
	my %list = (entity => 'customer', path => '/jdy/v2/bd/customer', details => 1, windows => 1);

	if ($kind eq 'format')
	{
		$list{format} = weigh(s => 2, datetime => 2, date => 1);
	}
	elsif ($kind eq 'rows')
	{
		$list{details} = 0;
	}
	elsif ($kind eq 'other')
	{
		%list = (other => 1, %{ pick(@lists) });
	}
	elsif ($kind ne 'customer')
	{
		$list{entity} = $kind;
		$list{path} = $kind eq 'sal_order' ? '/jdy/v2/scm/sal_order' : "/jdy/v2/bd/$kind";
	}
	$plan->{list} = \%list;
	$plan->{records} = weigh(dice(6) => 2, 5 + dice(35) => 6, 40 + dice(110) => 2);
	return;
}

sub draw_service
{
	my ($plan) = @_;
	my %set;

	for my $name (sort keys %habits)
	{
		$set{$name} = pick(@{ $habits{$name} }) if chance($name eq 'cap' ? 0.5 : 0.12);
	}
	for my $name (sort keys %vices)
	{
		$set{$name} = pick(@{ $vices{$name} }) if chance(0.03);
	}
	delete @set{qw(count_type enable_default)} if $plan->{list}{other};	# lists.tsv says which; they know no such parameter
	$set{window_format} = $plan->{list}{format} if $plan->{list}{format};
	$set{clock_offset_ms} = 1000 * (dice(14400) - 7200) if chance(0.2) && !$set{tells_time};	# nobody could learn it
	if (chance(0.2))
	{
		my $most = pick(20, 60, 120);
		$set{$_} = 1 + dice($most) for grep { chance(0.5) } qw(count_lag_ms rows_lag_ms details_lag_ms late_visibility_ms);
		$plan->{lag_ms} = $most;
	}
	if (chance(0.12))
	{
		$set{rate_limit} = 40 + dice(60);
		$set{rate_window_ms} = 200;
	}
	$plan->{set} = \%set;
	$plan->{service_seed} = 1 + dice(1000);
	return;
}

sub draw_stream
{
	my ($plan) = @_;
	my %stream = (settle => weigh('0' => 3, '10 ms' => 2, '40 ms' => 2, '900 ms' => 0.3), overlap => pick('0', '1 s', '2 s', '1 min'));
	my %server = (concurrency => 1 + dice(6), max_attempts => 2 + dice(3));

	# Nothing is behind by more than settle; what lists show late is behind in details too.
	$stream{settle} = 2 * $plan->{lag_ms} . ' ms' if $plan->{lag_ms};
	$stream{start_from} = '2024-06-01 +8' if $plan->{list}{windows} && chance(0.15);
	$server{calls_per_minute} = $plan->{set}{rate_limit} * weigh(1 => 4, 2 => 1) if $plan->{set}{rate_limit};
	$server{rate_window} = '200 ms' if $server{calls_per_minute};
	$plan->{stream} = \%stream;
	$plan->{server} = \%server;
	return;
}

sub draw_steps
{
	my ($plan) = @_;
	my @steps;

	$plan->{restores} = chance(0.25) ? 1 : 0;
	$plan->{unstamped} = chance(0.1) ? 1 : 0;
	$plan->{backdates} = chance(0.07) ? 1 : 0;
	$plan->{clock_back} = chance(0.07) ? 1 : 0;
	$plan->{faulty} = chance(0.6) ? 1 : 0;
	for my $n (1 .. 2 + dice(4))
	{
		push @steps, draw_run($plan, $n);
		push @steps, draw_between($plan) for 1 .. dice(4);
	}
	$plan->{steps} = \@steps;
	return;
}

sub draw_run
{
	my ($plan, $n, $mode) = @_;
	my %step = (do => 'run', mode => $mode ? $mode : $n == 1 ? weigh(auto => 8, full => 1, verify => 1) : weigh(auto => 5, full => 1, verify => 4, range => $plan->{list}{windows}));
	my $requests = 4 + dice(weigh(6 => 3, 15 => 3, 20 + int(1.3 * $plan->{records}) => 3));
	my @events = map { draw_event($plan) } 1 .. weigh(0 => 2, 3 => 2, 12 => 3, 40 => 2);

	push @events, map { draw_fault($plan) } 1 .. 1 + dice(4) if $plan->{faulty} && chance(0.6);
	$_->{at} = 1 + dice($requests) for @events;
	if (chance(0.09))
	{
		push @events, { halt => 1, at => 1 + dice($requests) };
		$step{when_halted} = weigh(kill => 3, restart => 1, cancel => 3, secret => 1);
	}
	$step{events} = [ sort { $a->{at} <=> $b->{at} } @events ];
	return \%step;
}

# One more run, and changes for the audits when all is quiet.
sub draw_audit
{
	my ($plan) = @_;
	my @changes = map { weigh({ op => 'contact', keep_stamp => \1, count => 1 + dice(3) } => 3, { op => 'update', keep_stamp => \1 } => 1, { op => 'delete' } => 0.5,
			{ op => pick('insert', 'contact'), at_ms => 1_764_700_000_000 + dice(1_000_000) } => 2) } 1 .. dice(4);

	$plan->{audit} = { changes => \@changes };
	splice @{ $plan->{steps} }, 1 + dice(scalar @{ $plan->{steps} }), 0, draw_run($plan, 2, 'audit');
	return;
}

# Behind about every second run a push, sometimes one beside it.
sub draw_push
{
	my ($plan) = @_;
	my @steps;

	$plan->{push} = { view => pick('plain', 'marked', 'mapped'), rows => pick(0, 1, 3, 20, 100), delete => pick('', 'query', 'body'), attempts => 2 + dice(2), concurrency => 1 + dice(6) };
	$plan->{set}{target_dedupe} = 'off' if chance(0.3);
	my $faulty = chance(0.5);
	for my $step (@{ $plan->{steps} })
	{
		push @steps, $step;
		next if $step->{do} ne 'run';
		$step->{push_beside} = 1 if chance(0.2);
		push @steps, { do => 'alter_push', rows => pick(0, 2, 50) } if chance(0.1);
		push @steps, draw_push_run($faulty) if chance(0.5);
	}
	$plan->{steps} = \@steps;
	return;
}

sub draw_push_run
{
	my ($faulty) = @_;
	my %step = (do => 'run', mode => 'push');
	my @events = map { { post => '/_sim/fault', at => 1, body => draw_target_fault() } } 1 .. ($faulty ? dice(3) : 0);

	if ($faulty && chance(0.25))
	{
		push @events, { halt => 1, at => 1 + dice(weigh(2 => 1, 12 => 1)) };
		$step{when_halted} = weigh(kill => 3, restart => 1, cancel => 3);
	}
	$step{events} = \@events;
	return \%step;
}

sub draw_target_fault
{
	my $kind = weigh(reset => 2, reset_after => 4, cut => 2, html => 1, json => 1, status => 3, errcode => 1, stall => 0.2);
	my %fault = (kind => $kind, path => '/target/', after => dice(weigh(1 => 1, 8 => 1)), times => $kind eq 'stall' ? 1 : 1 + dice(4));

	@fault{qw(status retry_after)} = (pick(500, 503, 429), 0) if $kind eq 'status';
	return \%fault;
}

sub change { my (%body) = @_; return { post => '/_sim/change', body => \%body }; }

sub draw_event
{
	my ($plan) = @_;
	my $entity = $plan->{list}{entity};
	my $what = weigh(insert => 3, update => 5, contact => 1, touch => 1, delete => 2, number => 2, hide => 0.4, bulk => 0.3,
		clock => $plan->{set}{tells_time} ? 0 : 1, restore => 1.5 * $plan->{restores}, unstamped => 2 * $plan->{unstamped}, backdated => 2 * $plan->{backdates},
		clock_back => $plan->{set}{tells_time} ? 0 : 0.3 * $plan->{clock_back}, tokens => 0.3, app_secret => 0.15, move => 0.1);

	return change(entity => $entity, op => 'insert', count => 2 + dice(25), same_stamp => \1) if $what eq 'bulk';
	return change(entity => $entity, op => pick('contact', 'update'), keep_stamp => \1) if $what eq 'unstamped';
	return change(entity => $entity, op => pick('insert', 'update'), at_ms => 1_764_600_000_000 + dice(1_000_000)) if $what eq 'backdated';
	return change(entity => $entity, op => 'set', fields => { ($entity eq 'sal_order' ? 'bill_no' : 'number') => pick('A', 'KH4', 'KH9', 'Z') . ++$plan->{numbers} })
	  if $what eq 'number';
	return clock(1000 * weigh(1 + dice(3) => 3, dice(70) => 3, 3600 => 1)) if $what eq 'clock';
	return clock(-1000 * (1 + dice(90))) if $what eq 'clock_back';
	return { post => '/_sim/expire_tokens' } if $what eq 'tokens';
	return { post => '/_sim/rotate_app_secret' } if $what eq 'app_secret';
	return { post => '/_sim/move', body => { domain => 'https://vip' . dice(9) . '.jdy.com' } } if $what eq 'move';
	return change(entity => $entity, op => $what);
}

sub clock { my ($ms) = @_; return { post => '/_sim/pass', body => { ms => $ms } }; }

sub draw_fault
{
	my ($plan) = @_;
	my $on_detail = $plan->{list}{details} && chance(0.4);
	my $kind = pick($on_detail ? @detail_faults : @list_faults);
	my %body = (kind => $kind, path => $on_detail ? '_detail' : $plan->{list}{path}, after => dice(4), times => 1 + dice(3));

	$kind = pick('status', 'reset', 'cut') if $kind =~ /^(?:stall|drip)\z/ && chance(0.7);
	$body{kind} = $kind;
	$body{row} = dice(1 + $plan->{records}) if !$on_detail;
	$body{times} = 1 if $kind eq 'stall';
	$body{interval_ms} = 1 if $kind eq 'drip';
	$body{bytes} = 3_000_000 if $kind eq 'huge';
	$body{bytes} = 5_000_000 if $kind eq 'gzip_bomb';
	$body{depth} = 20_000 if $kind eq 'deep';
	$body{add} = pick(1, -1, 7) if $kind eq 'count_lie';
	$body{status} = pick(500, 502, 503, 429, 404, 519) if $kind eq 'status';
	$body{retry_after} = chance(0.1) ? 1 : 0 if $kind eq 'status' && $body{status} == 429;
	@body{qw(kind errcode)} = ('errcode', 1030002003) if $kind eq 'gone';
	$body{errcode} = pick(1000002001, 1030002002, 1020002008) if $kind eq 'errcode';
	return { post => '/_sim/fault', body => \%body };
}

sub draw_between
{
	my ($plan) = @_;
	my $what = weigh(clock => $plan->{set}{tells_time} ? 0 : 5, change => 4, secret => 0.4, alter => 0.7, accept => 0.4, server => 0.7);

	return { do => 'post', %{ clock(1000 * weigh(1 + dice(5) => 2, 10 + dice(50) => 3, 7200 => 1)) } } if $what eq 'clock';
	return { do => 'post', %{ draw_event($plan) } } if $what eq 'change';
	return { do => 'secret' } if $what eq 'secret';
	return { do => 'accept' } if $what eq 'accept';
	return { do => 'server', options => { concurrency => 1 + dice(6) } } if $what eq 'server';
	return { do => 'alter', arguments => { overlap => pick('0', '1 s', '30 s'), ($plan->{lag_ms} ? () : (settle => pick('0', '20 ms', '60 ms'))) } };
}

1;
