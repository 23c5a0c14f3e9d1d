"""A Node as a case sees it: pictures of it, commands in it, and what has changed meanwhile.

Knows what is there and what was, and says so by raising; knows nothing of plugins.
"""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from podnet.kernel import namespaces, programs
from podnet.kernel.background import Background
from podnet.node import Node
from podnet.plan import Attachment
from podnet.rig import picture
from podnet.rig.caller import NAMESPACES
from podnet.rig.conformance import kernel_view
from podnet.rig.conformance.kernel_view import Seen
from podnet.rig.picture import NODE, Picture

_POD, _BACKGROUND, _WAIT = "pod:", "background:", "wait:"
# The kernel takes a moment to clear a link away, and to tell a bridge that it lost its carrier.
_PATIENCE, _PAUSE = 2.0, 0.02
_SHOWN = 4
# A daemon in Python, on a machine that has much else to do.
_LONGEST_START = 10.0
# What becomes of a link without a queue when it is given one (net/sched/sch_api.c).
_BY_THE_KERNEL = {"txqlen": (None, 1000)}
T = TypeVar("T")


class Violation(Exception):  # noqa: N818  a finding about a plugin, not an error of ours
    """The plugin does not do what the case asks."""


class AddFailed(Violation):
    """An ADD that had to succeed did not: what the case is about was never asked."""


class Inapplicable(Exception):  # noqa: N818  likewise
    """The case cannot be asked here: it has nothing to ask this plugin, or something is missing."""


class Scene:
    """One Node, and what was started on it in the background; leaving it ends that.

    Attributes:
        node: The Node.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self._background = list[Background]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        while self._background:
            self._background.pop().end()

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

        After ``background:`` nobody waits for it, and it ends with the Node; after ``wait:`` there
        is no command, but the path of a file that such a program makes.

        Raises:
            Inapplicable: It fails: the kernel or the system lacks something.
        """
        inside = ""
        if line.startswith(_POD) and pod is not None:
            line, inside = line.removeprefix(_POD), pod.netns
        if pod is not None:
            line = line.replace("{netns}", pod.netns).replace("{ifname}", pod.ifname)
        if line.startswith(_WAIT):
            self._wait(Path(line.removeprefix(_WAIT).strip()))
            return
        if line.startswith(_BACKGROUND):
            words = shlex.split(line.removeprefix(_BACKGROUND))
            self._background.append(self.node.run(_inside, inside, Background, words))
            return
        done = self.node.run(_inside, inside, _command, shlex.split(line))
        if done.status:
            raise Inapplicable(f"`{line.strip()}` failed: {done.stderr.strip()}")

    def _wait(self, path: Path) -> None:
        """Wait until a file is there.

        Raises:
            Inapplicable: What was started has ended, or does not make it in time.
        """
        deadline = time.monotonic() + _LONGEST_START
        while not self.node.run(path.exists):
            for one in self._background:
                if one.has_ended():
                    raise Inapplicable(f"`{' '.join(one.command)}` ended: {one.said().strip()}")
            if time.monotonic() > deadline:
                raise Inapplicable(f"nobody makes {path}")
            time.sleep(_PAUSE / 4)

    def reboot(self) -> None:
        """Lose what a reboot loses: what runs in the background, links, rules, and all of /run."""
        self._end()
        self.node.run(kernel_view.reboot)

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


def _inside(netns: str, function: Callable[[list[str]], T], words: list[str]) -> T:
    with namespaces.entered(netns) if netns else nullcontext():
        return function(words)


def _command(words: list[str]) -> programs.Done:
    try:
        return programs.run(*words)
    except FileNotFoundError:
        return programs.Done(127, "", f"there is no program {words[0]}")
