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

#: How many calls a worker serves: garbage is not collected, and so not touched, while it lives.
MOST_CALLS = 256
#: What a worker says when it waits for a request again.
FREE = "free"

Find = Callable[[str], ModuleType]


def serve(own: Own, find: Find, *, host: int, calls: int, is_awaited: bool) -> NoReturn:
    """Take requests until one was the last.

    Args:
        own: What we keep.
        find: Returns a plugin's module.
        host: The process ID of who forked us; it may be gone by now.
        calls: How many requests to take.
        is_awaited: Somebody waits for us already.
    """
    status = 1
    try:
        status = _serve(own, find, host, calls, is_awaited=is_awaited)
    except BaseException:  # noqa: BLE001  what a fresh process would do with it
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        # Not sys.exit: nothing of the host's must be run twice.
        os._exit(status)


def _serve(own: Own, find: Find, host: int, calls: int, *, is_awaited: bool) -> int:
    if not is_awaited:
        libc.populate_writable()
        rehearsal.rehearse()
    imprint = Imprint()
    for call in range(calls):
        _end_with(host)
        if call:
            own.say(FREE)
        request = own.await_request()
        if request is None:
            break
        libc.die_with_parent(0)
        status = _run(own, find, request)
        _end_with(host)
        if status or _left_somebody():
            return status
        if not own.environment_is_as_taken or not imprint.is_still_true():
            return status
        own.return_home()
    return 0


def _end_with(host: int) -> None:
    """While nobody needs us, end when the host does."""
    libc.die_with_parent(signal.SIGKILL)
    if host != os.getppid():
        os._exit(0)


def _run(own: Own, find: Find, request: Request) -> int:
    """Be the plugin; return the exit status.

    It leads a process group, which whoever asked may kill.  Before it says how it ended, it has
    left that, and nothing is open that anybody could wait for: who is left in the group was left
    behind by the plugin.
    """
    home = os.getpgrp()
    os.setpgid(0, 0)
    own.become(request)
    status = _status_of(find(request.plugin).main)
    with suppress(OSError):
        os.setpgid(0, home)
    own.let_go()
    own.say(str(status))
    return status


def _status_of(plugin: Callable[[], None]) -> int:
    status = 0
    try:
        plugin()
    except SystemExit as exc:
        status = exc.code & 0xFF if isinstance(exc.code, int) else 1  # as exit(3) has it
    except BaseException:  # noqa: BLE001  what a fresh process would do with it
        sys.excepthook(*sys.exc_info())
        status = 1
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    return status


def _left_somebody() -> bool:
    """Tell whether somebody is in the process group that we led."""
    try:
        os.killpg(os.getpid(), 0)
    except ProcessLookupError:
        return False
    return True
