"""vrf: a kind of link that many kernels are built without.

What is sent and read is proved with pyroute2's codec.  What the plugin makes of it is tested
with a bridge in the place of the VRF, whose ports lose what a VRF's lose; and with the real
one where there is one.
"""

import json
import struct
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from podnet.cni.errors import CniError
from podnet.kernel import links, virtual_links
from podnet.kernel.addresses import IFA_F_NODAD, IFA_F_PERMANENT, IFA_F_TENTATIVE, Address
from podnet.kernel.netlink import Message, Netlink
from podnet.kernel.virtual_links import NewLink
from podnet_plugins import belongings, vrf
from podnet_plugins.skel import respond

pytestmark = pytest.mark.root

C1 = "/run/netns/c1"
MISSING = "this kernel has no vrf (CONFIG_NET_VRF)"
CONFIG: dict[str, Any] = {"type": "vrf", "vrfname": "red"}


@pytest.fixture
def host(host: Any) -> Any:
    """A host with a container and an interface in it, which has addresses and many routes."""
    host.container("c1")
    host.sh(
        "sysctl -q -w net.ipv6.conf.default.accept_dad=0; "
        "ip link add eth0 address 02:00:00:00:00:0a type veth peer name far; "
        "ip link set far up; ip link set eth0 up; "
        "ip addr add 10.1.0.2/24 dev eth0; ip addr add fd00::2/64 dev eth0 nodad",
        netns=C1,
    )
    host.sh(ROUTES, netns=C1)
    return host


ROUTES = """
ip route add default via 10.1.0.1 metric 50
ip route add 10.2.0.0/16 via 10.1.0.3 src 10.1.0.2 mtu 1300 proto static
ip route add 10.3.0.0/16 nexthop via 10.1.0.4 weight 2 nexthop via 10.1.0.5
ip route add 10.4.0.0/16 dev eth0 scope link
ip route add 10.5.0.0/16 via 10.4.0.1
ip route add 10.6.0.0/16 via 172.16.0.1 dev eth0 onlink tos 8
ip -6 route add default nexthop via fd00::1 nexthop via fd00::3
ip -6 route add fd02::/64 via fd00::4 src fd00::2 metric 77
"""


def _result() -> dict[str, Any]:
    return {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:0a", "sandbox": C1}],
        "ips": [
            {"interface": 0, "address": "10.1.0.2/24", "gateway": "10.1.0.1"},
            {"interface": 0, "address": "fd00::2/64"},
        ],
        "routes": [{"dst": "10.2.0.0/16", "gw": "10.1.0.3"}, {"dst": "0.0.0.0/0"}],
    }


def _lacks(host: Any) -> bool:
    script = (
        "ip link add probe type vrf table 9 2>/dev/null && ip link del probe && echo made || true"
    )
    return "made" not in host.sh(script)


def _made_by_hand(host: Any, table: str = "main") -> list[str]:
    """Return the routes of a table that the kernel did not make, without how the link is."""
    shown = ""
    for family in ("-4", "-6"):
        shown += host.sh(f"ip {family} route show table {table} 2>/dev/null || true", netns=C1)
    entries = shown.replace("\n\t", " ").splitlines()
    cleaned = [" ".join(entry.replace("linkdown", "").split()) for entry in entries]
    return sorted(entry for entry in cleaned if "proto kernel" not in entry)


# The messages


def test_pyroute2_reads_the_vrf_that_is_asked_for_and_ours_reads_what_it_writes():
    sent: list[Any] = []

    class Recorder(Netlink):
        def __init__(self) -> None:
            pass

        def request(
            self, kind: int, body: bytes, *, flags: int = 0, what: str = ""
        ) -> list[Message]:
            message = ifinfmsg(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
            message.decode()
            sent.append(message)
            return []

        def get(self, kind: int, body: bytes, *, flags: int = 0, what: str = "") -> Message:
            data = {"attrs": [["IFLA_VRF_TABLE", 70000]]}
            info = [["IFLA_INFO_KIND", "vrf"], ["IFLA_INFO_DATA", data]]
            answer = ifinfmsg()
            answer["attrs"] = [["IFLA_IFNAME", "red"], ["IFLA_LINKINFO", {"attrs": info}]]
            answer.encode()
            return Message(16, bytes(answer.data[16:]))

    virtual_links.add_vrf(Recorder(), NewLink(name="red"), table=70000)
    found = links.find(Recorder(), "red")

    [message] = sent
    assert message.get("IFLA_IFNAME") == "red"
    assert message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "vrf"
    assert message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VRF_TABLE") == 70000
    assert found is not None
    assert (found.kind, virtual_links.vrf_table(found)) == ("vrf", 70000)
    assert virtual_links.vrf_table(replace(found, kind="bridge")) == 0


# What is decided without a kernel


def test_the_first_table_that_no_vrf_has_is_taken_but_never_the_kernel_s():
    assert vrf.free_table([]) == 1
    assert vrf.free_table([0, 1, 2, 4]) == 3
    assert vrf.free_table(range(253)) == 256


def _address(text: str, flags: int = IFA_F_PERMANENT) -> Address:
    return Address(7, ip_interface(text), flags)


def test_lost_is_what_is_gone_and_nobody_makes_again():
    kept, gone, gone4 = _address("fd00::2/64"), _address("fd00::3/64"), _address("10.1.0.2/24")
    before = [
        kept,
        gone,
        gone4,
        _address("fe80::1/64"),  # the kernel makes it
        _address("fd00::4/64", 0),  # has a lifetime: a router made it
    ]

    assert belongings.lost(before, [replace(kept, flags=0)]) == [gone, gone4]
    assert belongings.lost(before, before) == []
    assert belongings.lost([kept], [_address("fd00::2/128")]) == [kept]


def test_an_address_is_made_again_as_it_was_asked_for_and_usable_at_once():
    flags = IFA_F_PERMANENT | IFA_F_TENTATIVE | 0x200  # noprefixroute

    assert belongings.flags_again(_address("fd00::2/64", flags)) == 0x200 | IFA_F_NODAD
    assert belongings.flags_again(_address("10.1.0.2/24", IFA_F_PERMANENT)) == 0


# Kernels without, and with


def test_a_kernel_without_is_named_in_the_error_and_all_stays_as_it_was(host):
    if not _lacks(host):
        pytest.skip("this kernel has vrf")
    before = (_made_by_hand(host), host.state(netns=C1))
    config = CONFIG | {"prevResult": _result()}

    assert host.call("ADD", config).refusal == (999, MISSING)
    assert host.call("STATUS", CONFIG).refusal == (50, MISSING)
    assert host.call("GC", CONFIG | {"cni.dev/valid-attachments": []}).result == {}
    assert host.call("DEL", config).result == {}
    assert (_made_by_hand(host), host.state(netns=C1)) == before


def test_a_kernel_with_adds_checks_and_deletes(host):
    if _lacks(host):
        pytest.skip("this kernel has no vrf (CONFIG_NET_VRF)")
    before = _made_by_hand(host)
    config = CONFIG | {"table": 1001, "prevResult": _result()}

    assert host.call("ADD", config).result == _result()

    assert _made_by_hand(host, "1001") == before
    assert host.addresses("eth0", netns=C1) == {"10.1.0.2/24", "fd00::2/64"}
    assert host.call("CHECK", config).result == {}
    assert host.call("DEL", config).result == {}
    assert "red" not in host.names(netns=C1)


@pytest.mark.parametrize(
    ("keys", "refusal"),
    [
        ({"vrfname": ""}, (7, "configuration is expected to have a valid vrf name")),
        ({"vrfname": "a/b"}, (7, 'vrfname "a/b": interface name contains / or : or whitespace')),
        ({"table": -1}, (7, "table must be between 0 and 4294967295, not -1")),
        ({"prevResult": None}, (7, "missing prevResult from earlier plugin")),
        ({"vrfname": "far"}, (999, "cmdAdd failed: far is not a VRF")),
    ],
)
def test_a_wrong_value_is_an_error(host, keys, refusal):
    code, message = host.call("ADD", CONFIG | {"prevResult": _result()} | keys).refusal

    assert (code, message[: len(refusal[1])]) == refusal


def test_delete_tolerates_whatever_is_gone(host):
    for netns in (None, "", "/run/netns/gone"):
        assert host.call("DEL", CONFIG, netns=netns).result == {}  # no VRF
        assert host.call("DEL", CONFIG | {"vrfname": "far"}, netns=netns).result == {}
        assert host.call("DEL", {"type": "vrf", "table": -1}, netns=netns).result == {}
    assert host.call("DEL", CONFIG | {"vrfname": "\ud800"}).result == {}
    assert host.names(netns=C1) == {"eth0", "far"}


def test_it_speaks_the_versions_that_the_reference_s_speaks(host):
    assert host.call("VERSION", CONFIG).result["supportedVersions"][0] == "0.3.1"


# The verbs, with a bridge in the place of the VRF


class Pretence:
    """A VRF that the kernel takes for a bridge, whose ports go down and up as a VRF's do."""

    def __init__(self, host: Any, patch: pytest.MonkeyPatch) -> None:
        self.host = host
        self.tables: dict[str, int] = {}
        self._link = links._link  # noqa: SLF001  what the kernel says,
        self._linkinfo = virtual_links._linkinfo  # noqa: SLF001  and what it is told
        self._set_master = links.set_master
        self._asked: list[int] = []
        patch.setattr(links, "_link", self._read)
        patch.setattr(virtual_links, "_linkinfo", self._sent)
        patch.setattr(links, "set_master", self._cycled)

    def _sent(self, kind: str, data: bytes) -> bytes:
        assert kind == "vrf"
        self._asked = list(struct.unpack("=HHI", data)[2:]) if data else []
        return self._linkinfo("bridge", b"")

    def _read(self, message: Any) -> links.Link:
        link = self._link(message)
        if link.kind != "bridge" or not (self._asked or link.name in self.tables):
            return link
        table = self.tables.setdefault(link.name, *self._asked)
        return replace(link, kind="vrf", data=struct.pack("=HHI", 8, 1, table))

    def _cycled(self, netlink: Netlink, index: int, master: int) -> None:
        self._set_master(netlink, index, master)
        link = links.at(netlink, index)
        if link is not None and link.up:
            links.set_up(netlink, index, up=False)
            links.set_up(netlink, index)

    def call(self, verb: str, **keys: Any) -> Any:
        """Run the plugin on a thread of the Node."""
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": C1,
            "CNI_IFNAME": str(keys.pop("ifname", "eth0")),
            "CNI_PATH": "/nowhere",
        }
        own = {"cniVersion": "1.1.0", "name": "demo", "prevResult": _result()} | CONFIG | keys
        stdin = json.dumps(own).encode()
        return self.host.node.run(respond, vrf.PLUGIN, environment, lambda: stdin)

    def refusal(self, verb: str, **keys: Any) -> str:
        """Return the message of the error that the plugin raises."""
        with pytest.raises(CniError) as caught:
            self.call(verb, **keys)
        return caught.value.msg


@pytest.fixture
def pretence(host: Any, monkeypatch: pytest.MonkeyPatch) -> Pretence:
    return Pretence(host, monkeypatch)


def _sysctl(host: Any, value: int) -> None:
    host.sh(f"sysctl -q -w net.ipv6.conf.eth0.keep_addr_on_down={value}", netns=C1)


@pytest.mark.parametrize("kept", [0, 1])
def test_addresses_and_routes_go_with_the_interface(pretence, kept):
    host = pretence.host
    _sysctl(host, kept)
    before = _made_by_hand(host)
    assert len(before) == 8

    assert pretence.call("ADD", table=1001) == _result()

    assert _made_by_hand(host, "1001") == before
    assert host.addresses("eth0", netns=C1) == {"10.1.0.2/24", "fd00::2/64"}
    [red] = host.ip("link show dev red", netns=C1)
    [eth0] = host.ip("link show dev eth0", netns=C1)
    assert ("UP" in red["flags"], eth0["master"]) == (True, "red")
    assert pretence.call("CHECK", table=1001) is None


def test_without_a_table_the_first_free_one_is_taken_and_a_second_interface_joins(pretence):
    host = pretence.host
    host.sh("ip link add eth1 type veth peer name far1; ip link set eth1 up", netns=C1)
    host.sh("ip link set far1 up; ip addr add 10.9.0.2/24 dev eth1", netns=C1)
    pretence.call("ADD", vrfname="blue", ifname="eth1")
    pretence.call("ADD")

    assert pretence.tables == {"blue": 1, "red": 2}
    message = pretence.refusal("ADD", vrfname="blue", table=7, ifname="far")
    assert message == "cmdAdd failed: VRF blue already exist with different routing table 1"
    pretence.call("ADD", vrfname="blue", ifname="far")
    for ifname, left in (("eth1", True), ("far", False)):
        pretence.call("DEL", vrfname="blue", ifname=ifname)
        assert ("blue" in host.names(netns=C1)) is left


def test_a_second_add_is_an_error_and_the_first_one_s_work_stays(pretence):
    pretence.call("ADD")

    message = pretence.refusal("ADD")

    assert message == "cmdAdd failed: interface eth0 has already a master set: red"
    assert pretence.call("CHECK") is None


def test_an_interface_that_is_missing_is_an_error_and_no_vrf_is_made(pretence):
    assert pretence.refusal("ADD", ifname="eth7") == 'cmdAdd failed: interface "eth7" not found'
    assert pretence.host.names(netns=C1) == {"eth0", "far"}


def test_what_fails_leaves_addresses_and_routes_where_they_were(pretence, monkeypatch):
    host = pretence.host
    _sysctl(host, 0)
    before = _made_by_hand(host)
    give_back = belongings.give_back

    def refuse(*args: Any, **kwargs: Any) -> None:
        if kwargs:  # with a table: the way in
            raise OSError(22, "Invalid argument")
        give_back(*args)

    monkeypatch.setattr(belongings, "give_back", refuse)

    assert pretence.refusal("ADD") == "cmdAdd failed: Invalid argument"

    assert _made_by_hand(host) == before
    assert host.addresses("eth0", netns=C1) == {"10.1.0.2/24", "fd00::2/64"}
    assert host.names(netns=C1) == {"eth0", "far"}


def test_delete_takes_it_out_and_may_be_repeated(pretence):
    pretence.call("ADD")

    for _ in range(2):
        assert pretence.call("DEL") is None
        assert pretence.host.names(netns=C1) == {"eth0", "far"}
    [eth0] = pretence.host.ip("link show dev eth0", netns=C1)
    assert "master" not in eth0


def test_delete_removes_the_vrf_of_an_interface_that_is_gone(pretence):
    """The reference fails."""
    pretence.call("ADD")
    pretence.host.sh("ip link del eth0", netns=C1)

    assert pretence.call("DEL") is None
    assert pretence.host.names(netns=C1) == set()


DRIFTS: dict[str, str] = {
    "ip link set eth0 nomaster": "eth0 is not in VRF red",
    "ip link set red down": "VRF red is down",
    "ip link del red": 'interface "red" not found',
    "ip link del eth0": "interface eth0 is gone",
    "ip addr del fd00::2/64 dev eth0": "Failed to match addr fd00::2/64",
    "ip route del 10.2.0.0/16 table 1": "Expected Route 10.2.0.0/16 via 10.1.0.3 not found",
    "ip route del default table 1": "Expected Route 0.0.0.0/0 via 10.1.0.1 not found",
}


@pytest.mark.parametrize("script", DRIFTS)
def test_check_notices(pretence, script):
    pretence.call("ADD")

    pretence.host.sh(script, netns=C1)

    assert DRIFTS[script] in pretence.refusal("CHECK")


def test_check_notices_another_table_and_needs_prev_result(pretence):
    pretence.call("ADD")

    message = "VRF red already exist with different routing table 1"
    assert pretence.refusal("CHECK", table=7) == message
    assert pretence.refusal("CHECK", prevResult=None) == "Required prevResult missing"
