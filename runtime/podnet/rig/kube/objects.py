"""Objects of a Kubernetes API, their kinds, and what it answers when something is wrong.

Checks no schema.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

Object = dict[str, Any]


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
