"""What a Node's kernel holds for the leases, and subnet.env: looked at whole, or followed lease by lease.

Knows what it has set, and who harms it.  Which leases there are, and whether the Node's own is
still its own, is the tenure's business.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from podnet.errors import PodnetError
from podnet.kernel.monitor import ANY_LINK, News
from podnet.kernel.netlink import Netlink
from podnet_manager import node, preparation, subnet_env
from podnet_manager.backend import Bgp
from podnet_manager.desired import Skipped
from podnet_manager.lease import Lease, Subnets
from podnet_manager.log import Log
from podnet_manager.netconf import NetConf
from podnet_manager.node import Outcome
from podnet_manager.placed import Placed
from podnet_manager.preparation import Choices, Prepared
from podnet_manager.reconcile import Difference
from podnet_manager.status import Status
from podnet_manager.subnet_env import SubnetEnv

# Routes that another program sets take a while; a Node that is away must not keep us from being
# ready for ever.
_CONVERGENCE = 10.0
_TOLD = 3  # of many that are alike, in the log


class DataPath:
    """The links, entries, rules and subnet.env of a Node that has a lease.

    Args:
        netlink: A socket in the Node's namespace.
        conf: The network.
        choices: What the Node was told about itself.
        subnet_file: subnet.env.
        told: How the manager is, and where it says what it does.

    Attributes:
        is_converging: There are peers whose routes somebody else has yet to set.
    """

    def __init__(
        self,
        netlink: Netlink,
        conf: NetConf,
        choices: Choices,
        *,
        subnet_file: Path,
        told: tuple[Status, Log],
    ) -> None:
        self._netlink, self._conf, self._choices = netlink, conf, choices
        self._subnet_file = subnet_file
        self._status, self._log = told
        self._prepared: Prepared | None = None
        self._links = frozenset[int]()
        self._placed: Placed | None = None
        self._skipped = list[Skipped]()
        self._written: SubnetEnv | None = None
        self._patience = time.monotonic() + _CONVERGENCE
        self.is_converging = False

    @property
    def is_up(self) -> bool:
        """Whether pods can be made: it has come to subnet.env."""
        return self._written is not None

    def is_touched(self, news: News) -> bool:
        """Tell whether news of the kernel are of links that matter: it is looked at whole then."""
        if news.links & (self._links | {ANY_LINK}):
            return True
        return bool(news.links) and self._prepared is None

    def harm(self, news: News) -> Difference | None:
        """Return what undoes what the news say, where that was done to an entry of ours."""
        devices = self._prepared.devices if self._prepared else frozenset()
        return self._placed.mend(news.there, news.gone, devices) if self._placed else None

    def prepare(self) -> Prepared | None:
        """Return the Node's side of the network; ``None``, and the reason is said, where it lacks.

        The lease stays meanwhile, and says what was true last: the others keep their routes.
        """
        self._prepared = None
        try:
            self._prepared = preparation.prepare(self._netlink, self._conf, self._choices)
        except PodnetError as exc:
            reason = str(exc).replace("\n  ", ": ")
            self._status.trouble(f"{reason}; lease and data path stay", self._log)
            return None
        self._links = self._prepared.links
        return self._prepared

    def bring(
        self, prepared: Prepared, own: Subnets, peers: Collection[Lease], *, rules: bool
    ) -> bool:
        """Compare the kernel with the leases, and mend it; tell whether all of it is there.

        Args:
            prepared: The Node's side of the network.
            own: What the Node leases.
            peers: The leases of the others.
            rules: Look at the rules, too.
        """
        outcome = node.bring(self._netlink, self._conf, prepared, own, peers, self._choices)
        if rules and node.ensure_rules(self._conf, own, self._choices):
            self._status.count("rules_set_total")
            self._log.say("rules", tables="set")
        self._placed = outcome.placed
        self._status.count("reconciliations_total")
        self._report(outcome, len(peers))
        if self._converges(outcome):
            return False
        self._write(prepared, own)
        if outcome.refused:
            reason = f"the kernel refused: {outcome.refused[0]}"
            self._status.trouble(reason, self._log)
        return not outcome.refused

    def follow(
        self,
        own: Subnets,
        news: Mapping[Subnets, Lease | None],
        harm: Sequence[Difference],
        *,
        peers: int,
    ) -> bool:
        """Set what is new of some leases and undo harm; false where that is not enough.

        Args:
            own: What the Node leases.
            news: What has become of some leases.
            harm: What undoes what somebody has done.
            peers: How many other leases there are.
        """
        if self._prepared is None or self._placed is None:
            return False
        if isinstance(self._conf.backend, Bgp):  # BIRD is told of all of them
            return False
        outcomes = [node.mend(self._netlink, self._placed, change) for change in harm]
        if news:
            outcomes.append(
                node.follow(self._netlink, self._conf, self._prepared, self._placed, own, news)
            )
        for outcome in outcomes:
            self._report(outcome, peers)
        return not any(outcome.refused or outcome.skipped for outcome in outcomes)

    def _converges(self, outcome: Outcome) -> bool:
        """Take note of the peers that there is no route to; tell whether to wait for one."""
        waiting = outcome.waiting
        self.is_converging = bool(waiting) and self._written is None
        if self.is_converging and time.monotonic() < self._patience:
            reason = f"{len(waiting)} peers are waited for: {waiting[0].reason}"
            self._status.trouble(reason, self._log)
            return True
        skipped = [*outcome.skipped, *waiting]
        self._status.gauge("skipped_peers", len(skipped))
        for one in skipped[:_TOLD] if skipped != self._skipped else ():
            self._log.complain("skipped a peer", lease=one.lease, reason=one.reason)
        self._skipped = skipped
        return False

    def _report(self, outcome: Outcome, peers: int) -> None:
        status = self._status
        status.count("entries_set_total", len(outcome.change.put))
        status.count("entries_removed_total", len(outcome.change.remove))
        status.count("entries_refused_total", len(outcome.refused))
        status.gauge("netlink_messages_total", self._netlink.messages)
        status.gauge("peers", peers)
        if outcome.change:
            self._log.say("entries", peers=peers, change=outcome.change)
        for refused in outcome.refused[:_TOLD]:
            self._log.complain("the kernel refused", reason=refused)

    def _write(self, prepared: Prepared, own: Subnets) -> None:
        """Write subnet.env, now that the peers are programmed."""
        content = SubnetEnv.of(self._conf, own, mtu=prepared.mtu, ip_masq=self._choices.ip_masq)
        if content != self._written or not self._subnet_file.exists():
            subnet_env.write(self._subnet_file, content)
            self._written = content
            self._status.count("subnet_file_writes_total")
            self._log.say("subnet.env", path=self._subnet_file, mtu=content.mtu)
