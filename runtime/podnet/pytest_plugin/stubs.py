"""Plugins that answer as they are told, where callers find them first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podnet.testing import calls
from podnet.testing import stub_plugin as write_stub


@dataclass(slots=True)
class Stubs:
    """Writes plugins that answer as they are told, where callers find them first.

    Attributes:
        directory: Where they are.
    """

    directory: Path

    def __call__(  # noqa: PLR0913  all of it may matter
        self,
        name: str,
        *,
        result: Mapping[str, object] | None = None,
        stdout: str = "",
        stderr: str = "",
        status: int = 0,
        sleep: float = 0,
        script: str = "",
    ) -> Path:
        """Write a plugin.

        Args:
            name: Its type.
            result: What it prints, as JSON.
            stdout: What it prints, as it is.
            stderr: What it logs.
            status: How it exits.
            sleep: Seconds that it takes.
            script: Shell commands to run first.
        """
        before = f"{script}\nsleep {sleep}\n" if sleep else script
        return write_stub(
            self.directory,
            name,
            stdout=stdout if result is None else result,
            stderr=stderr,
            status=status,
            script=before,
        )

    def calls(self, name: str) -> list[tuple[dict[str, str], object]]:
        """Return what a stub was asked so far: (environment, stdin) of each call."""
        return calls(self.directory, name)


@dataclass(slots=True)
class StubIpam:
    """Writes an IPAM plugin that gives the addresses it is told to.

    Attributes:
        stubs: Where it goes.
    """

    stubs: Stubs

    def __call__(
        self,
        *addresses: str,
        gateway: str = "",
        routes: Sequence[str] = (),
        name: str = "stub-ipam",
    ) -> dict[str, object]:
        """Write it, and return the `ipam` part of a configuration that uses it.

        Args:
            addresses: In CIDR notation.
            gateway: The first address's gateway.
            routes: Destinations.
            name: Its type.
        """
        ips: list[dict[str, object]] = [{"address": one} for one in addresses]
        if gateway and ips:
            ips[0]["gateway"] = gateway
        result = {"cniVersion": "1.0.0", "ips": ips, "routes": [{"dst": dst} for dst in routes]}
        self.stubs(name, result=result)
        return {"type": name}

    def calls(self, name: str = "stub-ipam") -> list[tuple[dict[str, str], object]]:
        """Return what it was asked so far: (environment, stdin) of each call."""
        return self.stubs.calls(name)
