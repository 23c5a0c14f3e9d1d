"""ptp: a pair, a gateway on the host's end, routes on both sides; seen through ``ip`` and ``nft``.

Every call is a process in a host in memory, as a runtime makes it.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

SUBNET, SUBNET6 = "10.1.0.0/24", "fd00::/64"
C1 = "/run/netns/c1"


def _config(
    subnets: Sequence[str] = (SUBNET, SUBNET6), routes: Sequence[str] = (), **keys: Any
) -> dict[str, Any]:
    ipam: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}] for subnet in subnets],
        "routes": [{"dst": dst} for dst in routes],
    }
    return {"type": "ptp", "ipam": ipam} | keys


def _full(**keys: Any) -> dict[str, Any]:
    return _config(routes=["0.0.0.0/0", "::/0"], mtu=1400, ipMasq=True, **keys)


def _static(*addresses: dict[str, str], **keys: Any) -> dict[str, Any]:
    return {"type": "ptp", "ipam": {"type": "static", "addresses": list(addresses)}} | keys


def _added(host: Any, config: dict[str, Any], cid: str = "c1", **more: Any) -> Any:
    host.container(cid)
    return host.call("ADD", config, cid=cid, **more).result


def _routes(host: Any, arguments: str = "", *, netns: str = C1) -> set[tuple[Any, ...]]:
    return {
        (route["dst"], route.get("gateway"), route.get("scope"), route.get("prefsrc"))
        for route in host.ip(f"-d {arguments} route show table main", netns=netns)
        if not route["dst"].startswith("fe80")
    }


def _masqueraded(host: Any) -> list[str]:
    """The comments of the nftables rules, and the iptables rules of both families."""
    tables = json.loads(host.sh("nft -j list tables"))["nftables"]
    comments: list[str] = []
    if any(entry.get("table", {}).get("name") == "cni_plugins_masquerade" for entry in tables):
        listed = json.loads(host.sh("nft -j list chain inet cni_plugins_masquerade masq_checks"))
        comments = [entry["rule"]["comment"] for entry in listed["nftables"] if "rule" in entry]
    saved = host.sh("for p in iptables ip6tables; do $p-save -t nat; done")
    return comments + [line for line in saved.splitlines() if "CNI-" in line]


def _nothing_left(host: Any) -> bool:
    return host.names() == set() and host.leases() == {} and _masqueraded(host) == []


def _without_pauses(host: Any) -> None:
    """Have IPv6 addresses usable at once, also those of the reference, and links up at once.

    The kernel takes a second for the news of a veth whose other end has the same number.
    """
    host.sh("ip link add pad type bridge; ip link del pad")
    for netns in ("", C1):
        host.sh("sysctl -q -w net.ipv6.conf.default.accept_dad=0", netns=netns)


# ADD


def test_a_container_is_linked_to_the_host(host):
    result = _added(host, _config(routes=["0.0.0.0/0"]))

    outside, inside = result["interfaces"]
    assert result["ips"] == [
        {"interface": 1, "address": "10.1.0.2/24", "gateway": "10.1.0.1"},
        {"interface": 1, "address": "fd00::2/64", "gateway": "fd00::1"},
    ]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}]
    assert (inside["name"], inside["sandbox"]) == ("eth0", C1)
    assert "sandbox" not in outside
    [near] = host.ip(f"-d link show dev {outside['name']}")
    [far] = host.ip("-d link show dev eth0", netns=C1)
    assert [outside["mac"], inside["mac"]] == [near["address"], far["address"]]
    assert near["link_index"] == far["ifindex"]
    assert near["ifalias"].endswith("net: demo, if: eth0, id: c1")
    assert host.sh(f"sysctl -n net.ipv6.conf.{outside['name']}.accept_ra") == "0\n"


def test_the_gateway_is_the_host_s_end(host):
    result = _added(host, _config())

    assert host.addresses(result["interfaces"][0]["name"]) == {"10.1.0.1/32", "fd00::1/128"}
    for gateway in ("10.1.0.1", "fd00::1"):
        assert host.reaches(gateway, netns=C1)


def test_the_container_reaches_its_own_subnet_through_the_gateway_only(host):
    _added(host, _config(routes=["0.0.0.0/0", "::/0", "10.9.0.0/16"]))

    assert _routes(host) == {
        ("default", "10.1.0.1", "global", None),
        ("10.9.0.0/16", "10.1.0.1", "global", None),
        ("10.1.0.0/24", "10.1.0.1", "global", "10.1.0.2"),
        ("10.1.0.1", None, "link", "10.1.0.2"),
    }
    assert _routes(host, "-6") == {
        ("default", "fd00::1", "global", None),
        ("fd00::/64", "fd00::1", "global", "fd00::2"),
        ("fd00::1", None, "global", "fd00::2"),
    }


def test_two_containers_reach_each_other_through_the_host(host):
    for cid in ("c1", "c2"):
        _added(host, _config(), cid)

    for address in ("10.1.0.3", "fd00::3"):
        assert host.reaches(address, netns=C1)


def test_forwarding_is_switched_on_for_the_families_in_use_only(host):
    _added(host, _config((SUBNET,)))

    printed = host.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    assert printed == "1\n0\n"


def test_an_ipv6_container_does_not_wait_for_duplicate_detection(host):
    """The reference waits 2 s; nobody else was given the address."""
    host.container("c1")
    start = time.monotonic()

    answer = host.call("ADD", _config((SUBNET6,), routes=["::/0"]))

    assert (answer.status, time.monotonic() - start < 1) == (0, True)
    assert host.reaches("fd00::1", netns=C1)


def test_mtu_is_both_ends_s(host):
    result = _added(host, _config(mtu=1400))

    [near] = host.ip(f"link show dev {result['interfaces'][0]['name']}")
    [far] = host.ip("link show dev eth0", netns=C1)
    assert (near["mtu"], far["mtu"]) == (1400, 1400)


def test_the_configuration_s_dns_replaces_ipam_s(host):
    config = _static({"address": "10.1.0.2/24", "gateway": "10.1.0.1"})
    config["ipam"]["dns"] = {"nameservers": ["10.1.0.53"]}

    from_ipam = _added(host, config)
    own = _added(host, config | {"dns": {"nameservers": ["10.1.0.99"]}}, "c2")

    assert from_ipam["dns"] == {"nameservers": ["10.1.0.53"]}
    assert own["dns"] == {"nameservers": ["10.1.0.99"]}


def test_two_addresses_of_one_subnet_share_a_gateway(host):
    """The reference fails at the second one."""
    both = [{"address": f"{a}", "gateway": "10.1.0.1"} for a in ("10.1.0.2/24", "10.1.0.3/24")]
    result = _added(host, _static(*both))

    assert host.addresses("eth0", netns=C1) == {"10.1.0.2/24", "10.1.0.3/24"}
    assert host.addresses(result["interfaces"][0]["name"]) == {"10.1.0.1/32"}
    assert {route[0] for route in _routes(host, netns="")} == {"10.1.0.2", "10.1.0.3"}


def test_an_address_may_be_alone_in_its_subnet(host):
    """The reference has no way to the gateway then."""
    alone = {"address": "10.1.0.2/32", "gateway": "169.254.1.1"}
    config = _static(alone)
    config["ipam"]["routes"] = [{"dst": "0.0.0.0/0"}]
    _added(host, config)

    assert host.reaches("169.254.1.1", netns=C1)
    assert {route[:2] for route in _routes(host)} == {
        ("default", "169.254.1.1"),
        ("169.254.1.1", None),
    }


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0"])
def test_older_versions_can_add_check_and_delete(host, version):
    config = _full(cniVersion=version)
    result = _added(host, config)

    assert result["cniVersion"] == version
    if version != "0.2.0":
        assert host.call("CHECK", config | {"prevResult": result}).status == 0
    assert host.call("DEL", config).result == {}
    assert _nothing_left(host)


# Masquerading


@pytest.mark.parametrize("backend", ["", "nftables", "iptables"])
def test_what_leaves_the_subnet_has_the_host_s_address(host, backend):
    outside = host.container("outside")
    host.sh(f"ip link add up0 type veth peer name up1 netns {outside}")
    host.sh("ip addr add 192.0.2.1/24 dev up0; ip link set up0 up")
    host.sh("ip addr add 192.0.2.9/24 dev up1; ip link set up1 up", netns=outside)
    config = _full(ipMasqBackend=backend)

    result = _added(host, config)

    # The outside has no route to 10.1.0.0/24: it answers only what comes from 192.0.2.1.
    assert host.reaches("192.0.2.9", netns=C1)
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert any("CNI-" in rule for rule in _masqueraded(host)) == (backend == "iptables")


def test_two_interfaces_of_a_container_share_a_chain_until_the_last_is_gone(host):
    """With the reference the first DEL takes both."""
    config = _config((SUBNET,), ipMasq=True, ipMasqBackend="iptables")
    first = _added(host, config)
    second = host.call("ADD", config, ifname="eth1").result

    host.call("DEL", config | {"prevResult": first})

    assert host.call("CHECK", config | {"prevResult": second}, ifname="eth1").status == 0
    host.call("DEL", config | {"prevResult": second}, ifname="eth1")
    assert _nothing_left(host)


def test_an_unknown_backend_is_an_error(host):
    host.container("c1")

    assert host.call("ADD", _full(ipMasqBackend="x")).refusal == (7, 'unknown ipmasq backend "x"')
    assert _nothing_left(host)


@pytest.mark.parametrize(("backend", "program"), [("", "nft"), ("iptables", "iptables")])
def test_without_its_program_masquerading_is_an_error_and_nothing_is_left(host, backend, program):
    host.container("c1")
    host.sh("mkdir -p /run/bin; for p in python3 sh; do ln -sf $(command -v $p) /run/bin/$p; done")
    config = _full(ipMasqBackend=backend)

    answer = host.call("ADD", config, PATH="/run/bin")

    assert str(answer.error["msg"]).startswith(f"ipMasq: there is no {program}")
    assert host.call("STATUS", config, PATH="/run/bin").refusal == (
        50,
        f"ipMasq needs {program}, and it cannot be run",
    )
    assert _nothing_left(host)


# DEL


def test_delete_removes_pair_lease_and_rules_and_may_be_repeated(host):
    config = _full()
    result = _added(host, config)

    for _ in range(2):
        assert host.call("DEL", config | {"prevResult": result}).result == {}
        assert _nothing_left(host)
        assert host.names(netns=C1) == set()


@pytest.mark.parametrize("backend", ["", "iptables"])
@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_delete_without_a_namespace_removes_everything_all_the_same(host, netns, backend):
    """Upstream leaves the rules, and the pair where the namespace only lost its name."""
    config = _full(ipMasqBackend=backend)
    _added(host, config)
    _added(host, config, "c2")

    assert host.call("DEL", config, netns=netns).result == {}

    assert len(host.names()) == 1
    assert set(host.leases().values()) == {"c2\r\neth0"}
    assert {rule for rule in _masqueraded(host) if "c1" in rule} == set()
    assert [rule for rule in _masqueraded(host) if "c2" in rule] != []


def test_delete_removes_rules_also_when_the_namespace_took_the_link_along(host):
    config = _full()
    _added(host, config)
    host.sh("ip netns del c1")

    assert host.call("DEL", config).result == {}
    assert _nothing_left(host)


def test_delete_of_what_was_never_added_is_success(host):
    host.container("c1")

    for netns in (None, "", "/run/netns/gone"):
        assert host.call("DEL", _full(), netns=netns).result == {}
    assert host.names() == set()


def test_delete_leaves_other_attachments_of_the_container_alone(host):
    config = _config((SUBNET,), ipMasq=True)
    _added(host, config)
    assert host.call("ADD", config, ifname="eth1").status == 0

    host.call("DEL", config)

    assert host.names(netns=C1) == {"eth1"}
    assert set(host.leases().values()) == {"c1\r\neth1"}
    assert len(_masqueraded(host)) == 1


def test_delete_releases_the_address_even_where_the_namespace_is_a_plain_file(host):
    config = _full()
    _added(host, config)
    host.sh("ip netns del c1; touch /run/netns/c1")

    assert host.call("DEL", config).result == {}
    # A namespace that was removed goes a moment later, and takes its pairs along.
    host.sh("for i in $(seq 100); do ip link | grep -q veth || exit 0; sleep .05; done")
    assert _nothing_left(host)


# ADD that fails


def test_exhausted_ipam_leaves_no_pair_and_passes_its_error_on(host):
    config = _config(("10.1.0.0/30",))
    _added(host, config)
    host.container("c2")

    code, msg = host.call("ADD", config, cid="c2").refusal

    assert code == 999
    assert "no IP addresses available in range set: 10.1.0.1-10.1.0.2" in msg
    assert len(host.names()) == 1
    assert host.names(netns="/run/netns/c2") == set()


def test_a_second_add_is_an_error_and_the_first_one_s_work_stays(host):
    config = _full()
    result = _added(host, config)

    _, msg = host.call("ADD", config).refusal

    assert msg == 'container veth name ("eth0") already exists'
    assert host.call("CHECK", config | {"prevResult": result}).status == 0


def test_a_route_that_the_kernel_refuses_leaves_nothing(host):
    host.container("c1")
    config = _full()
    config["ipam"]["routes"] = [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]

    answer = host.call("ADD", config)

    assert "add route 10.9.0.0/16 via 192.0.2.1: Network is unreachable" in answer.error["msg"]
    assert _nothing_left(host)
    assert host.names(netns=C1) == set()


def test_an_address_without_a_gateway_is_an_error_that_says_so(host):
    """The reference crashes late, and leaves the pair."""
    host.container("c1")

    _, msg = host.call("ADD", _static({"address": "10.1.0.2/24"})).refusal

    assert msg == "ptp needs a gateway for 10.1.0.2/24, and IPAM gave none"
    assert _nothing_left(host)
    assert host.names(netns=C1) == set()


def test_nothing_of_masquerading_is_left_when_a_part_of_it_fails(host, tmp_path):
    host.container("c1")
    refusing = tmp_path / "ip6tables-restore"
    refusing.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
    refusing.chmod(0o755)
    path = f"{tmp_path}:{host.sh('printenv PATH').strip()}"

    answer = host.call("ADD", _full(ipMasqBackend="iptables"), PATH=path)

    assert answer.error["msg"] == "ipMasq: ip6tables-restore: no such luck"
    assert _nothing_left(host)


@pytest.mark.parametrize("verb", ["ADD", "STATUS"])
def test_without_ipam_there_is_no_link(host, verb):
    host.container("c1")

    assert host.call(verb, {"type": "ptp"}).refusal == (7, "no plugin name provided")
    assert host.names() == set()


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"mtu": 40}, 999, "failed to make veth pair: add veth eth0: Invalid argument"),
        ({"mtu": -1}, 7, "mtu must be between 0 and 65535, not -1"),
        ({"mtu": "1500"}, 6, 'mtu must be a whole number, not "1500"'),
        ({"ipMasq": 1}, 6, "ipMasq must be true or false, not 1"),
    ],
)
def test_a_wrong_value_is_an_error(host, keys, code, message):
    host.container("c1")

    assert host.call("ADD", _config(**keys)).refusal == (code, message)
    assert _nothing_left(host)


def test_a_missing_namespace_is_code_8(host):
    code, _ = host.call("ADD", _config(), netns="/run/netns/gone").refusal

    assert code == 8
    assert _nothing_left(host)


# CHECK


def test_check_is_content_after_add_and_needs_prev_result(host):
    config = _full()
    result = _added(host, config)

    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert host.call("CHECK", config).refusal == (7, "ptp: Required prevResult missing")


def test_check_looks_at_its_own_interface_in_a_chain_s_result(host):
    config = _full()
    result = _added(host, config)
    result["interfaces"].insert(0, {"name": "net1", "sandbox": C1})
    for ip in result["ips"]:
        ip["interface"] = 2
    result["ips"].append({"interface": 0, "address": "10.77.0.2/24"})

    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_check_of_another_container_s_result_is_an_error(host):
    config = _static({"address": "10.1.0.2/24", "gateway": "10.1.0.1"})
    other = _added(host, config, "c2")
    _added(host, config)

    _, msg = host.call("CHECK", config | {"prevResult": other}).refusal

    assert msg == f"prevResult does not have eth0 in {C1}"


DRIFTS = {
    "the interface is gone": (C1, "ip link del eth0", "interface eth0 is gone"),
    "the interface is another kind": (
        C1,
        "ip link del eth0; ip link add eth0 type bridge",
        "eth0 is not a veth",
    ),
    "the interface is down": (C1, "ip link set eth0 down", "interface eth0 is down"),
    "another MAC": (C1, "ip link set eth0 address 02:00:00:00:00:07", "eth0 has address 02:00"),
    "another MTU": (C1, "ip link set eth0 mtu 1300", "eth0 has MTU 1300, not 1400"),
    "the address is gone": (
        C1,
        "ip addr del 10.1.0.2/24 dev eth0",
        "Failed to match addr 10.1.0.2/24 on interface eth0",
    ),
    "the IPv6 address is gone": (
        C1,
        "ip addr del fd00::2/64 dev eth0",
        "Failed to match addr fd00::2/64 on interface eth0",
    ),
    "the default route is gone": (C1, "ip route del default", "Expected Route 0.0.0.0/0"),
    "the default route goes elsewhere": (
        C1,
        "ip route replace default via 10.1.0.99 onlink dev eth0",
        "Expected Route 0.0.0.0/0 via 10.1.0.1 not found",
    ),
    "the way to the gateway is gone": (
        C1,
        "ip route del 10.1.0.1",
        "Expected Route 10.1.0.1/32 dev eth0 not found",
    ),
    "the subnet is reached without the gateway": (
        C1,
        "ip route replace 10.1.0.0/24 dev eth0",
        "Expected Route 10.1.0.0/24 via 10.1.0.1 not found",
    ),
    "the IPv6 subnet's route is gone": (
        C1,
        "ip -6 route del fd00::/64",
        "the route to fd00::/64 of interface eth0 is gone",
    ),
    "the host's end is down": ("", "ip link set $veth down", "is down"),
    "the host's end has another name": (
        "",
        "ip link set $veth down name moved; ip link add $veth type veth peer name another",
        "the host's end of eth0 was not found",
    ),
    "the host's end has another MAC": (
        "",
        "ip link set $veth address 02:00:00:00:00:08",
        "has address 02:00:00:00:00:08, not",
    ),
    "the host's end has another MTU": ("", "ip link set $veth mtu 1300", "has MTU 1300, not 1400"),
    "the gateway's address is gone": (
        "",
        "ip addr del 10.1.0.1/32 dev $veth",
        "lacks the gateway's address 10.1.0.1/32",
    ),
    "the gateway's IPv6 address is gone": (
        "",
        "ip addr del fd00::1/128 dev $veth",
        "lacks the gateway's address fd00::1/128",
    ),
    "the host's route is gone": (
        "",
        "ip route del 10.1.0.2",
        "Expected Route 10.1.0.2/32 dev veth",
    ),
    "the host's IPv6 route is gone": (
        "",
        "ip -6 route del fd00::2",
        "Expected Route fd00::2/128 dev veth",
    ),
    "forwarding is off": (
        "",
        "sysctl -q -w net.ipv4.ip_forward=0",
        "the host does not forward: net.ipv4.ip_forward is off",
    ),
    "IPv6 forwarding is off": (
        "",
        "sysctl -q -w net.ipv6.conf.all.forwarding=0",
        "the host does not forward: net.ipv6.conf.all.forwarding is off",
    ),
    "the masquerading rules are gone": (
        "",
        "nft flush chain inet cni_plugins_masquerade masq_checks",
        "masquerading is gone: 10.1.0.2, fd00::2",
    ),
    "the lease is gone": (
        "",
        "rm /var/lib/cni/networks/demo/10.1.0.2",
        "host-local: 10.1.0.2 is not leased to c1 any more",
    ),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_check_notices_that(host, drift):
    netns, script, text = DRIFTS[drift]
    config = _full() | {"ipMasq": "masquerading" in drift}
    result = _added(host, config)

    host.sh(f"veth={result['interfaces'][0]['name']}; {script}", netns=netns)
    code, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert text in msg
    assert code == 999


@pytest.mark.parametrize("script", ["iptables -t nat -F POSTROUTING", "iptables -t nat -F $chain"])
def test_check_notices_that_iptables_does_not_masquerade(host, script):
    config = _config((SUBNET,), ipMasq=True, ipMasqBackend="iptables")
    result = _added(host, config)

    chain = _masqueraded(host)[0].split()[0][1:]
    host.sh(f"chain={chain}; {script}")
    _, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert msg == "masquerading is gone: 10.1.0.2"


# GC and STATUS


def _valid(*attachments: tuple[str, str]) -> dict[str, Any]:
    listed = [{"containerID": cid, "ifname": ifname} for cid, ifname in attachments]
    return {"cni.dev/valid-attachments": listed}


@pytest.mark.parametrize("backend", ["", "iptables"])
def test_gc_removes_what_is_not_valid_and_nothing_else(host, backend):
    config = _full(ipMasqBackend=backend)
    other = _config(("10.2.0.0/24",), name="other", ipMasq=True, ipMasqBackend=backend)
    for cid in ("c1", "c2"):
        _added(host, config, cid)
    _added(host, other, "c3")
    host.sh("ip link add vethadmin type veth peer name vethpeer; ip link set vethadmin alias mine")

    assert host.call("GC", config | _valid(("c2", "eth0"))).result == {}

    assert set(host.leases().values()) == {"c2\r\neth0"}
    assert list(host.leases("other")) == ["10.2.0.2"]
    assert [host.names(netns=f"/run/netns/c{n}") for n in (1, 2, 3)] == [set(), {"eth0"}, {"eth0"}]
    assert {"vethadmin", "vethpeer"} < host.names()
    assert len(host.names()) == 4
    rules = _masqueraded(host)
    assert [rule for rule in rules if "c1" in rule] == []
    for cid in ("c2", "c3"):
        assert [rule for rule in rules if cid in rule] != []


def test_gc_removes_what_a_namespace_left_that_is_gone(host):
    config = _full()
    _added(host, config)
    host.sh("ip netns del c1")

    assert host.call("GC", config | _valid()).result == {}

    assert _nothing_left(host)


def test_status_is_ipam_s(host):
    config = _config(("10.1.0.0/30",))
    assert host.call("STATUS", config).result == {}
    _added(host, config)

    code, msg = host.call("STATUS", config).refusal

    assert (code, msg) == (50, "no IP addresses available in range set 0: 10.1.0.1-10.1.0.2")


def test_status_is_51_while_the_host_does_not_forward_for_containers(host):
    config = _config((SUBNET,))
    assert host.call("STATUS", config).status == 0
    _added(host, config)
    assert host.call("STATUS", config).status == 0

    host.sh("sysctl -q -w net.ipv4.ip_forward=0")

    said = (51, "the host does not forward: net.ipv4.ip_forward is off")
    assert host.call("STATUS", config).refusal == said
    assert host.call("STATUS", config | {"name": "other"}).status == 0


# With the reference

OLDER = {"cniVersion": "1.0.0"}


def test_ours_checks_and_deletes_the_reference_s_masquerading_without_being_told(
    host, debian_plugins
):
    """The reference uses iptables where nothing is said, ours nftables; each may find the other's."""
    config = _full(**OLDER)
    host.container("c1")
    _without_pauses(host)
    result = host.call("ADD", config, directory=debian_plugins).result

    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert host.call("DEL", config).result == {}

    assert _nothing_left(host)
