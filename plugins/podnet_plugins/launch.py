"""Start one plugin in a bare interpreter: ``python3 -I -S launch.py TYPE``.

Bare, since every start of a plugin is somebody waiting for a pod: no site-packages are
searched, and only what the plugin itself imports is loaded.
"""

import json
import os
import sys
from importlib import import_module

OLDEST = (3, 11)


def main() -> None:
    """Find podnet's packages beside this file, and run the plugin called in ``argv``."""
    if sys.version_info < OLDEST:
        say = f"podnet's plugins need Python 3.11, this is {sys.version.split()[0]}"
        sys.stdout.write(json.dumps({"code": 50, "msg": say}) + "\n")
        sys.exit(1)
    # Behind Python's own: beside an installed podnet may lie a pathlib of Python 2 (nsenter's).
    sys.path += _roots(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120  pathlib costs 5 ms
    plugin = sys.argv[1]
    module = import_module("podnet_plugins." + plugin.replace("-", "_"))
    # As if the plugin's executable had been Python itself.
    sys.argv[:2] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", plugin)]  # noqa: PTH100, PTH118, PTH120
    module.main()


def _roots(root: str) -> list[str]:
    """Return what to import from: one directory when installed, two in a checkout."""
    if os.path.isdir(os.path.join(root, "podnet")):  # noqa: PTH112, PTH118
        return [root]
    return [root, os.path.join(os.path.dirname(root), "runtime")]  # noqa: PTH118, PTH120


if __name__ == "__main__":
    main()
