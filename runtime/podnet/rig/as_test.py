"""A recorded failure as a test: a file for pytest, and beside it the calls that lead there.

Knows text; runs nothing, and so cannot know how the test ends: it passes when the plugin
succeeds.  It takes its Node from podnet's pytest plugin, which sees to privilege or skips.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from podnet import files
from podnet.cni import names
from podnet.cni.errors import CniError
from podnet.errors import UsageError
from podnet.rig.recording import Recorded, Recording
from podnet.visible import visible

_TEST = '''"""{title}, as it was recorded: written by `podnet replay --as-test`.

Fails as long as the plugin does.  The calls that lead there are in the file of CALLS.
"""

from pathlib import Path

from podnet.rig import recording
from podnet.rig.replay import replay

HERE = Path(__file__).parent
CALLS = HERE / {calls!r}
PLUGINS = [{plugins}]


def test_{name}(podnet_node):
    *_, last = replay(recording.read(CALLS), podnet_node, PLUGINS, timeout={timeout})

    # Recorded: {ending}
    assert last.succeeded, last.story
'''
_PATIENCE, _LONGEST = 10.0, 3600.0


def failure(recording: Recording, number: int | None) -> Recorded:
    """Return the call that a test is to be about.

    Args:
        recording: The calls.
        number: Which of them, from 1, as `record show` counts; by default the last that failed.

    Raises:
        UsageError: There is no such call, it is none of a runtime's, or it is no failure of the
            plugin: a test of it would pass from the start.
    """
    asked, again = set(map(id, recording.asked)), set(map(id, recording.repeatable))
    if number is not None:
        if not 1 <= number <= len(recording.calls):
            raise UsageError(f"there is no call {number}", f"there are {len(recording.calls)}")
        chosen = recording.calls[number - 1]
        if id(chosen) not in asked:
            raise UsageError(
                f"call {number} is one that a plugin made", "choose the call of the plugin itself"
            )
        if id(chosen) not in again:
            raise UsageError(f"call {number} cannot be made again: {chosen.verb} is no verb")
        if not chosen.failed:
            raise UsageError(
                f"call {number} did not fail: {chosen.ending}", "`podnet record show` lists them"
            )
        if chosen.fault:
            raise UsageError(
                f"call {number} failed by the fault {chosen.fault}, which a replay does not have"
            )
        return _plugin_s(chosen)
    failed = [call for call in recording.repeatable if call.failed and not call.fault]
    if not failed:
        raise UsageError("no recorded call failed", "what failed by a fault does not count")
    return _plugin_s(failed[-1])


def _plugin_s(call: Recorded) -> Recorded:
    """Let a call through whose plugin can be one: somebody else may have written the recording."""
    try:
        names.check_plugin_type(call.plugin)
    except CniError as exc:
        raise UsageError(f"the recording names no plugin: {exc}") from None
    return call


def write(path: Path, recording: Recording, about: Recorded, plugins: Sequence[str]) -> Path:
    """Write a test, and its calls beside it.

    Args:
        path: The test's file.
        recording: The calls.
        about: The call that is to succeed.
        plugins: Directories of plugins.  One that is below the working directory, as the test is,
            is found from the test, wherever somebody else has both.

    Returns:
        The file of the calls.

    Raises:
        UsageError: The path is not a test's, or there is something already.
        PodnetError: It cannot be written.
    """
    if path.suffix != ".py" or not path.stem.startswith("test_"):
        raise UsageError(f"{path}: pytest looks for files that are called test_….py")
    calls = path.with_suffix(".jsonl")
    for there in (path, calls):
        if there.exists():
            raise UsageError(f"{there} is there already", "another name, or remove it")
    kept = [
        line
        for call, line in zip(recording.calls, recording.lines, strict=True)
        if call.time <= about.time and (call is about or call.container == about.container)
    ]
    longest = min(_LONGEST, max(call.milliseconds for call in recording.calls) / 1000)
    # What a recording says is somebody else's: in a program it is an identifier, a repr or visible.
    plugin = re.sub(r"[^a-zA-Z0-9_]", "_", about.plugin)
    said = about.stdout.decode(errors="replace")
    text = _TEST.format(
        title=f"{about.verb} of {plugin} fails",
        calls=calls.name,
        plugins=", ".join(_spelled(Path(one), path) for one in plugins),
        name=f"{about.verb.lower()}_of_{plugin}_succeeds",
        timeout=round(_PATIENCE + longest, 1),
        ending=visible(" ".join(f"{about.ending} {said}".split())[:200]),
    )
    files.write(calls, b"".join(kept))
    files.write(path, text.encode())
    return calls


def _spelled(directory: Path, test: Path) -> str:
    """Return a directory as the program of *test* spells it."""
    here, home, there = Path.cwd(), test.absolute().parent, directory.absolute()
    if home.is_relative_to(here) and there.is_relative_to(here):
        return f"str((HERE / {os.path.relpath(there, home)!r}).resolve())"
    return repr(str(there))
