"""A store that flannel's daemons write to: our manager joins it, and says nothing that they would not say."""

import json
import signal
from base64 import b64decode, b64encode
from ipaddress import IPv4Address
from typing import Any

import pytest

from podnet_manager.lease import Attributes, Subnets

pytestmark = pytest.mark.root

PREFIX = "/coreos.com/network"
NETWORK = {"Network": "10.5.0.0/16"}
DUAL = NETWORK | {"EnableIPv6": True, "IPv6Network": "fd00:5::/48"}
TLS = {"ca": "ca.crt", "cert": "client.crt", "key": "client.key"}
PEER_MAC, PEER_V6_MAC = "7a:2f:6b:d1:29:01", "7a:2f:6b:d1:29:06"


def text(value: str) -> str:
    return b64encode(value.encode()).decode()


def put(server: Any, key: str, value: str, *, lasting: bool = False) -> None:
    """Write as flannel's daemons do: under a lease of a day."""
    lease = "0" if lasting else server.ask("/v3/lease/grant", {"TTL": "86400"})["ID"]
    body = {"key": text(f"{PREFIX}/{key}"), "value": text(value), "lease": lease}
    assert "header" in server.ask("/v3/kv/put", body)


def delete(server: Any, key: str) -> None:
    assert "header" in server.ask("/v3/kv/deleterange", {"key": text(f"{PREFIX}/{key}")})


def written(server: Any) -> dict[str, str]:
    """Return what is below "subnets" in etcd."""
    start = f"{PREFIX}/subnets/"
    asked = {"key": text(start), "range_end": text(f"{PREFIX}/subnets0")}
    return {
        b64decode(kv["key"]).decode().removeprefix(start): b64decode(kv["value"]).decode()
        for kv in server.ask("/v3/kv/range", asked).get("kvs", [])
    }


def start(server: Any, machine: Any, options: list[str], conf: dict[str, object]) -> None:
    """Start a manager on what flannel has configured."""
    put(server, "config", json.dumps(conf), lasting=True)
    machine.start(*options)


def shown(machine: Any, command: str) -> list[str]:
    return sorted(" ".join(line.split()) for line in machine.sh(command).splitlines())


def test_a_vxlan_network_of_flannel_s_is_joined(rack, etcd_server, until) -> None:
    """The entries are those that flanneld sets for these leases, and only the routes are marked."""
    server, options = etcd_server
    machine = rack.machine()
    here = f"10.99.0.{machine.number}"
    put(server, "subnets/10.5.49.0-24", (  # its own, of a flanneld that ran here before
        f'{{"PublicIP":"{here}","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"86:b9:6b:d1:29:7c"}}'
    ))  # fmt: skip
    put(server, "subnets/10.5.43.0-24", (
        '{"PublicIP":"10.99.0.7","PublicIPv6":null,"BackendType":"vxlan",'
        f'"BackendData":{{"VNI":1,"VtepMAC":"{PEER_MAC}"}}}}'
    ))  # fmt: skip
    put(server, "subnets/10.5.44.0-24", (  # as flannel 0.13 wrote
        '{"PublicIP":"10.99.0.4","BackendType":"vxlan","BackendData":{"VtepMAC":"7a:00:00:00:00:04"}}'
    ))  # fmt: skip
    put(server, "subnets/10.5.45.0-24", '{"PublicIP":"10.99.0.5","BackendType":"host-gw"}')

    start(server, machine, options, NETWORK | {"Backend": {"Type": "vxlan"}})
    until(machine.is_ready, "ready")

    assert machine.subnet() == "10.5.49.0/24"
    assert shown(machine, "ip route show table main dev flannel.1") == [
        "10.5.43.0/24 via 10.5.43.0 proto 109 onlink",
        "10.5.44.0/24 via 10.5.44.0 proto 109 onlink",
    ]
    assert shown(machine, "ip neigh show dev flannel.1") == [
        f"10.5.43.0 lladdr {PEER_MAC} PERMANENT",
        "10.5.44.0 lladdr 7a:00:00:00:00:04 PERMANENT",
    ]
    assert shown(machine, "bridge fdb show dev flannel.1") == [
        "7a:00:00:00:00:04 dst 10.99.0.4 self permanent",
        f"{PEER_MAC} dst 10.99.0.7 self permanent",
    ]
    assert 'skipped a peer lease="10.5.45.0/24 of 10.99.0.5"' in machine.log
    assert written(server)["10.5.49.0-24"] == (
        f'{{"PublicIP":"{here}","PublicIPv6":null,"BackendType":"vxlan",'
        f'"BackendData":{{"VNI":1,"VtepMAC":"{machine.mac("flannel.1")}"}}}}'
    )
    delete(server, "subnets/10.5.43.0-24")
    until(lambda: machine.routes().keys() == {"10.5.44.0/24"}, "a peer that leaves is gone")
    assert PEER_MAC not in str(machine.overlay())


def test_a_host_gw_network_of_flannel_s_is_joined(rack, etcd_server, until) -> None:
    server, options = etcd_server
    machine = rack.machine()
    theirs = '{"PublicIP":"10.99.0.7","PublicIPv6":null,"BackendType":"host-gw"}'
    put(server, "subnets/10.5.43.0-24", theirs)

    start(server, machine, options, NETWORK | {"Backend": {"Type": "host-gw"}})
    until(machine.is_ready, "ready")

    assert machine.routes() == {"10.5.43.0/24": "10.99.0.7 eth0"}
    ours = machine.subnet().replace("/", "-")
    said = f'{{"PublicIP":"10.99.0.{machine.number}","PublicIPv6":null,"BackendType":"host-gw"}}'
    assert written(server) == {"10.5.43.0-24": theirs, ours: said}


def test_a_dual_stack_network_of_flannel_s_is_joined(rack, etcd_server, until) -> None:
    server, options = etcd_server
    machine = rack.machine()
    theirs = "10.5.21.0-24&fd00:5:0:55::-64"
    put(server, f"subnets/{theirs}", (
        '{"PublicIP":"10.99.0.7","PublicIPv6":"fd99::7","BackendType":"vxlan",'
        f'"BackendData":{{"VNI":7,"VtepMAC":"{PEER_MAC}"}},'
        f'"BackendV6Data":{{"VNI":7,"VtepMAC":"{PEER_V6_MAC}"}}}}'
    ))  # fmt: skip

    start(server, machine, options, DUAL | {"Backend": {"Type": "vxlan", "VNI": 7}})
    until(machine.is_ready, "ready")

    assert shown(machine, "ip -6 route show proto 109") == [
        "fd00:5:0:55::/64 via fd00:5:0:55:: dev flannel-v6.7 metric 1024 onlink pref medium"
    ]
    assert shown(machine, "ip -6 neigh show nud permanent dev flannel-v6.7") == [
        f"fd00:5:0:55:: lladdr {PEER_V6_MAC} PERMANENT"
    ]
    assert shown(machine, "bridge fdb show dev flannel-v6.7") == [
        f"{PEER_V6_MAC} dst fd99::7 self permanent"
    ]
    [(key, value)] = [(k, v) for k, v in written(server).items() if k != theirs]
    assert "&fd00:5:0:" in key
    number = machine.number
    assert value == (
        f'{{"PublicIP":"10.99.0.{number}","PublicIPv6":"fd99::{number}","BackendType":"vxlan",'
        f'"BackendData":{{"VNI":7,"VtepMAC":"{machine.mac("flannel.7")}"}},'
        f'"BackendV6Data":{{"VNI":7,"VtepMAC":"{machine.mac("flannel-v6.7")}"}}}}'
    )


def test_a_flanneld_with_our_address_is_named_and_no_fight_begins(rack, etcd_server, until) -> None:
    """It cannot be told from a flanneld that runs here; what can be told is that it wrote."""
    server, options = etcd_server
    machine = rack.machine()
    start(server, machine, options, NETWORK | {"Backend": {"Type": "vxlan"}})
    until(machine.is_ready, "ready")
    key = machine.subnet().replace("/", "-")

    put(server, f"subnets/{key}", (
        f'{{"PublicIP":"10.99.0.{machine.number}","PublicIPv6":null,"BackendType":"vxlan",'
        f'"BackendData":{{"VNI":1,"VtepMAC":"{PEER_MAC}"}}}}'
    ))  # fmt: skip

    until(lambda: "same public address has written it anew" in machine.log, "it is said")
    until(lambda: machine.is_ready() and PEER_MAC not in written(server)[key], "it is taken back")
    assert machine.log.count("lost the lease") == 1


def test_etcd_lets_in_who_shows_a_certificate_and_knows_the_password(
    rack, servers, certificates, until
) -> None:
    machine, files = rack.machine(), certificates
    server = servers(
        machine.node,
        scheme="https",
        options=(
            *("--client-cert-auth", f"--trusted-ca-file={files / 'ca.crt'}"),
            *(f"--cert-file={files / 'server.crt'}", f"--key-file={files / 'server.key'}"),
        ),
    )
    with_tls = {name: files / f"{end}" for name, end in TLS.items()}
    store = server.store(**with_tls)
    store.set_config(json.dumps(NETWORK | {"Backend": {"Type": "host-gw"}}).encode())
    options = ["--etcd-endpoints", server.url]

    machine.start(*options)
    until(lambda: "certificate verify failed" in machine.ask("/readyz")[1], "it is not believed")
    machine.stop()
    for option, path in zip(("ca", "cert", "key"), with_tls.values(), strict=True):
        options += [f"--etcd-{option}file", str(path)]
    machine.start(*options)

    until(machine.is_ready, "it is let in")
    assert [str(lease.subnets) for lease in store.snapshot().leases] == [machine.subnet()]


def test_a_name_and_a_password_are_what_etcd_asks_for(rack, etcd_server, until) -> None:
    server, options = etcd_server
    put(server, "config", json.dumps(NETWORK | {"Backend": {"Type": "host-gw"}}), lasting=True)
    server.enable_authentication()
    machine = rack.machine()
    options += ["--etcd-username", "flannel"]

    machine.start(*options, PODNET_ETCD_PASSWORD="wrong")  # noqa: S106
    until(lambda: "authentication failed" in machine.ask("/readyz")[1], "a wrong one is refused")
    machine.stop()
    machine.start(*options, PODNET_ETCD_PASSWORD="secret")  # noqa: S106

    until(machine.is_ready, "the right one is not")
    server.kill()
    server.start()
    store = server.store(user="flannel", password="secret")  # noqa: S106
    peer = Attributes(public_ip=IPv4Address("10.99.0.7"), backend_type="host-gw")
    assert store.create(Subnets.from_key("10.5.43.0-24"), peer, ttl=1000)
    until(lambda: "10.5.43.0/24" in machine.routes(), "it is listened to after a restart, too")
    assert "secret" not in machine.log


def test_a_compaction_while_etcd_was_away_is_caught_up_with(rack, etcd_server, until) -> None:
    """Flannel took its own subnet for a peer's that had gone, or never found back at all."""
    server, options = etcd_server
    one, two = rack.up(2, NETWORK | {"Backend": {"Type": "host-gw"}}, *options)
    own, gone = one.subnet(), two.subnet()
    two.stop(signal.SIGKILL)
    one.process.send_signal(signal.SIGSTOP)
    server.kill()
    server.start()
    delete(server, f"subnets/{gone.replace('/', '-')}")
    put(server, "subnets/10.5.43.0-24", '{"PublicIP":"10.99.0.7","BackendType":"host-gw"}')
    revision = server.ask("/v3/kv/range", {"key": text("x")})["header"]["revision"]
    server.ask("/v3/kv/compaction", {"revision": revision})

    one.process.send_signal(signal.SIGCONT)

    until(lambda: one.routes() == {"10.5.43.0/24": "10.99.0.7 eth0"}, "what is true is there")
    assert one.is_ready()
    assert one.subnet() == own
    assert "lost" not in one.log
