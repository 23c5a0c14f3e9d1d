"""An executor that looks: a picture before each invocation and one after, around any executor.

What is seen goes to whoever asked, who may write something on the outcome.  Changes no
invocation, and where nothing can be seen the invocation is run all the same.  Two invocations
at a time on one Node cannot be told apart, so run one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from podnet.errors import PodnetError
from podnet.execute import Executor, Outcome
from podnet.plan import Invocation
from podnet.rig import picture
from podnet.rig.picture import Picture

Observer = Callable[[Outcome, Picture, Picture], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Runs plugins by another executor, in the Node that the calling thread is in.

    Attributes:
        executor: Who runs them.
        observe: Gets each outcome with the pictures before and after; returns the outcome, to
            which it may have added something.
        look: Takes a picture.
    """

    executor: Executor
    observe: Observer
    look: Callable[[], Picture] = picture.take_here

    @property
    def path(self) -> Sequence[str]:
        """The search path."""
        return self.executor.path

    def find(self, plugin: str, path: Sequence[str] = ()) -> Path:
        """Return the file that *plugin* is."""
        return self.executor.find(plugin, path)

    def run(self, invocation: Invocation) -> Outcome:
        """Run one invocation, looking before and after."""
        before, why = self._seen()
        outcome = self.executor.run(invocation)
        after, why_after = self._seen()
        if before is None or after is None:
            return replace(outcome, observed={"unseen": why or why_after})
        return self.observe(outcome, before, after)

    def _seen(self) -> tuple[Picture | None, str]:
        """Return a picture, or why there is none: that must not keep a DEL from being run."""
        try:
            return self.look(), ""
        except (PodnetError, OSError) as exc:
            return None, str(exc)
