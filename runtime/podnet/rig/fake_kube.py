"""A Kubernetes API that is real HTTP and nothing else: no kubelet, no scheduler, no admission.

For plugins that ask one: Pods, Nodes, NetworkAttachmentDefinitions, and kinds that a test adds.
Serves on the loopback of a Node; what is in it, :mod:`podnet.rig.kube` knows.
"""

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from podnet.node import Node
from podnet.rig.kube.objects import Object, Resource
from podnet.rig.kube.server import Server
from podnet.rig.kube.store import Store


@dataclass(slots=True)
class FakeKube:
    """The API, served until it is closed.

    Attributes:
        store: What is in it.
        requests: Every request so far: method and path.
        token: What a client must say, as its kubeconfig has it.
    """

    node: Node
    store: Store = field(default_factory=Store)
    requests: list[tuple[str, str]] = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    _server: Server | None = None

    def __enter__(self) -> Self:
        # Opened on a thread of the Node: a socket belongs to the network it was made in.
        self._server = self.node.run(Server, self)
        threading.Thread(target=self._server.serve_forever, name="fake kube", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self.store.end()
            self._server.shutdown()
            self._server.end_connections()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """Where it is, on its Node."""
        port = self._server.server_address[1] if self._server else 0
        return f"http://127.0.0.1:{port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "plugin", "user": {"token": self.token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "plugin"}}],
            "current-context": "fake",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def add_kind(self, version: str, plural: str, kind: str, *, namespaced: bool = True) -> None:
        """Let there be objects of another kind, as a CustomResourceDefinition does."""
        self.store.resources.append(Resource(version, plural, kind, namespaced))

    def create(self, new: Mapping[str, Any], namespace: str = "") -> Object:
        """Add an object, which says what it is: apiVersion and kind.

        Raises:
            KubeError: There is no such kind, or one of that name already.
        """
        resource = self.store.resource(new.get("apiVersion", "v1"), new["kind"])
        place = namespace or new.get("metadata", {}).get("namespace", "")
        return self.store.create(resource, place, new)

    def get(self, kind: str, name: str, namespace: str = "", *, version: str = "v1") -> Object:
        """Return an object.

        Raises:
            KubeError: There is none.
        """
        return self.store.get(self.store.resource(version, kind), namespace, name)

    def pod(self, name: str, namespace: str = "default", **annotations: str) -> Object:
        """Add a Pod that runs nothing, with annotations: ``__`` is written for ``/``, ``_`` for ``.``."""
        noted = {k.replace("__", "/").replace("_", "."): v for k, v in annotations.items()}
        metadata = {"name": name, "annotations": noted}
        spec = {"nodeName": self.node.name, "containers": [{"name": "c", "image": "none"}]}
        return self.create({"kind": "Pod", "metadata": metadata, "spec": spec}, namespace)

    def network(
        self, name: str, config: Mapping[str, Any] | str, namespace: str = "default"
    ) -> Object:
        """Add a NetworkAttachmentDefinition with that CNI configuration."""
        text = config if isinstance(config, str) else json.dumps(config)
        version, kind = "k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition"
        new = {"apiVersion": version, "kind": kind, "spec": {"config": text}}
        return self.create({**new, "metadata": {"name": name}}, namespace)
