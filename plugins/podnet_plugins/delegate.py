"""Delegation: run another plugin as its caller was run (SPEC section 4).

``add(call)`` and its like run the IPAM plugin of the configuration, with the same stdin.
``add(call, config)`` and its like run the plugin that *config* is for: any plugin, with any
configuration, as flannel runs bridge; what the runtime said is put in where *config* does not
say it itself.  Either way: same environment, found in CNI_PATH, error objects unchanged.
One that turns out to be podnet's own is called here, not started: an interpreter's start
is longer than all of its work.  But for noop, which may be told to crash.
"""

import os
from collections import ChainMap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
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
    # isfile: a directory that may not be looked into has no plugins, and is no error.
    for directory in directories:
        if os.path.isfile(found := os.path.join(directory, plugin)):
            return Path(found)
    raise InvalidConfigError(f'failed to find plugin "{plugin}" in path [{" ".join(directories)}]')


def run(call: Call, verb: Verb, plugin: str) -> object:
    """Run *plugin* with *verb* and return what it answered, parsed; ``None`` for nothing.

    Raises:
        CniError: Its own, or what it did instead of saying one.
    """
    binary = find(plugin, call.path)
    environment = ChainMap({"CNI_COMMAND": str(verb)}, os.environ)
    if plugin not in _APART and _is_own(binary):
        module = import_module(f"podnet_plugins.{plugin.replace('-', '_')}")
        try:
            return respond(module.PLUGIN, environment, lambda: call.stdin)
        except OSError as exc:
            raise CniError(sentence(exc)) from exc
    printed = _process(binary, dict(environment), call.stdin)
    return wire.loads(printed, f"the answer of {plugin}") if verb is Verb.ADD else None


def _is_own(binary: Path) -> bool:
    return binary.parent == _OWN or binary.parent.resolve() == _OWN


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


def add(call: Call, config: Mapping[str, object] | None = None) -> Result:
    """Have the IPAM plugin assign addresses, or the plugin of *config* make an attachment.

    Raises:
        CniError: It failed, or an IPAM plugin assigned none.
    """
    plugin, asked = _delegate(call, config)
    try:
        answer = run(asked, Verb.ADD, plugin)
    except CniError:
        # It may have come half way (SPEC section 4); why it failed is what counts.
        with suppress(CniError):
            run(asked, Verb.DEL, plugin)
        raise
    result = Result.from_wire(answer, default_version=call.cni_version)
    if config is None and not result.ips:
        raise CniError("IPAM plugin returned missing IP config")
    return result


def delete(call: Call, config: Mapping[str, object] | None = None) -> None:
    """Have the delegate remove or release what it made, if there is one."""
    plugin, asked = _delegate(call, config)
    if plugin:
        run(asked, Verb.DEL, plugin)


def check(call: Call, config: Mapping[str, object] | None = None) -> None:
    """Have the delegate check what it made, if there is one."""
    plugin, asked = _delegate(call, config)
    if plugin:
        run(asked, Verb.CHECK, plugin)


def gc(call: Call, config: Mapping[str, object] | None = None) -> None:
    """Have the delegate remove what is not in use, if there is one that can.

    Raises:
        CniError: The delegate's own, or it is not said what is in use.
    """
    _ = call.valid_attachments  # not every delegate looks before it removes
    plugin, asked = _delegate(call, config)
    if plugin:
        run_if_known(asked, Verb.GC, plugin)


def status(call: Call, config: Mapping[str, object] | None = None) -> None:
    """Ask the delegate whether an ADD could succeed, if there is one that can tell."""
    plugin, asked = _delegate(call, config)
    if plugin:
        run_if_known(asked, Verb.STATUS, plugin)


def run_if_known(call: Call, verb: Verb, plugin: str) -> None:
    """GC and STATUS are younger than most plugins; one that does not know them has no say."""
    try:
        run(call, verb, plugin)
    except CniError as exc:
        if exc.msg != f"unknown CNI_COMMAND: {verb}":
            raise


def _delegate(call: Call, config: Mapping[str, object] | None) -> tuple[str, Call]:
    """Return whom to run and what to ask it."""
    if config is None:
        return call.ipam_type, call
    plugin = Fields(config).text("type")
    names.check_plugin_type(plugin)
    whole = {**_said_by_the_runtime(call), **config}
    return plugin, replace(call, stdin=wire.dumps(whole).encode())


def _said_by_the_runtime(call: Call) -> dict[str, object]:
    """Return what a delegate must be told whoever wrote its configuration (SPEC section 3)."""
    said: dict[str, object] = {"cniVersion": call.cni_version, "name": call.network}
    keys = {key: call.config.get(key) for key in ("runtimeConfig", "prevResult")}
    keys |= {key: call.config.get(key) for key in call.config.values if key.startswith("cni.dev/")}
    return said | {key: value for key, value in keys.items() if value is not None}
