"""The attachments that the DHCP daemon looks after: their clients, packets, leases on disk.

What a client decides (``dhcp_client``) is carried out here.  Knows no connections: whoever asks for
a lease brings a function that takes the answer.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from selectors import EVENT_READ, BaseSelector

from podnet.cni import names
from podnet.cni.errors import CniError, Code
from podnet.kernel.packets import Packets
from podnet_plugins import dhcp_link
from podnet_plugins.dhcp_actions import Action, Bound, Failed, Lost, Send, Timing
from podnet_plugins.dhcp_client import Client
from podnet_plugins.dhcp_lease import Holder, Lease, Wishes
from podnet_plugins.dhcp_link import ContainerLink
from podnet_plugins.dhcp_store import Record, Store, now
from podnet_plugins.skel import log

Answer = Mapping[str, object]
Reply = Callable[[Answer], None]
# How often to see whether a link still exists, in seconds.
_LOOK = 30.0


@dataclass(slots=True, kw_only=True)
class Tenant:
    """One attachment.

    Attributes:
        holder: It.
        wishes: What its client tells and asks for.
        link: Its link.
        client: Its client.
        packets: Open while an answer is awaited.
        reply: Who waits for a lease.
        was_down: The link was down before we came.
        look_at: When to see whether the link still exists.
    """

    holder: Holder
    wishes: Wishes
    link: ContainerLink
    client: Client
    packets: Packets | None = None
    reply: Reply | None = None
    was_down: bool = False
    look_at: float = math.inf

    @property
    def wake_at(self) -> float:
        """When something is due."""
        return min(self.client.wake_at, self.look_at)


class Tenants:
    """All attachments of a daemon.

    Args:
        store: Where leases are kept.
        selector: Waits for packets; its data are functions to call.
        timing: How patient clients are.
        prefix: What to put before the paths of namespaces.
    """

    def __init__(
        self, store: Store, selector: BaseSelector, timing: Timing, *, prefix: str = ""
    ) -> None:
        self._store, self._selector = store, selector
        self._timing, self._prefix = timing, prefix
        self._tenants: dict[Holder, Tenant] = {}

    @property
    def wake_at(self) -> float:
        """When :meth:`wake` must be called."""
        return min((tenant.wake_at for tenant in self._tenants.values()), default=math.inf)

    def resume(self) -> int:
        """Go on with the leases on disk; return how many."""
        for record in self._store.every():
            tenant = self._tenant(record.holder, record.wishes, record.link)
            tenant.look_at = now()
            tenant.client.resume(record.lease, now())
        return len(self._tenants)

    def wake(self) -> None:
        """Do what is due."""
        time = now()
        for tenant in [one for one in self._tenants.values() if one.wake_at <= time]:
            if tenant.client.lease and not tenant.client.is_listening:
                tenant.look_at = time + _LOOK
                if not self._is_there(tenant):
                    self._drop(tenant, "its link is gone")
                    continue
            self._carry_out(tenant, tenant.client.wake(time))

    def allocate(
        self, holder: Holder, netns: str, wishes: Wishes, reply: Reply
    ) -> Callable[[], None]:
        """Get a lease; return what gives up waiting for it.

        The same question again has the same answer.  A holder whose container is another one
        starts anew.

        Raises:
            CniError: A name is wrong, there is no such link, or a lease is being asked for already.
            OSError: The link cannot be used.
        """
        _check(holder)
        link, up = dhcp_link.find(netns, holder.ifname, prefix=self._prefix)
        before = self._tenants.get(holder)
        if before and before.reply:
            raise CniError(f"a lease for {holder} is being asked for", code=Code.TRY_AGAIN_LATER)
        if before and (before.link, before.wishes) == (link, wishes) and before.client.lease:
            reply({"lease": before.client.lease.to_wire()})
            return _nothing
        if before:  # its DEL never came; the server knows the new one by the same identifier
            self._drop(before, "the container is another one")
        tenant = self._tenant(holder, wishes, link)
        tenant.reply, tenant.was_down = reply, not up
        try:
            if not up:
                dhcp_link.set_up(link, prefix=self._prefix)
            self._carry_out(tenant, tenant.client.start(now()))
        except OSError:
            self._abandon(tenant)
            raise
        return lambda: self._abandon(tenant)

    def check(self, holder: Holder, netns: str) -> Answer:
        """Return a holder's lease.

        Raises:
            CniError: It has none, or its link is gone.
        """
        tenant = self._tenants.get(holder)
        if tenant is None or tenant.client.lease is None:
            raise CniError(
                f"dhcp: there is no lease for {holder}", "it expired, or was never asked for"
            )
        if tenant.link.netns != netns or not self._is_there(tenant):
            raise CniError(f"dhcp: the link that {holder} has its lease for is gone")
        return {"lease": tenant.client.lease.to_wire()}

    def release(self, holder: Holder) -> None:
        """Give back a holder's lease; it may have none."""
        tenant = self._tenants.get(holder)
        if tenant is None:
            self._store.forget(holder)
            return
        self._answer(tenant, _error(CniError(f"the lease of {holder} was released meanwhile")))
        self._give_back(tenant)
        self._drop(tenant, "released")

    def gc(self, network: str, valid: set[Holder]) -> None:
        """Give back the leases of a network whose holders are not *valid*."""
        for holder in [one for one in self._tenants if one.network == network]:
            if holder not in valid:
                self.release(holder)

    def close(self) -> None:
        """Give up what is being asked for; leases stay, on disk too."""
        for tenant in list(self._tenants.values()):
            if tenant.reply:
                self._answer(tenant, _error(CniError("the DHCP daemon was told to end")))
                self._abandon(tenant)
            self._listen(tenant, on=False)

    # One tenant

    def _tenant(self, holder: Holder, wishes: Wishes, link: ContainerLink) -> Tenant:
        client = Client(holder, wishes, link.mac, self._timing, dhcp_link.chance)
        tenant = Tenant(holder=holder, wishes=wishes, link=link, client=client)
        self._tenants[holder] = tenant
        return tenant

    def _carry_out(self, tenant: Tenant, actions: list[Action]) -> None:
        """Do what a client says; what could not be sent is as good as lost on the way."""
        try:
            if tenant.client.is_listening:
                self._listen(tenant, on=True)
            for action in actions:
                self._do(tenant, action)
            self._listen(tenant, on=tenant.client.is_listening)
        except OSError as exc:
            log(f"dhcp: {tenant.holder}: {exc}")
            if not self._is_there(tenant):
                gone = CniError(f"dhcp: the link of {tenant.holder} is gone", str(exc))
                self._answer(tenant, _error(gone))
                self._drop(tenant, "its link is gone")

    def _do(self, tenant: Tenant, action: Action) -> None:
        match action:
            case Send() if tenant.packets:
                dhcp_link.send(tenant.packets, action)
            case Bound(lease):
                self._bound(tenant, lease)
            case Failed(reason):
                self._answer(tenant, _error(CniError(f"dhcp: {reason}", f"for {tenant.holder}")))
                self._abandon(tenant)
            case Lost(lease, reason):
                self._set_down(tenant, lease.address)
                self._drop(tenant, f"{reason}; its link was set down")
            case _:
                pass

    def _bound(self, tenant: Tenant, lease: Lease) -> None:
        record = Record(holder=tenant.holder, link=tenant.link, wishes=tenant.wishes, lease=lease)
        try:
            self._store.write(record)
        except OSError as exc:
            log(f"dhcp: {tenant.holder}: the lease cannot be kept on disk: {exc}")
            if tenant.reply:  # nobody would release it after a restart
                self._answer(tenant, _error(CniError(f"dhcp: cannot keep the lease: {exc}")))
                self._abandon(tenant)
            return
        tenant.look_at = now() + _LOOK
        log(f"dhcp: {tenant.holder}: {lease.address} from {lease.server}")
        self._answer(tenant, {"lease": lease.to_wire()})

    def _listen(self, tenant: Tenant, *, on: bool) -> None:
        if on and tenant.packets is None:
            tenant.packets = dhcp_link.listen(tenant.link, prefix=self._prefix)
            self._selector.register(tenant.packets, EVENT_READ, lambda: self._receive(tenant))
        elif not on and tenant.packets is not None:
            self._selector.unregister(tenant.packets)
            tenant.packets.close()
            tenant.packets = None

    def _receive(self, tenant: Tenant) -> None:
        if tenant.packets is None:
            return
        try:
            received = dhcp_link.receive(tenant.packets)
        except OSError as exc:  # the link went down, or is gone; the next look tells
            log(f"dhcp: {tenant.holder}: {exc}")
            return
        if received:
            self._carry_out(tenant, tenant.client.receive(*received, now()))

    def _abandon(self, tenant: Tenant) -> None:
        """Leave nothing of an ADD that did not succeed, or that nobody waits for any more."""
        if self._tenants.get(tenant.holder) is not tenant:
            return
        tenant.reply = None
        self._give_back(tenant)
        if tenant.was_down:
            self._set_down(tenant, None)
        self._drop(tenant, "given up")

    def _give_back(self, tenant: Tenant) -> None:
        message = tenant.client.release()
        if message is None:
            return
        try:
            dhcp_link.send_once(tenant.link, message, prefix=self._prefix)
        except OSError as exc:
            log(f"dhcp: the server keeps the lease of {tenant.holder} until it expires: {exc}")

    def _set_down(self, tenant: Tenant, address: IPv4Interface | None) -> None:
        try:
            if dhcp_link.is_there(tenant.link, address, prefix=self._prefix):
                dhcp_link.set_up(tenant.link, up=False, prefix=self._prefix)
        except OSError as exc:
            log(f"dhcp: {tenant.holder}: the link cannot be set down: {exc}")

    def _is_there(self, tenant: Tenant) -> bool:
        lease = tenant.client.lease
        address = lease.address if lease else None
        return dhcp_link.is_there(tenant.link, address, prefix=self._prefix)

    def _drop(self, tenant: Tenant, why: str) -> None:
        log(f"dhcp: {tenant.holder}: {why}")
        self._listen(tenant, on=False)
        self._store.forget(tenant.holder)
        del self._tenants[tenant.holder]

    def _answer(self, tenant: Tenant, answer: Answer) -> None:
        reply, tenant.reply = tenant.reply, None
        if reply:
            reply(answer)


def _nothing() -> None:
    """Give up nothing."""


def _error(exc: CniError) -> Answer:
    return {"error": exc.to_wire()}


def _check(holder: Holder) -> None:
    names.check_network_name(holder.network)
    names.check_container_id(holder.container_id)
    names.check_ifname(holder.ifname)
