"""A process that waits to be a plugin, and is one call after another.

Forked by the plugin host, it takes a request, becomes the plugin that is asked for
(:mod:`podnet_plugins.becoming`), and tells whoever asks how that ended.  Python's memory is warm
then: a call in a process that has just been forked takes five to ten times as long, since every
page that it writes to is copied first.  Nothing of a call may be there in the next: a plugin that
did not end well, left somebody behind or changed the process (:mod:`podnet_plugins.imprint`) was
its worker's last.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import NoReturn

from podnet.kernel import libc
from podnet_plugins import rehearsal
from podnet_plugins.becoming import Own, Request
from podnet_plugins.imprint import Imprint

#: What a worker tells the host: that it has taken a request, and that it waits again.
TAKEN, FREE = "taken", "free"
# Garbage is not collected, and so not touched, while a worker lives.
_MOST_CALLS = 64
_LARGEST_WORD = 1

Find = Callable[[str], ModuleType]


def serve(own: Own, find: Find) -> NoReturn:
    """Take requests until one was the last.

    Args:
        own: What we keep.
        find: Returns a plugin's module.
    """
    _end(lambda: _serve(own, find))


def once(own: Own, find: Find, request: Request) -> NoReturn:
    """Be a plugin for one request, which came before anybody waited."""
    _end(lambda: _run(own, find, request)[1])


def _end(work: Callable[[], int]) -> NoReturn:
    status = 1
    try:
        status = work()
    except BaseException:  # noqa: BLE001  what a fresh process would do with it
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        # Not sys.exit: nothing of the host's must be run twice.
        os._exit(status)


def _serve(own: Own, find: Find) -> int:
    host = os.getppid()
    rehearsal.rehearse()
    imprint = Imprint()
    for _ in range(_MOST_CALLS):
        _end_with(host)
        request = own.await_request()
        if request is None:
            break
        libc.die_with_parent(0)
        reply, status = _run(own, find, request)
        _end_with(host)
        if status or _left_somebody() or not imprint.is_still_true():
            return status
        own.return_home()
        _await_goodbye(reply)
        own.tell_host(FREE)
    return 0


def _end_with(host: int) -> None:
    """While nobody needs us, end when the host does."""
    libc.die_with_parent(signal.SIGKILL)
    if host != os.getppid():
        os._exit(0)


def _run(own: Own, find: Find, request: Request) -> tuple[int, int]:
    """Be the plugin; return where to answer, and the exit status."""
    _introduce(own, request.descriptors[0])
    reply = own.become(request)
    status = _status_of(find(request.plugin).main)
    _take_leave(own, reply, status)
    return reply, status


def _introduce(own: Own, reply: int) -> None:
    """Tell the host whom to tell of our end, and who asked who we are.

    In this order: whoever knows us may kill us at once, and the host must know by then that we
    do not wait any more.
    """
    os.setpgid(0, 0)
    own.tell_host(TAKEN, reply)
    with suppress(OSError):  # who asked may be gone; the plugin goes on to its end
        os.write(reply, str(os.getpid()).encode())


def _status_of(plugin: Callable[[], None]) -> int:
    status = 0
    try:
        plugin()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    return status


def _take_leave(own: Own, reply: int, status: int) -> None:
    """Say how the plugin ended, with nothing left that anybody could wait for.

    Who is left in the process group was left behind by the plugin.
    """
    with suppress(OSError):
        os.setpgid(0, os.getppid())
    own.let_go(reply)
    with suppress(OSError):
        os.write(reply, str(status).encode())


def _left_somebody() -> bool:
    """Tell whether somebody is in the process group that we led."""
    try:
        os.killpg(os.getpid(), 0)
    except ProcessLookupError:
        return False
    return True


def _await_goodbye(reply: int) -> None:
    """Wait until whoever asked has no more to do with us: it may be about to kill us."""
    with suppress(OSError):
        os.read(reply, _LARGEST_WORD)
    os.close(reply)
