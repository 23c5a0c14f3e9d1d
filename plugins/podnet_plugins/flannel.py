"""flannel: have another plugin, a bridge by default, attach containers to this node's lease.

Keys, the delegate's configuration, the state file and messages are flannel's (its CNI
plugin, 1.9).  Where it forgets or does not look, this one does: the state stays until the delegate's
DEL has succeeded, a failed ADD leaves none, a container's interfaces are told apart, CHECK, GC
and STATUS are real.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from podnet.cni.errors import CniError, Code
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.kernel import links
from podnet.kernel.netlink import Netlink
from podnet_plugins import container, delegate, flannel_env, flannel_kept, flannel_lease, room
from podnet_plugins.flannel_config import Delegated, FlannelConfig
from podnet_plugins.flannel_env import SubnetEnvError
from podnet_plugins.skel import Call, Plugin, log, run


def add(call: Call) -> Result:
    """Keep what the delegate is told, then tell it."""
    config = FlannelConfig.of(call)
    told = Delegated.of(call, config, flannel_env.load(config.subnet_file))
    before = _own(call, config)
    with _naming_add():
        delegate.find(told.type, call.path)
        others = _others(call)
    flannel_kept.keep(config.data_dir, call.container_id, call.ifname, told, others)
    try:
        with _naming_add():
            answer = delegate.run(told.asked_by(call), Verb.ADD, told.type)
            return Result.from_wire(answer, default_version=call.cni_version)
    except Exception:
        _take_back(call, config, told, before)
        raise


def _others(call: Call) -> list[str]:
    """Return the interfaces that the container has already, and refuse a name that is taken.

    Undoing an ADD that failed would remove what has it.

    Raises:
        CniError: The container has an interface of that name, or there is no container.
    """
    with container.entered(call.netns), Netlink() as inside:
        present = links.every(inside)
    if any(link.name == call.ifname for link in present):
        raise CniError(f'container has an interface "{call.ifname}" already')
    return [link.name for link in present if link.up and link.name != "lo"]


@contextmanager
def _naming_add() -> Iterator[None]:
    """Say that it is the delegate that failed, with its code."""
    try:
        yield
    except CniError as exc:
        raise CniError(f"failed to delegate add: {exc}", code=exc.code) from exc


def _own(call: Call, config: FlannelConfig) -> Delegated | None:
    """Return what an earlier ADD of the interface was told.

    Raises:
        CniError: What is kept for the container is another network's, whose DEL needs it.
    """
    kept = flannel_kept.load(config.data_dir, call.container_id)
    if kept.network not in {"", call.network}:
        raise CniError(
            f"{config.data_dir} has container {call.container_id} of network {kept.network}",
            "of two flannel networks each needs a dataDir of its own",
        )
    return kept.before(call.ifname)


def _take_back(
    call: Call, config: FlannelConfig, told: Delegated, before: Delegated | None
) -> None:
    """Leave nothing of an ADD that failed, and what an earlier one made as it was."""
    if before is not None:
        flannel_kept.keep(config.data_dir, call.container_id, call.ifname, before)
        return
    try:
        delegate.run(told.asked_by(call), Verb.DEL, told.type)
    except CniError as exc:
        log(f"flannel: the state is kept for DEL, since the delegate's failed: {exc}")
        return
    flannel_kept.forget(config.data_dir, call.container_id, call.ifname)


def check(call: Call) -> None:
    """Check that the lease is the one of ADD, and have the delegate check what it made."""
    config = FlannelConfig.of(call)
    kept = flannel_kept.load(config.data_dir, call.container_id)
    told = kept.of(call.ifname)
    if told is None or kept.last is None:
        what = "missing" if kept.content is None else "broken"
        raise CniError(f"flannel's state {config.data_dir}/{call.container_id} is {what}")
    flannel_lease.check_container(told, config.subnet_file)
    delegate.run(told.with_result(call).asked_by(call), Verb.CHECK, told.type)


def delete(call: Call) -> None:
    """Have the delegate remove what it made, and forget what it was told when it has."""
    config = FlannelConfig.of(call)
    kept = flannel_kept.load(config.data_dir, call.container_id)
    told = kept.of(call.ifname) or (_current(call, config) if kept.content is not None else None)
    if told is not None:
        delegate.run(told.asked_by(call), Verb.DEL, told.type)
    flannel_kept.forget(config.data_dir, call.container_id, call.ifname)


def gc(call: Call) -> None:
    """Have the delegate remove what is not valid, as it was told now and then; forget the rest."""
    config = FlannelConfig.of(call)
    attachments = call.valid_attachments
    kept = {
        container_id: one
        for container_id in flannel_kept.containers(config.data_dir)
        if (one := flannel_kept.load(config.data_dir, container_id)).network == call.network
    }
    current = _current(call, config)
    everything = [told for one in kept.values() for told in one.everything]
    everything = [*([current] if current else []), *everything]
    different = {one.stdin: one for told in everything for one in [told.of_network(call)]}
    failures = []
    for told in different.values():
        try:
            delegate.run_if_known(told.asked_by(call), Verb.GC, told.type)
        except CniError as exc:
            failures.append(exc)
    if failures:
        raise CniError("; ".join(map(str, failures)), code=failures[0].code)
    for container_id, one in kept.items():
        valid = {ifname for container, ifname in attachments if container == container_id}
        for ifname in one.stale(valid):
            flannel_kept.forget(config.data_dir, container_id, ifname)


def status(call: Call) -> None:
    """Say 50 without a lease, 51 when the bridge has another's address; the delegate has its say."""
    config = FlannelConfig.of(call)
    try:
        env = flannel_env.load(config.subnet_file)
    except SubnetEnvError as exc:
        raise CniError(exc.msg, code=Code.NOT_AVAILABLE) from None
    try:
        room.require(config.data_dir)
    except OSError as exc:
        message = f"flannel's state cannot be written in {config.data_dir}: {exc.strerror}"
        raise CniError(message, code=Code.NOT_AVAILABLE) from exc
    told = Delegated.of(call, config, env).of_network(call)
    flannel_lease.check_bridge(told, env.subnets)
    delegate.run_if_known(told.asked_by(call), Verb.STATUS, told.type)


def _current(call: Call, config: FlannelConfig) -> Delegated | None:
    """Return what a delegate would be told now, if that can be said."""
    try:
        return Delegated.of(call, config, flannel_env.load(config.subnet_file))
    except CniError as exc:
        log(f"flannel: no configuration for a delegate: {exc}")
        return None


PLUGIN = Plugin(
    "flannel",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    about="Has another plugin attach containers to the subnet that a network manager leased.",
    config=FlannelConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
