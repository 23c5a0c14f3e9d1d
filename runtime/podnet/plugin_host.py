"""podnet's own plugins from a preloaded process: a fork where others start an interpreter.

Starts the host when it is first needed and asks it for plugins; the host's side is
podnet_plugins.host.  Knows a socket and descriptors, and no plugin.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from podnet.kernel import worlds
from podnet.pipes import Streams

_LAUNCH = "launch.py"
_LARGEST_REPLY = 64


class HostedChild(Streams):
    """A plugin that a worker of the host is.

    Attributes:
        pid: Its process ID, and its group's.
        ended: Readable when it has ended.
    """

    def __init__(
        self, control: socket.socket, request: Mapping[str, object], keep_open: Sequence[int]
    ) -> None:
        """Ask for a plugin.

        Raises:
            OSError: The host is gone.
        """
        theirs = self.open_pipes()
        self._reply, answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        namespaces = worlds.own()
        try:
            descriptors = [answering.fileno(), *theirs, *namespaces, *keep_open]
            socket.send_fds(control, [json.dumps(request).encode()], descriptors)
            answering.close()
            self.pid = self._introduced()
            self.ended = os.dup(self._reply.fileno())
        except BaseException:
            self.close_pipes()
            self._reply.close()
            raise
        finally:
            answering.close()
            for descriptor in (*theirs, *namespaces):
                os.close(descriptor)

    def _introduced(self) -> int:
        pid = self._reply.recv(_LARGEST_REPLY)
        if not pid:
            raise ConnectionResetError("the plugin host is gone")
        return int(pid)

    def wait(self) -> int:
        """Wait for its end; return the exit status, or the signal's number, negative."""
        status = self._reply.recv(_LARGEST_REPLY)
        return int(status) if status else -9

    def leave(self) -> None:
        """Have no more to do with it: its process may serve another call from here on."""
        self._reply.close()


class PluginHost:
    """The host of one directory of plugins, started when it is first needed.

    Attributes:
        directory: The plugins that it can be; what they do is in the directory above.
        pid: Its process ID; 0 when it does not run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self.pid = 0

    @property
    def is_running(self) -> bool:
        """Whether the host was started, and not closed."""
        return self._control is not None

    def has(self, binary: Path) -> bool:
        """Tell whether *binary* is one of the host's plugins."""
        return binary.parent == self.directory

    def start(
        self, plugin: str, environment: Mapping[str, str], keep_open: Sequence[int]
    ) -> HostedChild:
        """Start *plugin* with exactly this environment.

        Raises:
            OSError: The host cannot be started, or is gone.
        """
        request = {
            "plugin": plugin,
            "environment": dict(environment),
            "cwd": str(Path.cwd()),
            "keep": list(keep_open),
        }
        return HostedChild(self._connected(), request, keep_open)

    def _connected(self) -> socket.socket:
        with self._lock:
            if self._control is None:
                self._control = self._launch()
            return self._control

    def _launch(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launch = self.directory.parent / _LAUNCH
        command = [sys.executable, "-I", "-S", str(launch), "host"]
        with theirs:
            self.pid = os.posix_spawn(
                sys.executable,
                command,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                setpgroup=0,
            )
        return ours

    def close(self) -> None:
        """End the host; plugins that it forked go on."""
        with self._lock:
            if self._control is not None:
                self._control.close()
                os.waitpid(self.pid, 0)
                self._control, self.pid = None, 0
