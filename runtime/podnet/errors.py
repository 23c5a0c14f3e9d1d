"""podnet's own failures: what went wrong, where, why, and what to do about it.

The exit code lives on the class, so that no entrance needs a table of errors::

    PodnetError                 1  it did not work
    ├── UsageError              2  the request or the configuration makes no sense
    ├── PluginError             3  a plugin said no, or misbehaved (podnet.execute)
    ├── DriftError              4  CHECK found a difference
    ├── LeakError               5  something is left of what is gone
    ├── MissingError            7  the kernel or the system lacks something
    └── TimedOutError         124  it took too long

Failures that plugins and runtimes exchange are :class:`podnet.cni.CniError`.
"""

from typing import ClassVar


class PodnetError(Exception):
    """Something did not work.

    Attributes:
        message: What failed, where and why.
        hint: What to do about it; may be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(PodnetError):
    """The request, a name or the configuration makes no sense."""

    exit_code = 2


class DriftError(PodnetError):
    """CHECK found that something is not as ADD left it."""

    exit_code = 4


class LeakError(PodnetError):
    """Something is left of attachments that are gone."""

    exit_code = 5


class MissingError(PodnetError):
    """The kernel or the system lacks something: a feature, a program, a privilege."""

    exit_code = 7


class TimedOutError(PodnetError):
    """Something took longer than it was given."""

    exit_code = 124
