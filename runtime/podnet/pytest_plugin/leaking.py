"""A test leaves nothing on its Node."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from podnet import answer
from podnet.answer import PluginError
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.execute import Outcome
from podnet.node import Node
from podnet.pytest_plugin import trial
from podnet.rig import picture
from podnet.rig.picture import Picture
from podnet.rig.residue import Marks, Residue, residues

# A process may be about to end, and the kernel about to clear up, when DEL has returned.
_PATIENCE, _PAUSE = 1.0, 0.05


@dataclass(slots=True)
class LeakCheck:
    """Compares a Node with what it was; whatever is left must be allowed to be.

    Attributes:
        node: Which.
        before: What it was.
        strict: Nothing may stay, not even what pods to come would use.
        allowed: What may stay all the same: patterns of what things are called.
    """

    node: Node
    before: Picture
    strict: bool
    allowed: Sequence[str]
    _request: pytest.FixtureRequest

    def leaks(self) -> list[Residue]:
        """Return what is there and must not be, with everything detached that was attached."""
        called = [o for one in trial.of_test(self._request.node) for o in one.outcomes()]
        marks, now = _marks(called), picture.take(self.node)
        # The test's own are the pods, and where they are pinned.
        own = ("mount * /run/netns", *(f"namespace {name}" for name in marks.names))
        allowed = (*self.allowed, *own)
        found = residues(self.before, now, now, marks, strict=self.strict, allowed=allowed)
        return [residue for residue in found if residue.leak]

    def require_clean(self) -> None:
        """Fail the test if anything leaks, at the latest a second from now."""
        deadline = time.monotonic() + _PATIENCE
        while (found := self.leaks()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        if found:
            said = [f"  {one.what} {one.example} ({one.scope})" for one in found]
            pytest.fail("\n".join(["this is left on the Node:", *said]), pytrace=False)


def _marks(outcomes: Sequence[Outcome]) -> Marks:
    """Return what the attachments of these invocations are known by."""
    asked = [outcome.invocation.environment for outcome in outcomes]
    names = {env[key] for env in asked for key in ("CNI_CONTAINERID", "CNI_NETNS") if env.get(key)}
    answered = [result for outcome in outcomes if (result := _result(outcome))]
    addresses = {str(ip.address.ip) for result in answered for ip in result.ips}
    macs = {i.mac for result in answered for i in result.interfaces if i.sandbox and i.mac}
    return Marks(names=names, addresses=addresses | macs)


def _result(outcome: Outcome) -> Result | None:
    if outcome.invocation.verb is not Verb.ADD or outcome.exit_status != 0:
        return None
    try:
        return answer.result(outcome, str(outcome.invocation.stdin.get("cniVersion", "")))
    except PluginError:  # what it printed is no result
        return None


def of(request: pytest.FixtureRequest, node: Node) -> LeakCheck:
    """Return the check of a test, which begins now."""
    marker = request.node.get_closest_marker("podnet_leakcheck")
    options = dict(marker.kwargs) if marker else {}
    return LeakCheck(
        node,
        picture.take(node),
        strict=bool(options.get("strict")),
        allowed=tuple(options.get("allowed", ())),
        _request=request,
    )
