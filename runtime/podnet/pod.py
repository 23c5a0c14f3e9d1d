"""A pod as a value: what it is, what it is attached to, and how that reads on record.

Pure.  What the states lead to is pods' and reconcile's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from podnet.cni import names
from podnet.cni.config import Network
from podnet.cni.result import Result
from podnet.cni.wire import Fields
from podnet.errors import UsageError
from podnet.plan import Attachment


class State(StrEnum):
    """Where a pod is in its life; only READY and CHANGING outlive their command."""

    CREATING = "creating"
    READY = "ready"
    CHANGING = "changing"
    DELETING = "deleting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A pod's attachment to one network, as it is or as it is being made.

    Attributes:
        network: The network as it was used, siblings and version included.
        ifname: The interface in the pod.
        args: CNI_ARGS.
        capability_args: Capability arguments, unfiltered.
        path: Where its plugins are looked for.
        result: What ADD returned; ``None`` until it has.
    """

    network: Network
    ifname: str
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, object] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    result: Result | None = None

    def attachment(self, container_id: str, netns: str) -> Attachment:
        """Return what the runtime is asked to ADD."""
        return Attachment(
            container_id=container_id,
            ifname=self.ifname,
            netns=netns,
            args=self.args,
            capability_args=self.capability_args,
        )

    def to_wire(self) -> dict[str, object]:
        """Return its part of a record."""
        return {
            "network": self.network.to_wire(),
            "source": self.network.source.decode(errors="surrogateescape"),
            "ifname": self.ifname,
            "args": [list(pair) for pair in self.args],
            "capabilityArgs": dict(self.capability_args),
            "path": list(self.path),
            "result": self.result.to_wire() if self.result else None,
        }

    @classmethod
    def from_wire(cls, fields: Fields) -> "Membership":
        """Read its part of a record."""
        source = fields.text("source").encode(errors="surrogateescape")
        capability_args, result = fields.child("capabilityArgs"), fields.child("result")
        network = fields.child("network")
        return cls(
            network=Network.from_wire(network.values if network else None, source=source),
            ifname=fields.text("ifname"),
            args=tuple(_pairs(fields.get("args"))),
            capability_args=capability_args.values if capability_args else {},
            path=fields.texts("path"),
            result=Result.from_wire(result.values) if result else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A named network namespace on a Node, and what it is attached to.

    Attributes:
        name: Its name.
        container_id: CNI_CONTAINERID.
        netns: The path of its network namespace.
        owns_netns: podnet made the namespace, and removes it.
        state: Where it is in its life.
        labels: For whoever looks.
        created: When, in seconds since the epoch.
        memberships: Its attachments, in the order they were made.
        failure: Why it is FAILED.
    """

    name: str
    container_id: str
    netns: str
    owns_netns: bool = True
    state: State = State.CREATING
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    memberships: tuple[Membership, ...] = ()
    failure: str = ""

    def __repr__(self) -> str:
        links = ", ".join(f"{m.ifname}={m.network.name}" for m in self.memberships)
        return f"<Pod {self.name} {self.state}: {links or 'detached'}>"

    def with_membership(self, changed: Membership) -> "Pod":
        """Return this pod with one membership added, or replaced by its ifname."""
        others = [m for m in self.memberships if m.ifname != changed.ifname]
        if len(others) == len(self.memberships):
            return replace(self, memberships=(*self.memberships, changed))
        swapped = (changed if m.ifname == changed.ifname else m for m in self.memberships)
        return replace(self, memberships=tuple(swapped))

    def without_membership(self, ifname: str) -> "Pod":
        """Return this pod without the attachment called *ifname*."""
        return replace(self, memberships=tuple(m for m in self.memberships if m.ifname != ifname))

    def membership(self, *, ifname: str = "", network: str = "") -> Membership:
        """Return the one attachment that is meant.

        Raises:
            UsageError: There is none, or more than one.
        """
        fitting = [
            m
            for m in self.memberships
            if (not ifname or m.ifname == ifname) and (not network or m.network.name == network)
        ]
        has = ", ".join(f"{m.ifname} on {m.network.name}" for m in self.memberships) or "none"
        if not fitting:
            raise UsageError(f"pod {self.name} has no such attachment", f"it has: {has}")
        if len(fitting) > 1:
            raise UsageError(
                f"pod {self.name} has several that fit", f"say --ifname; it has: {has}"
            )
        return fitting[0]

    def to_wire(self) -> dict[str, object]:
        """Return the record."""
        return {
            "apiVersion": "podnet/v1",
            "kind": "Pod",
            "name": self.name,
            "containerId": self.container_id,
            "netns": self.netns,
            "ownsNetns": self.owns_netns,
            "state": str(self.state),
            "labels": dict(self.labels),
            "created": self.created,
            "attachments": [membership.to_wire() for membership in self.memberships],
            "failure": self.failure,
        }

    @classmethod
    def from_wire(cls, value: object) -> "Pod":
        """Read a record.

        Raises:
            CniError: A field is missing or wrong.
            ValueError: A state or time that does not exist.
        """
        fields = Fields.of(value, "the record")
        labels, created = fields.child("labels"), fields.get("created")
        names.check_container_id(fields.text("containerId"))
        return cls(
            name=fields.text("name"),
            container_id=fields.text("containerId"),
            netns=fields.text("netns"),
            owns_netns=fields.flag("ownsNetns", default=True),
            state=State(fields.text("state")),
            labels={k: str(v) for k, v in labels.values.items()} if labels else {},
            created=float(created) if isinstance(created, int | float) else 0.0,
            memberships=tuple(map(Membership.from_wire, fields.children("attachments"))),
            failure=fields.text("failure"),
        )


def _pairs(value: object) -> Iterator[tuple[str, str]]:
    for pair in value if isinstance(value, list) else ():
        key, text = pair
        yield str(key), str(text)
