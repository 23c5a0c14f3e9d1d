"""What the shim does when something is to go wrong: before the plugin's work, or after it.

The kinds are podnet.rig.faults'.
"""

from __future__ import annotations

import os
import time

from podnet.rig.shim.call import Call, attempt, end, write
from podnet.rig.shim.record import Words, write_down
from podnet.rig.shim.relay import Relay, read

TYPE_CHECKING = False  # see podnet.rig.shim.call
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_KILL, _UNMOUNT_LATER = 9, 2
_PROSE = b"this is not JSON: {\xff\n"
_LONG = 3600.0
_FLOOD = 16 << 20

Written = tuple[str, Words]


def let_fail(call: Call, kind: str, value: str, written: Written) -> None:
    """Let something go wrong; return where the plugin then runs as ever."""
    if kind == "slow":
        time.sleep(float(value))
    elif kind == "netns-gone-before":
        _remove_namespace(call)
    elif kind in {"hang", "kill", "error"}:
        call.keep("stdin", b"".join(iter(lambda: read(0), b"")))
        _leave(call, kind, 1, written, answer=_error(value) if kind == "error" else b"")
    else:
        _spoil(call, kind, value, written)


def _spoil(call: Call, kind: str, value: str, written: Written) -> NoReturn:
    """Let the plugin do its work, and the runtime hear something else."""
    ended = _work(call)
    answer = bytes(call.said["stdout"])
    if kind == "netns-gone":
        _remove_namespace(call)
    elif kind == "exit":
        ended = int(value)
    elif kind == "lingers":
        if os.fork() == 0:
            time.sleep(float(value))
            os._exit(0)
    elif kind == "error-after":
        ended, answer = 1, _error(value)
    elif kind in _SPOILT:
        answer = _SPOILT[kind](answer, value)
    _leave(call, kind, ended, written, answer=answer)


def _work(call: Call) -> int:
    """Run the plugin to its end, unheard."""
    stdin, stdout, stderr = (os.pipe() for _ in range(3))
    theirs = (stdin[0], stdout[1], stderr[1])
    call.start(theirs)
    for closed in theirs:
        os.close(closed)
    relay = Relay(call, stdin[1], (stdout[0], stderr[0]))
    relay.quiet = True
    while relay.open:
        relay.step()
    _, status = os.waitpid(call.pid, 0)
    return os.waitstatus_to_exitcode(status)


def _with_interface(answer: bytes, value: str) -> bytes:
    """Let every address of a result be that of another interface."""
    import json  # noqa: PLC0415  most calls need none

    try:
        result = json.loads(answer)
        for ip in result.get("ips", ()):
            ip["interface"] = int(value)
    except (ValueError, AttributeError, TypeError):  # no result
        return answer
    return json.dumps(result).encode()


_SPOILT: dict[str, Callable[[bytes, str], bytes]] = {
    "garbage": lambda _, __: _PROSE,
    "doubled": lambda answer, _: answer + answer,
    "truncated": lambda answer, _: answer[: len(answer) // 2],
    "silent": lambda _, __: b"",
    "flood": lambda answer, _: b" " * _FLOOD + answer,
    "interface": _with_interface,
}


def _leave(call: Call, kind: str, ended: int, written: Written, *, answer: bytes) -> NoReturn:
    """Write down what the runtime sees, answer, and end."""
    if kind.startswith(("kill", "hang")):
        answer = b""
    if kind.startswith("kill"):
        ended = -_KILL
    hangs = kind.startswith("hang")
    call.said["stdout"] = bytearray(answer)
    write_down(call, *written, ended=None if hangs else ended)
    while hangs:
        time.sleep(_LONG)
    write(2, bytes(call.said["stderr"]))
    write(1, answer)
    end(ended)


def _error(code: str) -> bytes:
    return b'{"code": %d, "msg": "a fault that was asked for"}\n' % int(code or 999)


def _remove_namespace(call: Call) -> None:
    import ctypes  # noqa: PLC0415  most calls need none

    path = os.fsencode(call.environment.get("CNI_NETNS", ""))
    while ctypes.CDLL(None).umount2(path, _UNMOUNT_LATER) == 0:
        pass
    attempt(os.unlink, path)
