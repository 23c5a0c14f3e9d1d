"""What a request to a Kubernetes API is about, and what a client learns of the API (pure)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

from podnet.rig.kube.objects import KubeError, Object, Resource

_VERSION = {"major": "1", "minor": "31", "gitVersion": "v1.31.0"}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about.

    Attributes:
        resource: The kind of objects.
        namespace: Where, "" for everywhere.
        name: Which, "" for all.
        part: "status", or "".
        query: Its parameters.
    """

    resource: Resource
    namespace: str
    name: str
    part: str
    query: Mapping[str, str]

    @property
    def selectors(self) -> dict[str, str]:
        """Whom a list or a watch is of, as :func:`podnet.rig.kube.selectors.chosen` takes it."""
        asked = {"labels": "labelSelector", "fields": "fieldSelector"}
        return {key: self.query.get(parameter, "") for key, parameter in asked.items()}

    @property
    def is_watch(self) -> bool:
        """Whether changes are asked for, not what is there."""
        return self.query.get("watch") in {"1", "true"}


def target(url: str, resource: Callable[[str, str], Resource]) -> Target:
    """Read a URL: /api/v1/…, /apis/GROUP/VERSION/…, namespaced or not.

    Args:
        url: Path and query.
        resource: Finds a kind by its version and its plural.

    Raises:
        KubeError: There is no such thing.
    """
    asked = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(asked.query).items()}
    parts = [unquote(part) for part in asked.path.strip("/").split("/")]
    if len(parts) < 2 or parts[0] not in {"api", "apis"}:  # noqa: PLR2004
        raise KubeError(HTTPStatus.NOT_FOUND, "NotFound", f"there is nothing at {asked.path}")
    version, rest = (
        ("/".join(parts[1:3]), parts[3:]) if parts[0] == "apis" else (parts[1], parts[2:])
    )
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":  # noqa: PLR2004
        namespace, rest = rest[1], rest[2:]
    plural, name, part, *_ = [*rest, "", "", ""]
    return Target(resource(version, plural), namespace, name, part, query)


def discovered(url: str, resources: Iterable[Resource]) -> Object | None:
    """Return what is at a URL that a client asks to learn what there is; ``None`` elsewhere."""
    kinds = list(resources)
    versions = sorted({one.version for one in kinds})
    groups = [_group(version) for version in versions if "/" in version]
    known: dict[str, Object] = {
        "/version": _VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **{f"/{name}": {"status": "ok"} for name in ("healthz", "readyz", "livez")},
        **{
            f"/apis/{one}" if "/" in one else f"/api/{one}": _listed(one, kinds) for one in versions
        },
    }
    return known.get(urlsplit(url).path.rstrip("/"))


def _listed(version: str, resources: Iterable[Resource]) -> Object:
    listed = [
        {"name": r.plural, "kind": r.kind, "namespaced": r.namespaced, "verbs": _VERBS}
        for r in resources
        if r.version == version
    ]
    head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version}
    return {**head, "resources": listed}


def _group(group_version: str) -> Object:
    name, _, version = group_version.partition("/")
    one = {"groupVersion": group_version, "version": version}
    return {"name": name, "versions": [one], "preferredVersion": one}
