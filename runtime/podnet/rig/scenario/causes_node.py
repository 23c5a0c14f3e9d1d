"""Causes that were there before a plugin was asked: files, disks, locks, namespaces, leases.

Pure: what was so on the Node is in the evidence.
"""

from collections.abc import Iterator

from podnet.cni.versions import Verb
from podnet.execute import MissingPluginError
from podnet.rig.scenario.evidence import Cause, Evidence, Moment, listed


def missing(evidence: Evidence) -> Iterator[Cause]:
    """A plugin that is not there, or may not be executed."""
    for moment in evidence.failed:
        absent = list(moment.absent)
        if isinstance(moment.error, MissingPluginError):
            absent = list(dict.fromkeys([moment.error.plugin, *absent]))
        if absent:
            ran = _ran(moment)
            yield Cause(
                "binary-missing",
                f"step {moment.number} ({moment.title}): {listed(absent)} "
                f"{'is' if len(absent) == 1 else 'are'} in no plugin directory; {ran}",
            )
        for plugin in moment.unexecutable:
            yield Cause(
                "binary-not-executable", f"step {moment.number}: {plugin} may not be executed"
            )


def _ran(moment: Moment) -> str:
    done = [f"{o.invocation.verb} {o.invocation.plugin}" for o in moment.outcomes]
    return f"{listed(done)} had run" if done else "no plugin had run"


def environment(evidence: Evidence) -> Iterator[Cause]:
    """What was so around a failure."""
    for moment in evidence.failed:
        for directory, state in moment.disks.items():
            yield Cause(f"disk-{state}", f"step {moment.number}: {directory} is {state}")
        for lock in moment.locks:
            yield Cause("lock-held", f"step {moment.number}: somebody holds {lock}")
        refused = moment.refusing
        adding = refused is not None and Verb.ADD in {o.invocation.verb for o in moment.outcomes}
        for network, (leased, stale) in moment.pools.items() if adding else ():
            yield Cause(
                "addresses-exhausted",
                f"step {moment.number}: all {leased} addresses of {network} are leased, "
                f"{stale} of them to containers that are not there",
            )


def caches(evidence: Evidence) -> Iterator[Cause]:
    """A cached result that cannot be read."""
    for moment in evidence.moments:
        for path, size in moment.caches.items():
            name = "cache-unreadable" if size else "cache-empty"
            yield Cause(name, f"step {moment.number}: the cached result {path} has {size} bytes")


def namespace(evidence: Evidence) -> Iterator[Cause]:
    """The container's namespace was gone."""
    for moment in evidence.failed:
        if moment.pod and not moment.netns:
            refused = moment.refusing
            who = (
                f": {refused.invocation.plugin} needs it on {refused.invocation.verb}"
                if refused
                else ""
            )
            yield Cause(
                "namespace-gone",
                f"step {moment.number}: the network namespace of {moment.pod} is gone{who}",
            )


def leases(evidence: Evidence) -> Iterator[Cause]:
    """Addresses that nobody frees."""
    for path in evidence.empty_leases:
        yield Cause("empty-lease", f"{path} has no bytes: it names no container to be freed for")
    if evidence.rebooted and evidence.stale_leases:
        yield Cause(
            "reboot",
            f"since the reboot in step {evidence.rebooted} nobody has given back "
            f"{listed(evidence.stale_leases)}",
        )
