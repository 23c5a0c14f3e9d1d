"""flannel: a node's lease becomes another plugin's configuration, which is kept until DEL.

Every call is a process on a host in memory.  The delegates are podnet's or the reference's
bridge and host-local, or a script that keeps what it was told.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import podnet_plugins
from podnet_plugins import flannel_env

OURS = str(Path(podnet_plugins.__file__).parent / "bin")
THEIRS = "/usr/lib/cni"
ENV, DATA = "/run/flannel/subnet.env", "/var/lib/cni/flannel"
C1, C2 = "/run/netns/c1", "/run/netns/c2"
V4 = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.49.1/24\n"
V6 = "FLANNEL_IPV6_NETWORK=fd05::/56\nFLANNEL_IPV6_SUBNET=fd05:0:0:31::1/64\n"
REST = "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
NAMES = (
    *("FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK", "FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"),
    *("FLANNEL_MTU", "FLANNEL_IPMASQ"),
)
FLANNEL: dict[str, Any] = {"type": "flannel"}
POINTER = "Check the flannel pod log for this node."
# Keeps what it is told, says what it is asked to say; where there is a "fail-ADD", it fails.
SCRIPT = """#!/bin/sh
cd /run/script; cat > "told-$CNI_COMMAND"; echo "$CNI_COMMAND $CNI_IFNAME" >> calls
if [ -e "fail-$CNI_COMMAND" ]; then echo '{"code": 11, "msg": "not now", "details": "busy"}'; exit 1; fi
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.5.49.7/24"}]}'
"""


def _lease(host: Any, text: str = V4 + REST) -> None:
    host.sh(f"mkdir -p /run/flannel; cat > {ENV} <<'E'\n{text}E")


def _state(host: Any, directory: str = DATA) -> dict[str, str]:
    """Flannel's files, hidden ones too, with their contents; ours where flannel's is not."""
    listed = host.sh(f"find {directory} -type f -printf '%P\\n' 2>/dev/null || true").split()
    ours = (name.partition(":")[0].removeprefix(".podnet/") for name in listed)
    there = [
        name for name, own in zip(listed, ours, strict=True) if own == name or own not in listed
    ]
    return {name: host.sh(f"cat {directory}/{name}") for name in there}


def _script(host: Any, *failing: str, plugin: str = "bridge") -> None:
    """Put the script where plugins are looked for first, to fail on some verbs."""
    fail = " ".join(f"/run/script/fail-{verb}" for verb in failing)
    host.sh(
        f"mkdir -p /run/script; rm -f /run/script/fail-*; {f'touch {fail}' if fail else ':'}\n"
        f"cat > /run/script/{plugin} <<'E'\n{SCRIPT}E\nchmod +x /run/script/{plugin}"
    )


def _told(host: Any, verb: str) -> str:
    return str(host.sh(f"cat /run/script/told-{verb}"))


def _calls(host: Any) -> list[str]:
    return str(host.sh("cat /run/script/calls 2>/dev/null || true")).splitlines()


def _scripted(host: Any, verb: str, config: dict[str, Any], **more: Any) -> Any:
    return host.call(verb, {"cniVersion": "1.0.0"} | config, CNI_PATH="/run/script", **more)


@pytest.fixture
def host(host: Any) -> Any:
    """A host with two containers."""
    host.container("c1")
    host.container("c2")
    return host


# What the delegate is told


def test_the_delegate_and_the_state_get_flannels_bytes(host):
    _lease(host)
    _script(host)
    config = FLANNEL | {
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "delegate": {"isDefaultGateway": True, "hairpinMode": True},
        "ipam": {"routes": [{"dst": "192.168.0.0/24"}], "ranges": [[]], "dataDir": "/x"},
        "runtimeConfig": {"portMappings": []},
    }

    _scripted(host, "ADD", config)

    assert _told(host, "ADD") == (
        '{"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"dataDir":"/x",'
        '"ranges":[[{"subnet":"10.5.49.0/24"}]],"routes":[{"dst":"192.168.0.0/24"},'
        '{"dst":"10.5.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,'
        '"mtu":1450,"name":"cbr0","runtimeConfig":{"portMappings":[]},"type":"bridge"}'
    )
    assert _state(host) == {"c1": _told(host, "ADD")}
    assert host.sh(f"stat -c %a {DATA} {DATA}/c1") == "700\n600\n"


def test_dual_stack_and_every_network_become_ranges_and_routes(host):
    networks = V4.replace("/16\n", "/16,10.6.0.0/16\n")
    _lease(host, f"# by hand\n\nEXTRA\n{networks}{V6}FLANNEL_MTU=9000\nFLANNEL_IPMASQ=false\n")
    _script(host)

    _scripted(host, "ADD", FLANNEL)

    told = json.loads(_told(host, "ADD"))
    assert told == {
        "cniVersion": "1.0.0",
        "name": "demo",
        "type": "bridge",
        "isGateway": True,
        "ipMasq": True,
        "mtu": 9000,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.5.49.0/24"}], [{"subnet": "fd05:0:0:31::/64"}]],
            "routes": [{"dst": "10.5.0.0/16"}, {"dst": "10.6.0.0/16"}, {"dst": "fd05::/56"}],
        },
    }


def test_what_the_user_says_of_the_delegate_stands(host):
    _lease(host)
    _script(host, plugin="custom")
    delegate = {"type": "custom", "mtu": 1200, "ipMasq": True, "master": "eth0"}
    config = FLANNEL | {"delegate": delegate, "ipam": {"type": "static", "x": 1}}

    result = _scripted(host, "ADD", config | {"subnetFile": ENV, "dataDir": "/run/d"}).result

    told = json.loads(_told(host, "ADD"))
    assert {key: told[key] for key in delegate} == delegate
    assert "isGateway" not in told
    assert (told["ipam"]["type"], told["ipam"]["x"]) == ("static", 1)
    assert set(_state(host, "/run/d")) == {"c1"}
    assert result == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.5.49.7/24"}],
    }


# The whole life of an attachment, with real delegates


@pytest.mark.parametrize("delegates", [OURS, THEIRS], ids=["ours", "reference"])
def test_containers_live_on_the_lease_and_leave_nothing(host, delegates, debian_plugins):
    _lease(host, V4 + V6 + REST)
    config = FLANNEL | {"cniVersion": "1.0.0", "delegate": {"isDefaultGateway": True}}
    more = {"CNI_PATH": f"{delegates}:{OURS}:{debian_plugins}"}

    results = [host.call("ADD", config, cid=cid, **more).result for cid in ("c1", "c2")]

    assert host.addresses("eth0", netns=C1) == {"10.5.49.2/24", "fd05:0:0:31::2/64"}
    assert host.addresses("cni0") == {"10.5.49.1/24", "fd05:0:0:31::1/64"}
    assert host.sh("cat /sys/class/net/cni0/mtu") == "1450\n"
    [link] = host.ip("link show dev eth0", netns=C1)
    assert link["mtu"] == 1450
    routes = {route["dst"] for route in host.ip("route show", netns=C1)}
    assert routes >= {"default", "10.5.0.0/16"}
    for address in ("10.5.49.3", "fd05:0:0:31::3"):
        assert host.reaches(address, netns=C1)
    check = config | {"prevResult": results[0]}
    assert host.call("CHECK", check, **more).result == {}
    host.sh("ip link set eth0 mtu 1400; ip addr del 10.5.49.2/24 dev eth0", netns=C1)
    assert host.call("CHECK", check, **more).status == 1

    for cid in ("c1", "c2", "c1"):
        assert host.call("DEL", config, cid=cid, **more).result == {}
    assert host.names() == {"cni0"}
    assert host.names(netns=C1) == set()
    assert (host.leases(), _state(host)) == ({}, {})


def test_del_needs_no_lease_and_follows_the_one_of_add(host):
    _lease(host)
    for cid in ("c1", "c2"):
        assert host.call("ADD", FLANNEL, cid=cid).status == 0

    host.sh(f"rm {ENV}")
    assert host.call("DEL", FLANNEL).status == 0
    _lease(host, V4.replace(".49.", ".50.") + REST)
    assert host.call("DEL", FLANNEL | {"delegate": {"bridge": "other"}}, cid="c2").status == 0

    assert host.names() == {"cni0"}
    assert (host.leases(), _state(host)) == ({}, {})


def test_two_networks_of_one_container_have_a_directory_each(host):
    _lease(host)
    other = FLANNEL | {"name": "other", "dataDir": "/var/lib/cni/o", "delegate": {"bridge": "b2"}}
    assert host.call("ADD", FLANNEL).status == 0
    before = _state(host)

    refused = host.call("ADD", other | {"dataDir": DATA}, ifname="eth1")
    assert refused.refusal == (999, f"{DATA} has container c1 of network demo")
    assert (_state(host), host.names(netns=C1)) == (before, {"eth0"})

    assert host.call("ADD", other, ifname="eth1").status == 0
    assert host.names(netns=C1) == {"eth0", "eth1"}
    assert host.call("DEL", FLANNEL).status == 0
    assert (host.names(netns=C1), set(_state(host, "/var/lib/cni/o"))) == ({"eth1"}, {"c1"})
    assert host.call("DEL", other, ifname="eth1").status == 0
    assert (host.names(netns=C1), host.leases("other")) == (set(), {})


# Two interfaces of one container


def test_each_interface_of_a_container_is_deleted_as_it_was_added(host):
    _lease(host)
    second = FLANNEL | {"delegate": {"bridge": "b2"}}
    results = [host.call("ADD", FLANNEL).result, host.call("ADD", second, ifname="eth1").result]
    kept = _state(host)["c1"]
    assert json.loads(kept)["bridge"] == "b2"
    assert host.sh(f"stat -c %a {DATA}/.podnet {DATA}/.podnet/c1:eth0") == "700\n600\n"
    assert host.call("CHECK", FLANNEL | {"prevResult": results[0]}).status == 0

    for _ in range(2):
        assert host.call("DEL", second, ifname="eth1").status == 0
        assert host.names(netns=C1) == {"eth0"}
        assert "bridge" not in json.loads(_state(host)["c1"])
    assert host.call("CHECK", FLANNEL | {"prevResult": results[0]}).status == 0

    assert host.call("DEL", FLANNEL).status == 0
    assert (host.names(netns=C1), host.leases(), _state(host)) == (set(), {}, {})


def test_flannels_interface_and_ours_in_one_container_are_deleted_in_any_order(host):
    """What flannel wrote has no interface name: the container says which it can be."""
    _lease(host)
    assert host.call("ADD", FLANNEL).status == 0
    theirs = _state(host)["c1"]
    host.sh(f"rm -r {DATA}/.podnet")
    second = FLANNEL | {"delegate": {"bridge": "b2"}}
    assert host.call("ADD", second, ifname="eth1").status == 0

    for _ in range(2):
        assert host.call("DEL", second, ifname="eth1").status == 0
        assert _state(host) == {"c1": theirs}
    assert host.call("DEL", FLANNEL).status == 0
    assert (host.names(netns=C1), host.leases(), _state(host)) == (set(), {}, {})


def test_what_flannel_has_deleted_is_deleted_once_more_and_forgotten(host):
    _lease(host)
    _script(host)
    for ifname in ("eth0", "eth1"):
        _scripted(host, "ADD", FLANNEL, ifname=ifname)
    host.sh(f"rm {DATA}/c1")  # its DEL of either forgets both

    assert _scripted(host, "DEL", FLANNEL, ifname="eth1").status == 0
    assert set(_state(host)) == {"c1"}
    assert _scripted(host, "DEL", FLANNEL).status == 0

    assert _calls(host)[2:] == ["DEL eth1", "DEL eth0"]
    assert _state(host) == {}


# Failures


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, f"open {ENV}: no such file or directory"),
        (
            "",
            f"{ENV} is missing {', '.join(NAMES)}",
        ),
        (V4, f"{ENV} is missing FLANNEL_MTU, FLANNEL_IPMASQ"),
        (V4 + "FLANNEL_MTU\n", f'{ENV} has no "=" after FLANNEL_MTU in line 3'),
        (
            REST + "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.49.1\n",
            f"{ENV}: FLANNEL_SUBNET is not an address with a prefix: '10.5.49.1'",
        ),
        (
            REST + "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=fd05::1/64\n",
            f'{ENV}: FLANNEL_SUBNET must be of IPv4, not "fd05::1/64"',
        ),
        (
            V4 + "FLANNEL_MTU=big\nFLANNEL_IPMASQ=true\n",
            f'{ENV}: FLANNEL_MTU must be a number, not "big"',
        ),
        (
            V4 + "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=yes\n",
            f'{ENV}: FLANNEL_IPMASQ must be true or false, not "yes"',
        ),
    ],
    ids=["absent", "empty", "half", "no-equals", "no-prefix", "family", "mtu", "ipmasq"],
)
def test_what_is_wrong_with_a_lease_is_said_and_may_be_tried_again(tmp_path, text, reason):
    path = tmp_path / "subnet.env"
    if text is not None:
        path.write_text(text)

    with pytest.raises(flannel_env.SubnetEnvError) as caught:
        flannel_env.load(str(path))

    said = caught.value.msg.replace(str(path), ENV)
    assert said == f"failed to load flannel 'subnet.env' file: {reason}. {POINTER}"
    assert caught.value.code == 11


def test_a_lease_that_is_not_there_yet(host):
    reason = f"open {ENV}: no such file or directory"
    message = f"failed to load flannel 'subnet.env' file: {reason}. {POINTER}"

    assert host.call("ADD", FLANNEL).refusal == (11, message)
    assert host.call("STATUS", FLANNEL).refusal == (50, message)
    assert host.call("DEL", FLANNEL).status == 0
    assert host.call("GC", _gc()).status == 0
    _lease(host, V4)
    message = message.replace(reason, f"{ENV} is missing FLANNEL_MTU, FLANNEL_IPMASQ")
    assert host.call("STATUS", FLANNEL).refusal == (50, message)
    _lease(host)
    assert host.call("STATUS", FLANNEL).status == 0
    assert host.call("ADD", FLANNEL).status == 0
    host.sh(f"mount -t tmpfs -o ro none {DATA}")
    said = f"flannel's state cannot be written in {DATA}: Read-only file system"
    assert host.call("STATUS", FLANNEL).refusal == (50, said)


def test_a_configuration_that_cannot_be_is_refused_before_anything_is_kept(host):
    _lease(host)
    set_by_us = "'delegate' dictionary must not have '{}' field, it'll be set by flannel"
    no_type = "'delegate' dictionary, if present, must have (string) 'type' field"
    routes = "failed to assemble Delegate IPAM: failed to read IPAM routes: failed to parse"
    nowhere = 'failed to delegate add: failed to find plugin "nowhere" in path'
    for keys, code, message in (
        ({"delegate": {"name": "x"}}, 7, set_by_us.format("name")),
        ({"delegate": {"ipam": {}}}, 7, set_by_us.format("ipam")),
        ({"delegate": {"type": 5}}, 7, no_type),
        ({"delegate": {"type": None}}, 7, no_type),
        ({"delegate": []}, 6, "delegate must be an object"),
        ({"delegate": {"type": "nowhere"}}, 7, nowhere),
        ({"delegate": {"type": "../bridge"}}, 7, "failed to delegate add: invalid plugin name"),
        ({"ipam": {"routes": [{"dst": "x"}]}}, 7, f"{routes} ipam.routes: ipam.routes[0].dst"),
        ({"dataDir": "flannel"}, 7, 'dataDir must be an absolute path, not "flannel"'),
        ({"subnetFile": ""}, 7, 'subnetFile must be an absolute path, not ""'),
    ):
        said_code, said = host.call("ADD", FLANNEL | keys).refusal
        assert (said_code, str(said)[: len(message)]) == (code, message)
    refused = host.call("ADD", FLANNEL, cid="../c1", netns=C1)
    assert refused.refusal == (4, "invalid characters in containerID")
    assert _state(host) == {}


def test_an_add_that_fails_has_its_delegate_deleted_and_leaves_no_state(host):
    _lease(host)
    _script(host, "ADD")

    failed = _scripted(host, "ADD", FLANNEL)

    assert failed.refusal == (11, "failed to delegate add: not now; busy")
    assert _calls(host) == ["ADD eth0", "DEL eth0"]
    assert _told(host, "DEL") == _told(host, "ADD")
    assert _state(host) == {}


def test_an_interface_that_has_the_name_is_left_alone(host):
    _lease(host)
    host.sh("ip link add eth0 type bridge", netns=C1)

    refused = host.call("ADD", FLANNEL)

    assert 'container has an interface \\"eth0\\" already' in refused.stdout
    assert "eth0" in host.names(netns=C1)
    assert _state(host) == {}


def test_the_state_stays_until_the_delegates_del_has_succeeded(host):
    _lease(host)
    _script(host, "ADD", "DEL")
    assert _scripted(host, "ADD", FLANNEL).status == 1
    assert set(_state(host)) == {"c1"}

    for _ in range(2):
        assert _scripted(host, "DEL", FLANNEL).refusal == (11, "not now")
        assert set(_state(host)) == {"c1"}

    _script(host)
    assert _scripted(host, "DEL", FLANNEL).status == 0
    assert _told(host, "DEL") == _told(host, "ADD")
    assert _state(host) == {}
    before = _calls(host)
    assert _scripted(host, "DEL", FLANNEL).status == 0
    assert _calls(host) == before


def test_a_second_add_fails_and_takes_nothing_from_the_first(host):
    _lease(host)
    result = host.call("ADD", FLANNEL).result
    before = _state(host), host.leases()

    said = host.call("ADD", FLANNEL | {"delegate": {"hairpinMode": True}}).error["msg"]

    assert str(said).startswith("failed to delegate add: ")
    assert (_state(host), host.leases()) == before
    assert host.call("CHECK", FLANNEL | {"prevResult": result}).status == 0
    assert host.call("DEL", FLANNEL).status == 0
    assert (host.names(netns=C1), host.leases(), _state(host)) == (set(), {}, {})


@pytest.mark.parametrize("content", ["", '{"type":"bri', "[]", '{"name":"demo"}'])
def test_a_broken_state_is_said_and_replaced_by_what_the_delegate_would_be_told_now(host, content):
    _lease(host)
    assert host.call("ADD", FLANNEL).status == 0
    host.sh(f"printf %s '{content}' > {DATA}/c1; touch {DATA}/.c1.draft; rm {DATA}/.podnet/c1:*")

    done = host.call("DEL", FLANNEL)

    assert done.status == 0
    assert f"flannel: the state {DATA}/c1 is broken" in done.stderr
    assert (host.names(netns=C1), host.leases(), _state(host)) == (set(), {}, {})


def test_a_broken_state_without_a_lease_is_removed(host):
    host.sh(f"mkdir -p {DATA}; touch {DATA}/c1")

    done = host.call("DEL", FLANNEL)

    assert done.status == 0
    assert "no configuration for a delegate" in done.stderr
    assert _state(host) == {}


# CHECK


def test_check_sees_what_the_delegate_sees_and_a_lease_that_has_changed(host):
    _lease(host)
    missing = f"flannel's state {DATA}/c1 is missing"
    prev: dict[str, Any] = {"prevResult": {"cniVersion": "1.1.0"}}
    assert host.call("CHECK", FLANNEL | prev).refusal == (999, missing)
    prev = {"prevResult": host.call("ADD", FLANNEL).result}
    # What is said now must not matter: ADD was told something else.
    check = FLANNEL | prev | {"delegate": {"bridge": "other"}}
    assert host.call("CHECK", check).status == 0
    assert "prevResult" in str(host.call("CHECK", FLANNEL).error["msg"])

    host.sh("ip addr del 10.5.49.1/24 dev cni0")
    assert "10.5.49.1/24" in str(host.call("CHECK", check).error["msg"])
    host.sh("ip addr add 10.5.49.1/24 dev cni0")
    assert host.call("CHECK", check).status == 0

    _lease(host, V4.replace(".49.", ".50.") + REST)
    said = "the container is of subnet 10.5.49.0/24, and the node now leases 10.5.50.0/24"
    assert host.call("CHECK", check).refusal == (999, said)

    host.sh(f"rm {ENV}")
    done = host.call("CHECK", check)
    assert done.status == 0
    assert "the lease is not checked" in done.stderr

    host.sh(f": > {DATA}/c1")
    assert host.call("CHECK", check).refusal == (999, missing.replace("missing", "broken"))


# STATUS


def test_status_is_51_while_the_bridge_has_the_address_of_another_lease(host):
    _lease(host, V4 + V6 + REST)
    assert host.call("STATUS", FLANNEL).status == 0
    assert host.call("ADD", FLANNEL).status == 0
    assert host.call("STATUS", FLANNEL).status == 0

    _lease(host, V4.replace(".49.", ".50.") + V6 + REST)
    said = "cni0 has 10.5.49.1/24, and the node now leases 10.5.50.0/24"
    assert host.call("STATUS", FLANNEL).refusal == (51, said)
    assert host.call("ADD", FLANNEL, cid="c2").status == 1
    for elsewhere in ({"bridge": "b2"}, {"isGateway": False}):
        assert host.call("STATUS", FLANNEL | {"delegate": elsewhere}).status == 0

    _lease(host, V4 + V6.replace(":31:", ":32:") + REST)
    said = "cni0 has fd05:0:0:31::1/64, and the node now leases fd05:0:0:32::/64"
    assert host.call("STATUS", FLANNEL).refusal == (51, said)

    host.sh("ip link del cni0")
    assert host.call("STATUS", FLANNEL).status == 0


def test_status_is_what_the_delegate_says_if_it_can_tell(host):
    _lease(host)
    _script(host, "STATUS")
    config = FLANNEL | {"cniVersion": "1.1.0"}

    assert _scripted(host, "STATUS", config).refusal == (11, "not now")

    host.sh("""sed -i 's/"not now"/"unknown CNI_COMMAND: STATUS"/' /run/script/bridge""")
    assert _scripted(host, "STATUS", config).status == 0


# GC


def _gc(*valid: str, **keys: Any) -> dict[str, Any]:
    listed = [{"containerID": cid, "ifname": "eth0"} for cid in valid]
    return FLANNEL | {"cni.dev/valid-attachments": listed} | keys


@pytest.mark.parametrize("lease", [V4 + REST, V4.replace(".49.", ".50.") + REST, None])
def test_gc_removes_what_is_not_valid_with_any_lease(host, lease):
    _lease(host)
    results = [host.call("ADD", FLANNEL, cid=cid).result for cid in ("c1", "c2")]
    _lease(host, lease) if lease else host.sh(f"rm {ENV}")

    assert host.call("GC", _gc("c2")).status == 0

    assert set(_state(host)) == {"c2"}
    assert set(host.leases()) == {"10.5.49.3"}
    assert (host.names(netns=C1), host.names(netns=C2)) == (set(), {"eth0"})
    assert len(host.names()) == 2
    _lease(host)
    check = FLANNEL | {"prevResult": results[1]}
    assert host.call("CHECK", check, cid="c2").status == 0


def test_gc_forgets_one_of_two_interfaces(host):
    _lease(host)
    _script(host)
    for ifname in ("eth0", "eth1"):
        _scripted(host, "ADD", FLANNEL | {"delegate": {"for": ifname}}, ifname=ifname)

    assert _scripted(host, "GC", _gc("c1", cniVersion="1.1.0")).status == 0
    assert json.loads(_state(host)["c1"])["for"] == "eth0"
    assert _scripted(host, "GC", _gc(cniVersion="1.1.0")).status == 0
    assert _state(host) == {}


def test_gc_asks_every_delegate_there_was_and_leaves_other_networks_and_broken_files(host):
    _lease(host)
    _script(host)
    config = {"cniVersion": "1.1.0", "runtimeConfig": {"ips": []}}
    _scripted(host, "ADD", FLANNEL)
    _scripted(host, "ADD", FLANNEL | {"delegate": {"bridge": "before"}}, cid="c2")
    _scripted(host, "ADD", FLANNEL | {"name": "other"}, cid="c3", netns=C2)
    host.sh(f": > {DATA}/c4; : > /run/script/calls")

    _script(host, "GC")
    assert _scripted(host, "GC", _gc() | config).error["code"] == 11
    assert set(_state(host)) == {"c1", "c2", "c3", "c4"}
    _script(host)
    assert _scripted(host, "GC", _gc("c9") | config).status == 0

    assert set(_state(host)) == {"c3", "c4"}
    assert _calls(host) == ["GC eth0"] * 4
    told = json.loads(_told(host, "GC"))
    assert told["cni.dev/valid-attachments"] == [{"containerID": "c9", "ifname": "eth0"}]
    assert (told["cniVersion"], told["bridge"]) == ("1.1.0", "before")
    assert "runtimeConfig" not in told
