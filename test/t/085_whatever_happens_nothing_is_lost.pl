# Rounds of everything at once: habits that no document settles, changes and faults between any two requests,
# kills, jumps of the clock. Nothing is lost or invented, no promise and no certificate was ever wrong.
# First those that once found something (test/seeds), then some more; test/torture runs as many as one likes.
use strict;
use warnings;

use File::Basename qw(basename);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTorture;
use JdyTorturePlan;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my @seeds = (11, 23, 36, 68, 86, 4001 .. 4007);
my $torture = JdyTorture->new;
my @lists = $torture->lists;

sub survives
{
	my ($what, $plan) = @_;
	my @wrong = $torture->round($plan);

	is(join("\n", @wrong), '', $what) or diag(join("\n", @{ $torture->{told} }));
	return;
}

survives(basename($_, '.json') =~ tr/_/ /r, JSON::PP->new->utf8->decode(slurp_file($_))) for sort glob "$FindBin::RealBin/../seeds/*.json";
survives("test/torture $_", draw_plan($_, lists => \@lists)) for @seeds;
cmp_ok($torture->{stats}{certificates}, '>', 10, 'there were certificates to be judged');
$torture->stop;

done_testing();
