"""Where the shim begins, and how it attends a call.

Two processes: the one that the runtime knows waits for the plugin and ends as it ended; the
listener relays the streams and writes the record, also when the runtime kills the first.
"""

from __future__ import annotations

import _signal
import os

from podnet.rig.shim.call import Call, attempt, end, write

TYPE_CHECKING = False  # see podnet.rig.shim.call
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from podnet.rig.shim.record import Words
    from podnet.rig.shim.relay import Relay

_LINGER = 50  # milliseconds, for the streams of a plugin that was killed
_FORWARDED = (1, 2, 3, 10, 12, 15, 18)  # HUP INT QUIT USR1 USR2 TERM CONT
_KILL = 9


def stand_in(
    real: str, *, record: str = "", redact: Words = (), faults: Sequence[tuple[str, str, str]] = ()
) -> NoReturn:
    """Be the plugin *real* for one call.

    Args:
        real: The plugin's file.
        record: Where the call is written down; "" for nowhere.
        redact: Values are hidden whose key has one of these words in it.
        faults: (verb or "" for all, kind, value): what goes wrong; see podnet.rig.faults.
    """
    call = Call(real)
    try:
        for verb, kind, value in faults:
            if verb in {"", call.verb}:
                from podnet.rig.shim.spoil import let_fail  # noqa: PLC0415  most calls go well

                call.fault = f"{kind}={value}" if value else kind
                let_fail(call, kind, value, (record, redact))
        if not record:
            call.become()
        _attend(call, record, redact)
    except OSError as exc:
        from podnet.rig.shim.record import quoted, write_down  # noqa: PLC0415

        problem = f"cannot run {real}: {exc.strerror}"
        answer = f'{{"code": 999, "msg": {quoted(problem)}}}\n'.encode()
        call.keep("stdout", answer)
        write_down(call, record, redact, ended=1, problem=problem)
        write(1, answer)
        os._exit(1)


def _attend(call: Call, record: str, redact: Words) -> NoReturn:
    """Run the plugin while the listener listens; end as it ended."""
    stdin, stdout, stderr, told, done = (os.pipe() for _ in range(5))
    theirs = (stdin[0], stdout[1], stderr[1])
    early = _forward_signals(call)
    call.start(theirs)
    for number in early:
        attempt(os.kill, call.pid, number)
    listener = os.fork()
    if listener == 0:
        for closed in (*theirs, told[1], done[0]):
            os.close(closed)
        _listen(call, (stdin[1], stdout[0], stderr[0]), (told[0], done[1]), (record, redact))
    # The runtime's end of stdin is the listener's to close, when the plugin reads no more.
    for closed in (0, *theirs, stdin[1], stdout[0], stderr[0], told[0], done[1]):
        os.close(closed)
    _, status = os.waitpid(call.pid, 0)
    ended = os.waitstatus_to_exitcode(status)
    write(told[1], str(ended).encode())
    os.close(told[1])
    if not os.read(done[0], 1):  # else somebody still holds the plugin's streams
        os.waitpid(listener, 0)
    end(ended)


def _listen(
    call: Call, streams: tuple[int, int, int], ends: tuple[int, int], written: tuple[str, Words]
) -> NoReturn:
    """Be the listener: relay until the end, and write the record."""
    # Here, since the plugin starts meanwhile.
    from podnet.rig.shim.record import write_down  # noqa: PLC0415
    from podnet.rig.shim.relay import Relay  # noqa: PLC0415

    told, done = ends
    try:
        relay = Relay(call, streams[0], streams[1:])
        os.setpgid(0, 0)  # who kills the plugin's group does not mean the listener
        ended, problem = _heard(call, relay, told)
        write_down(call, *written, ended=ended, problem=problem)
        if relay.open and ended is not None:
            os.write(done, b"h")
        os.close(done)
        while relay.open:
            relay.step()
    finally:
        os._exit(0)


def _heard(call: Call, relay: Relay, told: int) -> tuple[int | None, str]:
    """Relay until the plugin has ended and all that it wrote is passed on; return how it ended."""
    try:
        plugin = os.pidfd_open(call.pid)
    except ProcessLookupError:  # it has ended already
        plugin = -1
    while told not in relay.step([told]):
        pass
    ended = os.read(told, 16)
    if not ended:  # the runtime killed the process that it takes for the plugin
        if plugin >= 0:
            attempt(_signal.pidfd_send_signal, plugin, _KILL)
        _drain(relay, _LINGER)
        return None, "killed by the runtime"
    _drain(relay, 0)
    return int(ended), "a process that it left behind holds its streams" if relay.open else ""


def _drain(relay: Relay, patience: int) -> None:
    while relay.open and relay.step(timeout=patience) != [-1]:
        pass


def _forward_signals(call: Call) -> list[int]:
    """Let the plugin have the signals that come; return those that come before there is one."""
    early = list[int]()

    def forward(number: int, _: object) -> None:
        if call.pid:
            attempt(os.kill, call.pid, number)
        else:
            early.append(number)

    for number in _FORWARDED:
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, forward)
    return early
