"""The objects of a Kubernetes API: made, changed, listed and watched, with no server around them.

Knows names, namespaces, resource versions, selectors and the three kinds of patches; of what
kinds of objects there are, what it is told.  Checks no schema, and runs no controller.
"""

import copy
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

Object = dict[str, Any]
#: How a strategic merge patch knows the members of a list, in this order.
_MERGE_KEYS = ("name", "type", "ip", "uid")
_TERM = re.compile(r"(?:[^,(]|\([^)]*\)?)+")
_AMONG = re.compile(r"(?P<key>[^\s!=(]+)\s+(?P<how>in|notin)\s*\((?P<values>[^)]*)\)")
_NO_KEY = re.compile(r"[\s()]")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects.

    Attributes:
        version: Its apiVersion: "v1", "k8s.cni.cncf.io/v1".
        plural: Its name in paths.
        kind: Its kind.
        namespaced: Whether its objects are in namespaces.
    """

    version: str
    plural: str
    kind: str
    namespaced: bool = True


PODS = Resource("v1", "pods", "Pod")
NODES = Resource("v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("v1", "namespaces", "Namespace", namespaced=False)
ATTACHMENT_DEFINITIONS = Resource(
    "k8s.cni.cncf.io/v1", "network-attachment-definitions", "NetworkAttachmentDefinition"
)


class KubeError(Exception):
    """What the API answers with a Status.

    Attributes:
        code: The HTTP status.
        reason: Kubernetes' word for it.
        message: What it is about.
    """

    def __init__(self, code: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    def status(self) -> Object:
        """Return it as an object."""
        said = {"reason": self.reason, "message": self.message, "code": int(self.code)}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", **said}


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


def chosen(made: Object, *, labels: str = "", fields: str = "") -> bool:
    """Tell whether selectors choose an object: ``a=b,c!=d,e,f in (g,h)``, and ``spec.nodeName=n1``.

    Raises:
        KubeError: A selector does not read like one.
    """
    has = made.get("metadata", {}).get("labels") or {}
    return all(_fits(term, has.get(_key(term))) for term in _terms(labels)) and all(
        _fits(term, _field(made, _key(term))) for term in _terms(fields)
    )


def _terms(selector: str) -> list[str]:
    """Split a selector at the commas that are in no parentheses."""
    terms = [term.strip() for term in _TERM.findall(selector)]
    return [term for term in terms if term]


def _key(term: str) -> str:
    among = _AMONG.fullmatch(term)
    if among:
        return among["key"]
    key = term.replace("!=", "=").partition("=")[0].strip("! ")
    if _NO_KEY.search(key):
        message = f"unable to parse requirement: {term}"
        raise KubeError(HTTPStatus.BAD_REQUEST, "BadRequest", message)
    return key


def _fits(term: str, value: object) -> bool:
    among = _AMONG.fullmatch(term)
    if among:
        named = value in [one.strip() for one in among["values"].split(",")]
        return named == (among["how"] == "in")
    key, differs, unwanted = term.partition("!=")
    if differs:
        return value != unwanted
    key, equals, wanted = term.replace("==", "=").partition("=")
    if not equals:
        return (value is None) == key.startswith("!")
    return value == wanted or (not wanted and value is None)


def _field(made: Object, path: str) -> object:
    value: Any = made
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def patched(old: Object, kind: str, change: Any) -> Object:
    """Return *old* with a patch: RFC 7386's, Kubernetes' strategic one, or RFC 6902's.

    Raises:
        KubeError: It makes no sense, or is of another kind.
    """
    match kind.partition(";")[0].strip():
        case "application/merge-patch+json":
            return dict(_merged(old, change, strategic=False))
        case "application/strategic-merge-patch+json":
            return dict(_merged(old, change, strategic=True))
        case "application/json-patch+json":
            made = copy.deepcopy(old)
            for step in change:
                _apply(made, step)
            return made
        case _:
            raise KubeError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", f"no patch: {kind}"
            )


def _merged(old: Any, change: Any, *, strategic: bool) -> Any:
    if isinstance(change, dict):
        base = dict(old) if isinstance(old, dict) else {}
        for key, value in change.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = _merged(base.get(key), value, strategic=strategic)
        return base
    if strategic and isinstance(change, list) and isinstance(old, list):
        return _merged_list(old, change)
    return copy.deepcopy(change)


def _merged_list(old: Sequence[Any], change: Sequence[Any]) -> list[Any]:
    both = [*old, *change]
    key = next(
        (k for k in _MERGE_KEYS if all(isinstance(one, dict) and k in one for one in both)), None
    )
    if key is None:
        return list(change)
    members = {one[key]: one for one in old}
    for one in change:
        members[one[key]] = _merged(members.get(one[key]), one, strategic=True)
    return list(members.values())


def _apply(made: Object, step: Mapping[str, Any]) -> None:
    """Apply one operation of RFC 6902."""
    *path, last = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
    try:
        target: Any = made
        for part in path:
            target = target[int(part) if isinstance(target, list) else part]
        if isinstance(target, list):
            _apply_at(target, len(target) if last == "-" else int(last), step)
        else:
            _apply_at(target, last, step)
    except (KeyError, IndexError, ValueError, TypeError) as exc:
        raise _unfit(f"the patch does not fit: {step}") from exc


def _apply_at(target: Any, place: Any, step: Mapping[str, Any]) -> None:
    operation = step["op"]
    if operation == "add" and isinstance(target, list):
        target.insert(place, step["value"])
        return
    there = None if operation == "add" else target[place]
    if operation == "remove":
        del target[place]
    elif operation in {"add", "replace"}:
        target[place] = step["value"]
    elif operation != "test" or there != step["value"]:
        raise _unfit(f"the patch says no: {step}")


def _unfit(message: str) -> KubeError:
    return KubeError(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", message)
