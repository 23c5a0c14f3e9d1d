"""What may be imported where, and what an import may cost."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from podnet.cli.main import COMMANDS, GROUPS, command_of

ROOT = Path(__file__).parent.parent.parent


def _loaded(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after *statement*."""
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_floor_plan_holds() -> None:
    lint = Path(sys.executable).parent / "lint-imports"

    done = subprocess.run(
        [lint, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("heavy", ["asyncio", "typer", "pyroute2", "subprocess", "yaml", "ctypes"])
def test_the_spec_is_cheap_to_import(heavy: str) -> None:
    assert heavy not in _loaded("import podnet.cni")


HEAVY = {"pyroute2", "yaml", "rich", "asyncio", "pydantic", "email", "podnet.cluster"}


@pytest.mark.parametrize("command", ["create", "list", "delete", "ping", "node", "version"])
def test_a_command_starts_without_what_most_do_not_need(command: str) -> None:
    loaded = _loaded(f"from podnet.cli.main import furnish; furnish({command!r})")

    assert not HEAVY & loaded


def test_the_table_of_commands_has_every_command_where_it_is() -> None:
    for room, commands in COMMANDS.items():
        app = typer.Typer()
        import_module(f"podnet.cli.{room}").register(app)
        names = [one.name or str(one.callback.__name__) for one in app.registered_commands]  # type: ignore[union-attr]
        assert sorted(names) == sorted(commands)
    files = {path.stem for path in (ROOT / "runtime/podnet/cli").glob("*.py")}
    assert {stem for stem in files if stem.endswith("_commands")} <= {*COMMANDS, *GROUPS.values()}


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["list", "-o", "json"], "list"),
        (["--timeout", "3", "gc"], "gc"),
        (["--timeout=3", "-q", "node", "list"], "node"),
        (["--help"], ""),
        ([], ""),
    ],
)
def test_the_first_word_that_is_no_option_is_the_command(
    arguments: list[str], command: str
) -> None:
    assert command_of(arguments) == command


@pytest.mark.parametrize("plugin", ["bridge", "host_local", "loopback"])
def test_a_plugin_loads_no_netlink_library(plugin: str) -> None:
    loaded = _loaded(f"import podnet_plugins.{plugin}")

    assert not {"pyroute2", "asyncio", "typer"} & loaded


@pytest.mark.parametrize("rare", ["podnet_plugins.describe", "traceback", "shlex"])
def test_a_plugin_loads_nothing_that_a_call_does_not_need(rare: str) -> None:
    bare = "import sys; sys.path[:0] = ['runtime', 'plugins']; import podnet_plugins.static"
    code = f"{bare}; print('\\n'.join(sys.modules))"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert rare not in done.stdout.split()


@pytest.mark.parametrize(
    "path",
    sorted(
        p.relative_to(ROOT).as_posix()
        for f in ("runtime", "plugins", "manager")
        for p in (ROOT / f).rglob("*.py")
    ),
)
def test_a_module_opens_by_saying_what_it_is_for(path: str) -> None:
    assert (ROOT / path).read_text().startswith('"""')


def test_pytest_loads_next_to_nothing_of_podnet_where_no_test_asks_for_it() -> None:
    loaded = _loaded("import podnet.pytest_plugin.plugin, podnet.pytest_plugin.fixtures")

    assert {name for name in loaded if name.startswith("podnet.")} == {
        "podnet.errors",
        "podnet.pytest_plugin",
        "podnet.pytest_plugin.fixtures",
        "podnet.pytest_plugin.plugin",
        "podnet.pytest_plugin.settings",
        "podnet.pytest_plugin.trial",
    }
