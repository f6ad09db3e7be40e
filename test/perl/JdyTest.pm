# What TAP tests share: the simulator of the service, and a server that uses it.
#
#	use FindBin;
#	use lib "$FindBin::RealBin/../perl";
#	use JdyTest;
#
#	my $sim = start_sim(customers => 500, set => { rate_limit => 100 });
#	my $node = new_node('main', server => { rate_window => '2 s' });
#	$sim->post('/_sim/fault', { kind => 'reset', times => 1 });
#	is($sim->get('/_sim/stats')->{refused_by_rate}, 0);
#	is(scalar($sim->lines('/_sim/target')), 0, 'nothing was pushed');
#
# sim_post() and sim_get() speak to the simulator started last.
package JdyTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(start_sim sim_post sim_get sim_delete new_node create_server poll_until);

# What the simulator expects unless told otherwise.
our %CREDENTIALS = (
	client_id => '200421',
	client_secret => 'f2adcfef73369bfc4e1384677d38a0ff',
	outer_instance_id => '200421001');

our $current;
my %running;

# Starts a simulator on a free port.  Options: any of the command line
# (customers => 500, seed => 7, pad => 2000, bind => '::1'), set => { switch => value }.
sub start_sim
{
	my (%options) = @_;
	my $set = delete $options{set} // {};
	my $program = $ENV{JDYSIM} // dirname(abs_path(__FILE__)) . '/../sim/jdysim';
	my $directory = tempdir(CLEANUP => 1);
	my @command = ($program, '--port', $options{port} // 0, '--port-file', "$directory/port");

	delete $options{port};
	push @command, "--$_", $options{$_} for sort keys %options;
	push @command, '--set', "$_=$set->{$_}" for sort keys %$set;
	-x $program or BAIL_OUT("no simulator at $program: run make -C test/sim, or set JDYSIM");

	my $pid = fork() // BAIL_OUT("cannot fork: $!");
	if ($pid == 0)
	{
		open STDOUT, '>', "$directory/log";
		open STDERR, '>&', \*STDOUT;
		exec @command or POSIX::_exit(127);
	}
	my $self = bless { pid => $pid, directory => $directory, http => HTTP::Tiny->new(timeout => 30) }, 'JdyTest';
	$running{$pid} = $$;
	poll_until(sub { -s "$directory/port" || waitpid($pid, POSIX::WNOHANG()) != 0 }, 'the simulator starts')
	  && -s "$directory/port"
	  or BAIL_OUT('the simulator does not start: ' . PostgreSQL::Test::Utils::slurp_file("$directory/log"));
	$self->{port} = PostgreSQL::Test::Utils::slurp_file("$directory/port") + 0;
	$self->{url} = ($options{'tls-cert'} ? 'https' : 'http') . "://"
	  . (($options{bind} // '') eq '::1' ? '[::1]' : '127.0.0.1') . ":$self->{port}";
	$current = $self;
	return $self;
}

sub url { return $_[0]->{url}; }
sub port { return $_[0]->{port}; }

sub post { return shift->_call('POST', @_); }
sub get { return shift->_call('GET', @_); }
sub delete { return shift->_call('DELETE', @_); }

sub sim_post { return $current->post(@_); }
sub sim_get { return $current->get(@_); }
sub sim_delete { return $current->delete(@_); }

sub stop
{
	my ($self) = @_;

	delete $running{ $self->{pid} } or return;
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
}

# One control request; the body may be a hash or JSON text.  Dies unless it succeeds.
# A reply that is not one JSON value (the truth is a line for each record) is returned as text.
sub _call
{
	my ($self, $method, $path, $body) = @_;
	my %request;

	$request{content} = ref $body ? JSON::PP->new->utf8->encode($body) : $body if defined $body;
	my $reply = $self->{http}->request($method, $self->{url} . $path, \%request);
	$reply->{success} or die "$method $path: $reply->{status} $reply->{content}";
	my $json = eval { JSON::PP->new->utf8->decode($reply->{content}) };
	return $json // $reply->{content};
}

# A control request whose reply is a line of JSON for each record: these, decoded.
sub lines
{
	my ($self, $path) = @_;
	my $reply = $self->{http}->get($self->{url} . $path);

	$reply->{success} or die "GET $path: $reply->{status} $reply->{content}";
	return map { JSON::PP->new->utf8->decode($_) } split /\n/, $reply->{content};
}

# A server of its own with jdysync preloaded, the extension, and foreign server
# "kingdee" that calls the simulator started last.  Options: server => { option => value },
# mapping => { option => value }, conf => "lines of postgresql.conf", preload => 0.
sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jdysync'\n") if $options{preload} // 1;
	$node->append_conf('postgresql.conf', "log_min_messages = info\nmax_worker_processes = 20\n");
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION jdysync');
	create_server($node, 'kingdee', %options) if $current;
	return $node;
}

# Foreign server $name with a mapping for the current user, for the simulator started last.
sub create_server
{
	my ($node, $name, %options) = @_;
	my %server = (url => $current->url, %{ $options{server} // {} });
	my %mapping = %{ $options{mapping} // \%CREDENTIALS };
	my $database = $options{database} // 'postgres';

	$node->safe_psql($database,
		"CREATE SERVER $name FOREIGN DATA WRAPPER jdysync OPTIONS (" . _options(%server) . ");\n"
		  . "CREATE USER MAPPING FOR CURRENT_USER SERVER $name"
		  . (%mapping ? ' OPTIONS (' . _options(%mapping) . ')' : ''));
}

sub _options
{
	my (%options) = @_;

	return join ', ', map { my $v = $options{$_}; $v =~ s/'/''/g; "$_ '$v'" } sort keys %options;
}

# Calls $condition until it is true, for at most $seconds (180).
sub poll_until
{
	my ($condition, $what, $seconds) = @_;
	my $end = time + ($seconds // 180);

	while (time < $end)
	{
		return 1 if $condition->();
		usleep(20_000);
	}
	diag("gave up waiting: " . ($what // ''));
	return 0;
}

END
{
	my $status = $?;

	for my $pid (grep { $running{$_} == $$ } keys %running)
	{
		kill 'TERM', $pid;
		waitpid $pid, 0;
	}
	$? = $status;
}

1;
