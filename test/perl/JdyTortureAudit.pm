# Audits in rounds of torture (JdyTorture.pm): what they say of records is true, and what no window can list they bring.
#
#	$plan->{audit} = { changes => [ … ] }		bodies of /_sim/change: without a stamp, or dated back
#
#	in every round		each record that windows are said to have missed was changed in a way that they can miss
#	when all is quiet	an audit finds nothing; after such changes a few audits find exactly these and land them
package JdyTortureAudit;

use strict;
use warnings;

my $INITIAL_UNTIL_MS = 1_764_518_400_000;	# the simulator's first records are older

# Which records were changed without a stamp or with one older than others had by then, or have been hidden, with a detail
# that stays and changes that no list shows: { ID => what }.
sub unlisted
{
	my ($self) = @_;
	my @history = $self->history or return {};
	my $newest_ms = $history[0][0] / 1000 - 3 * 3600_000;	# whatever the service's clock says
	my $grain_ms = ($self->{plan}{set}{stamp_granularity} // '') eq 's' ? 1000 : 1;
	my (%modify_ms, %state, %unlisted);

	for my $change (@history)
	{
		my (undef, $id, $modify_ms, $state) = @$change;

		$unlisted{$id} = 'not stamped' if ($state{$id} // '') eq 'listed' && $state eq 'listed' && int($modify_ms{$id} / $grain_ms) == int($modify_ms / $grain_ms);
		$unlisted{$id} = 'dated back' if $modify_ms >= $INITIAL_UNTIL_MS && $modify_ms < $newest_ms;
		$unlisted{$id} = 'hidden' if $state eq 'hidden';
		$newest_ms = $modify_ms if $modify_ms > $newest_ms;
		$modify_ms{$id} = $modify_ms;
		$state{$id} = $state;
	}
	return \%unlisted;
}

# What audits and certificates say that windows missed.
sub judge_missed
{
	my ($self) = @_;
	my ($lies, $name) = @$self{qw(lies name)};

	# A row without an id may have been the one, and that is said as well.  A filter that is ignored, which a short list does not
	# tell, makes each answer show all there is, also what windows are still to list.
	return if $lies->{count} || $lies->{clock_back} || $lies->{no_id} || $lies->{filter};
	my @said = map { [ split /\|/, $_, 3 ] } split /\n/, $self->patient(qq{
SELECT 'audit', f->>'cause', f->>'id' FROM jdy_audits a CROSS JOIN LATERAL jsonb_array_elements(a.findings) f WHERE a.name = '$name'
UNION ALL SELECT m.found_by, m.cause, m.id FROM jdy_missed m WHERE m.name = '$name'});
	return if !@said;
	my $unlisted = $self->unlisted;
	my %said = map { $_ => 1 } map { "the $_->[0] says of $_->[2]: $_->[1]" }
	  grep { !$unlisted->{ $_->[2] } || $_->[1] =~ /removed/ } @said;
	$self->wrong("nothing was missed: $_") for sort keys %said;
	return;
}

# Whether details tell when a record was changed; of others audits land what they read, and compare no times.
sub is_dated
{
	my ($self) = @_;

	return $self->patient("SELECT modified_field IS NOT NULL FROM jdysync.catalog WHERE api = '$self->{plan}{list}{path}'") eq 't';
}

# Whether audits read every detail again: windows have proven all of the past.
sub audits_read_all
{
	my ($self) = @_;
	my ($plan, $lies) = @$self{qw(plan lies)};
	my $coverage = $self->coverage;

	return $plan->{audit} && $plan->{list}{windows} && $plan->{list}{details} && !$lies->{filter} && !$lies->{timeless}
	  && ($coverage->{until_us} // '') ne '' && ($coverage->{gaps} // '{}') eq '{}' && !$coverage->{set_aside};
}

# All details are read again by four audits; one that was interrupted is gone on with first.
sub audit_all
{
	my ($self, $what) = @_;

	for (1 .. 5)
	{
		$self->quiet_run('audit', $what);
		last if !grep { $_->[0] ne 'extra' } $self->differences;
	}
	return;
}

# hopeless: what the list shows cannot be proven at all.
sub judge_audits
{
	my ($self, $hopeless) = @_;
	my ($plan, $name) = @$self{qw(plan name)};

	return if !$plan->{audit} || $hopeless;
	$self->quiet_run('audit', 'the audit when all is quiet');
	my $before = $self->last_audit;
	$self->wrong("an audit is left: $before->{text}") if !$before->{ended};
	my $unlisted = $self->unlisted;

	# One that had been interrupted names what it found before, too.
	$self->wrong("an audit finds what is not missing: $before->{text}")
	  if grep { $before->{resumed} ? !$unlisted->{$_} : ($unlisted->{$_} // '') ne 'hidden' } $before->{text} =~ /"id": "(.*?)"/g;
	return if !$self->audits_read_all;

	# What was stamped lately is left to windows.
	my $dated = $self->is_dated;
	$self->pass_time($self->{settle_s} + ($self->by_day ? 3 * 86400 : 80));
	$self->post('/_sim/change', { entity => $plan->{list}{entity}, %$_ }) for grep { $dated || $_->{op} eq 'contact' && $_->{keep_stamp} } @{ $plan->{audit}{changes} };
	my @changed = grep { $_->[0] ne 'extra' } $self->differences or return;
	$self->audit_all('an audit after changes that no window lists');
	$self->wrong('not brought by audits: ' . join ', ', map { "@$_" } $self->differences) if grep { $_->[0] ne 'extra' } $self->differences;
	my %found = map { $_ => 1 } split /\n/, $self->patient("SELECT f->>'id' FROM jdy_audits a CROSS JOIN LATERAL jsonb_array_elements(a.findings) f"
		  . " WHERE a.name = '$name' AND a.audit_id > $before->{id}");
	my %changed = map { $_->[1] => 1 } @changed;
	$self->wrong("an audit finds $_, which had not changed") for grep { !$changed{$_} && ($unlisted->{$_} // '') ne 'hidden' } sort keys %found;

	# What is stamped after what is promised is for windows: the next audit lands such a change and names none. So it is where rows come twice and nothing
	# counts them, and when an audit raised settle (a record had left the list before a window was asked, see left_meanwhile).
	my $until_ms = $self->patient("SELECT floor(extract(epoch FROM min(compared_until)) * 1000) FROM jdy_audits WHERE name = '$self->{name}' AND audit_id > $before->{id}");
	$self->wrong("no audit finds $_->[1], which had changed") for grep { !$found{ $_->[1] } && $dated && ($until_ms eq '' || $_->[2] < $until_ms) } @changed;
	$self->{stats}{audited}++;
	$self->{stats}{found_by_audits} += keys %found;
	return;
}

sub last_audit
{
	my ($self) = @_;
	my $text = $self->patient("SELECT a.audit_id, a.ended_at IS NOT NULL, a.found, a.began_at < r.started_at, a.findings, a.why FROM jdy_audits a LEFT JOIN jdysync.run r USING (run_id) WHERE a.name = '$self->{name}' ORDER BY a.audit_id DESC LIMIT 1");
	my ($id, $ended, $found, $resumed) = split /\|/, $text;

	return { id => $id, ended => $ended eq 't', found => $found, resumed => $resumed eq 't', text => $text };
}

1;
