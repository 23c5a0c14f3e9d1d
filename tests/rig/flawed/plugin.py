"""A correct plugin, podnet's own, and ways to give it one flaw.

A flaw is a function of what is asked and of the correct plugin; it looks at the question, or
at the answer, and changes one thing.  Runs in processes that the plugin host forks.
"""

import fcntl
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from podnet.cni.errors import CniError
from podnet.cni.versions import LATEST, RELEASED, Verb
from podnet.kernel import namespaces, programs
from podnet_plugins import delegate, skel

LEASES = Path("/var/lib/cni/networks/conformance")
MEMORY = Path("/run/flaw")


@dataclass(frozen=True)
class Asked:
    """One call."""

    env: dict[str, str]
    stdin: bytes

    @property
    def verb(self) -> str:
        """CNI_COMMAND."""
        return self.env.get("CNI_COMMAND", "")

    @property
    def config(self) -> dict[str, Any] | None:
        """The configuration; ``None`` when it is no JSON object."""
        try:
            value = json.loads(self.stdin)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    @property
    def netns(self) -> str:
        """CNI_NETNS."""
        return self.env.get("CNI_NETNS", "")

    @property
    def mark(self) -> Path:
        """A file of this container's."""
        return MEMORY / self.env.get("CNI_CONTAINERID", "none")

    def get(self, key: str) -> Any:
        """Return what the configuration says under a key."""
        return (self.config or {}).get(key)

    def given(self, **env: str) -> "Asked":
        """Return the same call with some variables set."""
        return replace(self, env={**self.env, **env})

    def configured(self, **keys: object) -> "Asked":
        """Return the same call with some keys set."""
        return replace(self, stdin=json.dumps({**(self.config or {}), **keys}).encode())


@dataclass
class Said:
    """What came of it."""

    status: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    error: dict[str, Any] = field(default_factory=dict)


Plugin = Callable[[Asked], Said]
Flaw = Callable[[Asked, Plugin], Said]
When = Callable[[Asked], object]


def correct(kind: str) -> Plugin:
    """Return podnet's own plugin of a type, as a function."""

    def plugin(asked: Asked) -> Said:
        if not asked.verb:
            return Said(stderr=b"a plugin, and what it is for")
        module = import_module(f"podnet_plugins.{kind.replace('-', '_')}")
        os.environ.clear()
        os.environ.update(asked.env)
        heard = io.StringIO()
        with redirect_stderr(heard):
            said = _respond(module.PLUGIN, asked)
        said.stderr += heard.getvalue().encode()
        return said

    return plugin


def _respond(plugin: skel.Plugin, asked: Asked) -> Said:
    try:
        answer = skel.respond(plugin, asked.env, lambda: asked.stdin)
    except CniError as exc:
        return failure(asked, exc.code, exc.msg)
    except OSError as exc:
        return failure(asked, 999, skel.sentence(exc))
    return Said() if answer is None else Said(stdout=json.dumps(answer).encode())


def failure(asked: Asked, code: int = 999, msg: str = "broken on purpose") -> Said:
    version = asked.get("cniVersion")
    told = version if version in RELEASED else LATEST
    error = {"cniVersion": told, "code": int(code), "msg": msg}
    return Said(1, json.dumps(error).encode(), error=error)


def canned(asked: Asked) -> Said:
    """Return a success that nothing was done for."""
    version = asked.get("cniVersion")
    told = version if version in RELEASED else LATEST
    result = {"cniVersion": told}
    return Said(stdout=json.dumps(result).encode()) if asked.verb in {"ADD", "add"} else Said()


def always(_: Asked) -> bool:
    return True


def only(verb: str, when: When = always) -> When:
    return lambda asked: asked.verb == verb and when(asked)


def refuses(verb: str, when: When = always, msg: str = "broken on purpose") -> Flaw:
    """Fail without doing anything."""
    return lambda asked, do: failure(asked, 999, msg) if only(verb, when)(asked) else do(asked)


def idle(verb: str, when: When = always) -> Flaw:
    """Succeed without doing anything."""
    return lambda asked, do: canned(asked) if only(verb, when)(asked) else do(asked)


def crashes(verb: str, when: When = always) -> Flaw:
    """Die as a Go program does."""
    died = Said(2, b"", b"panic: runtime error")
    return lambda asked, do: died if only(verb, when)(asked) else do(asked)


def swallows(verb: str, when: When = always) -> Flaw:
    """Take an error of one's own for a success."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        said = do(asked)
        return canned(asked) if said.status and only(verb, when)(asked) else said

    return flaw


def asks(change: Callable[[Asked], Asked], when: When = always) -> Flaw:
    """Understand another question."""
    return lambda asked, do: do(change(asked)) if when(asked) else do(asked)


def fills(**env: str) -> Flaw:
    """Take something for what is missing or empty."""
    return asks(lambda a: a.given(**{k: a.env.get(k) or v for k, v in env.items()}))


def says(verb: str, change: Callable[[dict[str, Any], Asked], object]) -> Flaw:
    """Change the result of a success."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        said = do(asked)
        if asked.verb == verb and not said.status:
            document = json.loads(said.stdout or b"{}")
            change(document, asked)
            said.stdout = json.dumps(document).encode()
        return said

    return flaw


def prints(verb: str, text: bytes) -> Flaw:
    """Print something before the answer."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        said = do(asked)
        if asked.verb == verb and not said.status:
            said.stdout = text + said.stdout
        return said

    return flaw


def errs(when: When = always, **changes: object) -> Flaw:
    """Change the error object; ``None`` takes a key away."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        said = do(asked)
        if said.status and when(asked):
            changed = {k: v for k, v in {**said.error, **changes}.items() if v is not None}
            said.stdout = json.dumps(changed).encode()
        return said

    return flaw


def also(verb: str, act: Callable[[Asked], object], when: When = always) -> Flaw:
    """Do one thing more after a success."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        said = do(asked)
        if not said.status and only(verb, when)(asked):
            act(asked)
        return said

    return flaw


def before(verb: str, act: Callable[[Asked], object], when: When = always) -> Flaw:
    """Do one thing more, first."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        if only(verb, when)(asked):
            act(asked)
        return do(asked)

    return flaw


def on_failure(verb: str, act: Callable[[Asked], object]) -> Flaw:
    """Leave something when it fails."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        said = do(asked)
        if said.status and asked.verb == verb:
            act(asked)
        return said

    return flaw


def fails_afterwards(verb: str, when: When = always) -> Flaw:
    """Do the work, and then fail."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        said = do(asked)
        return failure(asked) if only(verb, when)(asked) else said

    return flaw


def keeps_from_delegate(verb: str, when: When = always) -> Flaw:
    """Do not run the delegate with a verb."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        if not when(asked):
            return do(asked)
        with _deaf_to(verb):
            return do(asked)

    return flaw


@contextmanager
def _deaf_to(verb: str) -> Iterator[None]:
    whole = delegate.run

    def deaf(call: skel.Call, asked: Verb, plugin: str) -> object:
        return None if asked == verb else whole(call, asked, plugin)

    delegate.run = deaf  # type: ignore[assignment]
    try:
        yield
    finally:
        delegate.run = whole


def mute(asked: Asked, do: Plugin) -> Said:
    """Lose what is said on stderr."""
    said = do(asked)
    said.stderr = b""
    return said


def one_at_a_time(asked: Asked, do: Plugin) -> Said:
    """Fail when there is another at work."""
    with Path("/run/flaw.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return failure(asked, 11, "somebody else is at work")
        time.sleep(0.02)
        return do(asked)


def guarded_by_a_file(verb: str) -> Flaw:
    """Make a file while at work, and refuse to work where there is one."""

    def flaw(asked: Asked, do: Plugin) -> Said:
        if asked.verb != verb:
            return do(asked)
        if asked.mark.exists():
            return failure(asked, 11, "somebody is at work")
        touch(asked)
        said = do(asked)
        time.sleep(0.3)
        asked.mark.unlink()
        return said

    return flaw


def in_turn(verb: str, times: int) -> When:
    """Tell whether it is the call of that number."""

    def when(asked: Asked) -> bool:
        if asked.verb != verb:
            return False
        MEMORY.mkdir(exist_ok=True)
        count = MEMORY / f"count-{verb}"
        number = len(count.read_bytes()) + 1 if count.exists() else 1
        count.write_bytes(b"x" * number)
        return number == times

    return when


def touch(asked: Asked) -> None:
    """Leave a file of this container's."""
    MEMORY.mkdir(exist_ok=True)
    asked.mark.touch()


def forget_leases(_: Asked) -> None:
    """Release everybody's address."""
    for path in LEASES.glob("198.*"):
        path.unlink()


def inside(*command: str) -> Callable[[Asked], str]:
    """Return what a command prints in the container."""

    def act(asked: Asked) -> str:
        with namespaces.entered(asked.netns):
            return programs.run(*command).stdout

    return act


def there(asked: Asked) -> bool:
    """Tell whether the container has its interface."""
    if not namespaces.is_namespace(asked.netns):
        return False
    return asked.env.get("CNI_IFNAME", "") in inside("ip", "-o", "link")(asked)


def plain(text: str) -> str:
    """Return a name that anybody would accept."""
    return "x" + re.sub(r"[^a-z]", "", text)[:8]


def main(flaw: Flaw | None, kind: str) -> None:
    """Be a plugin of a type, with a flaw or without."""
    asked = Asked({**os.environ}, _whole_stdin())
    do = correct(kind)
    said = do(asked) if flaw is None else flaw(asked, do)
    for descriptor, text in ((2, said.stderr), (1, said.stdout)):
        while text:
            text = text[os.write(descriptor, text) :]  # noqa: PLW2901
    raise SystemExit(said.status)


def _whole_stdin() -> bytes:
    return b"".join(iter(lambda: os.read(0, 1 << 16), b""))
