"""Queues, classes and filters of links, as facts (linux/pkt_sched.h, pkt_cls.h).

Decoded is what pods are shaped with: token buckets, and u32 filters that send traffic
elsewhere.  Of other queues the bytes of their options are compared, of other filters that they
are there.  Queues without a handle are the kernel's own and no facts.
"""

import struct
from collections.abc import Iterator, Mapping

from podnet.kernel.facts import Attributes, Fact, stated
from podnet.kernel.netlink import Netlink, as_int, as_text, attributes

_RTM_GETQDISC, _RTM_GETTCLASS, _RTM_GETTFILTER = 38, 42, 46
_MESSAGE = struct.Struct("=BxxxiIII")  # struct tcmsg
_BUCKET = struct.Struct("=8xI12xIII")  # struct tc_tbf_qopt: rate, limit, buffer, mtu
_HTB_GLOBAL = struct.Struct("=IIII4x")  # struct tc_htb_glob, but for what it has counted
_MIRRED = struct.Struct("=16xiiI")  # struct tc_mirred: bindings, what it does, to which link
_TCA_KIND, _TCA_OPTIONS, _TCA_CHAIN = 1, 2, 11
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_HTB_INIT = 1, 4, 2
_U32_CLASSID, _U32_DIVISOR, _U32_SEL, _U32_ACT = 1, 4, 5, 7
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARMS = 1, 2, 2
_MIRRED_DOES = {1: "redirect", 2: "mirror", 3: "ingress redirect", 4: "ingress mirror"}
_PLACES = {0xFFFFFFFF: "root", 0xFFFFFFF1: "ingress"}
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # the two sides of clsact
_WITHOUT_CLASSES = frozenset({"ingress", "clsact"})


def facts(netlink: Netlink, names: Mapping[int, str]) -> Iterator[Fact]:
    """Yield the facts of traffic control; *names* are those of links, by index."""
    head = _MESSAGE.pack(0, 0, 0, 0, 0)
    for message in netlink.dump(_RTM_GETQDISC, head, what="qdiscs"):
        _, index, handle, parent, _ = _MESSAGE.unpack_from(message.payload)
        said = attributes(message.payload, _MESSAGE.size)
        kind, name = as_text(said[_TCA_KIND]), names.get(index, str(index))
        if handle == 0:
            continue
        key = f"{kind} {handle >> 16:x}: dev {name} {_place(parent)}"
        yield Fact("qdisc", key, _queue(kind, said.get(_TCA_OPTIONS, b"")))
        if kind not in _WITHOUT_CLASSES:
            yield from _classes(netlink, index, handle, name)
        for side in (_INGRESS, _EGRESS) if kind == "clsact" else (handle,):
            yield from _filters(netlink, index, side, names)


def _place(parent: int) -> str:
    return _PLACES.get(parent) or f"parent {parent >> 16:x}:{parent & 0xFFFF:x}"


def _queue(kind: str, options: bytes) -> Attributes:
    said = attributes(options)
    if kind == "tbf" and _TCA_TBF_PARMS in said:
        rate, limit, buffer, _ = _BUCKET.unpack_from(said[_TCA_TBF_PARMS])
        rate = as_int(said[_TCA_TBF_RATE64]) if _TCA_TBF_RATE64 in said else rate
        return stated(rate=rate, limit=limit, buffer=buffer)
    if kind == "htb" and _TCA_HTB_INIT in said:
        _, quantum, default, _ = _HTB_GLOBAL.unpack_from(said[_TCA_HTB_INIT])
        return stated(quantum=quantum, default=default)
    return stated(options=options.hex())


def _classes(netlink: Netlink, index: int, handle: int, name: str) -> Iterator[Fact]:
    head = _MESSAGE.pack(0, index, 0, 0, 0)
    for message in netlink.dump(_RTM_GETTCLASS, head, what=f"classes of {name}"):
        _, _, own, parent, _ = _MESSAGE.unpack_from(message.payload)
        said = attributes(message.payload, _MESSAGE.size)
        kind = as_text(said[_TCA_KIND])
        if own >> 16 == handle >> 16 and kind != "tbf":  # a bucket's only class is the bucket
            key = f"{kind} {own >> 16:x}:{own & 0xFFFF:x} dev {name} {_place(parent)}"
            yield Fact("class", key, stated(options=said.get(_TCA_OPTIONS, b"").hex()))


def _filters(netlink: Netlink, index: int, parent: int, names: Mapping[int, str]) -> Iterator[Fact]:
    name = names.get(index, str(index))
    head = _MESSAGE.pack(0, index, 0, parent, 0)
    for message in netlink.dump(_RTM_GETTFILTER, head, what=f"filters of {name}"):
        _, _, handle, _, info = _MESSAGE.unpack_from(message.payload)
        said = attributes(message.payload, _MESSAGE.size)
        kind, options = as_text(said.get(_TCA_KIND, b"")), attributes(said.get(_TCA_OPTIONS, b""))
        if handle == 0 or _U32_DIVISOR in options:  # the head of a list, no filter
            continue
        side = {_INGRESS: "ingress", _EGRESS: "egress"}.get(parent, f"parent {parent >> 16:x}:")
        words = [kind, f"dev {name} {side} pref {info >> 16}", f"chain {_chain(said)}"]
        words.append(f"protocol {int.from_bytes((info & 0xFFFF).to_bytes(2, 'little')):#06x}")
        yield Fact("filter", " ".join(words), _u32(options, names) if kind == "u32" else ())


def _chain(said: Mapping[int, bytes]) -> int:
    return as_int(said.get(_TCA_CHAIN, b""))


def _u32(said: Mapping[int, bytes], names: Mapping[int, str]) -> Attributes:
    actions = attributes(said.get(_U32_ACT, b""))
    return stated(
        selector=said.get(_U32_SEL, b"").hex(),
        classid=as_int(said.get(_U32_CLASSID, b"")),
        actions=tuple(_action(packed, names) for _, packed in sorted(actions.items())),
    )


def _action(packed: bytes, names: Mapping[int, str]) -> str:
    said = attributes(packed)
    kind = as_text(said.get(_ACT_KIND, b""))
    parameters = attributes(said.get(_ACT_OPTIONS, b"")).get(_MIRRED_PARMS, b"")
    if kind != "mirred" or len(parameters) < _MIRRED.size:
        return kind
    _, does, index = _MIRRED.unpack_from(parameters)
    return f"mirred {_MIRRED_DOES.get(does, does)} to {names.get(index, index)}"
