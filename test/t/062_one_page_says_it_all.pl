# jdy_report(): one page of HTML that says how all stands, in two languages, whole in itself; nothing that
# came from outside can do anything in it, and it shows nobody more than the views do.
use strict;
use warnings;

use Encode ();
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Run ();
use JdyRuns;
use JdyTest;
use JdyTruth;
use JSON::PP;
use Test::More;

# A real parser, and a stack: what is opened is closed, in order.
my $PARSER = <<'END';
import html.parser, json, sys
VOID = {'meta', 'input', 'br', 'rect', 'path'}
class Page(html.parser.HTMLParser):
	def __init__(self):
		super().__init__()
		self.stack, self.trouble, self.tags, self.attributes, self.ids, self.text, self.style, self.lang, self.en, self.zh = [], [], {}, {}, [], '', '', '', '', ''
	def handle_starttag(self, tag, attributes):
		self.tags[tag] = self.tags.get(tag, 0) + 1
		for name, value in attributes:
			self.attributes.setdefault(name, []).append(value)
			if name == 'id': self.ids.append(value)
		if tag not in VOID: self.stack.append((tag, dict(attributes).get('lang')))
	def handle_startendtag(self, tag, attributes):
		self.handle_starttag(tag, attributes)
		if tag not in VOID: self.stack.pop()
	def handle_endtag(self, tag):
		if not self.stack or self.stack[-1][0] != tag: self.trouble.append('</%s> closes %s' % (tag, self.stack[-1:]))
		else: self.stack.pop()
		if tag in ('td', 'p', 'li'): self.en += '\n'
	def handle_data(self, data):
		tags = [tag for tag, lang in self.stack]
		if 'style' in tags:
			self.style += data
			return
		lang = [lang for tag, lang in self.stack if lang and tag == 'span']
		if lang[-1:] != ['zh']: self.en += data
		if lang[-1:] != ['en']: self.zh += data
	def handle_comment(self, data): self.trouble.append('comment')
	def unknown_decl(self, data): self.trouble.append('declaration')
page = Page()
page.feed(sys.stdin.buffer.read().decode('ascii'))
page.close()
print(json.dumps({'trouble': page.trouble + page.stack, 'tags': page.tags, 'attributes': page.attributes, 'ids': page.ids,
	'style': page.style, 'en': page.en, 'zh': page.zh}))
END

sub parsed
{
	my ($html, $what) = @_;
	my ($out, $err) = ('', '');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	IPC::Run::run([ 'python3', '-c', $PARSER ], '<', \$html, '>', \$out, '2>', \$err) or diag($err);
	my $page = JSON::PP->new->utf8->decode($out);
	is_deeply($page->{trouble}, [], "$what: what is opened is closed");
	return $page;
}

# Nothing in it can run, be fetched, or lead away.
sub is_harmless
{
	my ($page, $what) = @_;
	my %known = map { $_ => 1 } qw(html head meta title style body input header h1 h2 p nav label main span bdi ul li b i a small
	  table thead tbody tr th td code br figure figcaption svg path rect text g div);
	my %safe = map { $_ => 1 } qw(lang charset http-equiv content name type id aria-label checked for class href role viewbox
	  d x y width height text-anchor);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join(' ', grep { !$known{$_} } sort keys %{ $page->{tags} }), '', "$what: no script, no picture, no link, no frame");
	is(join(' ', grep { !$safe{$_} } sort keys %{ $page->{attributes} }), '', "$what: no event handler, no address of another file");
	is(join(' ', grep { !/^#\w+$/ } @{ $page->{attributes}{href} }), '', "$what: links stay in the page");
	unlike($page->{style}, qr/url\s*\(|\@import|expression/i, "$what: its style fetches nothing");
	my %seen;
	is(join(' ', grep { $seen{$_}++ } @{ $page->{ids} }), '', "$what: no id twice");
	my %ids = map { ("#$_" => 1) } @{ $page->{ids} };
	is(join(' ', grep { !$ids{$_} } @{ $page->{attributes}{href} }), '', "$what: links lead somewhere");
}

my $sim = start_sim(customers => 30, set => {%NO_LIMITS});
my $node = pull_node('main');
my $zh = sub { Encode::decode('UTF-8', $_[0]) };
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}}';
sub report { return $node->safe_psql($_[1] // 'postgres', ($_[0] // '') . ' SELECT jdy_report()'); }

# ---------------------------------------------------------------------------
# An empty database.
# ---------------------------------------------------------------------------
my $html = report();
unlike($html, qr/[^\x09\x0A\x20-\x7E]/, 'ASCII only: the file reads the same in whatever encoding it is saved');
my $page = parsed($html, 'empty');
is_harmless($page, 'empty');
like($page->{en}, qr/There is no stream or push that you may see.*No runs in the last 24 hours.*No runs in the last 30 days/s, 'it says what there is not');
like($page->{zh}, qr/${\$zh->('还没有您可以查看的流或推送')}.*${\$zh->('最近 24 小时没有运行')}/s, 'in both languages');
unlike($page->{zh}, qr/There is no|No runs/, 'one at a time');
like($html, qr/id="en" aria-label="English" checked/, 'English first');
like(report(q{SET timezone = 'Asia/Shanghai';}), qr/<html lang="zh">.*id="zh" aria-label="[^"]*" checked/s, 'by the time of China: Chinese first');
like(report(q{SET timezone = 'Asia/Shanghai';}), qr/\d\d-\d\d \d\d:\d\d:\d\d Asia\/Shanghai/, 'and times of there');

# ---------------------------------------------------------------------------
# An ordinary one.
# ---------------------------------------------------------------------------
query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer', max_attempts '1', rate_window '100 ms')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
query($node, "CREATE TABLE source (id text PRIMARY KEY, name text); INSERT INTO source SELECT 'c' || i, 'A' FROM generate_series(1, 50) AS i");
add_stream($node, 'customer');
query($node, "SELECT jdy_add_push('out', 'target', 'source', '$BATCH')");
sync_ok($node, 'customer', 'a pull');
push_ok($node, 'out', 'a push');
$page = parsed(report(), 'ordinary');
is_harmless($page, 'ordinary');
like($page->{en}, qr/0failing.*2ok.*0open incidents.*0dead letters/s, 'the first look');
like($page->{zh}, qr/0${\$zh->('失败')}.*2${\$zh->('正常')}/s, 'in Chinese');
like($page->{en}, qr/RunsRuns|Runs by how they ended/, 'charts');
my ($day) = $page->{en} =~ /Last 24 hours(.*)Last 30 days/s;
my ($month) = $page->{en} =~ /.*Last 30 days(.*)Failed runs/s;
my $calls = query($node, 'SELECT sum(calls) FROM jdy_runs');
like($_->[1], qr/ok 2\s*failed 0\s*cancelled 0.*first attempts $calls.*pulled, new or changed 30\s*delivered 50\s*refused 0/s, "$_->[0]: sums are those of jdy_runs")
  for [ 'the day', $day ], [ 'the month', $month ];
is(scalar(() = $html =~ /<rect/g), 0, 'an empty page has no bars');
like($page->{en}, qr/Slowest calls of the last 24 hours.*customer.*GET http:\/\/127/s, 'the slowest calls');

# A failure, a dead letter, an incident, a reject.
$sim->post('/_sim/target/poison', { ids => ['c7'] });
query($node, q{UPDATE source SET name = 'B' WHERE id = 'c7'});
push_ok($node, 'out', 'a refused record');
$sim->post('/_sim/fault', { kind => 'status', status => 403, path => '/jdy/v2/bd/customer', times => -1 });
sync_stream($node, 'customer');
$page = parsed(report(), 'in trouble');
like($page->{en}, qr/1failing.*1dead letters/s, 'the first look');
like($page->{en}, qr/Health.*failing\s*customer.*call to the service failed.*ok\s*out/s, 'what fails stands first, with its reason');
like($page->{en}, qr/Failed runs of the last 24 hours.*customer\s*failed\s*\w{5} call to the service failed/s, 'the run that failed');
like($page->{en}, qr/Dead letters.*out\s*c7/s, 'the dead letter');
like($page->{zh}, qr/${\$zh->('健康状况')}.*customer.*${\$zh->('；上次成功')} (?:[\d:]+).*out.*1 ${\$zh->('条死信，见')} jdy_deliveries/s, 'in Chinese, what we say of it, too');
like($page->{zh}, qr/${\$zh->('有记录被目标拒绝')}.*WHERE push = 'out' AND status = 'dead'; ${\$zh->('请在源头改正')}/s, 'and of incidents');
unlike($page->{zh}, qr/last ok|Mend them/, 'and not in English as well');
query($node, q{CREATE FUNCTION jdy_test_chinese(text) RETURNS text LANGUAGE c STRICT AS '$libdir/jdysync'});
is(query($node, q{SELECT jdy_test_chinese('what others say; last ok 10:00:00, 3 min ago; 1 row set aside, see jdy_rejects; 2 incidents, see jdy_incidents')}),
	'what others say；上次成功 10:00:00，3 分钟前；1 行被搁置，见 jdy_rejects；2 个事件，见 jdy_incidents', 'what others say stays as they say it');
is(query($node, q{SELECT jdy_test_chinese('what others say') IS NULL}), 't', 'alone, too');

# ---------------------------------------------------------------------------
# Every incident that the code can open has its words in Chinese.
# ---------------------------------------------------------------------------
my $STRING = qr/"(?:\\.|[^"\\])*"/;
my $DIRECTIVE = qr/%(?:s|d|lld)/;
my @files = map { PostgreSQL::Test::Utils::slurp_file($_) } glob("$FindBin::RealBin/../../src/*.[ch]");
my %macros = map { /^#define (\w+) ($STRING)\s*$/mg } @files;

sub unquoted { return join '', map { s/\\(.)/$1/gr } $_[0] =~ /"((?:\\.|[^"\\])*)"/g; }

# What an argument can say: a text by its name, or a format with whatever the code may put in; nothing of a variable.
sub sayings
{
	my ($argument, $code) = @_;

	if (my ($name) = $argument =~ /^\s*(\w+)\s*$/)
	{
		my ($text) = $code =~ /^(?:#define $name|\tstatic const char \*const $name =) ($STRING);?\s*$/m;
		$text //= $macros{$name} // return;
		return unquoted($text);
	}
	my ($form, $values) = $argument =~ /^\s*(?:psprintf\()?\s*($STRING(?:\s*$STRING)*)(.*)/s or return ();
	return if $form !~ /[a-z]{3}/;
	my @values = ('x', map { unquoted($_) } $values =~ /$STRING/g);
	my @sayings = (unquoted($form));
	while ($sayings[0] =~ $DIRECTIVE)
	{
		my @filled;
		foreach my $value (@values) { push @filled, map { s/$DIRECTIVE/$value/r } @sayings }
		@sayings = @filled;
	}
	return @sayings;
}

my (@all, @kinds, $calls_of_open);
foreach my $code (@files)
{
	while ($code =~ /^\t+jdy_incident_open(\((?:[^()"]|$STRING|(?1))*\))/mg)
	{
		my ($depth, @arguments) = (0, '');
		foreach my $token (substr($1, 1, -1) =~ /$STRING|[^"]/g)
		{
			$depth += ($token eq '(') - ($token eq ')');
			if ($token eq ',' && $depth == 0) { push @arguments, '' }
			else { $arguments[-1] .= $token }
		}
		$calls_of_open++;
		push @all, [ sayings($_, $code) ] for @arguments[ 2 .. 4 ];
		push @kinds, sayings($arguments[2], $code) unless $arguments[1] =~ /info/;
	}
}
cmp_ok($calls_of_open, '>=', 15, 'the code opens incidents');
my $known = query($node, 'SELECT string_agg(t, chr(10)) FROM (' . join(' UNION ALL ', map {
	my $saying = $_->[0] =~ s/'/''/gr;
	"SELECT '$saying' AS t WHERE NOT (" . join(' OR ', map { "jdy_test_chinese('" . s/'/''/gr . "') IS NOT NULL" } @$_) . ')'
} grep { @$_ } @all) . ') AS u');
is($known, '', 'every incident that the code opens has its words in Chinese (phrasebook.c)');
my $alarm = query($node, q{SELECT pg_get_viewdef('jdysync.alarm'::regclass)});
is(join(', ', grep { $alarm !~ /'\Q$_\E'/ } @kinds), '', 'in messages to a chat, too');

# ---------------------------------------------------------------------------
# Names that would like to be more than names.
# ---------------------------------------------------------------------------
my $EVIL = q{</td></table></style><script>alert(1)</script><img src=x onerror=alert(2)>"'&lt;&#60;};
my $UNSEEN = "\x{202E}gnp\x{202C}\x{200B}\x{2028}\x{1}\x{1B}[31m\x{85}\x{FEFF}\x{E0041}";
(my $evil = $EVIL) =~ s/'/''/g;
my $unseen = Encode::encode('UTF-8', $UNSEEN);
query($node, qq{
	INSERT INTO jdysync.incident (name, severity, what, detail, advice) VALUES ('customer', 'critical', '$evil', '$unseen', 'javascript:$evil'), ('$evil', '$_', 'x', 'y', 'z');
	INSERT INTO jdysync.reject (stream_id, run_id, id, reason, digest, raw, next_try) SELECT stream_id, 1, '$evil', '$evil', 'x', 'x', now() FROM jdysync.stream;
	UPDATE jdysync.delivery SET id = '$evil', last_error = '$evil$unseen' WHERE status = 'dead';
	UPDATE jdysync.call SET url = 'http://x/$evil', method = '<b>', error = '$evil', ms = 99999 WHERE ctid = (SELECT max(ctid) FROM jdysync.call);
	UPDATE jdysync.run SET error = '$evil', detail = '$unseen', sqlstate = '<i>' WHERE status = 'failed'}) for 'info';
query($node, q{CREATE ROLE "<script>alert(3)</script>" SUPERUSER LOGIN});
$html = report(q{SET SESSION AUTHORIZATION "<script>alert(3)</script>";});
$page = parsed($html, 'hostile');
is_harmless($page, 'hostile');
unlike($html, qr/[^\x09\x0A\x20-\x7E]/, 'no character that is not seen');
my $times = () = $page->{en} =~ /\Q$EVIL\E/g;
cmp_ok($times, '>=', 10, 'the texts are there as they are') or diag($page->{en});
like($page->{en}, qr/as seen by <script>alert\(3\)<\/script>/, 'so is the name of a role');
like($page->{en}, qr/U\+202EgnpU\+202CU\+200BU\+2028U\+0001U\+001B\[31mU\+0085U\+FEFFU\+E0041/, 'what is not seen shows its number');
query($node, q{UPDATE jdysync.run SET error = repeat('x', 100000) WHERE status = 'failed'});
like(parsed(report(), 'long')->{en}, qr/x{250}\x{2026}/, 'a long text is cut, and says so');
cmp_ok(length(report()), '<', 60000, 'and does not fill the page');

query($node, q{CREATE DATABASE "<script>" ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0});
$node->safe_psql('<script>', q{CREATE EXTENSION jdysync; INSERT INTO jdysync.incident (name, severity, what, advice) VALUES ('x', 'info', E'客户 \xFF\xE5\xAE', 'y')});
$page = parsed(report('', '<script>'), 'bytes');
is_harmless($page, 'bytes');
like($page->{en}, qr/<script>.*${\$zh->('客户')} \x{FFFD}\x{FFFD}\x{FFFD}\n/s, 'bytes that are no text are shown as such');

# ---------------------------------------------------------------------------
# No more than one may know.
# ---------------------------------------------------------------------------
my ($grants) = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../../doc/watching.md") =~ /^(CREATE ROLE watcher.*?)^```/ms;
query($node, $grants);
query($node, 'CREATE ROLE stranger LOGIN');
(my $for_stranger = $grants) =~ s/^CREATE ROLE.*$//m;
query($node, $for_stranger =~ s/TO watcher/TO stranger/gr);
query($node, q{UPDATE jdysync.run SET error = 'the secret error' WHERE status = 'failed'});
like(report(), qr/the secret error/, 'the owner reads the error');
$page = parsed(report('SET SESSION AUTHORIZATION watcher;'), 'pg_monitor');
like($page->{en}, qr/1failing.*failing\s*customer.*1?.*run \d+ failed with SQLSTATE/s, 'pg_monitor sees that it fails');
unlike($page->{en}, qr/secret error|GET http/, 'but not the error, nor calls');
like($page->{en}, qr/Dead letters.*only their owner may read them/s, 'nor the dead letters');
$page = parsed(report('SET SESSION AUTHORIZATION stranger;'), 'stranger');
unlike($page->{en}, qr/customer|out\b.*c7/s, 'a stranger sees nothing');
like($page->{en}, qr/0failing.*There is no stream or push that you may see/s, 'and is told so');
my ($status, undef, $err) = $node->psql('postgres', 'CREATE ROLE nobody LOGIN; SET ROLE nobody; SELECT jdy_report()');
like($err, qr/permission denied for function jdy_report/, 'who was granted nothing has no page');

done_testing();
