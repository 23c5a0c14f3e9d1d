"""Failures as values: the error object of SPEC section 5, and who raises it.

Knows codes, messages and details; knows nothing of processes, paths or exit statuses.

::

    CniError                        code, msg, details: crosses the process boundary
    ├── IncompatibleVersionError    1  the versions of two parties do not meet
    ├── InvalidEnvironmentError     4  a CNI_* parameter is missing or malformed
    ├── DecodeError                 6  something is not JSON, or not of the right shape
    └── InvalidConfigError          7  well-formed, but against a rule of the spec
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

# Codes from here on belong to the plugins (SPEC section 5, "Error").
FIRST_PLUGIN_CODE = 100


class Code(IntEnum):
    """The reserved error codes (SPEC section 5, "Error"; 0, 8 and 999 are libcni's)."""

    UNKNOWN = 0
    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODE_FAILURE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    INTERNAL = 999


MEANINGS: Mapping[int, str] = {
    Code.UNKNOWN: "no code given",
    Code.INCOMPATIBLE_VERSION: "incompatible CNI version",
    Code.UNSUPPORTED_FIELD: "unsupported field in the network configuration",
    Code.UNKNOWN_CONTAINER: "container unknown or does not exist",
    Code.INVALID_ENVIRONMENT: "invalid environment variables",
    Code.IO_FAILURE: "I/O failure",
    Code.DECODE_FAILURE: "failed to decode content",
    Code.INVALID_CONFIG: "invalid network configuration",
    Code.INVALID_NETNS: "invalid network namespace",
    Code.TRY_AGAIN_LATER: "try again later",
    Code.NOT_AVAILABLE: "the plugin is not available, it cannot service ADD requests",
    Code.LIMITED_CONNECTIVITY: "not available, and existing containers may have limited connectivity",
    Code.INTERNAL: "a plugin's own, uncoded error",
}


def meaning(code: int) -> str:
    """Return what *code* stands for, in words."""
    if code >= FIRST_PLUGIN_CODE:
        return MEANINGS.get(code, "specific to the plugin")
    return MEANINGS.get(code, "reserved, not assigned")


class CniError(Exception):
    """A failure that can cross the process boundary (SPEC section 5, "Error").

    Attributes:
        code: The CNI error code.
        msg: What happened, one sentence.
        details: More of it; may be empty.
    """

    default_code: ClassVar[int] = Code.INTERNAL

    def __init__(self, msg: str, details: str = "", *, code: int | None = None) -> None:
        super().__init__(msg, details)
        self.msg = msg
        self.details = details
        self.code = self.default_code if code is None else code

    def __str__(self) -> str:
        return f"{self.msg}; {self.details}" if self.details else self.msg

    def to_wire(self, cni_version: str = "") -> dict[str, object]:
        """Return the error object that a plugin prints."""
        wire: dict[str, object] = {"cniVersion": cni_version} if cni_version else {}
        wire |= {"code": int(self.code), "msg": self.msg}
        if self.details:
            wire["details"] = self.details
        return wire


class IncompatibleVersionError(CniError):
    """The configuration's version is not one that the other side speaks."""

    default_code = Code.INCOMPATIBLE_VERSION


class InvalidEnvironmentError(CniError):
    """A CNI_* parameter is missing or malformed (SPEC section 2, "Parameters")."""

    default_code = Code.INVALID_ENVIRONMENT


class DecodeError(CniError):
    """Something is not JSON, or a field is not of the type the spec gives it.

    Attributes:
        line: Where the JSON breaks, counted from 1; 0 when it parses but has the wrong shape.
        column: Likewise.
    """

    default_code = Code.DECODE_FAILURE

    def __init__(self, msg: str, details: str = "", *, line: int = 0, column: int = 0) -> None:
        super().__init__(msg, details)
        self.line = line
        self.column = column


class InvalidConfigError(CniError):
    """A configuration that is well-formed and breaks a rule of the spec."""

    default_code = Code.INVALID_CONFIG
