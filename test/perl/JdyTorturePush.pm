# Pushes in rounds of torture (JdyTorture.pm): a view over the staging table is sent to a target, between the runs
# of the stream and beside them.
#
#	$plan->{push} = { view => 'plain', rows => 20, delete => '', attempts => 2, concurrency => 4 }
#
#	view		plain: a payload of all there is; marked: the same, and its column deleted_at says what is gone; mapped: jdy_create_view
#	rows		of a request; 0: one by one, without an array
#	delete		'': what is gone stays at the target; query, body: how it is told
#
# A trigger keeps what the view had of each record, in order. With that the target's own record of what it
# accepted is compared:
#
#	always		each content is one that the view had, and none comes after a newer one; only what was delivered is deleted
#	at the end	the target has what the view has; nothing is open or dead; jdy_status says ok
#	doubles		none where nothing happened on the way; else none under another key, unless attempts were used up, and
#				none at all under the same key where the target knows keys
package JdyTorturePush;

use strict;
use warnings;

use JdyTest;
use JdyTortureSession qw(literal $HANGS_AFTER);
use JSON::PP;

my $json = JSON::PP->new->canonical;

sub push_name { my ($self) = @_; return "$self->{name}_push"; }

sub begin_push
{
	my ($self) = @_;
	my $name = $self->{name};
	my $push = $self->{plan}{push} or return;
	my $staging = qq{jdysync."staging_$name"};
	my $has_detail = $self->{plan}{list}{details} ? 's.detailed_at IS NOT NULL' : 'true';
	my $there = $push->{view} eq 'marked' ? 'true' : 's.deleted_at IS NULL';
	my $row = $push->{view} eq 'mapped' ? 'to_jsonb(v)' : 'v.payload';
	my $mapping = $json->encode({ number => 'number', title => '{{number}} {{name}}', mobiles => 'bomentity[*].mobile', at => 'modify_time', said => { of => '{{id}}', remark => '{{remark}}' } });
	my $marked = $push->{view} eq 'marked' ? 'v.deleted_at IS NULL' : 'true';

	my $said = $self->patient(qq{
CREATE SERVER ${name}_target FOREIGN DATA WRAPPER jdysync OPTIONS (url '@{[$self->{sim}->url]}/target', auth 'bearer',
	concurrency '$push->{concurrency}', max_attempts '$push->{attempts}', rate_window '100 ms', timeout '1 s', connect_timeout '2 s');
CREATE USER MAPPING FOR CURRENT_USER SERVER ${name}_target OPTIONS (token 'push-token')});
	$said .= $self->patient($push->{view} eq 'mapped' ? "SELECT jdy_create_view('${name}_out', '$name', " . literal($mapping) . ')' : qq{
CREATE VIEW ${name}_out AS SELECT s.id, s.deleted_at, jsonb_build_object('id', s.id, 'number', s.number, 'modified_at', extract(epoch FROM s.modified_at), 'data', s.data) AS payload
FROM $staging s WHERE $has_detail AND $there AND s.out_of_scope_at IS NULL});
	$said .= $self->patient(qq{
CREATE VIEW ${name}_now AS SELECT v.id, md5((${row})::text) AS digest FROM ${name}_out v WHERE $marked;
CREATE TABLE ${name}_version (n bigint GENERATED ALWAYS AS IDENTITY, id text, digest text);
CREATE FUNCTION ${name}_keep() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO public.${name}_version (id, digest)
	SELECT r.id, COALESCE((SELECT v.digest FROM public.${name}_now v WHERE v.id = r.id), 'gone')
	FROM (SELECT CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END AS id) r;
	RETURN NULL;
END \$\$;
CREATE TRIGGER keep AFTER INSERT OR UPDATE OR DELETE ON $staging FOR EACH ROW EXECUTE FUNCTION ${name}_keep();
SELECT jdy_add_push('${name}_push', '${name}_target', '${name}_out', @{[literal($self->push_metadata($push->{rows}))]})});
	die "adding the push: $said\n" if $said =~ /ERROR/;
	return;
}

sub push_metadata
{
	my ($self, $rows) = @_;
	my %metadata = (api => $self->{name}, effect => 'EXECUTE');
	my %delete = (query => { method => 'DELETE' }, body => { api => "$self->{name}/gone", method => 'POST', body => { id => '{{id}}' } });
	my $delete = $self->{plan}{push}{delete};

	$metadata{operation} = { method => 'batchArraySave', rows => $rows, rowsKey => 'array' } if $rows;
	$metadata{delete} = $delete{$delete} if $delete ne '';
	return $json->encode(\%metadata);
}

sub alter_push
{
	my ($self, $rows) = @_;
	my $said = $self->patient("SELECT jdy_alter_push('" . $self->push_name . "', metadata => " . literal($self->push_metadata($rows)) . ')');

	$self->wrong("jdy_alter_push: $said") if $said =~ /ERROR/;
	return;
}

# Beside a run of the stream.
sub start_push
{
	my ($self) = @_;
	my $said = $self->patient("SELECT jdy_start('" . $self->push_name . "')");

	$self->wrong("jdy_start of the push: $said") if $said =~ /ERROR/;
	return;
}

sub wait_for_push
{
	my ($self) = @_;
	my $open = "SELECT count(*) FROM jdy_runs WHERE name = '" . $self->push_name . "' AND status IN ('queued', 'running')";

	poll_until(sub { $self->patient($open) eq '0' }, 'the push ends', $HANGS_AFTER) or $self->wrong('the push hangs');
	$self->{stats}{pushes_beside}++;
	return;
}

# Whether anything happens to pushes in this round but that they run.
sub push_has_trouble
{
	my ($plan) = @_;

	return scalar grep { $_->{when_halted} || grep { ($_->{body}{path} // '') eq '/target/' } @{ $_->{events} // [] } } @{ $plan->{steps} };
}

sub judge_push
{
	my ($self) = @_;
	my $plan = $self->{plan};
	my $push = $self->push_name;
	my $trouble = push_has_trouble($plan);
	my $last;

	return if !$plan->{push};
	$self->{may_be_there} = {};
	my $dead = $self->patient("SELECT count(*) FROM jdy_deliveries WHERE push = '$push' AND status = 'dead'");
	$self->wrong("$dead dead letters, though the target refused nothing") if $dead && !$trouble;
	for (1 .. 5)
	{
		$self->{may_be_there}{$_} = 1 for split /\n/, $self->patient("SELECT d.id FROM jdysync.delivery d JOIN jdysync.push p USING (push_id) WHERE p.name = '$push' AND d.status = 'dead' AND d.digest = ''");
		$self->patient("SELECT jdy_replay('$push'); SELECT jdy_resume('$push', force => true)");
		$self->run({ mode => 'push' });
		$last = $self->patient("SELECT status, pending, failed, dead FROM jdy_runs WHERE name = '$push' ORDER BY run_id DESC LIMIT 1");
		last if $last eq 'ok|0|0|0';
	}
	$self->wrong("the push does not end well: $last") if $last ne 'ok|0|0|0';
	my $open = $self->patient("SELECT count(*) FROM jdysync.batch b JOIN jdysync.push p USING (push_id) WHERE p.name = '$push'");
	$self->wrong("$open outcomes are open") if $open;
	my $replayed = $plan->{push}{delete} eq '' ? 0 : $self->patient("SELECT count(*) FROM jdy_deliveries WHERE push = '$push' AND status = 'pending'");
	$self->wrong("$replayed records were replayed and are still to be sent") if $replayed;
	my $status = $self->patient("SELECT string_agg(name || ' ' || status, ', ' ORDER BY name) FROM jdy_status WHERE name IN ('$self->{name}', '$push')");
	$self->wrong("jdy_status: $status") if $status ne "$self->{name} ok, $push ok";
	my $internal = $self->patient("SELECT string_agg(mode || ': ' || error, '; ') FROM jdy_runs WHERE name IN ('$self->{name}', '$push') AND sqlstate LIKE 'XX%'");
	$self->wrong("internal error: $internal") if $internal ne '';
	$self->judge_target($trouble);
	return;
}

# What the target accepted, what the view had, and what it has.
sub judge_target
{
	my ($self, $trouble) = @_;
	my ($name, $plan) = @$self{qw(name plan)};
	my $told = $self->{sim}{http}->get($self->{sim}->url . '/_sim/target')->{content};
	my $rows = sub { my ($columns, $sql) = @_; return map { [ split /\|/, $_, $columns ] } split /\n/, $self->patient($sql); };
	my (%accepted, %had);

	push @{ $accepted{ $_->[2] } }, $_ for $rows->(3, qq{
WITH line AS MATERIALIZED (SELECT l.line::jsonb AS line FROM string_to_table(\$told\$$told\$told\$, E'\\n') AS l (line) WHERE l.line <> '')
SELECT CASE WHEN line->>'path' LIKE '%/gone' OR line->>'method' = 'DELETE' THEN 'gone' ELSE md5(line->>'payload') END, line->>'key', line->>'id'
FROM line ORDER BY (line->>'seq')::bigint});
	push @{ $had{ $_->[1] } }, $_->[0] for $rows->(2, "SELECT digest, id FROM ${name}_version ORDER BY n");
	my %has = map { $_->[1] => $_->[0] } $rows->(2, "SELECT digest, id FROM ${name}_now");

	my @behind = grep { !$accepted{$_} || $accepted{$_}[-1][0] ne $has{$_} } sort keys %has;
	$self->wrong('the target has not what the view has: ' . $self->list_some(@behind)) if @behind;
	my @left = $plan->{push}{delete} eq '' ? () : grep { !$has{$_} && $accepted{$_}[-1][0] ne 'gone' } sort keys %accepted;
	$self->wrong('the target still has what is gone: ' . $self->list_some(@left)) if @left;
	my @overtaken = grep { !in_order([ map { $_->[0] } @{ $accepted{$_} } ], $had{$_} // []) } sort keys %accepted;
	$self->wrong('an older content came after a newer one, or one that never was: ' . $self->list_some(@overtaken)) if @overtaken;

	# A dead letter whose request got no answer may have been delivered, for all that can be known: replayed when its
	# record is gone, it is rightly deleted, and the target need not have had it.
	my @never = grep { $accepted{$_}[0][0] eq 'gone' && !($trouble && $self->{may_be_there}{$_}) } sort keys %accepted;
	$self->wrong('deleted, though never delivered: ' . $self->list_some(@never)) if @never;

	my $used_up = $self->patient("SELECT count(*) FROM jdy_calls c JOIN jdy_runs r USING (run_id) WHERE r.name = '" . $self->push_name . "' AND c.attempt >= $plan->{push}{attempts} AND c.error IS NOT NULL");
	my @twice = grep { $self->came_twice($accepted{$_}, $had{$_} // [], $trouble, $used_up) } sort keys %accepted;
	$self->wrong('came twice: ' . $self->list_some(@twice)) if @twice;
	$self->wrong('a key was used for two requests') if $self->{sim}->get('/_sim/stats')->{key_conflicts};
	$self->{stats}{pushed} += map { @$_ } values %accepted;
	return;
}

sub list_some { my ($self, @ids) = @_; return join(', ', grep { defined } @ids[ 0 .. 4 ]) . (@ids > 5 ? ' … ' . @ids : ''); }

# Whether the contents, repeats aside, are among those that the view had, in this order.
sub in_order
{
	my ($accepted, $had) = @_;
	my $at = 0;

	for my $i (0 .. $#$accepted)
	{
		next if $i > 0 && $accepted->[$i] eq $accepted->[ $i - 1 ];
		$at++ while $at < @$had && $had->[$at] ne $accepted->[$i];
		return 0 if $at == @$had;
	}
	return 1;
}

# One content again, with nothing else in between.  What the view had more than once may have been meant so.
sub came_twice
{
	my ($self, $accepted, $had, $trouble, $used_up) = @_;
	my $knows_keys = ($self->{plan}{set}{target_dedupe} // 'on') eq 'on';

	for my $i (1 .. $#$accepted)
	{
		my ($content, $key) = @{ $accepted->[$i] };
		my $times = grep { $had->[$_] eq $content && ($_ == 0 || $had->[ $_ - 1 ] ne $content) } 0 .. $#$had;

		next if $content ne $accepted->[ $i - 1 ][0];
		return 1 if !$trouble;
		return 1 if $key eq $accepted->[ $i - 1 ][1] ? $knows_keys : $times == 1 && !$used_up;
	}
	return 0;
}

sub end_push
{
	my ($self) = @_;
	my $name = $self->{name};

	return if !$self->{plan}{push};
	my $said = $self->patient("SELECT jdy_drop_push('${name}_push'); DROP SERVER ${name}_target CASCADE;"
		  . " DROP VIEW ${name}_now, ${name}_out; DROP FUNCTION ${name}_keep() CASCADE; DROP TABLE ${name}_version");
	$self->wrong("dropping the push: $said") if $said =~ /ERROR/;
	return;
}

1;
