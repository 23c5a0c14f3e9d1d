"""A recorded failure as a test: a file for pytest, and beside it the calls that lead there.

Knows text; runs nothing.  The test fails as the recording did, until the plugin is mended.
"""

from collections.abc import Sequence
from pathlib import Path

from podnet import files
from podnet.errors import UsageError
from podnet.rig.recording import Recorded, Recording

_TEST = '''"""{title}, as it was recorded: written by `podnet replay --as-test`.

Fails as long as the plugin does.  The calls that lead there are in {calls}.
"""

from pathlib import Path

from podnet.node import Node
from podnet.rig import recording
from podnet.rig.replay import replay

CALLS = Path(__file__).with_name("{calls}")
PLUGINS = {plugins!r}


def test_{name}():
    with Node.in_memory("replay") as node:
        *_, last = replay(recording.read(CALLS), node, PLUGINS, timeout={timeout})

    # Recorded: {ending}
    assert last.succeeded, last.story
'''
_PATIENCE = 10.0


def failure(recording: Recording, number: int | None) -> Recorded:
    """Return the call that a test is to be about.

    Args:
        recording: The calls.
        number: Which of them, from 1, as `record show` counts; by default the last that failed.

    Raises:
        UsageError: There is no such call, or it is none of a runtime's.
    """
    asked = set(map(id, recording.asked))
    if number is not None:
        if not 1 <= number <= len(recording.calls):
            raise UsageError(f"there is no call {number}", f"there are {len(recording.calls)}")
        chosen = recording.calls[number - 1]
        if id(chosen) not in asked:
            raise UsageError(
                f"call {number} is one that a plugin made", "choose the call of the plugin itself"
            )
        return chosen
    failed = [call for call in recording.asked if call.failed]
    if not failed:
        raise UsageError("no recorded call failed", "--call N chooses one")
    return failed[-1]


def write(path: Path, recording: Recording, about: Recorded, plugins: Sequence[str]) -> Path:
    """Write a test, and its calls beside it.

    Args:
        path: The test's file.
        recording: The calls.
        about: The call that is to succeed.
        plugins: Directories of plugins.

    Returns:
        The file of the calls.

    Raises:
        UsageError: The path is not a test's.
        PodnetError: It cannot be written.
    """
    if path.suffix != ".py" or not path.stem.startswith("test_"):
        raise UsageError(f"{path}: pytest looks for files that are called test_….py")
    calls = path.with_suffix(".jsonl")
    kept = [
        line
        for call, line in zip(recording.calls, recording.lines, strict=True)
        if call.time <= about.time and (call is about or call.container == about.container)
    ]
    longest = max(call.milliseconds for call in recording.calls) / 1000
    text = _TEST.format(
        title=f"{about.verb} of {about.plugin} fails",
        calls=calls.name,
        plugins=list(plugins),
        name=f"{about.verb.lower()}_of_{about.plugin.replace('-', '_')}_succeeds",
        timeout=round(_PATIENCE + longest, 1),
        ending=" ".join(f"{about.ending} {about.stdout.decode(errors='replace')}".split())[:200],
    )
    files.write(calls, b"".join(kept))
    files.write(path, text.encode())
    return calls
