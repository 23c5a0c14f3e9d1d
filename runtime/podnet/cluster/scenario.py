"""What somebody wants to see: a cluster, the pods on it, and what happens to them.  A value."""

from dataclasses import dataclass

from podnet.cluster.record import Cluster
from podnet.cluster.steps import Step
from podnet.cluster.workload import PodOn


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a file says, or a command line.

    Attributes:
        cluster: The cluster.
        pods: The pods on its Nodes.
        steps: What happens then.
    """

    cluster: Cluster
    pods: tuple[PodOn, ...] = ()
    steps: tuple[Step, ...] = ()
