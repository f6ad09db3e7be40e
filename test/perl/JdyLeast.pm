# The fewest list calls by which a run can learn what it must know, for a service whose list rows
# show no modify time (doc/pull.md, "What it costs").
#
# A run must look at all modify times since the last proven end minus overlap, and must tell four
# pieces apart, since what is due differs: the overlap, what has settled since the last run, the rest of what the last
# run looked at, and what came later.  An answer says of its rows only that they lie in the span asked for.  So a piece with
# rows needs an answer of its own, for each 99 of them (a full page proves nothing); pieces without rows need one together that
# shows that they are empty.
#
#	my $least = JdyLeast->new(settle => 300, overlap => 600, loaded => $now_ms);
#	$least->changed($ms, @ids);
#	$sum += $least->run($now_ms);			# of this run, which begins at $now_ms
package JdyLeast;

use strict;
use warnings;

use List::Util qw(max);
use POSIX qw(ceil);

sub new
{
	my ($class, %self) = @_;

	return bless { stamps => {}, asked => $self{loaded}, map({ ($_ => 1000 * $self{$_}) } qw(settle overlap)) }, $class;
}

# Only a record's latest modify time shows.
sub changed { my ($self, $at, @ids) = @_; $self->{stamps}{$_} = $at for @ids; return; }

sub run
{
	my ($self, $now) = @_;
	my $cursor = $self->{asked} - $self->{settle};
	my $settled = $now - $self->{settle};
	my @ends = ($cursor - $self->{overlap}, $cursor, $settled, max($settled, $self->{asked}), $now);
	my @stamps = values %{ $self->{stamps} };
	my ($answers, $empty) = (0, 0);

	for my $piece (0 .. 3)
	{
		my $rows = grep { $_ >= $ends[$piece] && $_ < $ends[ $piece + 1 ] } @stamps;
		$answers += ceil($rows / 99);
		$empty = 1 if $rows == 0;
	}
	delete @{ $self->{stamps} }{ grep { $self->{stamps}{$_} < $ends[0] } keys %{ $self->{stamps} } };
	$self->{asked} = $now;
	return $answers + $empty;
}

1;
