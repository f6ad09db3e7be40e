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

# What jdy_contract says of a stream: question => answer.
sub contract
{
	my ($name) = @_;

	return { map { split /\|/, $_, 2 } split /\n/, query($node, "SELECT question, answer FROM jdy_contract WHERE name = '$name'") };
}

# A service with these switches, a stream of it, its first run: the answers named are those that it gives. Options:
# set => switches, gives => { question => answer }, stream => arguments of add_stream, calls => at most so many more than the load alone takes.
sub answers
{
	my ($what, %options) = @_;

	subtest $what => sub {
		my $name = 's' . ++$number;
		$sim->post('/_sim/reset', {});
		$sim->post('/_sim/config', $options{set}) if $options{set};
		add_stream($node, $name, probe => 1, entry => "'customer'", detail => 'false', settle => "'0'", overlap => "'0'", %{ $options{stream} // {} });
		sync_ok($node, $name, 'first run');
		my $contract = contract($name);
		is($contract->{$_}, $options{gives}{$_}, $_)
		  or diag(query($node, "SELECT question, answer, evidence FROM jdy_contract WHERE name = '$name'"))
		  for sort keys %{ $options{gives} };
		is(differences($node, $name, entity => 'customer', form => 'list'), '', 'the whole list is here') unless $options{details};
		is(differences($node, $name, entity => 'customer'), '', 'the whole list is here, details included') if $options{details};
		drop_stream($node, $name);
	};
	return;
}

answers('as it is by default',
	stream => { detail => 'true' }, details => 1,
	gives => { filter => 'honoured' });

query($node, 'SELECT 1');
done_testing();
