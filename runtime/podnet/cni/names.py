"""Identifiers: what a container, a network, an interface and a plugin may be called.

Every name passes here before a path is built from it or a process sees it.  Pure: a
name that passes may still not exist.
"""

import re

from podnet.cni.errors import CniError, Code, InvalidConfigError, InvalidEnvironmentError

# SPEC sections 1 and 2: a letter or digit, then letters, digits, "_", "." and "-".
# fullmatch, since "$" would let a trailing newline through.
_IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
# Unicode's White_Space property, which Go's unicode.IsSpace is; str.isspace also takes \x1c-\x1f.
_WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | frozenset(
    chr(code) for code in range(0x2000, 0x200B)
)
# Half of a surrogate pair: JSON can spell it and nothing outside Python can hold it. U+DC80 to
# U+DCFF are left out, which is how Python spells bytes that are not UTF-8.
_HALF_A_CHARACTER = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")
# IFNAMSIZ is 16 with the closing zero byte (linux/if.h).
_LONGEST_IFNAME = 15


def is_identifier(text: str) -> bool:
    """Tell whether *text* may name a container or a network."""
    return _IDENTIFIER.fullmatch(text) is not None


def check_container_id(container_id: str) -> None:
    """Check CNI_CONTAINERID (SPEC section 2, "Parameters").

    Raises:
        CniError: Code 3 when it is empty, code 4 for characters that are not allowed.
    """
    if not container_id:
        raise CniError("missing containerID", code=Code.UNKNOWN_CONTAINER)
    if not is_identifier(container_id):
        raise InvalidEnvironmentError("invalid characters in containerID", repr(container_id))


def check_network_name(name: str) -> None:
    """Check a network's name (SPEC section 1, "Network configuration").

    Raises:
        InvalidConfigError: It is empty or has characters that are not allowed.
    """
    if not name:
        raise InvalidConfigError("missing network name")
    if not is_identifier(name):
        raise InvalidConfigError("invalid characters found in network name", repr(name))


def check_ifname(ifname: str) -> None:
    """Check CNI_IFNAME (SPEC section 2; the kernel's dev_valid_name).

    Raises:
        InvalidEnvironmentError: It is empty, longer than 15 bytes, ``.`` or ``..``, or
            contains ``/``, ``:``, ``%``, a zero byte, white space or half a surrogate pair.
    """
    if not ifname:
        raise InvalidEnvironmentError("interface name is empty")
    if _HALF_A_CHARACTER.search(ifname):
        raise InvalidEnvironmentError("interface name is not Unicode text", repr(ifname))
    if len(ifname.encode(errors="surrogateescape")) > _LONGEST_IFNAME:
        raise InvalidEnvironmentError(
            "interface name is too long", f"{ifname!r}: at most {_LONGEST_IFNAME} bytes fit"
        )
    if ifname in {".", ".."}:
        raise InvalidEnvironmentError("interface name is . or ..")
    if any(char in "/:\0" or char in _WHITE_SPACE for char in ifname):
        raise InvalidEnvironmentError(
            "interface name contains / or : or whitespace characters", repr(ifname)
        )
    if "%" in ifname:  # the kernel takes eth%d for "the next free one"
        raise InvalidEnvironmentError("interface name contains %", f"{ifname!r} is a pattern")


def check_plugin_type(plugin_type: str) -> None:
    """Check the ``type`` of a plugin, which is the name of a file in the search path.

    Raises:
        InvalidConfigError: It is empty, a path, or nothing that a file could be called.
    """
    if not plugin_type:
        raise InvalidConfigError("no plugin name provided")
    if "/" in plugin_type or "\0" in plugin_type or plugin_type in {".", ".."}:
        raise InvalidConfigError(
            f"invalid plugin name: {plugin_type!r}", "a type is a file name, never a path"
        )
    if _HALF_A_CHARACTER.search(plugin_type):
        raise InvalidConfigError(f"invalid plugin name: {plugin_type!r}", "it is not Unicode text")
