"""Delegation: run another plugin, mostly the one that manages addresses (SPEC section 4).

As its caller was run: same environment, same stdin, found in CNI_PATH; its error objects pass through unchanged.
One that turns out to be podnet's own is called here, not started: an interpreter's start
is longer than all of its work.  But for noop, which may be told to crash.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from podnet.cni import names, wire
from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet_plugins.skel import Call, log, respond, sentence

_APART = frozenset({"noop"})
_OWN = Path(__file__).parent.resolve() / "bin"


def find(plugin: str, path: str) -> Path:
    """Return the first regular file called *plugin* in *path*.

    Raises:
        InvalidConfigError: There is none, or the name is no plugin's.
    """
    names.check_plugin_type(plugin)
    directories = [directory for directory in path.split(":") if directory]
    found = next((p for d in directories if (p := Path(d, plugin)).is_file()), None)
    if found is None:
        raise InvalidConfigError(
            f'failed to find plugin "{plugin}" in path [{" ".join(directories)}]'
        )
    return found


def run(call: Call, verb: Verb, plugin: str) -> object:
    """Run *plugin* with *verb* and return what it answered, parsed; ``None`` for nothing.

    Raises:
        CniError: Its own, or what it did instead of saying one.
    """
    binary = find(plugin, call.path)
    environment = {**os.environ, "CNI_COMMAND": str(verb)}
    if plugin not in _APART and binary.parent.resolve() == _OWN:
        module = import_module(f"podnet_plugins.{plugin.replace('-', '_')}")
        try:
            return respond(module.PLUGIN, environment, lambda: call.stdin)
        except OSError as exc:
            raise CniError(sentence(exc)) from exc
    printed = _process(binary, environment, call.stdin)
    return wire.loads(printed, f"the answer of {plugin}") if verb is Verb.ADD else None


def _process(binary: Path, environment: Mapping[str, str], stdin: bytes) -> bytes:
    import subprocess  # noqa: PLC0415  8 ms that only a foreign delegate needs

    done = subprocess.run([binary], input=stdin, capture_output=True, env=environment, check=False)
    if done.stderr:
        log(done.stderr.decode(errors="backslashreplace").rstrip())
    if done.returncode == 0:
        return done.stdout
    raise _error(binary.name, done.returncode, done.stdout, done.stderr)


def _error(plugin: str, status: int, stdout: bytes, stderr: bytes) -> CniError:
    try:
        said = Fields.of(wire.loads(stdout))
        return CniError(said.text("msg"), said.text("details"), code=said.number("code") or 0)
    except CniError:
        shown = (stdout + stderr).decode(errors="backslashreplace").strip()
        return CniError(f"plugin {plugin} failed with exit status {status}", shown[:400])


def add(call: Call) -> Result:
    """Have the IPAM plugin assign addresses.

    Raises:
        CniError: It failed, or assigned none.
    """
    answer = run(call, Verb.ADD, call.ipam_type)
    result = Result.from_wire(answer, default_version=call.cni_version)
    if not result.ips:
        raise CniError("IPAM plugin returned missing IP config")
    return result


def delete(call: Call) -> None:
    """Have the IPAM plugin release addresses, if there is one."""
    if call.ipam_type:
        run(call, Verb.DEL, call.ipam_type)


def check(call: Call) -> None:
    """Have the IPAM plugin check its addresses, if there is one."""
    if call.ipam_type:
        run(call, Verb.CHECK, call.ipam_type)


def gc(call: Call) -> None:
    """Have the IPAM plugin release what is not in use, if there is one that can."""
    if call.ipam_type:
        run_if_known(call, Verb.GC, call.ipam_type)


def status(call: Call) -> None:
    """Ask the IPAM plugin whether it could assign addresses, if there is one that can tell."""
    if call.ipam_type:
        run_if_known(call, Verb.STATUS, call.ipam_type)


def run_if_known(call: Call, verb: Verb, plugin: str) -> None:
    """GC and STATUS are younger than most plugins; one that does not know them has no say."""
    try:
        run(call, verb, plugin)
    except CniError as exc:
        if exc.msg != f"unknown CNI_COMMAND: {verb}":
            raise
