"""What a string of a configuration may be, by a word of JSON Schema's ``format``.

Pure.  Plugins read their keys by these words, and lint holds files to them, so that the two
cannot disagree.  Knows what a string is on its own; what it means beside others is the plugin's.
"""

import re
from collections.abc import Callable, Mapping

from podnet.cni import names
from podnet.cni.errors import CniError

IFNAME = "ifname"
# What JSON can write and neither a path nor an interface's name can hold.
_UNFIT = re.compile("[\0\ud800-\udfff]")


def unfit(text: str) -> str:
    """Return why the system could not be told *text*; "" if it could."""
    found = _UNFIT.search(text)
    if found is None:
        return ""
    return "has a NUL in it" if found[0] == "\0" else "has half a surrogate pair in it"


def problem(word: str, text: str) -> str:
    """Return why *text* is not of a format, "" if it is; a word that nobody knows forbids nothing.

    Nothing is of every format: whether there must be something is another question.
    """
    return _CHECKS[word](text) if text and word in _CHECKS else ""


def _ifname(text: str) -> str:
    try:
        names.check_ifname(text)
    except CniError as exc:
        return exc.msg
    return ""


_CHECKS: Mapping[str, Callable[[str], str]] = {IFNAME: _ifname}
