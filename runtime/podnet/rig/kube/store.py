"""The objects of a Kubernetes API: made, changed, listed and watched, with no server around them.

Knows names, namespaces and resource versions; of what kinds of objects there are, what it is
told.  Checks no schema, and runs no controller.
"""

import copy
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from podnet.rig.kube.objects import (
    ATTACHMENT_DEFINITIONS,
    NAMESPACES,
    NODES,
    PODS,
    KubeError,
    Object,
    Resource,
)
from podnet.rig.kube.patches import patched
from podnet.rig.kube.selectors import chosen


@dataclass(frozen=True, slots=True)
class Event:
    """A change, as a watch tells it."""

    number: int
    what: str
    resource: Resource
    made: Object


@dataclass(slots=True)
class Store:
    """The objects; may be used by several threads.

    Attributes:
        resources: The kinds that there are.
    """

    resources: list[Resource] = field(
        default_factory=lambda: [PODS, NODES, NAMESPACES, ATTACHMENT_DEFINITIONS]
    )
    _objects: dict[tuple[Resource, str, str], Object] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _over: bool = False

    @property
    def version(self) -> int:
        """The resource version of the last change."""
        return len(self._events)

    def resource(self, version: str, name: str) -> Resource:
        """Return a kind by its plural, or by its kind.

        Raises:
            KubeError: There is none.
        """
        for one in self.resources:
            if one.version == version and name in {one.plural, one.kind}:
                return one
        message = f"the server could not find the requested resource {version} {name}"
        raise KubeError(HTTPStatus.NOT_FOUND, "NotFound", message)

    def create(self, resource: Resource, namespace: str, new: Mapping[str, Any]) -> Object:
        """Add an object.

        Raises:
            KubeError: There is one of that name, or it has none.
        """
        made = copy.deepcopy(dict(new))
        metadata = made.setdefault("metadata", {})
        name = metadata.get("name") or _generated(metadata)
        if not name:
            raise KubeError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", "metadata.name: Required value"
            )
        with self._changed:
            key = (resource, _place(resource, namespace), name)
            if key in self._objects:
                message = f'{resource.plural} "{name}" already exists'
                raise KubeError(HTTPStatus.CONFLICT, "AlreadyExists", message)
            metadata |= {
                "name": name,
                "uid": metadata.get("uid") or str(uuid.uuid4()),
                "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                **({"namespace": key[1]} if resource.namespaced else {}),
            }
            made |= {"apiVersion": resource.version, "kind": resource.kind}
            return self._commit("ADDED", key, made)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return an object.

        Raises:
            KubeError: There is none.
        """
        with self._changed:
            return copy.deepcopy(self._existing((resource, _place(resource, namespace), name)))

    def select(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """Return the objects that selectors choose, of one namespace or of all of them."""
        with self._changed:
            return [
                copy.deepcopy(made)
                for (kind, place, _), made in sorted(
                    self._objects.items(), key=lambda item: item[0][1:]
                )
                if kind == resource
                and namespace in {"", place}
                and chosen(made, labels=labels, fields=fields)
            ]

    def replace(
        self, resource: Resource, namespace: str, name: str, new: Mapping[str, Any], part: str = ""
    ) -> Object:
        """Put an object in the place of another, or only its *part*: "status".

        Raises:
            KubeError: There is none, or the new one knows an older version of it.
        """
        with self._changed:
            key = (resource, _place(resource, namespace), name)
            old = self._existing(key)
            version = new.get("metadata", {}).get("resourceVersion")
            if version not in {None, "", old["metadata"]["resourceVersion"]}:
                message = f'{resource.plural} "{name}": the object has been modified; try again'
                raise KubeError(HTTPStatus.CONFLICT, "Conflict", message)
            made = {**old, part: new.get(part)} if part else copy.deepcopy(dict(new))
            made["metadata"] = {**made.get("metadata", {}), **_identity(old)}
            made |= {"apiVersion": resource.version, "kind": resource.kind}
            return self._commit("MODIFIED", key, copy.deepcopy(made))

    def patch(
        self, resource: Resource, namespace: str, name: str, kind: str, change: Any
    ) -> Object:
        """Change an object by a patch.

        Args:
            resource: What it is.
            namespace: Where it is.
            name: What it is called.
            kind: The patch's media type.
            change: The patch.

        Raises:
            KubeError: There is no object, or the patch makes no sense.
        """
        with self._changed:
            old = self.get(resource, namespace, name)
            made = patched(old, kind, change)
            made.get("metadata", {}).pop("resourceVersion", None)
            return self.replace(resource, namespace, name, made)

    def delete(self, resource: Resource, namespace: str, name: str) -> Object:
        """Remove an object.

        Raises:
            KubeError: There is none.
        """
        with self._changed:
            key = (resource, _place(resource, namespace), name)
            gone = self._existing(key)
            del self._objects[key]
            return self._told("DELETED", resource, gone)

    def watch(
        self, resource: Resource, namespace: str, since: int, deadline: float
    ) -> Iterator[Event]:
        """Yield changes after version *since*, as they come, until *deadline* (monotonic) or the end."""
        while True:
            with self._changed:
                while (
                    self.version <= since
                    and not self._over
                    and (left := deadline - time.monotonic()) > 0
                ):
                    self._changed.wait(left)
                news = self._events[since:]
            if not news:
                return
            since = news[-1].number
            for event in news:
                place = event.made["metadata"].get("namespace", "")
                if event.resource == resource and namespace in {"", place}:
                    yield event

    def end(self) -> None:
        """End every watch."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _existing(self, key: tuple[Resource, str, str]) -> Object:
        if key not in self._objects:
            message = f'{key[0].plural} "{key[2]}" not found'
            raise KubeError(HTTPStatus.NOT_FOUND, "NotFound", message)
        return self._objects[key]

    def _commit(self, what: str, key: tuple[Resource, str, str], made: Object) -> Object:
        self._objects[key] = made
        return self._told(what, key[0], made)

    def _told(self, what: str, resource: Resource, made: Object) -> Object:
        number = self.version + 1
        made["metadata"]["resourceVersion"] = str(number)
        self._events.append(Event(number, what, resource, copy.deepcopy(made)))
        self._changed.notify_all()
        return copy.deepcopy(made)


def _place(resource: Resource, namespace: str) -> str:
    return (namespace or "default") if resource.namespaced else ""


def _generated(metadata: Mapping[str, Any]) -> str:
    prefix = metadata.get("generateName")
    return f"{prefix}{uuid.uuid4().hex[:5]}" if prefix else ""


def _identity(old: Object) -> Object:
    kept = ("name", "namespace", "uid", "creationTimestamp")
    return {key: old["metadata"][key] for key in kept if key in old["metadata"]}
