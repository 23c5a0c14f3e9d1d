"""The executables in bin/ differ in their names only."""

from pathlib import Path

import podnet_plugins

BIN = Path(podnet_plugins.__file__).parent / "bin"


def test_every_plugin_has_the_same_launcher():
    assert len({path.read_bytes() for path in BIN.iterdir()}) == 1
    assert {path.stat().st_mode & 0o777 for path in BIN.iterdir()} == {0o755}
