"""A Node as a case sees it: pictures of it, commands in it, and what has changed meanwhile.

Knows what is there and what was, and says so by raising; knows nothing of plugins.
"""

import shlex
import time
from collections.abc import Iterable, Iterator

from podnet.kernel import namespaces, programs
from podnet.node import Node
from podnet.plan import Attachment
from podnet.rig import picture
from podnet.rig.caller import NAMESPACES
from podnet.rig.conformance import kernel_view
from podnet.rig.conformance.kernel_view import Seen
from podnet.rig.picture import NODE, Picture

_POD = "pod:"
# The kernel takes a moment to clear a link away, and to tell a bridge that it lost its carrier.
_PATIENCE, _PAUSE = 2.0, 0.02
_SHOWN = 4
# What becomes of a link without a queue when it is given one (net/sched/sch_api.c).
_BY_THE_KERNEL = {"txqlen": (None, 1000)}


class Violation(Exception):  # noqa: N818  a finding about a plugin, not an error of ours
    """The plugin does not do what the case asks."""


class Inapplicable(Exception):  # noqa: N818  likewise
    """The case cannot be asked here: it has nothing to ask this plugin, or something is missing."""


class Scene:
    """One Node.

    Attributes:
        node: The Node.
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    def look(self, netns: str = "") -> Seen:
        """Return what is in a network namespace, the Node's own by default."""
        return self.node.run(kernel_view.look, netns)

    def picture(self) -> Picture:
        """Return all that a plugin could have changed: on the Node, its disk, and in all pods.

        Not what is in namespaces of others, which the Node's mounts were copied with.
        """
        ours = (NODE, f"{NAMESPACES}/")
        return frozenset(fact for fact in picture.take(self.node) if fact.where.startswith(ours))

    def command(self, line: str, pod: Attachment | None = None) -> None:
        """Run a command on the Node, or inside *pod* when it begins with ``pod:``.

        Raises:
            Inapplicable: It fails: the kernel or the system lacks something.
        """
        inside = ""
        if line.startswith(_POD) and pod is not None:
            line, inside = line.removeprefix(_POD), pod.netns
        if pod is not None:
            line = line.replace("{netns}", pod.netns).replace("{ifname}", pod.ifname)
        done = self.node.run(_command, shlex.split(line), inside)
        if done.status:
            raise Inapplicable(f"`{line.strip()}` failed: {done.stderr.strip()}")

    def reboot(self, prepare: Iterable[str]) -> None:
        """Lose what a reboot loses: links, rules, and all of /run; then prepare the Node again."""
        self.node.run(kernel_view.reboot)
        for line in prepare:
            self.command(line)

    def nothing_since(self, before: Picture, what: str, *, settings: bool = True) -> None:
        """Hold that nothing has been made since *before* that is still there.

        Args:
            before: How it was.
            what: What was done since, to go on with "leaves".
            settings: And that nothing is set otherwise; contents of files may change.  A link
                that had a queue keeps the length that the kernel gave it.

        Raises:
            Violation: Something was; it is named.
        """
        deadline, pause = time.monotonic() + _PATIENCE, _PAUSE
        while True:
            changes = dict(_changes(before, self.picture(), settings=settings))
            if not changes:
                return
            # A file does not go by itself.
            if time.monotonic() > deadline or set(changes.values()) == {"file"}:
                more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
                raise Violation(f"{what} leaves {'; '.join(list(changes)[:_SHOWN])}{more}")
            time.sleep(pause)
            pause *= 2

    def nothing_gone(self, before: Picture, what: str) -> None:
        """Hold that all there was *before* is still there, and as it was.

        Raises:
            Violation: Something is gone or has changed; it is named.
        """
        after = self.picture()
        found = picture.difference(before, after)
        gone = [f"{fact}{_of_pod(fact.where)}" for fact in found.removed]
        gone += [
            f"{change.after}{_of_pod(change.after.where)}"
            for change in found.changed
            if change.after.kind != "file" and change.attributes != _BY_THE_KERNEL
        ]
        if gone:
            raise Violation(f"{what} takes away {'; '.join(gone[:_SHOWN])}")


def _changes(before: Picture, after: Picture, *, settings: bool) -> Iterator[tuple[str, str]]:
    """Yield what came, and what is set otherwise, in words, and of what kind it is."""
    found = picture.difference(before, after)
    for fact in found.added:
        if settings or fact.kind != "sysctl":
            yield f"{fact}{_of_pod(fact.where)}", fact.kind
    for change in found.changed if settings else ():
        if change.after.kind != "file" and change.attributes != _BY_THE_KERNEL:
            said = ", ".join(f"{k} {old} -> {new}" for k, (old, new) in change.attributes.items())
            yield f"{change.after}{_of_pod(change.after.where)}: {said}", change.after.kind


def _of_pod(where: str) -> str:
    return "" if where == NODE else f" in {where}"


def _command(words: list[str], netns: str) -> programs.Done:
    try:
        if not netns:
            return programs.run(*words)
        with namespaces.entered(netns):
            return programs.run(*words)
    except FileNotFoundError:
        return programs.Done(127, "", f"there is no program {words[0]}")
