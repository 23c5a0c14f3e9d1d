"""bridge: DEL, and ADD that fails; nothing is left of either."""

import json
from ipaddress import ip_interface

import pytest
from tests.plugins.bridges import (
    L2,
    added,
    delegating,
    full,
    gateway,
    masq_rules,
    nothing_left,
    veths,
)

from podnet.kernel import addresses, links
from podnet.kernel.netlink import Netlink
from podnet_plugins import bridge_host

# DEL


def test_delete_removes_pair_lease_and_rules_and_may_be_repeated(host):
    config = full()
    result = added(host, config)

    for _ in range(2):
        assert host.call("DEL", config | {"prevResult": result}).result == {}
        assert nothing_left(host)
        assert host.names(netns="/run/netns/c1") == set()
    assert host.addresses("br0") == {"10.1.0.1/24", "fd00::1/64"}


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_delete_without_a_namespace_removes_everything_all_the_same(host, netns):
    """Upstream leaves the rules, and the pair where the namespace only lost its name."""
    config = full()
    added(host, config)
    added(host, config, "c2")

    assert host.call("DEL", config, netns=netns).result == {}

    assert len(veths(host)) == 1
    assert set(host.leases().values()) == {"c2\r\neth0"}
    assert all(comment.endswith("id: c2") for comment in masq_rules(host))


def test_delete_removes_rules_also_when_the_namespace_took_the_link_along(host):
    config = full()
    added(host, config)
    host.sh("ip netns del c1")

    assert host.call("DEL", config).result == {}

    assert masq_rules(host) == []
    assert host.leases() == {}


def test_delete_removes_rules_also_when_the_link_is_gone_already(host):
    config = full()
    added(host, config)
    host.sh("ip link del eth0", netns="/run/netns/c1")

    assert host.call("DEL", config).result == {}

    assert nothing_left(host)


def test_delete_of_what_was_never_added_is_success(host):
    host.container("c1")

    for netns in (None, "", "/run/netns/gone"):
        assert host.call("DEL", full(), netns=netns).result == {}
    assert host.names() == set()


def test_delete_leaves_other_attachments_of_the_container_alone(host):
    config = full()
    added(host, config)
    assert host.call("ADD", config | {"isDefaultGateway": False}, ifname="eth1").status == 0

    host.call("DEL", config)

    assert host.names(netns="/run/netns/c1") == {"eth1"}
    assert set(host.leases().values()) == {"c1\r\neth1"}
    assert len(masq_rules(host)) == 2


@pytest.mark.parametrize("pinned", [False, True])
def test_a_file_that_is_no_namespace_is_one_that_is_gone(host, pinned):
    """The reference fails and keeps the lease; the pair may be there, in a nameless namespace."""
    config = full()
    added(host, config)
    if pinned:
        host.sh("touch /run/other; mount --bind /run/netns/c1 /run/other")
    host.sh("ip netns del c1; touch /run/netns/c1")

    for _ in range(2):
        assert host.call("DEL", config).result == {}
        assert nothing_left(host)


def test_delete_needs_no_configuration_that_add_would_accept(host):
    """An edit, or an upgrade, must not keep anybody from cleaning up."""
    config = full()
    added(host, config)

    broken = config | {"mtu": -1, "hairpinMode": True, "promiscMode": True, "vlan": 5000}
    assert host.call("DEL", broken, CNI_ARGS="COLOUR=blue;IgnoreUnknown=1").result == {}

    assert nothing_left(host)


def test_delete_does_all_it_can_when_ipam_fails(host, tmp_path):
    said = {"code": 11, "msg": "later"}
    script = f"""[ $CNI_COMMAND = DEL ] && {{ echo '{json.dumps(said)}'; exit 1; }}
        echo '{{"cniVersion": "1.1.0", "ips": [{{"address": "10.1.0.7/24"}}]}}'"""
    config = delegating(tmp_path, script) | {"ipMasq": True, "macspoofchk": True}
    added(host, config, CNI_PATH=str(tmp_path))

    assert host.call("DEL", config, CNI_PATH=str(tmp_path)).error == said

    assert nothing_left(host)


# ADD that fails


def test_exhausted_ipam_leaves_no_pair_and_passes_its_error_on(host):
    config = gateway(("10.1.0.0/30",))
    added(host, config)
    host.container("c2")

    code, msg = host.call("ADD", config, cid="c2").refusal

    assert (code, msg) == (
        999,
        "failed to allocate for range 0: no IP addresses available in range set: 10.1.0.1-10.1.0.2",
    )
    assert len(veths(host)) == 1
    assert host.names(netns="/run/netns/c2") == set()


def test_a_taken_interface_name_is_an_error_and_that_interface_stays(host):
    netns = host.container("c1")
    host.sh("ip link add eth0 type bridge", netns=netns)

    _, msg = host.call("ADD", gateway()).refusal

    assert msg == 'container veth name ("eth0") already exists'
    assert host.names(netns=netns) == {"eth0"}
    assert nothing_left(host)


def test_a_second_add_is_an_error_and_the_first_one_s_work_stays(host):
    config = full()
    result = added(host, config)

    _, msg = host.call("ADD", config).refusal

    assert msg == 'container veth name ("eth0") already exists'
    assert host.call("CHECK", config | {"prevResult": result}).status == 0


def test_a_link_that_is_no_bridge_is_an_error(host):
    host.container("c1")

    _, msg = host.call("ADD", gateway(bridge="lo")).refusal

    assert msg == 'failed to create bridge "lo": "lo" already exists but is not a bridge'
    assert nothing_left(host)


def test_a_route_that_the_kernel_refuses_leaves_nothing(host):
    host.container("c1")
    config = gateway()
    config["ipam"]["routes"] = [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]

    answer = host.call("ADD", config)

    assert "add route 10.9.0.0/16 via 192.0.2.1: Network is unreachable" in answer.error["msg"]
    assert nothing_left(host)
    assert host.names(netns="/run/netns/c1") == set()


def test_an_add_that_fails_late_takes_back_the_gateway_s_address(host):
    """It would be in the way of every other network."""
    host.sh("mkdir -p /run/bin; for p in python3 sh; do ln -sf $(command -v $p) /run/bin/$p; done")
    failing = gateway(ipMasq=True, ipMasqBackend="iptables", forceAddress=True)
    host.container("c1")
    assert host.call("ADD", failing, PATH="/run/bin").status == 1
    assert (host.addresses("br0"), nothing_left(host)) == (set(), True)
    host.sh("ip addr add 10.5.0.1/24 dev br0")
    assert host.call("ADD", failing, PATH="/run/bin").status == 1
    assert host.addresses("br0") == {"10.5.0.1/24"}

    host.sh("ip addr del 10.5.0.1/24 dev br0")
    added(host, L2, "c2")
    assert host.call("ADD", failing, PATH="/run/bin").status == 1

    assert host.addresses("br0") == {"10.1.0.1/24"}  # c2 may have come to use it


def test_who_comes_while_the_gateway_s_address_is_taken_back_finds_it_again(host, monkeypatch):
    veth = added(host, gateway())["interfaces"][1]["name"]
    delete = addresses.delete

    def delete_and_plug(netlink: Netlink, index: int, address: addresses.Interface) -> bool:
        links.add_ifb(netlink, "p0", mtu=1500)
        links.add_port(netlink, "p0", bridge=index)
        return delete(netlink, index, address)

    def take_back() -> None:
        with Netlink() as netlink:
            br0, port = links.find(netlink, "br0"), links.find(netlink, veth)
        assert br0 is not None
        assert port is not None
        bridge_host.take_back(br0, ip_interface("10.1.0.1/24"), port=port, replaced=[])

    monkeypatch.setattr(addresses, "delete", delete_and_plug)
    host.node.run(take_back)

    assert host.addresses("br0") == {"10.1.0.1/24"}


def test_an_mtu_that_the_kernel_refuses_leaves_nothing(host):
    host.container("c1")

    answer = host.call("ADD", L2 | {"mtu": 40})

    assert "Invalid argument" in answer.error["msg"]
    assert nothing_left(host)


def test_a_missing_namespace_is_code_8(host):
    code, _ = host.call("ADD", gateway(), netns="/run/netns/gone").refusal

    assert code == 8
    assert nothing_left(host)


def test_a_missing_ipam_plugin_says_where_it_was_looked_for(host):
    host.container("c1")

    code, msg = host.call("ADD", L2 | {"ipam": {"type": "nowhere"}}, CNI_PATH="/a:/b").refusal

    assert (code, msg) == (7, 'failed to find plugin "nowhere" in path [/a /b]')
    assert nothing_left(host)


def test_an_ipam_plugin_that_assigns_nothing_is_an_error(host, tmp_path):
    config = delegating(tmp_path, 'echo \'{"cniVersion": "1.1.0"}\'')
    host.container("c1")

    answer = host.call("ADD", config, CNI_PATH=str(tmp_path))

    assert answer.refusal == (999, "IPAM plugin returned missing IP config")
    assert nothing_left(host)


def test_an_ipam_plugin_gets_the_same_call_with_the_same_stdin(host, tmp_path):
    script = (
        f"cat > {tmp_path}/stdin; env | grep ^CNI_ | sort > {tmp_path}/env; echo logged >&2; "
        'echo \'{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.7/24"}]}\''
    )
    config = delegating(tmp_path, script)
    host.container("c1")

    answer = host.call("ADD", config, CNI_PATH=str(tmp_path), CNI_ARGS="IgnoreUnknown=1;A=1")

    assert answer.result["ips"] == [{"interface": 2, "address": "10.1.0.7/24"}]
    assert answer.stderr == "logged\n"
    whole = {"cniVersion": "1.1.0", "name": "demo"} | config
    assert json.loads((tmp_path / "stdin").read_text()) == whole
    assert (tmp_path / "env").read_text().split() == [
        "CNI_ARGS=IgnoreUnknown=1;A=1",
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=c1",
        "CNI_IFNAME=eth0",
        "CNI_NETNS=/run/netns/c1",
        f"CNI_PATH={tmp_path}",
    ]


def test_an_ipam_plugin_s_error_passes_through(host, tmp_path):
    said = {"code": 11, "msg": "later", "details": "much"}
    config = delegating(tmp_path, f"echo '{json.dumps(said)}'; exit 1")
    host.container("c1")

    assert host.call("ADD", config, CNI_PATH=str(tmp_path)).error == said


def test_an_ipam_plugin_that_breaks_is_quoted(host, tmp_path):
    config = delegating(tmp_path, "echo panic >&2; exit 2")
    host.container("c1")

    error = host.call("ADD", config, CNI_PATH=str(tmp_path)).error

    assert (error["code"], error["msg"]) == (999, "plugin probe failed with exit status 2")
    assert error["details"] == "panic"
