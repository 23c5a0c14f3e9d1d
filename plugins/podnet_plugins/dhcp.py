"""dhcp: addresses from a DHCP server, leased and renewed by a daemon of this plugin's.

Keys and results are the reference's (containernetworking/plugins, ipam/dhcp).  Teardown does not
need the daemon: without one, DEL and GC find the leases on disk and release them themselves.
``dhcp daemon`` is the daemon.
"""

import sys
from pathlib import Path

from podnet.cni.errors import CniError, Code
from podnet.cni.result import Result
from podnet_plugins import dhcp_link, dhcp_protocol, room
from podnet_plugins.dhcp_actions import Timing
from podnet_plugins.dhcp_client import Client
from podnet_plugins.dhcp_config import DhcpConfig
from podnet_plugins.dhcp_lease import Holder, Lease
from podnet_plugins.dhcp_protocol import NoDaemonError
from podnet_plugins.dhcp_store import Record, Store, now
from podnet_plugins.skel import Call, Plugin, log, run


def _holder(call: Call) -> Holder:
    return Holder(call.network, call.container_id, call.ifname)


def add(call: Call) -> Result:
    """Have the daemon get a lease."""
    config = DhcpConfig.of(call)
    request = {
        "method": "allocate",
        "holder": _holder(call).to_wire(),
        "netns": call.netns,
        "wishes": config.wishes(call).to_wire(),
    }
    answer = dhcp_protocol.ask(config.daemon_socket_path, request)
    lease = Lease.from_wire(answer.child("lease") or answer)
    return lease.result(priority=config.priority)


def check(call: Call) -> None:
    """Check that the daemon has the lease and renews it, and that it is what ADD returned."""
    config, holder = DhcpConfig.of(call), _holder(call)
    request = {"method": "check", "holder": holder.to_wire(), "netns": call.netns}
    answer = dhcp_protocol.ask(config.daemon_socket_path, request)
    lease = Lease.from_wire(answer.child("lease") or answer)
    assigned = {ip.address for ip in call.prev_result.ips} if call.prev_result else {lease.address}
    if lease.address not in assigned:
        raise CniError(f"dhcp: the lease of {holder} is {lease.address}, which ADD did not return")


def delete(call: Call) -> None:
    """Have the daemon release the lease; there may be none, neither lease nor daemon."""
    config, holder = DhcpConfig.of(call), _holder(call)
    try:
        request = {"method": "release", "holder": holder.to_wire()}
        dhcp_protocol.ask(config.daemon_socket_path, request)
    except NoDaemonError as exc:
        store = Store(Path(config.daemon_socket_path))
        record = store.read(holder)
        log(f"dhcp: {exc.msg}; {'released without it' if record else 'no lease on disk either'}")
        if record:
            _release(store, record)


def gc(call: Call) -> None:
    """Have the daemon release the leases of every attachment that is not valid."""
    config = DhcpConfig.of(call)
    valid = {Holder(call.network, cid, ifname) for cid, ifname in call.valid_attachments}
    try:
        listed = [holder.to_wire() for holder in valid]
        request = {"method": "gc", "network": call.network, "valid": listed}
        dhcp_protocol.ask(config.daemon_socket_path, request)
    except NoDaemonError as exc:
        log(f"dhcp: {exc.msg}; stale leases are released without it")
        store = Store(Path(config.daemon_socket_path))
        for record in list(store.every()):
            if record.holder.network == call.network and record.holder not in valid:
                _release(store, record)


def _release(store: Store, record: Record) -> None:
    """Release a lease that no daemon looks after."""
    client = Client(record.holder, record.wishes, record.link.mac, Timing(), dhcp_link.chance)
    client.resume(record.lease, now())
    message = client.release()
    try:
        if message:
            dhcp_link.send_once(record.link, message)
    except OSError as exc:
        log(f"dhcp: the server keeps the lease of {record.holder} until it expires: {exc}")
    store.forget(record.holder)


def status(call: Call) -> None:
    """Say whether the daemon is there, and could write down a lease."""
    config = DhcpConfig.of(call)
    try:
        dhcp_protocol.ask(config.daemon_socket_path, {"method": "status"})
    except NoDaemonError as exc:
        raise CniError(exc.msg, exc.details, code=Code.NOT_AVAILABLE) from exc
    leases = Store(Path(config.daemon_socket_path)).directory
    try:
        room.require(leases)
    except OSError as exc:
        message = f"dhcp: leases cannot be written in {leases}: {exc.strerror}"
        raise CniError(message, code=Code.NOT_AVAILABLE) from exc


PLUGIN = Plugin(
    "dhcp",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    about="Leases an IPv4 address from a DHCP server; its daemon renews and releases it.",
    config=DhcpConfig,
    section="ipam",
)


def main() -> None:
    """Run the plugin, or its daemon."""
    if sys.argv[1:2] == ["daemon"]:
        from podnet_plugins import dhcp_daemon  # noqa: PLC0415  no plugin needs it

        dhcp_daemon.main(sys.argv[2:])
    run(PLUGIN)
