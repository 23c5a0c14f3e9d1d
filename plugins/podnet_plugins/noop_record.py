"""What noop was given, in a file per call: ``000003-DEL-c1-eth0.json`` is the third call.

A file appears whole, and numbers are given under a lock, so that calls in parallel are
counted as well.  Files are for root only: configurations carry secrets.
"""

import fcntl
import os
import time
from pathlib import Path

from podnet.cni import wire
from podnet.cni.errors import CniError, Code
from podnet_plugins.skel import Call

_DIGITS = 6
_LONGEST_ID = 128


def keep(directory: str, call: Call, *, per_attachment: bool = False) -> int:
    """Write a call down, and return the how-manieth of its verb it is; the first is 1.

    Args:
        directory: Where; it is made if it is missing.
        call: The call.
        per_attachment: Count the calls of the same attachment only.

    Raises:
        CniError: Code 5, it could not be written.
    """
    root = Path(directory)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return _write(root, call, per_attachment=per_attachment)
        finally:
            os.close(descriptor)
    except OSError as exc:
        message = f"failed to record the call in {directory}: {exc.strerror}"
        raise CniError(message, code=Code.IO_FAILURE) from exc


def _write(root: Path, call: Call, *, per_attachment: bool) -> int:
    kept = sorted(name for name in os.listdir(root) if name[:_DIGITS].isdigit())  # noqa: PTH208  names are enough
    attachment = "".join(
        f"-{part[:_LONGEST_ID]}" for part in (call.container_id, call.ifname) if part
    )
    suffix = f"-{call.verb}{attachment}.json"
    alike = suffix if per_attachment else f"-{call.verb}"
    nth = 1 + sum(_is_alike(name[_DIGITS:], alike) for name in kept)
    number = 1 + (int(kept[-1][:_DIGITS]) if kept else 0)
    entry = {"number": number, "verb": str(call.verb), "nth": nth} | _given(call)
    draft = root / f".{number}.draft"
    draft.touch(mode=0o600)
    draft.write_text(wire.dumps(entry, indent=1) + "\n")
    draft.rename(root / f"{number:0{_DIGITS}}{suffix}")
    return nth


def _is_alike(rest: str, alike: str) -> bool:
    return rest == alike or rest.startswith((f"{alike}-", f"{alike}."))


def _given(call: Call) -> dict[str, object]:
    return {
        "time": time.time(),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "cwd": os.getcwd(),  # noqa: PTH109
        "namespace": os.readlink("/proc/thread-self/ns/net"),  # noqa: PTH115
        "environment": {k: v for k, v in os.environ.items() if k.startswith("CNI_")},
        "stdin": call.stdin.decode(),
    }
