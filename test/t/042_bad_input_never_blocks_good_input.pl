# A row that cannot be stored is set aside with its bytes, the rest lands; a page that
# is not what was asked is an error, never an empty page.  When the source
# has come right, the next run makes staging equal to it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $DETAIL = '/jdy/v2/bd/customer_detail';
my $sim = start_sim(customers => 240, set => {%NO_LIMITS});
my $node = pull_node('main', server => { max_attempts => 2 });

# Path parts match inside paths, so a fault for lists says which page; details have none.
sub fault { $sim->post('/_sim/fault', { @_ }); return; }

sub rejects { return query($node, "SELECT count(*) FROM jdy_rejects WHERE name = 'customer' AND $_[0]"); }

# Rejects that later runs list again.
sub retries { return query($node, "SELECT count(*) FROM jdysync.reject WHERE next_try IS NOT NULL AND $_[0]"); }

# What came wrong in two runs waits a minute, or more: as if it had passed.
sub no_more_waiting { query($node, 'UPDATE jdysync.reject SET next_try = now() WHERE next_try > now()'); return; }

# Records that exist at the source: changes of one case are there in the next.
sub existing { return scalar(() = truth($sim) =~ /\n/g); }

# List calls of the last run that begin before any window: how many changes of earlier cases
# the windows still hold depends on how fast the tests run.
sub unbounded_lists
{
	return query($node, q{SELECT count(*) FROM jdy_calls WHERE run_id = (SELECT max(run_id) FROM jdy_runs)
		AND url LIKE '%/bd/customer?%' AND url NOT LIKE '%modify_start_time=%'});
}

sub begin { add_stream($node, 'customer', settle => "'500 ms'", @_); return; }

sub finish
{
	my ($what) = @_;

	$sim->delete('/_sim/fault');
	sync_ok($node, 'customer', 'a run when the source has come right');
	is_true($node, 'customer', $what // 'staging equals the truth');
	is(query($node, "SELECT details_due, set_aside FROM jdy_coverage WHERE name = 'customer'"), '0|0', 'nothing is left to do');
	$sim->post('/_sim/stats/reset');
	sync_ok($node, 'customer', 'and another run');
	is(unbounded_lists(), '0', 'does not read the list again');
	drop_stream($node, 'customer');
	return;
}

# ---------------------------------------------------------------------------
# One bad row in a list.
# ---------------------------------------------------------------------------
my @rows = (
	[ 'U+0000', 'nul', qr/U\+0000/, 1 ],
	[ 'half a surrogate pair', 'surrogate', qr/surrogate/i, 1 ],
	[ 'invalid UTF-8', 'bad_utf8', qr/UTF-8/i, 1 ],
	[ '20,000 levels of nesting', 'deep', qr/nest/i, 1 ],
	[ 'an id that is missing', 'id_missing', qr/id|key/i, 0 ],
	[ 'an id that is null', 'id_null', qr/id|key/i, 0 ]);

for my $case (@rows)
{
	my ($what, $kind, $reason, $has_id) = @$case;

	subtest "$what in a first load" => sub {
		begin();
		fault(kind => $kind, path => $LIST, page => 2, row => 17, times => 1);
		my $run = sync_ok($node, 'customer', 'the run goes on');
		is($run->{rejected}, 1, 'one row was set aside');
		is(query($node, 'SELECT count(*) FROM jdysync.staging_customer'), existing() - 1, 'all others landed');
		is(query($node, 'SELECT count(*) FROM jdysync.staging_customer WHERE detailed_at IS NULL'), '0', 'with their details');
		like(query($node, "SELECT reason FROM jdy_rejects WHERE name = 'customer'"), $reason, 'the reason is said');
		is(rejects("(id IS NOT NULL) = ($has_id = 1) AND octet_length(raw) > 50 AND get_byte(raw, 0) = ascii('{')"), '1', 'its bytes are kept');
		is(rejects("position('\\xc328'::bytea IN raw) > 0"), '1', 'even those that are no text') if $kind eq 'bad_utf8';
		finish();
	};
}

subtest 'bad rows in a window' => sub {
	begin();
	sync_ok($node, 'customer', 'first load');
	my @ids = map { @{ $sim->post('/_sim/change', { op => $_, count => 6 })->{ids} } } 'insert', 'update';
	# A run asks first whether there is anything, and lands nothing of that answer.
	fault(kind => $_->[1], path => $LIST, row => 2, times => 3) for @rows;
	wait_settled($sim, 0.5);
	sync_ok($node, 'customer', "run $_ goes on") for 1 .. @rows;
	cmp_ok(rejects('true'), '>=', 2, 'some rows were set aside');
	no_more_waiting();			# which of them came wrong in two runs depends on the clock
	finish();
};

# Only a run that was to try it again says that it is still wrong: neither one that saw it unsettled before,
# nor the second window of a run (that of the changes and that of jdy_resync list it).
subtest 'a row that comes wrong twice in a run' => sub {
	wait_settled($sim, 3);		# no window lists what other cases changed
	begin(settle => "'3 s'", overlap => "'0'");
	sync_ok($node, 'customer', 'first load');
	my $from = $sim->get('/_sim/now')->{now_ms};
	$sim->post('/_sim/change', { op => 'update', count => 1 });
	fault(kind => 'id_missing', path => $LIST, row => 0, times => -1);
	sync_ok($node, 'customer', 'a run that sees it unsettled');
	is(rejects('true') . retries('true'), '10', 'does not ask for its window again: the next run does anyway');
	wait_settled($sim, 3);
	my $run = sync_ok($node, 'customer', 'jdy_resync of the window', "jdy_resync('customer', to_timestamp($from / 1000.0), now())");
	cmp_ok($run->{rejected}, '>=', 2, 'sees it twice');
	is(rejects('true') . retries('next_try <= now()'), '11', 'keeps it once, to be tried again by the next run');
	sync_ok($node, 'customer', 'the next run');
	is(retries("next_try > now() + interval '30 s'"), '1', 'puts it off when it is still wrong');
	my $put_off = query($node, 'SELECT next_try FROM jdysync.reject');
	sync_ok($node, 'customer', 'a run before that time', "jdy_resync('customer', to_timestamp($from / 1000.0), now())");
	is(query($node, 'SELECT next_try FROM jdysync.reject'), $put_off, 'does not put it off further');
	no_more_waiting();
	finish();
};

subtest 'a row that stays bad' => sub {
	begin();
	fault(kind => 'nul', path => $LIST, row => 17, times => -1);
	sync_ok($node, 'customer', 'first load');
	my $rejects = rejects('true');
	my $landed = query($node, 'SELECT count(*) FROM jdysync.staging_customer');
	sync_ok($node, 'customer', "run $_") for 2 .. 4;
	is(rejects('true'), $rejects, 'is kept once');
	$sim->post('/_sim/stats/reset');
	sync_ok($node, 'customer', 'run 5');
	is(unbounded_lists(), '0', 'and not asked for each time');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_customer'), $landed, 'the others stay');
	$sim->delete('/_sim/fault');
	sync_ok($node, 'customer', 'mode full when it has come right', "jdy_sync('customer', mode => 'full')");
	is_true($node, 'customer', 'brings it');
	drop_stream($node, 'customer');
};

# ---------------------------------------------------------------------------
# Bad details.
# ---------------------------------------------------------------------------
for my $case (@rows[ 0 .. 3 ])
{
	my ($what, $kind, $reason) = @$case;

	subtest "$what in a detail" => sub {
		begin();
		fault(kind => $kind, path => $DETAIL, times => 3);
		my $run = sync_ok($node, 'customer', 'the run goes on');
		is(query($node, 'SELECT count(*) FROM jdysync.staging_customer'), existing(), 'every record is there');
		is($run->{rejected}, 3, 'three details were set aside');
		is(query($node, "SELECT cardinality(exceptions) = 3 AND set_aside = 3 AND details_due = 0 AND complete_until IS NOT NULL FROM jdy_coverage WHERE name = 'customer'"), 't',
			'and are named as exceptions');
		is(query($node, "SELECT count(*) FROM jdysync.staging_customer s, jdy_coverage c WHERE c.name = 'customer' AND s.id = ANY (c.exceptions) AND s.detailed_at IS NULL"), '3', 'rightly');
		like(query($node, "SELECT DISTINCT reason FROM jdy_rejects WHERE name = 'customer'"), $reason, 'the reason is said');
		finish();
	};
}

subtest 'details that are no details' => sub {
	begin();
	fault(kind => $_, path => $DETAIL, times => 3) for qw(html empty json no_rows id_missing id_null cut reset stall);
	fault(kind => 'huge', path => $DETAIL, times => 2, bytes => 80_000_000);
	my $run = sync_ok($node, 'customer', 'the run goes on');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_customer'), existing(), 'every record is there');
	finish();
};

# Less than max_response, so a reply like any other; but larger than anybody wants a record.
for my $case ([ 'in a first load', $LIST, page => 2, row => 17 ], [ 'in a window', $LIST, row => 2 ], [ 'in a detail', $DETAIL ])
{
	my ($what, $path, %where) = @$case;

	subtest "a row of 50 MB $what" => sub {
		begin();
		if ($what eq 'in a window')
		{
			sync_ok($node, 'customer', 'first load');
			$sim->post('/_sim/change', { op => 'insert', count => 30 });
		}
		# Several answers show a window's rows, and which of them land depends on the clock: all are bent.
		fault(kind => 'huge', bytes => 50_000_000, path => $path, times => $what eq 'in a window' ? -1 : 1, %where);
		my $run = sync_ok($node, 'customer', 'the run goes on');
		cmp_ok($run->{rejected}, '>=', 1, 'a row was set aside');
		is(rejects("reason = 'row over 16 MB' AND id IS NOT NULL AND octet_length(raw) > 50000000"), $run->{rejected}, 'with all of its bytes');
		is(query($node, q{SELECT count(*) FROM (SELECT id FROM jdysync.staging_customer UNION SELECT id FROM jdy_rejects WHERE name = 'customer') s}),
			existing(), 'every other record is there');
		finish();
	};
}

subtest 'ten details in a row that cannot be had' => sub {
	begin();
	$sim->post('/_sim/stats/reset');
	fault(kind => 'errcode', errcode => 1030003001, description => 'mend the customer', path => $DETAIL, times => -1);
	sync_fails($node, 'customer', 'HV000', qr/too many details in a row.*mend the customer/s, 'fail the run');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_customer'), existing(), 'the list landed');
	cmp_ok(paths($sim)->{$DETAIL}, '<', 30, 'without trying all of them');
	is(query($node, "SELECT complete_until IS NULL FROM jdy_coverage WHERE name = 'customer'"), 't', 'nothing is promised');
	finish();
};

# ---------------------------------------------------------------------------
# Ids and keys.
# ---------------------------------------------------------------------------
subtest 'ids as numbers of 19 digits' => sub {
	begin();
	$sim->post('/_sim/config', { ids_as_numbers => 'on' });
	sync_ok($node, 'customer', 'first load');
	is_true($node, 'customer', 'every digit is kept');
	is(query($node, "SELECT count(*) FROM jdysync.staging_customer WHERE id !~ '^1[0-9]{18}\$' OR id <> data->>'id'"), '0', 'in the key too');
	$sim->post('/_sim/config', { ids_as_numbers => 'off' });
	fault(kind => 'id_number', path => $LIST, page => 1, row => 3, times => 2);
	sync_ok($node, 'customer', 'text and numbers mixed', "jdy_sync('customer', mode => 'full')");
	sync_ok($node, 'customer', 'text again', "jdy_sync('customer', mode => 'full')");
	finish();
};

subtest 'a key given twice in a row' => sub {
	begin();
	fault(kind => 'dup_keys', path => $LIST, page => 1, row => 3, times => 1);
	sync_ok($node, 'customer', 'the run goes on');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_customer'), existing(), 'with every record');
	finish('the detail wins');
};

subtest 'a row given twice' => sub {
	begin();
	$sim->post('/_sim/config', { cap => 99 });	# so that the page is not fuller than asked
	fault(kind => 'dup_row', path => $LIST, page => 1, row => 3, times => 1);
	sync_ok($node, 'customer', 'is one row');
	$sim->post('/_sim/config', { cap => 100 });
	finish();
};

subtest 'one id with two contents in an answer' => sub {
	begin();
	$sim->post('/_sim/config', { cap => 99 });
	fault(kind => 'conflict_row', path => $LIST, page => 1, row => 3, times => -1);
	sync_fails($node, 'customer', '21000', qr/not a key.*two different records/s, 'is an error, never last-wins');
	$sim->post('/_sim/config', { cap => 100 });
	finish();
};

# ---------------------------------------------------------------------------
# Pages that are not what was asked.  Tried again; when it stays so, an error.
# ---------------------------------------------------------------------------
my @pages = (
	[ 'HTML', 'HV00M', qr/HTML/, kind => 'html' ],
	[ 'an empty body', 'HV00M', qr/empty body/, kind => 'empty' ],
	[ 'broken JSON', 'HV00M', qr/JSON|ends|cut/i, kind => 'json' ],
	[ 'a body cut short', '08006', qr/connection broke|reset|cut|closed|transfer/i, kind => 'cut', bytes => 300 ],
	[ 'another page', 'HV00M', qr/another page/, kind => 'wrong_page', echo => 9 ],
	[ 'no rows', 'HV00M', qr/rows/, kind => 'no_rows' ],
	[ 'a body of 80 MB', '54000', qr/too large.*max_response/s, kind => 'huge', bytes => 80_000_000 ],
	[ 'a body that unpacks to 100 MB', '54000', qr/too large.*max_response/s, kind => 'gzip_bomb' ]);

for my $case (@pages)
{
	my ($what, $sqlstate, $text, %fault) = @$case;

	subtest "$what in a first load" => sub {
		begin();
		fault(%fault, path => $LIST, page => 2, times => -1);
		sync_fails($node, 'customer', $sqlstate, $text, 'when it stays so');
		is(query($node, "SELECT listed_until IS NULL FROM jdy_coverage WHERE name = 'customer'"), 't', 'nothing is promised');
		finish();
	};
	subtest "$what in a window" => sub {
		begin();
		sync_ok($node, 'customer', 'first load');
		my $listed = query($node, "SELECT listed_until FROM jdy_coverage WHERE name = 'customer'");
		$sim->post('/_sim/change', { op => 'insert', count => 30 });
		fault(%fault, path => $LIST, times => -1);
		sync_fails($node, 'customer', $sqlstate, $text, 'when it stays so');
		is(query($node, "SELECT listed_until FROM jdy_coverage WHERE name = 'customer'"), $listed, 'the watermark stays');
		finish();
	};
}

subtest 'each of them once: the call is tried again' => sub {
	begin();
	for my $case (@pages[ 0 .. 5 ])
	{
		my ($what, $sqlstate, $text, %fault) = @$case;
		fault(%fault, path => $LIST, page => 2, times => 1);
		my $run = sync_ok($node, 'customer', "$what once", "jdy_sync('customer', mode => 'full')");
		cmp_ok($run->{retries}, '>=', 1, 'was tried again');
		is_true($node, 'customer', 'and nothing is lost');
	}
	finish();
};

# ---------------------------------------------------------------------------
# Counts.
# ---------------------------------------------------------------------------
for my $case ([ 'no count on one page', kind => 'no_count' ], [ 'a count too small', kind => 'count_lie', add => -150 ],
	[ 'a count of nothing', kind => 'count_lie', add => -240 ], [ 'a count too large', kind => 'count_lie', add => 500 ])
{
	my ($what, %fault) = @$case;

	subtest $what => sub {
		begin();
		fault(%fault, path => $LIST, page => 1, times => 1);
		fault(%fault, path => $LIST, page => 2, times => 1);
		sync_ok($node, 'customer', 'the run goes on');
		is_true($node, 'customer', 'no record is missing');
		$sim->post('/_sim/change', { op => 'insert', count => 30 });
		fault(%fault, path => $LIST, times => 2);
		sync_ok($node, 'customer', 'in a window too');
		is_true($node, 'customer', 'no record is missing');
		finish();
	};
}

# Numbers and nesting that a page's JSON may have but jsonb may not.
is(query($node, "SELECT count(*) FROM jdysync.stream"), '0', 'nothing is left behind');
done_testing();
