"""flannel: have another plugin, a bridge by default, attach containers to this node's lease.

Keys, the delegate's configuration, the state file and messages are flannel's (its CNI
plugin, 1.9).  Where it forgets or does not look, this one does: the state stays until the delegate's
DEL has succeeded, a failed ADD leaves none, CHECK, GC and STATUS are real.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from podnet.cni.errors import CniError, Code
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.kernel import links
from podnet.kernel.netlink import Netlink
from podnet_plugins import container, delegate, flannel_env, flannel_lease, flannel_state
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
        _check_name(call)
    flannel_state.save(config.data_dir, call.container_id, told.stdin)
    try:
        with _naming_add():
            answer = delegate.run(told.asked_by(call), Verb.ADD, told.type)
            return Result.from_wire(answer, default_version=call.cni_version)
    except Exception:
        _take_back(call, config, told, before)
        raise


def _check_name(call: Call) -> None:
    """Refuse a name that is taken: undoing an ADD that failed would remove what has it.

    Raises:
        CniError: The container has an interface of that name, or there is no container.
    """
    with container.entered(call.netns), Netlink() as inside:
        if links.find(inside, call.ifname) is not None:
            raise CniError(f'container has an interface "{call.ifname}" already')


@contextmanager
def _naming_add() -> Iterator[None]:
    """Say that it is the delegate that failed, with its code."""
    try:
        yield
    except CniError as exc:
        raise CniError(f"failed to delegate add: {exc}", code=exc.code) from exc


def _own(call: Call, config: FlannelConfig) -> bytes | None:
    """Return what is kept for the container, which must be of this network.

    Raises:
        CniError: It is another network's, whose DEL needs it.
    """
    content, kept = _kept(config, call.container_id)
    if kept and kept.network != call.network:
        raise CniError(
            f"{config.data_dir} has container {call.container_id} of network {kept.network}",
            "of two flannel networks each needs a dataDir of its own",
        )
    return content


def _take_back(call: Call, config: FlannelConfig, told: Delegated, before: bytes | None) -> None:
    """Leave nothing of an ADD that failed, and what an earlier one made as it was."""
    if before is not None:
        flannel_state.save(config.data_dir, call.container_id, before)
        return
    try:
        delegate.run(told.asked_by(call), Verb.DEL, told.type)
    except CniError as exc:
        log(f"flannel: the state is kept for DEL, since the delegate's failed: {exc}")
        return
    flannel_state.remove(config.data_dir, call.container_id)


def check(call: Call) -> None:
    """Check that the lease is the one of ADD, and have the delegate check what it made."""
    config = FlannelConfig.of(call)
    content, told = _kept(config, call.container_id)
    if told is None:
        what = "missing" if content is None else "broken"
        raise CniError(f"flannel's state {config.data_dir}/{call.container_id} is {what}")
    flannel_lease.check_container(told, config.subnet_file)
    delegate.run(told.with_result(call).asked_by(call), Verb.CHECK, told.type)


def delete(call: Call) -> None:
    """Have the delegate remove what it made, and forget what it was told when it has."""
    config = FlannelConfig.of(call)
    content, told = _kept(config, call.container_id)
    if content is None:
        return
    told = told or _current(call, config)
    if told is not None:
        delegate.run(told.asked_by(call), Verb.DEL, told.type)
    flannel_state.remove(config.data_dir, call.container_id)


def gc(call: Call) -> None:
    """Have the delegate remove what is not valid, as it was told now and then; forget the rest."""
    config = FlannelConfig.of(call)
    valid = {container_id for container_id, _ in call.valid_attachments}
    kept = {
        container_id: told
        for container_id in flannel_state.containers(config.data_dir)
        if (told := _kept(config, container_id)[1]) and told.network == call.network
    }
    current = _current(call, config)
    everything = [*([current] if current else []), *kept.values()]
    different = {one.stdin: one for told in everything for one in [told.of_network(call)]}
    failures = []
    for one in different.values():
        try:
            delegate.run_if_known(one.asked_by(call), Verb.GC, one.type)
        except CniError as exc:
            failures.append(exc)
    if failures:
        raise CniError("; ".join(map(str, failures)), code=failures[0].code)
    for container_id in kept.keys() - valid:
        flannel_state.remove(config.data_dir, container_id)


def status(call: Call) -> None:
    """Say 50 without a lease, 51 when the bridge has another's address; the delegate has its say."""
    config = FlannelConfig.of(call)
    try:
        env = flannel_env.load(config.subnet_file)
    except SubnetEnvError as exc:
        raise CniError(exc.msg, code=Code.NOT_AVAILABLE) from None
    told = Delegated.of(call, config, env).of_network(call)
    flannel_lease.check_bridge(told, env.subnets)
    delegate.run_if_known(told.asked_by(call), Verb.STATUS, told.type)


def _kept(config: FlannelConfig, container_id: str) -> tuple[bytes | None, Delegated | None]:
    """Return what is kept for a container, and what it says if it can be read.

    A crash or a full disk can leave an empty file where others have written it.
    """
    content = flannel_state.read(config.data_dir, container_id)
    if content is None:
        return None, None
    try:
        return content, Delegated.from_bytes(content)
    except CniError as exc:
        log(f"flannel: the state {config.data_dir}/{container_id} is broken: {exc}")
        return content, None


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
