"""The plugin host, with the flawed plugins on its list: each is called what it fails."""

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.rig.flawed import plugin
from tests.rig.flawed.table import FLAWS

from podnet_plugins import host

CORRECT = "correct-"


def files(directory: Path) -> None:
    """Make the executables of all plugins, for who looks for them, and what starts the host.

    They are never executed: a plugin host is asked, which forks.
    """
    repository = Path(__file__).parents[3]
    roots = [str(repository / name) for name in ("plugins", "runtime", "")]
    (directory / "bin").mkdir()
    kinds = {f"{CORRECT}{kind}" for kind, _ in FLAWS.values()}
    for name in {*FLAWS, *kinds}:
        path = directory / "bin" / name
        path.write_text("#!/bin/false\n")
        path.chmod(0o755)
    (directory / "launch.py").write_text(
        f"import sys\nsys.path[0:0] = {roots}\nfrom tests.rig.flawed import host\nhost.main()\n"
    )


def main() -> None:
    """Be the host."""
    whole = host.Plugins.get

    def get(plugins: Any, name: str) -> Any:
        if name in FLAWS:
            kind, flaw = FLAWS[name]
        elif name.startswith(CORRECT):
            kind, flaw = name.removeprefix(CORRECT), None
        else:
            return whole(plugins, name)
        gc.freeze()
        return SimpleNamespace(main=lambda: plugin.main(flaw, kind))

    host.Plugins.get = get  # type: ignore[assignment, method-assign]
    host.main()
