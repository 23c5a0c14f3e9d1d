"""A tenure's end, without a kernel: what it leaves known to the next one."""

from ipaddress import IPv4Address, ip_network
from queue import SimpleQueue
from typing import Any, cast

import pytest

from podnet_manager import netconf
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.log import Log
from podnet_manager.peers import Peers
from podnet_manager.preparation import Choices
from podnet_manager.status import Status
from podnet_manager.store import Change, StoreError
from podnet_manager.tenure import Known, Settings, Tenure

CONF = netconf.parse(b'{"Network": "10.5.0.0/16"}')
OWN = Subnets.of((ip_network("10.5.1.0/24"),))
OTHER = Subnets.of((ip_network("10.5.2.0/24"),))


class Answers:
    """A store that gives these answers to attempts to renew."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)

    def renew(self, *_: object, **__: object) -> object:
        """Give the next answer."""
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _lease(subnets: Subnets, address: str) -> Lease:
    return Lease(
        subnets=subnets,
        attributes=Attributes(public_ip=IPv4Address(address)),
        revision=1,
        hold="me",
        expires=0.0,
    )


@pytest.mark.parametrize("before", [[], [StoreError("away")]])
def test_whose_lease_ended_before_he_could_renew_it_keeps_the_others_for_a_while(before) -> None:
    peers = Peers(grace=60)
    peers.note(_lease(OTHER, "192.0.2.2"))
    settings = Settings(choices=Choices(), ttl=0.01)
    known = Known(peers, Status(), Log(as_json=False))
    store, netlink = cast("Any", Answers(*before, None)), cast("Any", None)

    tenure = Tenure(settings, store, netlink, CONF, _lease(OWN, "192.0.2.1"), known)
    tenure.serve(SimpleQueue(), lambda: False)

    peers.change(Change(OTHER, None))
    assert [lease.subnets for lease in peers.others(OWN)] == [OTHER]
    assert known.status.counts["leases_lost_total"] == 1
