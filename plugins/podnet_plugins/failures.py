"""Failures of the kernel's doors as a plugin's own: with what was being done when they came."""

from collections.abc import Iterator
from contextlib import contextmanager

from podnet.cni.errors import CniError
from podnet.errors import PodnetError


@contextmanager
def named(what: str) -> Iterator[None]:
    """Say what a program or a feature was wanted for.

    Raises:
        CniError: For any PodnetError, with the same words after *what*.
    """
    try:
        yield
    except PodnetError as exc:
        raise CniError(f"{what}: {exc.message}", exc.hint) from exc
