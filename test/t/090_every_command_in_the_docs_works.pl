# Every SQL block of the READMEs and of doc/ runs, in order, in a fresh database
# against the simulator, and what the text names exists.
#
# What a reader fills in, the test fills in as he would: '<client_id>' and the like, and the
# address of the service.  A block marked "sql no-run" is left out; its first line says why.
# Pages of doc/ go on where "the first stream" of README.md ends.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my @readmes = qw(README.md README.zh-CN.md);
my @pages = map { s{^\Q$top/\E}{}r } sort glob "$top/doc/*.md";

my $sim = start_sim(customers => 60, suppliers => 20, materials => 20, orders => 20,
	set => { rate_limit => 0, token_limit => 0 });
my $node = new_node('main', conf => "jdysync.allowed_hosts = '*, 127.0.0.1'\n");
my %fill_in = (%JdyTest::CREDENTIALS, token => 'plain-token',
	app_key => 'qeasyapp0001', app_secret => 'qeasysecret000000001',
	push_token => 'push-token');

my $first_stream = <<'END';
CREATE EXTENSION jdysync;
CREATE SERVER kingdee FOREIGN DATA WRAPPER jdysync;
CREATE USER MAPPING FOR CURRENT_USER SERVER kingdee
  OPTIONS (client_id '<client_id>', client_secret '<client_secret>', outer_instance_id '<outer_instance_id>');
SELECT jdy_add_stream('customer', 'kingdee');
SELECT * FROM jdy_sync('customer');
END

# The fenced blocks of a page: [language and marks, text, line].
sub blocks
{
	my ($file) = @_;
	my (@blocks, $open);
	my $line = 0;

	for (split /\n/, PostgreSQL::Test::Utils::slurp_file("$top/$file"))
	{
		$line++;
		if (/^```(.*)/ && !$open) { $open = [ $1, '', $line ]; }
		elsif (/^```\s*$/) { push @blocks, $open; $open = undef; }
		elsif ($open) { $open->[1] .= "$_\n"; }
	}
	ok(!$open, "$file: every block is closed");
	return @blocks;
}

# As a reader would write it, for the simulator instead of the service.
sub filled_in
{
	my ($sql) = @_;
	my $url = $sim->url;

	$sql =~ s/'<(\w+)>'/"'" . ($fill_in{$1} \/\/ die "nothing to fill in for <$1>") . "'"/ge;
	$sql =~ s/(CREATE SERVER \w+ FOREIGN DATA WRAPPER jdysync);/$1 OPTIONS (url '$url', calls_per_minute '0');/g;
	$sql =~ s/\burl 'https:\/\/target\.[^']*'/url '$url\/target'/g;
	$sql =~ s/\burl 'https:[^']*'/url '$url'/g;
	return $sql;
}

# A reader types the next block when what the last one started is over; a certificate takes ten minutes, and gives way.
my $when_done = q{
DO $$ BEGIN WHILE EXISTS (SELECT FROM jdysync.run r WHERE r.status IN ('queued', 'running') AND r.mode <> 'verify')
LOOP PERFORM pg_sleep(0.02); END LOOP; END $$;
};

sub run_page
{
	my ($file, $before) = @_;
	my $database = 'docs';
	my $sql = $before;
	my $n = 0;
	my ($out, $err);

	for my $block (blocks($file))
	{
		my ($mark, $text, $line) = @$block;

		next unless $mark =~ /^sql\b/;
		if ($mark eq 'sql no-run')
		{
			like($text, qr/^-- \S/, "$file:$line: a block that is not run says why");
			next;
		}
		is($mark, 'sql', "$file:$line: the mark of the block is known");
		$sql .= "\\echo block at $file:$line\n$text\n;\n" . ($file =~ /^README/ ? $when_done : '');
		$n++;
	}
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	my $status = $node->psql($database, filled_in($sql), stdout => \$out, stderr => \$err, on_error_stop => 1);
	note($out);
	my ($last) = $out =~ /.*^(block at \S+)/ms;
	ok($status == 0 && $err !~ /ERROR:/, "$file: its $n blocks of SQL run") or diag($last // '', "\n", $err);
	names_exist($file, $database) if $file =~ /^README/ || $n > 0;
	$node->safe_psql('postgres', "DROP DATABASE $database WITH (FORCE)");
	$node->safe_psql('postgres', "DROP ROLE $_")
	  for split /\n/, $node->safe_psql('postgres', 'SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384');
}

# Functions, views, settings and tables that the text names.
sub names_exist
{
	my ($file, $database) = @_;
	my $text = PostgreSQL::Test::Utils::slurp_file("$top/$file");
	my %known = map { $_ => 1 } split /\n/, $node->safe_psql($database, q{
		SELECT proname FROM pg_proc WHERE proname LIKE 'jdy\_%'
		UNION SELECT relname FROM pg_class WHERE relname LIKE 'jdy\_%'
		UNION SELECT name FROM pg_settings WHERE name LIKE 'jdysync.%'
		UNION SELECT 'jdysync.' || relname FROM pg_class WHERE relnamespace = 'jdysync'::regnamespace
		UNION SELECT 'jdysync.' || proname FROM pg_proc WHERE pronamespace = 'jdysync'::regnamespace});
	my %named = map { $_ => 1 } $text =~ /(?<![\/\w])(jdy_[a-z_]*[a-z]|jdysync\.[a-z_]*[a-z])\b(?![\/.\-*<])/g;

	is(join(' ', grep { !$known{$_} } sort keys %named), '', "$file: all names in it exist");
}

for my $file (@readmes)
{
	my ($first) = blocks($file);

	is($first->[0], 'sh', "$file begins with commands");
	my @commands = split /\n/, $first->[1];
	is(scalar @commands, 2, "$file begins with two commands");
	ok(-x "$top/$_", "$file: $_ is there") for @commands;
	run_page($file, '');
}
# Nobody waits ten minutes for a certificate here.
my $impatient = "SELECT jdy_alter_stream('customer', settle => '1 s');\n";
run_page($_, $first_stream . ($_ eq 'doc/certificates.md' ? $impatient : '')) for @pages;

done_testing();
