"""Managers for many Nodes of one machine, from one loaded process: a fork where others start an interpreter.

Who makes a cluster starts it with a socket as its stdin.  Every message there asks for one
manager: the Node's namespaces, its command line, and where to write its log and, when it has
ended, its exit status; the answer is its process ID.  From then on it is a manager like any other, and the fleet ends when nobody
can ask any more.
"""

import gc
import json
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from podnet.kernel import worlds
from podnet_manager import main as manager

_LARGEST_REQUEST = 1 << 16
_NAME = "podnet-manager"
_ANY = 1 << 20  # more descriptors than anybody has


def main() -> None:
    """Fork what is asked for, until nobody can ask any more."""
    control = socket.socket(fileno=os.dup(0))
    while True:
        text, descriptors, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, len(worlds.KINDS))
        if not text:
            return
        request = json.loads(text)
        if "--etcd-endpoints" in request["arguments"]:
            import podnet_manager.store_etcd  # noqa: F401, PLC0415  once, and not in every fork
        gc.freeze()  # a collection would touch, and so copy, what all managers share
        pid = os.fork()
        if pid == 0:
            log, ended = Path(request["log"]), Path(request["ended"])
            _become(request["arguments"], log, ended, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(pid).encode())


def _become(
    arguments: Sequence[str], log: Path, ended: Path, descriptors: Sequence[int]
) -> NoReturn:
    """Be the manager of a Node."""
    status = 1
    try:
        os.setsid()
        Path("/proc/self/comm").write_text(_NAME)
        worlds.enter(dict(zip(worlds.KINDS, descriptors, strict=True)))
        for file in (log, ended):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ended.unlink(missing_ok=True)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, target in ((0, nothing), (1, said), (2, said)):
            os.dup2(target, stream)
        os.closerange(3, _ANY)
        manager.main(arguments)
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException as exc:  # noqa: BLE001  what a fresh interpreter would print
        sys.stderr.write(f"error: {exc!r}\n")
    finally:
        sys.stderr.flush()
        with suppress(OSError):
            ended.write_text(str(status))
        os._exit(status)


if __name__ == "__main__":
    main()
