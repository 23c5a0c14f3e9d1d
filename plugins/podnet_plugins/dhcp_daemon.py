"""``dhcp daemon``: one process for all leases of a machine, and one loop over their sockets.

Knows flags, signals, the Unix socket and who is connected to it; leases are ``dhcp_tenants``'.
Told to end, it leaves leases as they are: the next daemon goes on with them.
"""

import argparse
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from selectors import EVENT_READ, BaseSelector, DefaultSelector
from typing import NoReturn

from podnet.cni import wire
from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.wire import Fields
from podnet_plugins import dhcp_protocol
from podnet_plugins.dhcp_actions import Timing
from podnet_plugins.dhcp_lease import Holder, Wishes
from podnet_plugins.dhcp_store import Store, now
from podnet_plugins.dhcp_tenants import Answer, Tenants
from podnet_plugins.skel import log

# systemd's socket activation, sd_listen_fds(3).
_FIRST_PASSED = 3
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
# The loop sleeps by another clock than leases go by, which runs on while the machine is asleep.
_LONGEST_SLEEP = 60.0


class Connection:
    """Somebody who asks.

    Args:
        client: Its socket.
        selector: Tells when there is something to read.
        tenants: Who answers.
    """

    def __init__(self, client: socket.socket, selector: BaseSelector, tenants: Tenants) -> None:
        self._client, self._selector, self._tenants = client, selector, tenants
        self._received = b""
        self._give_up: Callable[[], None] | None = None
        selector.register(client, EVENT_READ, self._read)

    def _read(self) -> None:
        try:
            more = self._client.recv(65536)
        except BlockingIOError:
            return
        except OSError:  # it was killed
            more = b""
        self._received += more
        if not more or len(self._received) > dhcp_protocol.LARGEST:
            self._close()
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            self._answer_to(line)

    def _answer_to(self, line: bytes) -> None:
        try:
            answer = self._asked(Fields.of(wire.loads(line, "the request")))
        except CniError as exc:
            answer = {"error": exc.to_wire()}
        except OSError as exc:
            answer = {"error": CniError(f"dhcp: {exc}").to_wire()}
        if answer is not None:
            self._reply(answer)

    def _asked(self, request: Fields) -> Answer | None:
        """Return the answer, ``None`` when it comes later."""
        holder = Holder.from_wire(request.child("holder") or Fields({}))
        match request.text("method"):
            case "allocate":
                wishes = Wishes.from_wire(request.child("wishes") or Fields({}))
                netns = request.text("netns")
                self._give_up = self._tenants.allocate(holder, netns, wishes, self._reply)
                return None
            case "check":
                return self._tenants.check(holder, request.text("netns"))
            case "release":
                self._tenants.release(holder)
            case "gc":
                valid = {Holder.from_wire(one) for one in request.children("valid")}
                self._tenants.gc(request.text("network"), valid)
            case "status":
                pass
            case other:
                raise InvalidConfigError(f"the DHCP daemon knows no method {other!r}")
        return {}

    def _reply(self, answer: Answer) -> None:
        self._give_up = None
        with suppress(OSError):  # it is gone; a lease that it got is for DEL to release
            self._client.sendall(dhcp_protocol.encoded(answer))

    def _close(self) -> None:
        self._selector.unregister(self._client)
        self._client.close()
        if self._give_up:
            self._give_up()


def main(arguments: Sequence[str]) -> NoReturn:
    """Be the daemon, until a signal ends it."""
    flags = _flags(arguments)
    timing = Timing(
        timeout=flags.timeout,
        resend_max=flags.resendmax,
        resend_timeout=flags.resendtimeout,
        broadcast=flags.broadcast,
    )
    with ExitStack() as stack:
        try:
            listener = _listener(flags.socketpath, stack)
        except (CniError, OSError) as exc:
            log(f"dhcp daemon: {exc}")
            sys.exit(1)
        if flags.pidfile:
            Path(flags.pidfile).write_text(f"{os.getpid()}\n")
            stack.callback(Path(flags.pidfile).unlink, missing_ok=True)
        _serve(listener, timing, flags.hostprefix)
    sys.exit(0)


def _serve(listener: socket.socket, timing: Timing, prefix: str) -> None:
    with DefaultSelector() as selector:
        store = Store(Path(listener.getsockname()))
        tenants = Tenants(store, selector, timing, prefix=prefix)
        ended: list[int] = []
        selector.register(_signals(ended), EVENT_READ, lambda: None)
        selector.register(listener, EVENT_READ, lambda: _accept(listener, selector, tenants))
        log(f"dhcp daemon: {tenants.resume()} leases; listening at {listener.getsockname()}")
        while not ended:
            sleep = min(max(tenants.wake_at - now(), 0), _LONGEST_SLEEP)
            for selected, _ in selector.select(sleep):
                selected.data()
            tenants.wake()
        tenants.close()


def _accept(listener: socket.socket, selector: BaseSelector, tenants: Tenants) -> None:
    with suppress(BlockingIOError):
        client, _ = listener.accept()
        # Answers are small; who does not read them is not waited for.
        client.settimeout(0)
        Connection(client, selector, tenants)


def _signals(ended: list[int]) -> socket.socket:
    """Have the signals that end us noted, and wake the loop."""
    wakes, woken = socket.socketpair()
    for end in (wakes, woken):
        end.settimeout(0)
    signal.set_wakeup_fd(wakes.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ended.append(number))
    return woken


def _listener(path: str, stack: ExitStack) -> socket.socket:
    """Return the socket to listen at: systemd's, or one of our own that goes when we go.

    Raises:
        CniError: There is a daemon already.
        OSError: It cannot be made.
    """
    passed = os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS")
    if passed:
        if passed != "1":
            raise CniError(f"systemd passed {passed} sockets, and one is needed")
        listener = socket.socket(fileno=_FIRST_PASSED)
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    stack.enter_context(listener)
    at = Path(listener.getsockname() if passed else path)
    locked = Store(at).lock()
    if locked is None:
        raise CniError(f"a DHCP daemon is running at {at} already")
    stack.callback(os.close, locked)
    if not passed:
        at.unlink(missing_ok=True)  # one that was killed left it
        before = os.umask(0o177)
        try:
            listener.bind(str(at))
        finally:
            os.umask(before)
        stack.callback(at.unlink, missing_ok=True)
        listener.listen(128)
    listener.settimeout(0)
    return listener


def _flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the flags, with the reference's names, defaults and spelling: one dash or two."""
    default = Timing()
    parser = argparse.ArgumentParser("dhcp daemon", description=__doc__, allow_abbrev=False)

    def flag(name: str, text: str, **more: object) -> None:
        parser.add_argument(f"-{name}", f"--{name}", help=text, **more)  # type: ignore[arg-type]

    flag("pidfile", "write the process ID to this file", default="")
    flag("hostprefix", "where the host's root is, to find network namespaces", default="")
    flag("socketpath", "the socket to listen at", default=dhcp_protocol.SOCKET)
    flag("broadcast", "ask servers to broadcast their answers", action="store_true")
    times = {"type": _duration, "metavar": "DURATION"}
    flag("timeout", "how long to wait for an answer (10s)", default=default.timeout, **times)
    flag("resendmax", "longest pause between tries (62s)", default=default.resend_max, **times)
    flag("resendtimeout", "how long to try (208s)", default=default.resend_timeout, **times)
    return parser.parse_args(arguments)


def _duration(text: str) -> float:
    """Read a duration as Go writes it: ``1m2.5s``."""
    parts = _DURATION.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 10s or 1m30s")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
