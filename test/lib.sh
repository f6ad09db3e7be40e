# lib.sh: what test/demo and test/run share: missing packages, a build, a private server.
#
# Nothing here touches an existing PostgreSQL cluster.  Everything is made in a
# scratch directory under /tmp, which goes away at exit: the clone stays as it
# is, and a clone in root's home can be built although a server cannot run as
# root.  The only things left behind are packages and the installed extension.
#
# Sourced by bash with -euo pipefail.
# shellcheck shell=bash disable=SC2034

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

scratch=
sim_pid=
unset MAKEFLAGS MAKELEVEL

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Runs a command with root's rights.
as_root()
{
	if is_root; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root's rights and there is no sudo; as root, run: $*"
	fi
}

# Runs a command as the user whom servers run as: oneself, but postgres for root.
as_server()
{
	if is_root; then
		runuser -u postgres -- env HOME="$scratch" "$@"
	else
		env HOME="$scratch" "$@"
	fi
}

apt_get()
{
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"
}

# The lists of packages may be missing or old; they are fetched only when that hurts.
install_packages()
{
	local log

	log=$(mktemp)
	say "installing: $*"
	if ! apt_get install -y --no-install-recommends "$@" >"$log" 2>&1; then
		apt_get update
		if ! apt_get install -y --no-install-recommends "$@" >"$log" 2>&1; then
			cat "$log" >&2
			rm -f "$log"
			die "apt-get could not install: $*"
		fi
	fi
	rm -f "$log"
}

# Sets PG_CONFIG: as given, else the newest PostgreSQL that extensions can be built for,
# else the newest that lacks only the headers, else none.
find_pg_config()
{
	local candidate incomplete=

	[ -z "${PG_CONFIG:-}" ] || return 0
	for candidate in $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -Vr) $(command -v pg_config); do
		[ -x "$candidate" ] && [ "$(pg_major "$candidate")" -ge 15 ] || continue
		if has_headers "$candidate"; then
			PG_CONFIG=$candidate
			return 0
		fi
		if [ -z "$incomplete" ] && [ -x "$("$candidate" --bindir)/postgres" ]; then
			incomplete=$candidate
		fi
	done
	PG_CONFIG=$incomplete
}

# The package of the headers: of the server's own version where that can still be had, since a newer one
# brings a newer server with it and restarts its clusters.
headers_of()
{
	local package=postgresql-server-dev-$1 version

	version=$(dpkg-query -W -f '${Version}' "postgresql-$1" 2>/dev/null) || true
	if [ -n "$version" ] && apt-cache show "$package=$version" >/dev/null 2>&1; then
		printf '%s=%s\n' "$package" "$version"
	else
		printf '%s\n' "$package"
	fi
}

# Debian's package of the client alone has pg_config and the makefiles, too.
has_headers() { [ -f "$("$1" --includedir-server)/postgres.h" ] && [ -f "$("$1" --pgxs)" ]; }

pg_major() { "$1" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'; }

# The version that this distribution's package "postgresql" stands for.
default_major()
{
	apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | sed -n 1p
}

# Installs what building and the simulator need, and any further packages named.
need_packages()
{
	local missing=() major

	command -v apt-get >/dev/null || die "this is no Debian: install PostgreSQL 15 or later with its headers, a C compiler, make, pkg-config, libcurl, OpenSSL, libmicrohttpd and jansson, then see README.md"
	command -v make >/dev/null || missing+=(make)
	command -v cc >/dev/null || missing+=(gcc)
	[ -f /usr/include/stdio.h ] || missing+=(libc6-dev)
	command -v pkg-config >/dev/null || missing+=(pkgconf)
	command -v prove >/dev/null || missing+=(perl)
	pkg-config --exists libcurl 2>/dev/null || missing+=(libcurl4-openssl-dev)
	pkg-config --exists libcrypto 2>/dev/null || missing+=(libssl-dev)
	pkg-config --exists libmicrohttpd 2>/dev/null || missing+=(libmicrohttpd-dev)
	pkg-config --exists jansson 2>/dev/null || missing+=(libjansson-dev)
	pkg-config --exists zlib 2>/dev/null || missing+=(zlib1g-dev)
	for package; do
		dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q ^ii || missing+=("$package")
	done

	find_pg_config
	if [ -z "${PG_CONFIG:-}" ]; then
		major=$(default_major)
		if [ -z "$major" ]; then
			apt_get update
			major=$(default_major)
		fi
		[ "${major:-0}" -ge 15 ] || die "this distribution has no PostgreSQL 15 or later"
		missing+=("postgresql-$major" "postgresql-server-dev-$major")
		PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config
	else
		major=$(pg_major "$PG_CONFIG")
		[ -x "$("$PG_CONFIG" --bindir)/postgres" ] || missing+=("postgresql-$major")
		has_headers "$PG_CONFIG" || missing+=("$(headers_of "$major")")
	fi

	[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
	bin=$("$PG_CONFIG" --bindir)
}

# Makes the scratch directory and sees to it that nothing outlives this script.
make_scratch()
{
	scratch=$(mktemp -d /tmp/jdysync.XXXXXX)
	if is_root; then
		id postgres >/dev/null 2>&1 || die "there is no user postgres, and a server cannot run as root"
		chown postgres: "$scratch"
	fi
	cd "$scratch" || exit 1
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

clean_up()
{
	local status=$?

	trap '' INT TERM HUP
	trap - EXIT
	cd /
	if [ -n "$sim_pid" ]; then
		kill "$sim_pid" 2>/dev/null || true
	fi
	if [ -f "$scratch/data/postmaster.pid" ]; then
		as_server "$bin/pg_ctl" -D "$scratch/data" -m immediate stop >/dev/null 2>&1 || true
	fi
	rm -rf "$scratch" "$scratch.log"
	exit $status
}

# Runs a command whose output matters only if it fails.
quietly()
{
	if ! "$@" >"$scratch.log" 2>&1; then
		cat "$scratch.log" >&2
		rm -f "$scratch.log"
		die "failed: $*"
	fi
	rm -f "$scratch.log"
}

# Builds the extension and the simulator in $scratch/tree and installs the
# extension.  Arguments are for make.  Bitcode is of no use for this, so clang is not run.
build()
{
	mkdir "$scratch/tree"
	tar -C "$tree" --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude=./test/sim/jdysim \
		--exclude=./tmp_check --exclude=./results --exclude=./log -cf - . | tar -C "$scratch/tree" --no-same-owner -xf -
	if is_root; then
		chown -R postgres: "$scratch/tree"
	fi
	cd "$scratch/tree" || exit 1
	say "building for $("$PG_CONFIG" --version)"
	quietly as_server make -s -j "$(nproc)" with_llvm=no PG_CONFIG="$PG_CONFIG" "$@"
	quietly as_server make -s -j "$(nproc)" -C test/sim
	say "installing the extension into $("$PG_CONFIG" --pkglibdir)"
	if [ -w "$("$PG_CONFIG" --pkglibdir)" ] && [ -w "$("$PG_CONFIG" --sharedir)/extension" ]; then
		quietly make -s install with_llvm=no PG_CONFIG="$PG_CONFIG" "$@"
	else
		quietly as_root make -s install with_llvm=no PG_CONFIG="$PG_CONFIG" "$@"
	fi
}

# Starts a server of our own that only its socket in $scratch leads to.
start_postgres()
{
	quietly as_server "$bin/initdb" -D "$scratch/data" -U postgres -A trust -E UTF8 --locale=C --no-sync
	as_server tee -a "$scratch/data/postgresql.conf" >/dev/null <<-END
		shared_preload_libraries = 'jdysync'
		listen_addresses = ''
		unix_socket_directories = '$scratch'
		max_worker_processes = 20
		fsync = off
	END
	quietly as_server "$bin/pg_ctl" -D "$scratch/data" -l "$scratch/postgres.log" -w start
	export PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PGCLIENTENCODING=UTF8
	unset PGSERVICE PGPASSWORD PGOPTIONS
}

# Starts the simulator on a free port of the loopback: sets $sim_pid and $sim_url.  Arguments are for it.
start_simulator()
{
	as_server "$scratch/tree/test/sim/jdysim" --pid-file "$scratch/sim.pid" --port-file "$scratch/sim.port" "$@" \
		>"$scratch/sim.log" 2>&1 &
	for _ in $(seq 100); do
		if [ -s "$scratch/sim.port" ] && [ -s "$scratch/sim.pid" ]; then
			sim_pid=$(cat "$scratch/sim.pid")
			sim_url=http://127.0.0.1:$(cat "$scratch/sim.port")
			return 0
		fi
		sleep 0.1
	done
	cat "$scratch/sim.log" >&2
	die "the simulator does not start"
}
