"""What a Node's leases are held by: a number drawn once, and kept over a reboot.

By it two Nodes with one public address are told apart; so one that cannot be read is drawn
again, and is not taken for that of a Node which does not say.
"""

import os
import re
from pathlib import Path

from podnet.errors import PodnetError
from podnet_manager import whole

_BYTES = 8
_WHOLE = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}")


def of(directory: Path) -> str:
    """Return the identity that is kept in a directory, drawn where there is none.

    Raises:
        PodnetError: It cannot be kept.
    """
    path = directory / "identity"
    try:
        kept = path.read_text(errors="replace").strip() if path.exists() else ""
        if _WHOLE.fullmatch(kept):
            return kept
        drawn = os.urandom(_BYTES).hex()
        whole.write(path, drawn)
    except OSError as exc:
        raise PodnetError(
            f"cannot keep state in {directory}: {exc.strerror}", "--state-dir"
        ) from exc
    return drawn
