"""bridge next to the reference's, and many at once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.plugins.bridges import (
    SUBNET,
    added,
    full,
    gateway,
    masq_rules,
    nothing_left,
    routes_of,
    veths,
)

# With the reference


def _whole(host: Any) -> tuple[object, ...]:
    """What is on the host and in the container, without names and numbers that chance gave."""
    links: dict[tuple[str, str], object] = {}
    for where in ("", "/run/netns/c1"):
        for link in host.ip("-d link show", netns=where):
            name = "veth" if link["ifname"].startswith("veth") else link["ifname"]
            info = link.get("linkinfo", {})
            data = info.get("info_slave_data", {})
            links[where, name] = (
                link["mtu"],
                sorted(link["flags"]),
                link["operstate"],
                info.get("info_kind"),
                link.get("master"),
                data.get("hairpin"),
                data.get("isolated"),
            )
    routes = routes_of(host, "/run/netns/c1"), routes_of(host, "/run/netns/c1", "-6")
    addresses = host.addresses("br0"), host.addresses("eth0", netns="/run/netns/c1")
    forwarding = host.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    return links, routes, addresses, forwarding, host.leases()


REFERENCE = [
    gateway((SUBNET, "fd00::/64"), isDefaultGateway=True, cniVersion="1.0.0"),
    gateway(routes=["0.0.0.0/0", "10.9.0.0/16"], mtu=1400, hairpinMode=True, cniVersion="1.0.0"),
    gateway(isGateway=False, promiscMode=True, cniVersion="0.4.0"),
    gateway(isDefaultGateway=True, cniVersion="0.2.0"),
]


@pytest.mark.parametrize("config", REFERENCE, ids=["gateway", "routes", "plain", "oldest"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_what_one_adds_the_other_deletes_and_adds_the_same(
    host, debian_plugins, config, ours_first
):
    theirs = {"directory": debian_plugins}
    one, other = ({}, theirs) if ours_first else (theirs, {})
    first = added(host, config, **one)
    made = _whole(host)

    deletion = config | ({} if config["cniVersion"] == "0.2.0" else {"prevResult": first})
    assert host.call("DEL", deletion, **other).status == 0
    assert nothing_left(host)
    host.sh("rm -r /var/lib/cni; ip link del br0; sysctl -q -w net.ipv4.ip_forward=0")
    host.sh("sysctl -q -w net.ipv6.conf.all.forwarding=0")
    second = host.call("ADD", config, **other).result

    assert _whole(host) == made
    for result in (first, second):
        result.pop("dns", None)
        for interface in result.get("interfaces", ()):
            interface["mac"] = "-"
            interface["name"] = interface["name"][:4]
    assert first == second


def test_ours_checks_what_the_reference_added(host, debian_plugins):
    config = gateway((SUBNET, "fd00::/64"), isDefaultGateway=True, cniVersion="1.0.0")
    result = added(host, config, directory=debian_plugins)

    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_the_reference_checks_what_ours_added(host, debian_plugins):
    config = gateway((SUBNET, "fd00::/64"), isDefaultGateway=True, cniVersion="1.0.0")
    result = added(host, config)

    checked = host.call("CHECK", config | {"prevResult": result}, directory=debian_plugins)

    assert checked.result == {}


# Many at once


def test_many_containers_at_once_share_one_bridge_and_one_set_of_rules(host):
    config = full()
    cids = [f"c{number}" for number in range(20)]
    for cid in cids:
        host.container(cid)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda cid: host.call("ADD", config, cid=cid), cids))
        results = [answer.result for answer in answers]
        checks = list(
            pool.map(
                lambda pair: host.call("CHECK", config | {"prevResult": pair[1]}, cid=pair[0]),
                zip(cids, results, strict=True),
            )
        )

    addresses = {ip["address"] for result in results for ip in result["ips"]}
    assert len(addresses) == 40
    assert {answer.stdout for answer in checks} == {""}
    assert host.addresses("br0") == {"10.1.0.1/24", "fd00::1/64"}
    assert len(veths(host)) == 20
    assert len(masq_rules(host)) == 40
    assert len(masq_rules(host, "postrouting")) == 3

    with ThreadPoolExecutor(10) as pool:
        deleted = list(pool.map(lambda cid: host.call("DEL", config, cid=cid), cids))

    assert {answer.stdout for answer in deleted} == {""}
    assert nothing_left(host)
    assert host.sh("ls /var/lib/cni/networks/.podnet/demo") == "stamp\n"
