"""What a pod is asked to be, turned into what will be on record: names, arguments, interfaces.

Pure but for the container ID that it draws: nothing is made.
"""

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podnet.cni import names
from podnet.cni.config import Network
from podnet.errors import UsageError
from podnet.places import Places
from podnet.pod import Membership, Pod
from podnet.records import check_pod_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One network that a pod is to join.

    Attributes:
        network: Which.
        ifname: The interface's name in the pod; "" for the next free ethN.
        args: CNI_ARGS besides Kubernetes' own; a key of theirs replaces theirs.
        capability_args: Capability arguments.
    """

    network: Network
    ifname: str = ""
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodWish:
    """A pod as somebody wants it.

    Attributes:
        name: Its name.
        networks: The networks to join, in order.
        labels: For whoever looks.
        netns: An existing network namespace to use, "" for a new one.
        container_id: CNI_CONTAINERID, "" for a random one.
    """

    name: str
    networks: Sequence[Wish]
    labels: Mapping[str, str] = field(default_factory=dict)
    netns: str = ""
    container_id: str = ""


def planned(wish: PodWish, places: Places) -> Pod:
    """Return the pod that *wish* describes.

    Args:
        wish: What is wanted.
        places: Where its network namespace goes, and plugins are found.

    Raises:
        UsageError: The name, or two interfaces of one name.
        CniError: A container ID, ifname or argument that is not allowed.
    """
    check_pod_name(wish.name)
    pod = Pod(
        name=wish.name,
        container_id=wish.container_id or os.urandom(32).hex(),
        netns=os.path.abspath(wish.netns or places.namespaces / wish.name),  # noqa: PTH100  keep links
        owns_netns=not wish.netns,
        labels=wish.labels,
        created=time.time(),
    )
    names.check_container_id(pod.container_id)
    for network in wish.networks:
        pod = pod.with_membership(membership(pod, network, places))
    return pod


def membership(pod: Pod, wish: Wish, places: Places) -> Membership:
    """Return what *wish* means for *pod*: a free ifname, the CNI_ARGS of Kubernetes.

    Raises:
        UsageError: The ifname is taken.
        CniError: An identifier or argument that is not allowed.
    """
    taken = {m.ifname for m in pod.memberships}
    ifname = wish.ifname or _free(taken)
    if ifname in taken:
        raise UsageError(f"pod {pod.name} has an interface {ifname} already", "another --ifname?")
    # In the order of CRI-O; plugins refuse keys that they do not know without the first.
    args = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "default",
        "K8S_POD_NAME": pod.name,
        "K8S_POD_INFRA_CONTAINER_ID": pod.container_id,
        "K8S_POD_UID": str(uuid.uuid5(uuid.NAMESPACE_OID, pod.container_id)),
    }
    joined = Membership(
        network=wish.network,
        ifname=ifname,
        args=tuple((args | dict(wish.args)).items()),
        capability_args=wish.capability_args,
        path=places.plugin_path,
    )
    joined.attachment(pod.container_id, pod.netns).check()
    return joined


def _free(taken: set[str]) -> str:
    return next(name for i in range(len(taken) + 1) if (name := f"eth{i}") not in taken)
