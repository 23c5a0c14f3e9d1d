"""Plugins of pods behind shims, without their knowing: what is asked is what is on record.

What a directory of shims is, :mod:`podnet.rig.shims` knows.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from podnet.execute import Executor, Outcome
from podnet.plan import Invocation
from podnet.pods import Pods
from podnet.rig.shims import Task, mirror, require_plugins

_MAKING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimExecutor:
    """Runs plugins behind shims, and tells nobody: what it is asked is what is on record.

    Attributes:
        executor: Runs the shims.
        directory: Where mirrors are made, one for each search path.
        task: What the shims do.
    """

    executor: Executor
    directory: Path
    task: Task

    @property
    def path(self) -> Sequence[str]:
        """The search path, without shims."""
        return self.executor.path

    def find(self, plugin: str, path: Sequence[str] = ()) -> Path:
        """Return the file in front of *plugin*; see :meth:`podnet.execute.Executor.find`."""
        return self.executor.find(plugin, (str(self._mirror(path or self.path)),))

    def run(self, invocation: Invocation) -> Outcome:
        """Run one invocation behind a shim."""
        mirrored = str(self._mirror(invocation.path or self.path))
        environment = dict(invocation.environment)
        if invocation.path:  # VERSION has a CNI_PATH that is none
            environment["CNI_PATH"] = mirrored
        behind = replace(invocation, environment=environment, path=(mirrored,))
        outcome = self.executor.run(behind)
        return replace(outcome, invocation=invocation)

    def _mirror(self, path: Sequence[str]) -> Path:
        made = self.directory / _token(path)
        with _MAKING:  # pods are made at the same time, each by an executor of its own
            if not made.is_dir():
                mirror(made, path, self.task)
        return made


def _token(path: Sequence[str]) -> str:
    """Return a directory name for a search path."""
    return format(abs(hash(tuple(path))), "x")


def behind(pods: Pods, directory: Path, task: Task) -> Pods:
    """Return *pods* whose plugins run behind shims.

    Args:
        pods: The pods.
        directory: Where the shims go; must outlive their use.
        task: What they do.

    Raises:
        UsageError: A fault is of a plugin that is not there.
    """
    require_plugins(pods.places.plugin_path, task)

    def make(asked: Pods, keep_open: tuple[int, ...]) -> Executor:
        executor = pods.make_executor(replace(asked, plugin_host=None), keep_open)
        return ShimExecutor(executor=executor, directory=directory, task=task)

    return replace(pods, make_executor=make, plugin_host=None)
