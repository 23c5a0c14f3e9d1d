"""noop: a plugin for tests, which does nothing to the network and anything else it is told.

It answers, fails, floods, sleeps, crashes and holds its streams by a script in its
configuration (:mod:`podnet_plugins.noop_script`), call by call, and writes down what it was
given (:mod:`podnet_plugins.noop_record`).  It may stand anywhere in a chain, or be its IPAM.
"""

import os
import signal
import time
from functools import partial
from typing import NoReturn

from podnet_plugins import noop_record
from podnet_plugins.noop_script import TYPE, NoopConfig
from podnet_plugins.skel import Call, Plugin, run

_NOISE = 1 << 16


def _play(call: Call, *, stdout: int) -> NoReturn:
    """Do what the script says for this call, and exit."""
    config = NoopConfig.of(call)
    nth = 1
    if config.record:
        per_attachment = config.count == "attachment"
        nth = noop_record.keep(config.record, call, per_attachment=per_attachment)
    step = config.script.step(call.verb, nth)
    time.sleep(step.sleep_ms / 1000)
    _noise(2, step.stderr_bytes)
    _write(2, step.stderr.encode())
    _noise(stdout, step.stdout_bytes)
    _write(stdout, step.answer(call).encode())
    if step.hold_ms:
        _hold(step.hold_ms, detached=step.hold_detached)
    if step.signal:
        _die(signal.Signals[step.signal])
    os._exit(step.status)


def _noise(stream: int, size: int) -> None:
    for start in range(0, size, _NOISE):
        _write(stream, b"x" * min(_NOISE, size - start))


def _write(stream: int, data: bytes) -> None:
    # Nothing is buffered, so that what was written is out when the process dies.
    while data:
        data = data[os.write(stream, data) :]


def _hold(milliseconds: int, *, detached: bool) -> None:
    """Leave a child behind that has the streams open, and whatever else was inherited."""
    if os.fork() == 0:
        if detached:
            os.setsid()
        time.sleep(milliseconds / 1000)
        os._exit(0)


def _die(number: signal.Signals) -> None:
    import resource  # noqa: PLC0415  only who crashes needs it

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _plugin(stdout: int) -> Plugin:
    """Return the plugin, which prints what it is told to on the descriptor *stdout*."""
    play = partial(_play, stdout=stdout)
    return Plugin(
        TYPE,
        add=play,
        check=play,
        delete=play,
        gc=play,
        status=play,
        about="Does nothing to the network, and whatever else a test wants of a plugin.",
        config=NoopConfig,
    )


PLUGIN = _plugin(1)


def main() -> None:
    """Run the plugin."""
    # The skeleton takes stdout away from everybody; what this one prints is what it is for.
    run(_plugin(os.dup(1)))
