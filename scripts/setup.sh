# What the other scripts need, made when it is missing; sourced, not run.
# Says what it does; does nothing, in no time, when everything is there.

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv
PATH=$PATH:/usr/sbin:/sbin
export PATH

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 7; }

# packages NAME:FILE…: install each Debian package whose file is missing.
packages() {
	missing=
	for pair; do
		[ -e "${pair#*:}" ] || missing="$missing ${pair%%:*}"
	done
	[ -z "$missing" ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		say "missing, and only root can install them:$missing (sudo apt-get install$missing)"
		return 1
	fi
	if ! command -v apt-get >/dev/null; then
		say "missing, and this is no Debian-like system to install them on:$missing"
		return 1
	fi
	say "installing Debian packages:$missing"
	log=$(mktemp)
	# shellcheck disable=SC2086
	if ! apt_install $missing >"$log" 2>&1; then
		{ apt-get update && apt_install $missing; } >>"$log" 2>&1 || {
			tail -n 5 "$log" >&2
			rm -f "$log"
			say "these Debian packages could not be installed:$missing"
			return 1
		}
	fi
	rm -f "$log"
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null
}

# environment [EXTRA]: a virtual environment with podnet in it, and what the extra names.
environment() {
	extra=${1:-}
	stamp=$venv/.podnet-${extra:-run}
	[ -x "$venv/bin/python" ] && cmp -s "$root/pyproject.toml" "$stamp" && return 0
	if [ ! -x "$venv/bin/python" ]; then
		python=$(newest_python) || die "podnet needs Python 3.11 or newer, and there is none"
		say "making $venv with $("$python" --version)"
		"$python" -m venv "$venv" >/dev/null 2>&1 || {
			rm -rf "$venv"
			packages python3-venv:/nonexistent || die "python3-venv is missing"
			"$python" -m venv "$venv" || die "no virtual environment can be made"
		}
	fi
	say "installing podnet${extra:+ with its $extra tools} into $venv"
	log=$(mktemp)
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
		--editable "$root${extra:+[$extra]}" >"$log" 2>&1 || {
		tail -n 5 "$log" >&2
		rm -f "$log"
		die "the Python packages could not be installed"
	}
	rm -f "$log"
	cp "$root/pyproject.toml" "$stamp"
}

newest_python() {
	for candidate in python3.13 python3.12 python3.11 python3; do
		"$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
		command -v "$candidate"
		return 0
	done
	return 1
}

# What podnet itself runs, what its tests compare it with, and what builds the peer.
run_packages() { packages nftables:/usr/sbin/nft iproute2:/sbin/ip; }
test_packages() {
	packages nftables:/usr/sbin/nft iproute2:/sbin/ip iptables:/usr/sbin/iptables \
		dnsmasq-base:/usr/sbin/dnsmasq \
		containernetworking-plugins:/usr/lib/cni/bridge golang-go:/usr/bin/go \
		etcd-server:/usr/bin/etcd bird2:/usr/sbin/bird openssl:/usr/bin/openssl jq:/usr/bin/jq \
		golang-github-appc-cni-dev:/usr/share/gocode/src/github.com/containernetworking/cni \
		containerd:/usr/bin/containerd runc:/usr/sbin/runc
}
