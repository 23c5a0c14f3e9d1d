"""ipvlan, vlan and dummy: kinds of links that many kernels are built without.

What is sent and read is proved with pyroute2's codec.  What the plugins make of it is
tested with another kind of link in their place, and with the real ones where there are any.
"""

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from podnet.cni.errors import CniError
from podnet.kernel import links, virtual_links
from podnet.kernel.netlink import Message, Netlink
from podnet.kernel.virtual_links import NewLink
from podnet_plugins import dummy, ipvlan, vlan
from podnet_plugins.skel import respond

C1 = "/run/netns/c1"
KINDS = ("ipvlan", "vlan", "dummy")
OPTIONS = {"ipvlan": "CONFIG_IPVLAN", "vlan": "CONFIG_VLAN_8021Q", "dummy": "CONFIG_DUMMY"}
OWN_KEYS: dict[str, dict[str, Any]] = {
    "ipvlan": {"master": "m0", "mode": "l3"},
    "vlan": {"master": "m0", "vlanId": 7},
    "dummy": {},
}
PLUGINS = {"ipvlan": ipvlan.PLUGIN, "vlan": vlan.PLUGIN, "dummy": dummy.PLUGIN}


def _config(kind: str, subnet: str = "10.1.0.0/24", **keys: Any) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"type": kind, "ipam": ipam} | OWN_KEYS[kind] | keys


@pytest.fixture
def host(host: Any) -> Any:
    """A host with a container, and a pair to hang things on."""
    host.container("c1")
    host.sh("ip link add m0 type veth peer name m1; ip link set m0 up; ip link set m1 up")
    return host


PROBES = {
    "ipvlan": "link m0 name probe type ipvlan",
    "vlan": "link m0 name probe type vlan id 9",
    "dummy": "name probe type dummy",
}


def _lacks(host: Any, kind: str) -> bool:
    script = f"ip link add {PROBES[kind]} 2>/dev/null && ip link del probe && echo made || true"
    return "made" not in host.sh(script)


# The messages


class Recorder(Netlink):
    """Sends nothing, and keeps what would have been sent as pyroute2 reads it."""

    def __init__(self) -> None:
        self.read: Any = None

    def request(self, kind: int, body: bytes, *, flags: int = 0, what: str = "") -> list[Message]:
        """Keep the message."""
        header = struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0)
        self.read = ifinfmsg(header + body)
        self.read.decode()
        return []


NEW = NewLink(name="eth0", netns=7, master=3, mtu=1400, mac="02:00:00:00:00:01")


def _sent(act: Callable[[Netlink], None]) -> Any:
    recorder = Recorder()
    act(recorder)
    return recorder.read


def _info(message: Any, *names: str) -> Any:
    return message.get_nested("IFLA_LINKINFO", *names)


@pytest.mark.parametrize(("mode", "number"), [("l2", 0), ("l3", 1), ("l3s", 2)])
def test_pyroute2_reads_the_ipvlan_that_is_asked_for(mode, number):
    message = _sent(lambda netlink: virtual_links.add_ipvlan(netlink, NEW, mode=mode))

    assert _info(message, "IFLA_INFO_KIND") == "ipvlan"
    assert _info(message, "IFLA_INFO_DATA", "IFLA_IPVLAN_MODE") == number


def test_pyroute2_reads_the_vlan_that_is_asked_for():
    message = _sent(lambda netlink: virtual_links.add_vlan(netlink, NEW, vid=4094))

    assert _info(message, "IFLA_INFO_KIND") == "vlan"
    assert _info(message, "IFLA_INFO_DATA", "IFLA_VLAN_ID") == 4094


def test_pyroute2_reads_the_dummy_that_is_asked_for():
    message = _sent(lambda netlink: virtual_links.add_dummy(netlink, NewLink(name="eth0", netns=7)))

    assert _info(message, "IFLA_INFO_KIND") == "dummy"
    assert _info(message, "IFLA_INFO_DATA") is None
    assert message.get("IFLA_LINK") is None


@pytest.mark.parametrize(("mode", "number"), list(virtual_links.MACVLAN_MODES.items()))
def test_pyroute2_reads_the_macvlan_that_is_asked_for(mode, number):
    message = _sent(lambda netlink: virtual_links.add_macvlan(netlink, NEW, mode=mode))

    data = _info(message, "IFLA_INFO_DATA")
    assert _info(message, "IFLA_INFO_KIND") == "macvlan"
    assert data.get("IFLA_MACVLAN_MODE") in {number, mode}


def test_name_namespace_master_mtu_and_address_are_in_the_message():
    message = _sent(lambda netlink: virtual_links.add_vlan(netlink, NEW, vid=1))

    names = ("IFLA_IFNAME", "IFLA_NET_NS_FD", "IFLA_LINK", "IFLA_MTU", "IFLA_ADDRESS")
    assert [message.get(name) for name in names] == ["eth0", 7, 3, 1400, "02:00:00:00:00:01"]
    assert message["header"]["type"] == 16
    assert message["header"]["flags"] == 0x600  # CREATE and EXCL; request and ack are Netlink's


def _as_pyroute2_says(kind: str, data: Mapping[str, object]) -> links.Link:
    """Return the link that ours reads from an answer that pyroute2 wrote."""
    info = [["IFLA_INFO_KIND", kind], ["IFLA_INFO_DATA", {"attrs": list(data.items())}]]
    answer = ifinfmsg()
    answer["attrs"] = [["IFLA_IFNAME", "eth0"], ["IFLA_LINKINFO", {"attrs": info}]]
    answer["index"] = 9
    answer.encode()

    class Answering(Netlink):
        def __init__(self) -> None:
            pass

        def get(self, kind: int, body: bytes, *, flags: int = 0, what: str = "") -> Message:
            return Message(16, bytes(answer.data[16:]))

    found = links.find(Answering(), "eth0")
    assert found is not None
    return found


def test_what_pyroute2_says_of_a_link_is_read():
    l3s = _as_pyroute2_says("ipvlan", {"IFLA_IPVLAN_MODE": 2})
    tagged = _as_pyroute2_says("vlan", {"IFLA_VLAN_ID": 4094})
    private = _as_pyroute2_says("macvlan", {"IFLA_MACVLAN_MODE": "private"})

    assert (l3s.kind, virtual_links.ipvlan_mode(l3s)) == ("ipvlan", "l3s")
    assert (tagged.kind, virtual_links.vlan_id(tagged)) == ("vlan", 4094)
    assert (private.kind, virtual_links.macvlan_mode(private)) == ("macvlan", "private")
    assert virtual_links.ipvlan_mode(replace(l3s, data=b"")) == ""


# Kernels without


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_without_is_named_in_the_error_and_nothing_is_left(host, kind):
    if not _lacks(host, kind):
        pytest.skip(f"this kernel has {kind}")
    sentence = f"this kernel has no {kind} ({OPTIONS[kind]})"

    assert host.call("ADD", _config(kind)).refusal == (999, sentence)
    assert host.call("STATUS", _config(kind)).refusal == (50, sentence)
    assert host.call("GC", _config(kind) | {"cni.dev/valid-attachments": []}).result == {}
    assert host.call("DEL", _config(kind)).result == {}
    assert (host.names(netns=C1), host.leases()) == (set(), {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_with_adds_checks_and_deletes(host, kind):
    if _lacks(host, kind):
        pytest.skip(f"this kernel has no {kind}")

    result = host.call("ADD", _config(kind)).result

    [link] = host.ip("-d link show dev eth0", netns=C1)
    assert link["linkinfo"]["info_kind"] == kind
    assert host.call("CHECK", _config(kind) | {"prevResult": result}).result == {}
    assert host.call("STATUS", _config(kind)).result == {}
    assert host.call("DEL", _config(kind)).result == {}
    assert (host.names(netns=C1), host.leases()) == (set(), {})


@pytest.mark.parametrize(
    ("kind", "keys", "refusal"),
    [
        ("ipvlan", {"mode": "x"}, (7, 'unknown ipvlan mode: "x"')),
        ("ipvlan", {"master": "nope"}, (999, 'master interface "nope" not found')),
        ("ipvlan", {"master": ""}, (999, "no default route interface found")),
        ("ipvlan", {"mtu": 1501}, (7, "invalid MTU 1501, must be [0, master MTU(1500)]")),
        ("ipvlan", {"ipam": {}}, (7, "no plugin name provided")),
        (
            "vlan",
            {"master": ""},
            (
                7,
                (
                    '"master" field is required. It specifies the host interface name to create '
                    "the VLAN for."
                ),
            ),
        ),
        ("vlan", {"master": "nope"}, (999, 'master interface "nope" not found')),
        ("vlan", {"vlanId": 4095}, (7, "vlanId must be between 0 and 4094, not 4095")),
        ("vlan", {"mtu": 1501}, (7, "invalid MTU 1501, must be [0, master MTU(1500)]")),
        ("vlan", {"ipam": {}}, (7, "failed to execute IPAM delegate: no plugin name provided")),
        ("dummy", {"ipam": {}}, (7, "dummy interface requires an IPAM configuration")),
    ],
)
def test_a_wrong_value_is_an_error(host, kind, keys, refusal):
    assert host.call("ADD", _config(kind, **keys)).refusal == refusal
    assert (host.names(netns=C1), host.leases()) == (set(), {})


@pytest.mark.parametrize("kind", KINDS)
def test_delete_needs_neither_master_nor_namespace_nor_valid_keys(host, kind):
    broken = _config(kind, master="", mode="x", vlanId=9999, mtu=9000)

    for netns in (None, "", "/run/netns/gone"):
        assert host.call("DEL", broken, netns=netns).result == {}


# The verbs, with another kind of link in the place of the real one

STAND_INS = {"ipvlan": "macvlan", "vlan": "macvlan", "dummy": "bridge"}
DATA = {
    "ipvlan": struct.pack("=HHH2x", 6, 1, 1),  # IFLA_IPVLAN_MODE: l3
    "vlan": struct.pack("=HHH2x", 6, 1, 7),  # IFLA_VLAN_ID: 7
    "dummy": b"",
}


class Pretence:
    """A kind that the kernel takes for the one it lacks."""

    def __init__(self, host: Any, kind: str, patch: pytest.MonkeyPatch) -> None:
        self.host, self.kind = host, kind
        self.data = DATA[kind]
        self.sent = b""
        self._linkinfo = virtual_links._linkinfo  # noqa: SLF001  what the kernel is told,
        self._link = links._link  # noqa: SLF001  and what it says
        patch.setattr(virtual_links, "_linkinfo", self._sent)
        patch.setattr(links, "_link", self._read)

    def _sent(self, kind: str, data: bytes) -> bytes:
        self.sent = data
        return self._linkinfo(STAND_INS[kind], b"")

    def _read(self, message: Any) -> links.Link:
        link = self._link(message)
        if link.kind != STAND_INS[self.kind]:
            return link
        return replace(link, kind=self.kind, data=self.data)

    def call(self, verb: str, config: dict[str, Any], **more: str) -> Any:
        """Run the plugin on a thread of the Node."""
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": C1,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(os.path.dirname(ipvlan.__file__) + "/bin"),  # noqa: PTH120
        } | more
        whole = json.dumps({"cniVersion": "1.1.0", "name": "demo"} | config).encode()

        def work() -> Any:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value)  # delegates are called with what is there
                return respond(PLUGINS[self.kind], environment, lambda: whole)

        return self.host.node.run(work)

    def refusal(self, verb: str, config: dict[str, Any], **more: str) -> str:
        """Return the message of the error that the plugin raises."""
        with pytest.raises(CniError) as caught:
            self.call(verb, config, **more)
        return caught.value.msg


@pytest.fixture(params=KINDS)
def pretence(request: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> Pretence:
    return Pretence(host, request.param, monkeypatch)


only_ipvlan = pytest.mark.parametrize("pretence", ["ipvlan"], indirect=True)
only_vlan = pytest.mark.parametrize("pretence", ["vlan"], indirect=True)
with_master = pytest.mark.parametrize("pretence", ["ipvlan", "vlan"], indirect=True)


def test_add_gives_the_link_its_address_and_route(pretence):
    result = pretence.call("ADD", _config(pretence.kind, dns={"domain": "a.example"}))

    [link] = pretence.host.ip("-d link show dev eth0", netns=C1)
    assert result["interfaces"] == [{"name": "eth0", "mac": link["address"], "sandbox": C1}]
    assert result["ips"] == [{"interface": 0, "address": "10.1.0.2/24", "gateway": "10.1.0.1"}]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}]
    assert result.get("dns", {}) == ({} if pretence.kind == "dummy" else {"domain": "a.example"})
    assert pretence.sent == DATA[pretence.kind]
    assert pretence.host.addresses("eth0", netns=C1) == {"10.1.0.2/24"}
    [route] = pretence.host.ip("route show default", netns=C1)
    assert (route["gateway"], "UP" in link["flags"]) == ("10.1.0.1", True)


def test_only_ipvlan_announces_its_addresses(pretence):
    pretence.call("ADD", _config(pretence.kind))

    keys = "net.ipv4.conf.eth0.arp_notify net.ipv6.conf.eth0.ndisc_notify"
    printed = pretence.host.sh(f"sysctl -n {keys}", netns=C1)
    assert printed == ("1\n1\n" if pretence.kind == "ipvlan" else "0\n0\n")


def test_check_is_content_after_add_and_delete_leaves_nothing(pretence):
    config = _config(pretence.kind)
    result = pretence.call("ADD", config)

    assert pretence.call("CHECK", config | {"prevResult": result}) is None
    assert pretence.refusal("CHECK", config) == "Required prevResult missing"
    for _ in range(2):
        assert pretence.call("DEL", config) is None
        assert (pretence.host.names(netns=C1), pretence.host.leases()) == (set(), {})


def test_exhausted_ipam_leaves_no_link(pretence):
    config = _config(pretence.kind, subnet="10.1.0.0/30")
    pretence.host.container("c2")
    pretence.call("ADD", config, CNI_CONTAINERID="c2", CNI_NETNS="/run/netns/c2")

    assert "no IP addresses available" in pretence.refusal("ADD", config)
    assert pretence.host.names(netns=C1) == set()


def test_a_second_add_is_an_error_and_the_first_one_s_work_stays(pretence):
    config = _config(pretence.kind)
    result = pretence.call("ADD", config)

    message = pretence.refusal("ADD", config)

    assert message == 'container interface name ("eth0") already exists'
    assert pretence.call("CHECK", config | {"prevResult": result}) is None


DRIFTS = {
    "ip link set eth0 down": "interface eth0 is down",
    "ip addr del 10.1.0.2/24 dev eth0": "Failed to match addr 10.1.0.2/24 on interface eth0",
    "ip route del default": "Expected Route 0.0.0.0/0 via 10.1.0.1 not found in routing table",
    "ip link set eth0 address 02:00:00:00:00:07": "eth0 has address 02:00:00:00:00:07, not",
    "ip link del eth0": "interface eth0 is gone",
    "ip link del eth0; ip link add eth0 type veth peer name x": "eth0 is not a",
}


@pytest.mark.parametrize("script", DRIFTS)
def test_check_notices(pretence, script):
    config = _config(pretence.kind)
    result = pretence.call("ADD", config)

    pretence.host.sh(script, netns=C1)

    assert DRIFTS[script] in pretence.refusal("CHECK", config | {"prevResult": result})


@with_master
def test_check_notices_another_mtu_master_mode_or_vlan(pretence):
    config = _config(pretence.kind, mtu=1400)
    changed = {"ipvlan": "eth0 is in mode l2, not l3", "vlan": "eth0 is of VLAN 0, not 7"}
    whole = config | {"prevResult": pretence.call("ADD", config)}

    assert pretence.refusal("CHECK", whole | {"master": "m1"}) == "eth0 does not hang on m1"
    assert pretence.refusal("CHECK", whole | {"mtu": 1300}) == "eth0 has MTU 1400, not 1300"
    pretence.data = struct.pack("=HHH2x", 6, 1, 0)
    assert pretence.refusal("CHECK", whole) == changed[pretence.kind]


@with_master
def test_the_master_may_be_in_the_container(pretence):
    pretence.host.sh("ip link add p0 type veth peer name p1; ip link set p0 up", netns=C1)
    config = _config(pretence.kind, master="p0", linkInContainer=True)

    result = pretence.call("ADD", config)

    [link] = pretence.host.ip("link show dev eth0", netns=C1)
    assert link["link"] == "p0"
    assert pretence.call("CHECK", config | {"prevResult": result}) is None


@only_ipvlan
def test_a_chained_ipvlan_takes_master_and_addresses_of_the_one_before(pretence):
    before = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "m0"}],
        "ips": [{"address": "10.5.0.2/24", "interface": 0}],
        "routes": [{"dst": "10.6.0.0/16", "gw": "10.5.0.1"}],
    }
    config = {"type": "ipvlan", "mode": "l3"}

    result = pretence.call("ADD", config | {"prevResult": before})

    assert [interface["name"] for interface in result["interfaces"]] == ["eth0"]
    assert result["ips"] == [{"interface": 0, "address": "10.5.0.2/24"}]
    assert pretence.host.addresses("eth0", netns=C1) == {"10.5.0.2/24"}
    assert pretence.call("CHECK", config | {"prevResult": result}) is None
    assert pretence.call("DEL", config | {"prevResult": result}) is None
    assert pretence.host.names(netns=C1) == set()


@only_ipvlan
@pytest.mark.parametrize("interfaces", [[], [{"name": "m0"}, {"name": "m1"}], [{"mac": "02:00"}]])
def test_a_chained_ipvlan_needs_one_named_interface_before_it(pretence, interfaces):
    before = {"cniVersion": "1.1.0", "interfaces": interfaces, "ips": [{"address": "10.5.0.2/24"}]}

    message = pretence.refusal("ADD", {"type": "ipvlan", "prevResult": before})

    assert message == "chained master failure. PrevResult lacks a single named interface"


@only_ipvlan
def test_a_master_that_is_named_counts_in_a_chain_too(pretence):
    before = {"cniVersion": "1.1.0", "interfaces": [{"name": "m1"}]}

    pretence.call("ADD", _config("ipvlan") | {"prevResult": before})

    [link] = pretence.host.ip("link show dev eth0", netns=C1)
    [m0] = pretence.host.ip("link show dev m0")
    assert link["link_index"] == m0["ifindex"]


@only_ipvlan
def test_an_ipvlan_hangs_on_the_default_route_s_interface_by_default(pretence):
    pretence.host.sh("ip addr add 10.3.0.1/24 dev m1; ip route add default via 10.3.0.9")

    pretence.call("ADD", _config("ipvlan", master=""))

    [link] = pretence.host.ip("link show dev eth0", netns=C1)
    [m1] = pretence.host.ip("link show dev m1")
    assert link["link_index"] == m1["ifindex"]


@only_vlan
def test_status_names_a_master_that_is_missing(pretence):
    assert pretence.refusal("STATUS", _config("vlan", master="nope")) == (
        'master interface "nope" not found'
    )
    assert pretence.call("STATUS", _config("vlan")) is None


def test_gc_is_ipam_s(pretence):
    config = _config(pretence.kind)
    pretence.call("ADD", config)

    assert pretence.call("GC", config | {"cni.dev/valid-attachments": []}) is None

    assert pretence.host.leases() == {}
