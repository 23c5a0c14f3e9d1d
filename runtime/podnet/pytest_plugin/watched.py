"""A caller that looks before and after each call: what did it change, and is its result true?"""

from podnet.execute import Outcome
from podnet.plan import Invocation
from podnet.rig import picture, telling
from podnet.rig.caller import AS_A_RUNTIME, Caller, Twist


class WatchedCaller(Caller):
    """Calls the plugins of one Network in one Node, and writes on each outcome what it changed."""

    def call(self, step: Invocation, twist: Twist = AS_A_RUNTIME) -> Outcome:
        """Run one invocation, as it is."""
        before = picture.take(self.node)
        outcome = super().call(step, twist)
        self.outcomes[-1] = telling.observed(outcome, before, picture.take(self.node))
        return self.outcomes[-1]
