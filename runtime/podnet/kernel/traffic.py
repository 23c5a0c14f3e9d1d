"""Traffic control: token buckets, ingress queues, and sending what arrives to another link.

Knows the messages of linux/pkt_sched.h and linux/pkt_cls.h that shaping a veth needs, no
others.  Functions work in the network namespace of their :class:`Netlink`.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Self

from podnet.kernel import libc, links, namespaces
from podnet.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    Netlink,
    NetlinkError,
    as_int,
    as_text,
    attribute,
    attributes,
    nested,
    text,
    u32,
)

_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTFILTER, _RTM_GETTFILTER = 44, 46
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64 = 1, 4
_TCA_U32_CLASSID, _TCA_U32_SEL, _TCA_U32_ACT = 1, 5, 7
_TCA_U32_INDEV, _TCA_U32_MARK = 8, 10
_TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_MIRRED_PARMS = 1, 2, 2
_TC_U32_TERMINAL, _TC_ACT_STOLEN, _TCA_EGRESS_REDIR = 1, 4, 1
_AT_ROOT, _AT_INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_ROOT, _INGRESS = 0x00010000, 0xFFFF0000  # "1:" and "ffff:"
_CLASS = 0x00010001  # "1:1"
_ETH_P_ALL, _PRIORITY = 3, 1
_MESSAGE = struct.Struct("=BxxxiIII")  # struct tcmsg
_RATE = struct.Struct("=BBHhHI")  # struct tc_ratespec
_BUCKET = struct.Struct("=III")  # the rest of struct tc_tbf_qopt: limit, buffer, mtu
_SELECTOR = struct.Struct("=BBBxHHhhI")  # struct tc_u32_sel
_KEY = struct.Struct("=IIii")  # struct tc_u32_key
_MIRRED = struct.Struct("=IIiiiiI")  # struct tc_mirred
_LARGEST = 0xFFFFFFFF
_LO = 1  # its index, in every network namespace
# The kernel counts a bucket's depth in time, 64 ns a tick (/proc/net/psched).
_TICKS_PER_MICROSECOND = 15.625
_MICROSECONDS = 1_000_000
_LATENCY = 25_000
# No such qdisc, one of another kind or handle, and no such link.
_ABSENT = frozenset({errno.ENOENT, errno.EINVAL, errno.ENODEV})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """What a link's root queue lets through.

    Attributes:
        rate: Bytes per second.
        buffer: The depth of the bucket, as ticks at that rate.
        limit: Bytes that may wait.
    """

    rate: int
    buffer: int
    limit: int

    @classmethod
    def of(cls, *, rate: int, burst: int) -> Self:
        """Return the bucket for bits per second and bits at once, with the reference's numbers.

        A depth of more ticks than the kernel can count is the deepest there is.
        """
        a_second, at_once = rate // 8, burst // 8
        microseconds = at_once * _MICROSECONDS // a_second
        waiting = int(a_second * (_LATENCY / _MICROSECONDS)) + at_once
        ticks = int(microseconds * _TICKS_PER_MICROSECOND)
        return cls(rate=a_second, buffer=min(ticks, _LARGEST), limit=min(waiting, _LARGEST))


def add_token_bucket(netlink: Netlink, index: int, bucket: TokenBucket) -> None:
    """Let a link send no faster than *bucket*.

    Raises:
        NetlinkError: EEXIST when its root queue was set already.
    """
    rate = _RATE.pack(0, 0, 0, 0, 0, min(bucket.rate, _LARGEST))
    parms = rate + _RATE.pack(0, 0, 0, 0, 0, 0) + _BUCKET.pack(bucket.limit, bucket.buffer, 0)
    options = attribute(_TCA_TBF_PARMS, parms)
    if bucket.rate > _LARGEST:
        options += attribute(_TCA_TBF_RATE64, struct.pack("=Q", bucket.rate))
    body = _qdisc(index, _ROOT, _AT_ROOT, "tbf") + nested(_TCA_OPTIONS, options)
    _create(netlink, _RTM_NEWQDISC, body, "add token bucket")


def token_bucket(netlink: Netlink, index: int) -> TokenBucket | None:
    """Return the bucket of a link, or ``None`` when its root queue is another."""
    options = _get(netlink, _qdisc(index, 0, _AT_ROOT, "tbf"))
    if options is None:
        return None
    found = attributes(options)
    (rate,) = struct.unpack_from("=I", found[_TCA_TBF_PARMS], _RATE.size - 4)
    limit, buffer, _ = _BUCKET.unpack_from(found[_TCA_TBF_PARMS], 2 * _RATE.size)
    wide = found.get(_TCA_TBF_RATE64)
    return TokenBucket(rate=as_int(wide) if wide else rate, buffer=buffer, limit=limit)


def delete_token_bucket(netlink: Netlink, index: int) -> bool:
    """Remove a bucket as :func:`add_token_bucket` makes it; return whether there was one."""
    body = _qdisc(index, _ROOT, _AT_ROOT, "tbf")
    return netlink.remove(_RTM_DELQDISC, body, absent=_ABSENT, what="delete token bucket")


def add_ingress(netlink: Netlink, index: int) -> None:
    """Give a link a place for filters on what arrives.

    Raises:
        NetlinkError: EEXIST when it has one.
    """
    body = _qdisc(index, _INGRESS, _AT_INGRESS, "ingress")
    _create(netlink, _RTM_NEWQDISC, body, "add ingress qdisc")


def delete_ingress(netlink: Netlink, index: int) -> bool:
    """Remove that place and its filters; return whether there was one."""
    body = _qdisc(index, _INGRESS, _AT_INGRESS, "ingress")
    return netlink.remove(_RTM_DELQDISC, body, absent=_ABSENT, what="delete ingress qdisc")


def redirect(netlink: Netlink, index: int, *, to: int) -> None:
    """Send everything that arrives on a link, which has an ingress qdisc, out of another.

    Raises:
        NetlinkError: The kernel refused.
    """
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_EGRESS_REDIR, to)
    parms = nested(_TCA_ACT_OPTIONS, attribute(_TCA_MIRRED_PARMS, mirred))
    action = nested(1, text(_TCA_ACT_KIND, "mirred"), parms)
    everything = _SELECTOR.pack(_TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + _KEY.pack(0, 0, 0, 0)
    options = nested(
        _TCA_OPTIONS,
        u32(_TCA_U32_CLASSID, _CLASS),
        attribute(_TCA_U32_SEL, everything),
        nested(_TCA_U32_ACT, action),
    )
    info = _PRIORITY << 16 | socket.htons(_ETH_P_ALL)
    body = _MESSAGE.pack(0, index, 0, _INGRESS, info) + text(_TCA_KIND, "u32") + options
    _create(netlink, _RTM_NEWTFILTER, body, "add redirection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirection:
    """Where something of what arrives on a link is sent.

    Attributes:
        to: The index of the other link; 0 is one that is gone.
        whole: Everything goes there, as :func:`redirect` has it, and nothing goes on.
    """

    to: int
    whole: bool


def redirections(netlink: Netlink, index: int) -> set[Redirection]:
    """Return where what arrives on a link is sent."""
    body = _MESSAGE.pack(0, index, 0, _INGRESS, 0)
    found = set()
    for message in netlink.dump(_RTM_GETTFILTER, body, what="filters"):
        *_, info = _MESSAGE.unpack_from(message.payload)
        options = attributes(attributes(message.payload, _MESSAGE.size).get(_TCA_OPTIONS, b""))
        whole = info & 0xFFFF == socket.htons(_ETH_P_ALL) and _is_unconditional(options)
        for action in map(attributes, attributes(options.get(_TCA_U32_ACT, b"")).values()):
            if as_text(action.get(_TCA_ACT_KIND, b"")) == "mirred":
                parms = attributes(action[_TCA_ACT_OPTIONS])[_TCA_MIRRED_PARMS]
                *_, how, to = _MIRRED.unpack_from(parms)
                found.add(Redirection(to=to, whole=whole and how == _TCA_EGRESS_REDIR))
    return found


def _is_unconditional(options: dict[int, bytes]) -> bool:
    """Tell whether a u32 filter takes every packet that it sees: no key asks for a bit."""
    selector = options.get(_TCA_U32_SEL)
    if selector is None or {_TCA_U32_INDEV, _TCA_U32_MARK} & options.keys():
        return False
    flags, _, keys, *_ = _SELECTOR.unpack_from(selector)
    masks = [
        _KEY.unpack_from(selector, _SELECTOR.size + number * _KEY.size)[0] for number in range(keys)
    ]
    return bool(flags & _TC_U32_TERMINAL) and not any(masks)


def try_out() -> None:
    """Shape a link of no importance, in a namespace that is gone afterwards.

    Raises:
        OSError: The kernel lacks something that shaping needs.
    """
    namespaces.in_thread(_try_out)


def _try_out() -> None:
    libc.unshare(libc.CLONE_NEWNET)
    with Netlink() as netlink:
        links.add_ifb(netlink, "ifb", mtu=1500)
        ifb = links.find(netlink, "ifb")
        index = ifb.index if ifb else 0
        add_token_bucket(netlink, index, TokenBucket.of(rate=8000, burst=8000))
        add_ingress(netlink, index)
        redirect(netlink, index, to=index)


def is_supported(netlink: Netlink, kind: str) -> bool:
    """Tell whether the kernel has a queue of *kind*; it may be left on lo, if lo has none yet."""
    try:
        _create(netlink, _RTM_NEWQDISC, _qdisc(_LO, _ROOT, _AT_ROOT, kind), f"add {kind}")
    except NetlinkError as exc:
        return exc.errno != errno.ENOENT
    return True


def _qdisc(index: int, handle: int, parent: int, kind: str) -> bytes:
    return _MESSAGE.pack(0, index, handle, parent, 0) + text(_TCA_KIND, kind)


def _create(netlink: Netlink, kind: int, body: bytes, what: str) -> None:
    netlink.request(kind, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=what)


def _get(netlink: Netlink, body: bytes) -> bytes | None:
    try:
        # The kernel takes its answer for a notification, which only an echo brings to the asker.
        answer = netlink.get(_RTM_GETQDISC, body, flags=NLM_F_ECHO, what="qdisc")
    except NetlinkError as exc:
        if exc.errno in _ABSENT:
            return None
        raise
    return attributes(answer.payload, _MESSAGE.size).get(_TCA_OPTIONS, b"")
