"""tuning: what it sets, keeps for DEL and puts back, and what others see of it.

Every call is a process on a host in memory, in a chain after bridge.
"""

import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.plugins import in_process

import podnet_plugins
from podnet.kernel import namespaces
from podnet_plugins import tuning

OURS = str(Path(podnet_plugins.__file__).parent / "bin")
THEIRS = "/usr/lib/cni"
NETNS = "/run/netns/c1"
BACKUP = "/run/cni/tuning/c1_eth0.json"
# Of a container's end: 1000, and 0 in the reference's older versions.
QUEUE = 0 if Path(THEIRS).is_dir() else 1000
IP_RECVTTL = 12  # linux/in.h
OLD_MAC, NEW_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
BRIDGE = {
    "type": "bridge",
    "bridge": "br0",
    "capabilities": {"mac": True},
    "runtimeConfig": {"mac": OLD_MAC},
    "ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24"}]},
}
ALL: dict[str, Any] = {
    "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net/core/somaxconn": "500"},
    "mac": NEW_MAC,
    "mtu": 1400,
    "promisc": True,
    "allmulti": True,
}
BEFORE = {
    "mac": OLD_MAC,
    "mtu": 1500,
    "flags": set(),
    "txqlen": QUEUE,
    "arp_filter": "0",
    "somaxconn": "4096",
}
AFTER = BEFORE | {
    "mac": NEW_MAC,
    "mtu": 1400,
    "flags": {"PROMISC", "ALLMULTI"},
    "arp_filter": "1",
    "somaxconn": "500",
}


def _bridged(host: Any, cid: str = "c1", *, ifname: str = "eth0", **keys: Any) -> Any:
    """A container on a bridge; the result that tuning is called with.

    The bridge is the reference's where there is one: it starts five times as fast.
    """
    host.container(cid)
    config = BRIDGE | {"cniVersion": "1.0.0"} | keys
    directory = THEIRS if Path(THEIRS).is_dir() else OURS
    return host.call("ADD", config, cid=cid, directory=directory, ifname=ifname).result


def _tuning(previous: Any, **keys: Any) -> dict[str, Any]:
    given = {"prevResult": previous} if previous else {}
    return {"type": "tuning"} | given | keys


def _state(host: Any) -> dict[str, Any]:
    """What tuning may have changed inside the container."""
    names = "/proc/sys/net/ipv4/conf/eth0/arp_filter /proc/sys/net/core/somaxconn"
    shown = host.sh(f"cat {names}; ip -j link show dev eth0", netns=NETNS)
    arp_filter, somaxconn, links = shown.split("\n", 2)
    [link] = json.loads(links)
    return {
        "mac": link["address"],
        "mtu": link["mtu"],
        "flags": {"PROMISC", "ALLMULTI"} & set(link["flags"]),
        "txqlen": link.get("txqlen", 0),
        "arp_filter": arp_filter,
        "somaxconn": somaxconn,
    }


def _backups(host: Any, directory: str = "/run/cni/tuning") -> dict[str, Any]:
    """The backup files, without the network that is in them."""
    shown = host.sh(f"cd {directory} 2>/dev/null && grep -H '' -r . || true")
    texts: dict[str, str] = {}
    for line in shown.splitlines():
        name, _, content = line.partition(":")
        texts[name.removeprefix("./")] = texts.get(name.removeprefix("./"), "") + content
    return {
        name: {k: v for k, v in json.loads(text).items() if k != "network"}
        for name, text in texts.items()
    }


# ADD


def test_everything_asked_for_is_set_and_what_was_before_is_kept(host):
    previous = _bridged(host)

    host.call("ADD", _tuning(previous, **ALL, txQLen=77))

    assert _state(host) == AFTER | {"txqlen": 77}
    assert _backups(host) == {
        "c1_eth0.json": {
            "mac": OLD_MAC,
            "mtu": 1500,
            "promisc": False,
            "allmulti": False,
            "txQLen": QUEUE,
            "sysctls": {"ipv4/conf/eth0/arp_filter": "0"} | SOMAXCONN["sysctls"],
        }
    }
    assert host.sh(f"stat -c %a {BACKUP}") == "600\n"


def test_others_see_the_address_and_the_sysctls_in_its_packets(host):
    """Its MAC in their neighbour tables, the default TTL in what they receive."""
    previous = _bridged(host)
    host.sh("ip addr add 10.1.0.1/24 dev br0")
    config = _tuning(previous, mac=NEW_MAC, sysctl={"net.ipv4.ip_default_ttl": "7"})
    assert host.call("ADD", config).status == 0

    def ttl() -> int:
        with socket.socket(type=socket.SOCK_DGRAM) as server:
            server.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            server.bind(("10.1.0.1", 0))
            server.settimeout(5)
            with namespaces.entered(NETNS), socket.socket(type=socket.SOCK_DGRAM) as client:
                client.sendto(b"hello", server.getsockname())
            _, [(_, _, value)], _, peer = server.recvmsg(16, 64)
            server.sendto(b"hello", peer)
        return int.from_bytes(value, "little")

    assert host.node.run(ttl) == 7
    assert f"lladdr {NEW_MAC}" in host.sh("ip neigh show 10.1.0.2")


SOMAXCONN = {"sysctls": {"core/somaxconn": "4096"}}


@pytest.mark.parametrize(
    ("keys", "changed", "backup"),
    [
        ({"mac": NEW_MAC}, {"mac": NEW_MAC}, {"mac": OLD_MAC}),
        ({"mac": "02-00-00-00-00-AB"}, {"mac": "02:00:00:00:00:ab"}, {"mac": OLD_MAC}),
        ({"mtu": 1300}, {"mtu": 1300}, {"mtu": 1500}),
        ({"promisc": True}, {"flags": {"PROMISC"}}, {"promisc": False}),
        ({"allmulti": True}, {"flags": {"ALLMULTI"}}, {"allmulti": False}),
        ({"allmulti": False}, {}, {"allmulti": False}),
        ({"txQLen": 55}, {"txqlen": 55}, {"txQLen": QUEUE}),
        ({"sysctl": {"net.core.somaxconn": "5"}}, {"somaxconn": "5"}, SOMAXCONN),
        ({"mtu": 0, "promisc": False, "mac": ""}, {}, None),
        ({}, {}, None),
    ],
)
def test_a_key_alone_changes_one_thing_and_del_brings_it_back(host, keys, changed, backup):
    config = _tuning(_bridged(host), **keys)

    host.call("ADD", config)
    added, kept = _state(host), _backups(host)
    assert host.call("CHECK", config).status == 0
    deleted = host.call("DEL", config)

    assert added == BEFORE | changed
    assert kept == ({"c1_eth0.json": backup} if backup else {})
    assert (deleted.status, deleted.stdout) == (0, "")
    assert _state(host) == BEFORE
    assert _backups(host) == {}


def test_the_result_passes_through_with_the_new_address(host):
    previous = _bridged(host)

    result = host.call("ADD", _tuning(previous, mac=NEW_MAC)).result

    *others, inside = previous["interfaces"]
    assert result["interfaces"] == [*others, inside | {"mac": NEW_MAC}]
    assert (result["ips"], result["cniVersion"]) == (previous["ips"], "1.1.0")


def test_the_result_says_the_new_mtu_so_that_the_check_of_the_plugin_before_knows_it(host):
    previous = _bridged(host, mtu=1450)

    result = host.call("ADD", _tuning(previous, mtu=1400)).result

    assert result["interfaces"][2]["mtu"] == 1400
    assert "mtu" not in result["interfaces"][0]
    checked = BRIDGE | {"mtu": 1450, "prevResult": result}
    assert host.call("CHECK", checked).result == {}
    host.sh("ip link set eth0 mtu 1450", netns=NETNS)
    assert "has MTU 1450, not 1400" in host.call("CHECK", checked).stdout


def test_a_result_of_an_older_version_does_not_say_the_mtu(host):
    previous = _bridged(host) | {"cniVersion": "1.0.0"}

    result = host.call("ADD", _tuning(previous, mtu=1400) | {"cniVersion": "1.0.0"}).result

    assert "mtu" not in result["interfaces"][2]


def test_an_interface_of_the_host_with_the_same_name_keeps_its_address(host):
    previous = _bridged(host)
    previous["interfaces"][0] = {"name": "eth0", "mac": "02:00:00:00:00:99"}

    result = host.call("ADD", _tuning(previous, mac=NEW_MAC)).result

    assert [one["mac"] for one in result["interfaces"]][::2] == ["02:00:00:00:00:99", NEW_MAC]


def test_the_address_is_the_last_of_config_args_capability_and_args_cni(host):
    previous = _bridged(host)
    macs = [f"02:00:00:00:01:0{number}" for number in range(4)]
    config = _tuning(previous, mac=macs[0])
    seen = []

    def add(**more: Any) -> None:
        assert host.call("ADD", config, **more).status == 0
        seen.append(_state(host)["mac"])

    add()
    add(CNI_ARGS=f"MAC={macs[1]}")
    config["runtimeConfig"] = {"mac": macs[2]}
    add(CNI_ARGS=f"MAC={macs[1]}")
    config["args"] = {"cni": {"mac": macs[3]}}
    add(CNI_ARGS=f"IgnoreUnknown=1;FOO=1;MAC={macs[1]}")

    assert seen == macs


def test_args_cni_may_say_everything_and_wins(host):
    """The reference crashes where the configuration has no sysctl of its own."""
    asked = {**ALL, "txQLen": 5}
    config = _tuning(_bridged(host), mtu=1200, args={"cni": asked})

    assert host.call("ADD", config).status == 0

    assert _state(host) == AFTER | {"txqlen": 5}


def test_an_interface_name_with_dots_is_one_part_of_a_sysctl(host):
    previous = _bridged(host, ifname="eth0.5")
    config = _tuning(previous, sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1"})

    assert host.call("ADD", config, ifname="eth0.5").status == 0

    assert host.sh("cat /proc/sys/net/ipv4/conf/eth0.5/arp_filter", netns=NETNS) == "1\n"
    assert host.call("CHECK", config, ifname="eth0.5").status == 0


def test_a_second_add_does_not_forget_what_was_before_the_first(host):
    """The reference saves its own changes then, and DEL brings nothing back."""
    previous = _bridged(host)

    for mtu in (1400, 1300):
        host.call("ADD", _tuning(previous, mtu=mtu))
    host.call("ADD", _tuning(previous, promisc=True))
    host.call("DEL", _tuning(previous, mtu=1300))

    assert _state(host) == BEFORE


def test_the_data_directory_may_be_another(host):
    config = _tuning(_bridged(host), mtu=1400, dataDir="/run/elsewhere/deep")

    host.call("ADD", config)
    assert _backups(host, "/run/elsewhere/deep") == {"c1_eth0.json": {"mtu": 1500}}
    assert _backups(host) == {}
    host.call("DEL", config)

    assert _state(host) == BEFORE
    assert _backups(host, "/run/elsewhere/deep") == {}


# Refusals


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sysctl": {"kernel.hostname": "x"}}, 'invalid net sysctl key: "kernel.hostname"'),
        ({"sysctl": {"net": "x"}}, 'invalid net sysctl key: "net"'),
        (
            {"sysctl": {"net/../kernel/hostname": "x"}},
            'invalid net sysctl key: "net/../kernel/hostname"',
        ),
        (
            {"sysctl": {"net.ipv4.nonsense": "1"}},
            "open /proc/sys/net/ipv4/nonsense: no such file or directory",
        ),
        (
            {"sysctl": {"net.ipv4.ip_forward": "abc"}},
            "write /proc/sys/net/ipv4/ip_forward: invalid argument",
        ),
        (
            {"sysctl": {"net.core.somaxconn": "1", "net/core/somaxconn": "2"}},
            "duplicated sysctl keys are not allowed",
        ),
        ({"mac": "zz"}, "invalid args zz for MAC addr: address zz: invalid MAC address"),
        ({"mtu": -1}, "mtu must be at least 0, not -1"),
        ({"mtu": "1400"}, 'mtu must be a whole number, not "1400"'),
        ({"prevResult": None}, "Required prevResult missing"),
        ({"args": {"cni": {"txQLen": -1}}}, "args.cni.txQLen must be at least 0, not -1"),
    ],
)
def test_what_cannot_be_set_is_refused_in_a_sentence(host, keys, message):
    config = _tuning(_bridged(host), mtu=1400) | keys

    assert host.call("ADD", config).error["msg"] == message

    assert _state(host) == BEFORE
    assert _backups(host) == {}


@pytest.mark.parametrize("directory", ["a\0b", "\ud800"])
def test_a_directory_that_cannot_be_is_refused_and_has_nothing_to_delete(node, directory):
    config = {"dataDir": directory, "mtu": 1400, "prevResult": {"cniVersion": "1.1.0"}}
    respond = partial(in_process.respond, node, tuning.PLUGIN)

    assert respond("ADD", config | {"cniVersion": "1.1.0"}).startswith("dataDir has ")
    assert respond("DEL", config) == ""
    assert respond("GC", config | {"cniVersion": "1.1.0"}) == ""


def test_a_sysctl_said_twice_is_refused(host):
    config = json.dumps(_tuning(_bridged(host)) | {"cniVersion": "1.1.0", "name": "demo"})
    twice = '"sysctl": {"net.core.somaxconn": "1", "net.core.somaxconn": "2"}'
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": NETNS,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": OURS,
    }

    answer = host.run("tuning", f"{config[:-1]}, {twice}}}", environment)

    assert answer.error["msg"] == "duplicated sysctl keys are not allowed"


def test_unknown_cni_args_are_refused(host):
    answer = host.call("ADD", _tuning(_bridged(host)), CNI_ARGS="FOO=1")

    assert answer.refusal == (4, 'ARGS: unknown args ["FOO=1"]')


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        (r"^net.core.[a-z]+$" + "\n\n" + r"^net\.ipv4\.conf\.IFNAME\.", False),
        (r"^net\.core\.[a-z]+$", True),
        ("", True),
    ],
)
def test_an_administrator_s_list_says_which_sysctls_are_allowed(host, allowed, refused):
    host.sh(f"mkdir -p /etc/cni/tuning; echo '{allowed}' > /etc/cni/tuning/allowlist.conf")
    answer = host.call("ADD", _tuning(_bridged(host), **ALL))

    if refused:
        listed = " ".join(allowed.split())
        assert answer.error["msg"] == (
            "Sysctl net.ipv4.conf.IFNAME.arp_filter is not allowed. "
            f"Only the following sysctls are allowed: [{listed}]"
        )
        assert _state(host) == BEFORE
    else:
        assert _state(host) == AFTER
    assert host.call("STATUS", {"type": "tuning", **ALL}).status == int(refused)


def test_a_list_that_is_no_regular_expression_is_said(host):
    host.sh("mkdir -p /etc/cni/tuning; echo 'net.*[' > /etc/cni/tuning/allowlist.conf")

    error = host.call("ADD", _tuning(_bridged(host), **ALL)).error

    assert error["msg"].startswith("/etc/cni/tuning/allowlist.conf: ")
    assert error["details"] == "in the line 'net.*['"


@pytest.mark.parametrize(
    "bad",
    [{"mtu": 70000}, {"mac": "01:00:00:00:00:01"}, {"dataDir": "/proc/nowhere"}],
)
def test_a_failed_add_puts_everything_back(host, bad):
    config = _tuning(_bridged(host), **ALL | bad)

    assert host.call("ADD", config).status == 1

    assert _state(host) == BEFORE
    assert _backups(host) == {}


def test_a_failed_second_add_leaves_the_first(host):
    previous = _bridged(host)
    host.call("ADD", _tuning(previous, **ALL))

    assert host.call("ADD", _tuning(previous, promisc=True, mtu=70000)).status == 1

    assert _state(host) == AFTER
    host.call("DEL", _tuning(previous, **ALL))
    assert _state(host) == BEFORE


def test_no_interface_is_an_error(host):
    config = _tuning(_bridged(host), mtu=1400)

    error = host.call("ADD", config, ifname="eth9").error

    assert error["msg"] == 'failed to get "eth9": Link not found'
    assert host.call("ADD", config, netns="/run/netns/none").refusal[0] == 8


# CHECK

DRIFTS: dict[str, tuple[str, str]] = {
    "mac": ("ip link set eth0 address 02:00:00:00:00:09", f"Ethernet of eth0 is {NEW_MAC}, "),
    "mtu": ("ip link set eth0 mtu 1499", "MTU of eth0 is 1400, current value is 1499"),
    "promisc": ("ip link set eth0 promisc off", "promisc is true, current value is false"),
    "allmulti": ("ip link set eth0 allmulticast off", "is true, current value is false"),
    "txqlen": ("ip link set eth0 txqueuelen 5", "Queue Length of eth0 is 77, current value is 5"),
    "sysctl": (
        "sysctl -qw net.core.somaxconn=9",
        "value of /proc/sys/net/core/somaxconn is 500, current value is 9",
    ),
    "ifname": (
        "sysctl -qw net.ipv4.conf.eth0.arp_filter=0",
        "value of /proc/sys/net/ipv4/conf/eth0/arp_filter is 1, current value is 0",
    ),
    "link": ("ip link delete eth0", 'failed to get "eth0": Link not found'),
    "backup": (f"rm {BACKUP}", f"Error: Tuning has lost its backup {BACKUP}"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_check_notices_what_is_not_as_add_left_it(host, drift):
    script, message = DRIFTS[drift]
    sysctls = {"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1"}
    if drift == "link":
        sysctls = {}
    config = _tuning(_bridged(host), **ALL | {"txQLen": 77, "sysctl": sysctls})
    host.call("ADD", config)
    assert host.call("CHECK", config).status == 0

    host.sh(script, netns=NETNS)

    assert message in host.call("CHECK", config).error["msg"]


def test_check_knows_a_value_that_the_kernel_prints_otherwise(host):
    sysctls = {"net.ipv4.ip_local_port_range": "1025 60000", "net.core.somaxconn": "0x10"}
    config = _tuning(_bridged(host), sysctl=sysctls)
    assert host.call("ADD", config).status == 0

    assert host.call("CHECK", config).status == 0


def test_check_lets_a_container_listen_to_everything_by_itself(host):
    """Somebody runs tcpdump; the reference calls that a change of its own."""
    config = _tuning(_bridged(host), mtu=1400)
    host.call("ADD", config)

    host.sh("ip link set eth0 promisc on", netns=NETNS)

    assert host.call("CHECK", config).status == 0


def test_check_needs_a_result(host):
    _bridged(host)

    assert host.call("CHECK", _tuning(None)).error["msg"] == "Required prevResult missing"


# DEL


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_del_without_a_namespace_removes_the_backup(host, netns):
    """The reference leaves it for ever."""
    config = _tuning(_bridged(host), **ALL)
    host.call("ADD", config)

    for _ in range(2):
        assert host.call("DEL", config, netns=netns).status == 0

    assert _backups(host) == {}
    assert _state(host) == AFTER


def test_del_without_a_result_or_a_link_is_fine(host):
    previous = _bridged(host)
    host.call("ADD", _tuning(previous, **ALL))

    assert host.call("DEL", _tuning(None)).status == 0
    assert _state(host) == BEFORE
    host.call("ADD", _tuning(previous, **ALL))
    host.sh("ip link delete eth0", netns=NETNS)
    assert host.call("DEL", _tuning(previous, **ALL)).status == 0

    assert _backups(host) == {}


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"mtu": "1500"}'])
def test_del_survives_a_backup_that_cannot_be_read(host, content):
    config = _tuning(_bridged(host), mtu=1400)
    host.call("ADD", config)
    host.sh(f"echo '{content}' > {BACKUP}")

    assert host.call("DEL", config).status == 0

    assert _backups(host) == {}


def test_del_puts_back_what_it_can(host):
    previous = _bridged(host)
    host.call("ADD", _tuning(previous, **ALL))
    host.sh(f"""echo '{{"mac": "nonsense", "mtu": 99999999, "promisc": false}}' > {BACKUP}""")

    assert host.call("DEL", _tuning(previous, **ALL)).status == 0

    assert _state(host)["flags"] == {"ALLMULTI"}


# GC and STATUS


def test_gc_removes_the_backups_of_this_network_s_stale_attachments(host):
    for cid in ("c1", "c2", "c3"):
        name = "other" if cid == "c3" else "demo"
        previous = _bridged(host, cid, name=name)
        host.call("ADD", _tuning(previous, mtu=1400, name=name), cid=cid)
    host.sh("echo '{\"mtu\": 1500}' > /run/cni/tuning/theirs_eth0.json")
    valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth1"}]

    assert host.call("GC", _tuning(None) | {"cni.dev/valid-attachments": valid}).status == 0

    assert set(_backups(host)) == {"c1_eth0.json", "c3_eth0.json", "theirs_eth0.json"}


def test_gc_without_a_backup_is_fine(host):
    config = {"type": "tuning", "dataDir": "/run/none", "cni.dev/valid-attachments": []}

    assert host.call("GC", config).status == 0


def test_status_says_50_when_no_add_could_succeed(host):
    assert host.call("STATUS", {"type": "tuning", **ALL}).status == 0

    refused = host.call("STATUS", {"type": "tuning", "sysctl": {"kernel.hostname": "x"}})

    assert refused.refusal == (50, 'invalid net sysctl key: "kernel.hostname"')
