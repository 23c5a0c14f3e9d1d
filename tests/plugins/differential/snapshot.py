"""All that a plugin can leave: one picture of a host and a container, as flat names and values.

``host/link/br0/mtu`` is 1500, ``pod/route/main/…`` is there, ``host/file/var/lib/cni/…`` has these
bytes.  What chance gave (names of pairs, MACs, numbers of links, times) is not in it, and neither
are carriers and operational states, which the kernel tells its bridges when it finds the time.
Knows nothing of plugins, and does not judge.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from podnet.node import Node

Picture = dict[str, object]

# A MAC that a case asks for begins like this; others are chance's.
ASKED = "02:11:22"
POD = "/run/netns/c1"
FILES = ("/var/lib/cni", "/run/cni", "/run/netns")
SYSCTLS = (
    "/proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn",
    *(
        f"/proc/sys/net/ipv4/conf/*/{key}"
        for key in ("arp_notify", "route_localnet", "rp_filter", "accept_local", "arp_filter")
    ),
    *(
        f"/proc/sys/net/ipv6/conf/*/{key}"
        for key in [
            "forwarding",
            "accept_ra",
            "accept_dad",
            "enhanced_dad",
            "ndisc_notify",
            "disable_ipv6",
            "keep_addr_on_down",
        ]
    ),
)
NETWORK = f"""
ip -j -d addr show; echo @@
ip -j -d route show table all; echo @@
ip -6 -j -d route show table all; echo @@
ip -j rule show; echo @@
ip -6 -j rule show; echo @@
ip -j neigh show nud permanent; echo @@
grep -H '' {" ".join(SYSCTLS)}; echo @@
tc -j -d qdisc show; echo @@
for dev in $(tc qdisc show | sed -n 's/^qdisc ingress .* dev \\([^ ]*\\) .*/\\1/p'); do
    echo "[\\"$dev\\","; tc -j filter show dev $dev parent ffff:; echo ']'; echo '%%'
done
"""
SCRIPT = f"""
{NETWORK}
echo @@; iptables-save; echo @@; ip6tables-save; echo @@
nft list tables | grep -Ev ' ip6? (nat|filter|mangle|raw)$' | while read -r _ table; do
    nft list table $table
done
echo @@@@
test -e {POD} || exit 0
nsenter --net={POD} sh -c "$INSIDE" 2>/dev/null || test -s {POD} || exit 0
"""


def take(node: Node, run: Any) -> Picture:
    """Take a picture of a Node; *run* runs a shell script there, with variables."""
    host, _, pod = run(SCRIPT, INSIDE=NETWORK).partition("@@@@\n")
    *network, v4, v6, nft = host.split("@@\n")
    picture = dict(_network("host", network))
    if pod:
        picture |= _network("pod", pod.split("@@\n"))
    picture |= _iptables("iptables", v4)
    picture |= _iptables("ip6tables", v6)
    picture |= _nft(nft)
    picture |= node.run(_files)
    return picture


def plain(text: str) -> str:
    """Return *text* without the names and MACs that chance gave."""
    text = re.sub(r"\bveth[0-9a-f]{8}\b", "veth", text)
    return re.sub(
        r"(?<![0-9a-f:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![0-9a-f:])",
        lambda mac: mac[0] if mac[0].startswith((ASKED, "00:00:00", "ff:ff")) else "<mac>",
        text,
    )


def _network(where: str, parts: list[str]) -> Iterator[tuple[str, object]]:
    addr, v4, v6, rules4, rules6, neighbours, sysctls, qdiscs, filters = map(plain, parts)
    for link in _listed(addr):
        yield from _link(f"{where}/link/{link['ifname']}", link)
    yield from _routes(f"{where}/route", _listed(v4) + _listed(v6))
    for family, rules in (("4", rules4), ("6", rules6)):
        for rule in _listed(rules):
            yield f"{where}/rule{family}/{rule.pop('priority')}/{json.dumps(rule)}", "there"
    for neighbour in _listed(neighbours):
        yield f"{where}/neighbour/{neighbour['dst']} {neighbour['dev']}", neighbour.get("lladdr")
    for line in sysctls.splitlines():
        path, _, value = line.partition(":")
        yield where + "/sysctl/" + path.removeprefix("/proc/sys/"), value
    yield from _traffic(where, _listed(qdiscs), filters)


def _routes(at: str, routes: list[Any]) -> Iterator[tuple[str, object]]:
    for route in routes:
        if not str(route["dst"]).startswith(("fe80", "ff00")):
            table, dst = route.pop("table", "main"), route.pop("dst")
            flags = sorted(set(route.pop("flags")) - {"linkdown", "dead"})
            words = " ".join(f"{key} {value}" for key, value in sorted(route.items()))
            yield f"{at}/{table}/{dst} {words} {' '.join(flags)}".strip(), "there"


def _traffic(where: str, qdiscs: list[Any], filters: str) -> Iterator[tuple[str, object]]:
    for qdisc in qdiscs:
        if qdisc["kind"] != "noqueue":
            at = f"{where}/qdisc/{qdisc['dev']}/{qdisc.get('parent', 'root')}"
            yield at, (qdisc["kind"], qdisc["handle"], str(qdisc.get("options")))
    for device in filter(str.strip, filters.split("%%")):
        name, found = json.loads(device)
        for number, one in enumerate(_without(one, "index", "ref", "bind") for one in found):
            yield f"{where}/filter/{name}/{number}", json.dumps(one, sort_keys=True)


def _link(at: str, link: Any) -> Iterator[tuple[str, object]]:
    info = link.get("linkinfo", {})
    ports = info.get("info_slave_data", {})
    volatile = re.compile(
        ".*(timer|_id|_no|pending|designated|state|topology|config_|_str).*|id|no"
    )
    data = {k: v for k, v in info.get("info_data", {}).items() if not volatile.fullmatch(k)}
    yield f"{at}/kind", info.get("info_kind")
    yield f"{at}/data", json.dumps(data, sort_keys=True)
    yield f"{at}/flags", sorted(set(link["flags"]) - {"NO-CARRIER", "LOWER_UP"})
    for key in ("mtu", "master", "ifalias", "txqlen", "promiscuity", "allmulti"):
        yield f"{at}/{key}", link.get(key)
    yield f"{at}/mac", link.get("address")
    for key in sorted(ports):
        if not volatile.fullmatch(key):
            yield f"{at}/port/{key}", ports[key]
    for address in link["addr_info"]:
        if address and not address["local"].startswith("fe80"):
            shown = (address["scope"], address.get("broadcast"), address.get("nodad"))
            yield f"{at}/address/{address['local']}/{address['prefixlen']}", shown


def _iptables(program: str, saved: str) -> Iterator[tuple[str, object]]:
    chains: dict[str, list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line.split()[1] == "-":
            chains.setdefault(f"{table}/{line[1:].split()[0]}", [])
        elif line.startswith("-A"):
            _, chain, rule = line.split(" ", 2)
            chains.setdefault(f"{table}/{chain}", []).append(rule)
    return ((f"host/{program}/{chain}", rules) for chain, rules in chains.items())


def _nft(listed: str) -> Iterator[tuple[str, object]]:
    for table in filter(None, listed.split("\ntable ")):
        name, _, body = table.removeprefix("table ").partition(" {")
        yield f"host/nft/{name}", re.sub(r" # handle \d+", "", body).strip()


def _files() -> Picture:
    found: Picture = {}
    for path in (path for top in FILES for path in Path(top).rglob("*")):
        mode = oct(path.lstat().st_mode & 0o7777)
        found[f"host/file{path}/mode"] = mode
        if path.is_file() and path != Path(POD):
            found[f"host/file{path}"] = plain(path.read_bytes().decode(errors="replace"))
    return found


def _listed(printed: str) -> list[Any]:
    # Old iproute2 leaves empty objects where it has filtered something out.
    return [entry for entry in json.loads(printed.strip() or "[]") if entry]


def _without(value: Any, *keys: str) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, *keys) for k, v in value.items() if k not in keys}
    if isinstance(value, list):
        return [_without(one, *keys) for one in value]
    return value
