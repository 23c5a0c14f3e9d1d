"""Which flaw fails which case: one line for each, so that no case is without."""

import os
import time
from pathlib import Path
from typing import Any

from tests.rig.flawed.plugin import (
    LEASES,
    MEMORY,
    Asked,
    Flaw,
    Plugin,
    Said,
    also,
    asks,
    before,
    canned,
    crashes,
    errs,
    fails_afterwards,
    fills,
    forget_leases,
    guarded_by_a_file,
    idle,
    in_turn,
    inside,
    keeps_from_delegate,
    mute,
    on_failure,
    one_at_a_time,
    plain,
    prints,
    refuses,
    says,
    swallows,
    there,
    touch,
)

from podnet.cni.versions import RELEASED, at_least
from podnet.kernel import namespaces, programs

STUB = "podnet-stub-ipam"
_VERBS = {"ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"}


def unknown(asked: Asked) -> bool:
    return asked.verb not in _VERBS


def unreadable(asked: Asked) -> bool:
    return asked.config is None


def lost(asked: Asked) -> bool:
    return bool(asked.netns) and not Path(asked.netns).exists()


def nowhere(asked: Asked) -> bool:
    return not asked.netns


def a_file(asked: Asked) -> bool:
    return Path(asked.netns).is_file() and not namespaces.is_namespace(asked.netns)


def unaware(asked: Asked) -> bool:
    return not asked.get("prevResult")


def unmarked(asked: Asked) -> bool:
    return not asked.mark.exists()


def marked(asked: Asked) -> bool:
    return asked.mark.exists()


def absent(asked: Asked) -> bool:
    return not there(asked)


def stubbed(asked: Asked) -> bool:
    return (asked.get("ipam") or {}).get("type") == STUB


def old(asked: Asked) -> bool:
    return not at_least(asked.get("cniVersion") or "0.1.0", "1.1.0")


def both(*flaws: Flaw) -> Flaw:
    def flaw(asked: Asked, do: Plugin) -> Said:
        for one in flaws:
            do = _bound(one, do)
        return do(asked)

    return flaw


def _bound(flaw: Flaw, do: Plugin) -> Plugin:
    return lambda asked: flaw(asked, do)


def accepts(when: Any) -> Flaw:
    """Succeed where it must not."""
    return lambda asked, do: canned(asked) if when(asked) else do(asked)


def each(key: str, name: str, value: object) -> Any:
    """Return a change of one field in every object of a list."""

    def change(document: dict[str, Any], _: Asked) -> None:
        for item in document.get(key, ()):
            if value is None:
                item.pop(name, None)
            else:
                item[name] = value

    return change


def put(**values: object) -> Any:
    return lambda document, _: document.update(values)


def more(key: str, item: object, at: int | None = None) -> Any:
    def change(document: dict[str, Any], _: Asked) -> None:
        listed = document.setdefault(key, [])
        listed.insert(len(listed) if at is None else at, item)

    return change


def run(*command: str) -> Any:
    return lambda _: programs.run(*command)


def linger(_: Asked) -> None:
    os.posix_spawnp("sleep", ["sleep", "1"], os.environ)


def slowly(asked: Asked, do: Plugin) -> Said:
    """Keep a file while at work, for a while; DEL knows nothing of it."""
    if asked.verb != "ADD":
        return do(asked)
    MEMORY.mkdir(exist_ok=True)
    draft = MEMORY / f"draft-{time.time_ns()}"
    draft.touch()
    said = do(asked)
    time.sleep(0.3)
    draft.unlink()
    return said


def leave_a_log(_: Asked) -> None:
    MEMORY.mkdir(exist_ok=True)
    (MEMORY / f"log-{time.time_ns()}").touch()


def write_on_disk(_: Asked) -> None:
    draft = LEASES / "draft"
    draft.write_text("what is going to be done")
    draft.unlink()


def spoilt(_: Asked) -> bool:
    there = [path for path in LEASES.glob("*") if path.name != "lock"]
    return any(b"\0" in (path.read_bytes() or b"\0") for path in there)


def working_directory(asked: Asked) -> bool:
    return Path.cwd().parts[1:2] in (("proc",), ("sys",))


SAME = each("ips", "address", "198.18.0.99/24")
GHOST = {"name": "ghost0", "mac": "02:00:00:00:00:01"}

VERSION = {
    "version-answers": ("static", says("VERSION", lambda d, _: d.pop("cniVersion"))),
    "version-lists-real-versions": (
        "static",
        says("VERSION", lambda d, _: d["supportedVersions"].append("1.2.0")),
    ),
    "version-needs-no-environment": (
        "static",
        refuses("VERSION", lambda a: "CNI_PATH" not in a.env),
    ),
    "version-needs-no-stdin": ("static", refuses("VERSION", lambda a: not a.stdin)),
    "version-in-any-version": (
        "static",
        refuses("VERSION", lambda a: a.get("cniVersion") not in RELEASED),
    ),
    "version-is-current": ("static", says("VERSION", put(supportedVersions=["0.4.0"]))),
    "version-means-its-verbs": (
        "static",
        refuses("STATUS", msg="unknown CNI_COMMAND: STATUS"),
    ),
    "verb-unknown": ("static", accepts(unknown)),
    "verb-unknown-code": ("static", errs(unknown, code=7)),
    "verb-unknown-changes-nothing": (
        "static",
        before("FROBNICATE", touch),
    ),
    "verb-lower-case": ("static", asks(lambda a: a.given(CNI_COMMAND=a.verb.upper()))),
    "verb-missing": ("static", fills(CNI_COMMAND="ADD")),
}
ENVIRONMENT = {
    "env-add-without-container-id": ("static", fills(CNI_CONTAINERID="c1")),
    "env-add-without-netns": ("static", fills(CNI_NETNS="/run/netns/pod1")),
    "env-add-without-ifname": ("static", fills(CNI_IFNAME="eth0")),
    "env-empty-is-missing": ("static", fills(CNI_IFNAME="eth0")),
    "env-missing-is-named": ("static", errs(msg="something is missing")),
    "env-del-without-container-id": ("static", fills(CNI_CONTAINERID="c1")),
    "env-del-without-ifname": ("static", fills(CNI_IFNAME="eth0")),
    "env-check-without-netns": ("static", fills(CNI_NETNS="/run/netns/pod1")),
    "env-container-id-characters": (
        "static",
        asks(lambda a: a.given(CNI_CONTAINERID=plain(a.env.get("CNI_CONTAINERID", "")))),
    ),
    "env-ifname-too-long": (
        "static",
        asks(lambda a: a.given(CNI_IFNAME=a.env.get("CNI_IFNAME", "")[:15])),
    ),
    "env-ifname-characters": (
        "static",
        asks(lambda a: a.given(CNI_IFNAME=plain(a.env.get("CNI_IFNAME", "")))),
    ),
    "env-netns-is-missing": ("bridge", idle("ADD", lost)),
    "env-netns-is-a-file": ("bridge", idle("ADD", a_file)),
    "env-netns-is-the-host": ("bridge", asks(lambda a: a.given(CNI_NETNS_OVERRIDE="1"))),
    "env-args-of-kubernetes": (
        "static",
        refuses("ADD", lambda a: "K8S_POD_NAME" in a.env.get("CNI_ARGS", "")),
    ),
    "env-args-malformed": ("static", crashes("ADD", lambda a: "=;" in a.env.get("CNI_ARGS", ""))),
    "env-args-absent": ("static", refuses("ADD", lambda a: "CNI_ARGS" not in a.env)),
    "env-any-directory": ("static", refuses("DEL", working_directory)),
    "env-directory-stays-clean": ("static", also("ADD", lambda _: Path("trace.log").touch())),
    "env-hardly-anything-inherited": ("static", refuses("ADD", lambda a: "HOME" not in a.env)),
    "env-noise-inherited": ("static", refuses("ADD", lambda a: "DEBUG" in a.env)),
}
CONFIG = {
    "config-empty": ("static", accepts(lambda a: not a.stdin)),
    "config-malformed": ("static", accepts(unreadable)),
    "config-malformed-code": ("static", errs(unreadable, code=999)),
    "config-truncated": ("static", accepts(lambda a: unreadable(a) and a.stdin[:1] == b"{")),
    "config-no-object": ("static", accepts(lambda a: a.stdin == b"[]")),
    "config-two-documents": (
        "static",
        asks(lambda a: Asked(a.env, a.stdin.removesuffix(b"{}"))),
    ),
    "config-version-unknown": ("static", accepts(lambda a: a.get("cniVersion") == "99.0.0")),
    "config-version-unknown-code": (
        "static",
        errs(lambda a: a.get("cniVersion") == "99.0.0", code=7),
    ),
    "config-version-not-listed": ("bandwidth", accepts(lambda a: a.get("cniVersion") == "0.2.0")),
    "config-version-no-version": ("static", accepts(lambda a: a.get("cniVersion") == "newest")),
    "config-version-of-wrong-type": ("static", accepts(lambda a: a.get("cniVersion") == 1)),
    "config-version-absent": (
        "static",
        asks(
            lambda a: a.configured(cniVersion="1.0.0"),
            lambda a: a.config and "cniVersion" not in a.config,
        ),
    ),
    "config-name-missing": (
        "static",
        asks(lambda a: a.configured(name="default"), lambda a: a.config and not a.get("name")),
    ),
    "config-name-characters": (
        "static",
        asks(lambda a: a.configured(name=plain(a.get("name"))), lambda a: a.config),
    ),
    "config-bad-parameter": ("static", swallows("ADD")),
    "config-args-of-others": (
        "static",
        refuses("ADD", lambda a: "example.org" in (a.get("args") or {})),
    ),
    "config-runtime-config-of-others": (
        "static",
        refuses("ADD", lambda a: "example.org/unheard-of" in (a.get("runtimeConfig") or {})),
    ),
    "config-large": ("static", refuses("ADD", lambda a: len(a.stdin) > 1 << 16)),
    "config-oversized": ("static", crashes("ADD", lambda a: len(a.stdin) > 1 << 23)),
    "config-deep": ("static", crashes("ADD", lambda a: a.stdin.count(b"{") > 1 << 16)),
    "config-not-only-ascii": ("static", refuses("ADD", lambda a: b"\\u" in a.stdin)),
}
RESULT = {
    "add-succeeds": ("static", refuses("ADD")),
    "result-is-one-document": ("static", prints("ADD", b"adding an address\n")),
    "result-version": ("static", says("ADD", put(cniVersion="0.3.1"))),
    "result-shape": ("static", says("ADD", each("ips", "version", "4"))),
    "result-has-the-interface": ("bridge", says("ADD", each("interfaces", "name", "other"))),
    "result-sandbox": ("bridge", says("ADD", each("interfaces", "sandbox", "/proc/1/ns/net"))),
    "result-index": ("bridge", says("ADD", each("ips", "interface", 0))),
    "result-interfaces-exist": ("bridge", says("ADD", more("interfaces", GHOST))),
    "result-mac": ("bridge", says("ADD", each("interfaces", "mac", "02:00:00:00:00:01"))),
    "result-mac-is-said": ("bridge", says("ADD", each("interfaces", "mac", None))),
    "result-mtu": ("bridge", says("ADD", each("interfaces", "mtu", 9000))),
    "result-addresses-are-there": ("bridge", says("ADD", SAME)),
    "result-addresses-are-all": (
        "bridge",
        also("ADD", inside("ip", "addr", "add", "192.0.2.9/32", "dev", "eth0")),
    ),
    "result-routes-are-there": ("bridge", says("ADD", more("routes", {"dst": "203.0.113.0/24"}))),
    "result-families": ("static", says("ADD", each("ips", "gateway", "2001:db8::1"))),
    "add-sets-the-interface-up": (
        "bridge",
        also("ADD", inside("ip", "link", "set", "eth0", "down")),
    ),
    "add-takes-the-name": ("bridge", asks(lambda a: a.given(CNI_IFNAME="eth0"))),
    "add-refuses-a-taken-name": (
        "bridge",
        before("ADD", inside("ip", "link", "delete", "eth0"), there),
    ),
    "add-gives-each-its-own": ("host-local", says("ADD", SAME)),
    "add-twice-in-one-container": ("host-local", also("DEL", forget_leases)),
    "result-of-ipam": ("host-local", says("ADD", each("ips", "interface", 0))),
    "result-of-ipam-has-addresses": ("host-local", says("ADD", put(ips=[]))),
    "error-has-version": ("static", errs(cniVersion=None)),
    "error-code-is-known": ("static", errs(code=42)),
    "stderr-is-for-logs": (
        "static",
        lambda a, do: Said(**{**vars(do(a)), "stderr": b"configuring"}),
    ),
}
CHECK = {
    "check-after-add": ("static", refuses("CHECK")),
    "check-again": ("static", refuses("CHECK", in_turn("CHECK", 2))),
    "check-changes-nothing": ("static", also("CHECK", touch)),
    "check-mends-nothing": ("portmap", before("CHECK", run("iptables", "-N", "MENDED"))),
    "check-prints-nothing": ("static", prints("CHECK", b"{}")),
    "check-needs-prev-result": ("bridge", idle("CHECK", unaware)),
    "check-goes-by-prev-result": ("bridge", idle("CHECK")),
    "check-too-old": ("static", idle("CHECK")),
    "check-netns-is-gone": ("bridge", idle("CHECK", lost)),
    "check-interface-is-gone": ("bridge", idle("CHECK")),
    "check-interface-is-down": ("bridge", idle("CHECK")),
    "check-interface-is-another": ("bridge", idle("CHECK")),
    "check-address-is-gone": ("bridge", idle("CHECK")),
    "check-route-is-gone": ("bridge", idle("CHECK")),
    "check-route-leads-elsewhere": ("bridge", idle("CHECK")),
    "check-host-end-is-down": ("bridge", idle("CHECK")),
    "check-gateway-is-gone": ("bridge", idle("CHECK")),
    "check-rules-are-gone": ("bridge", idle("CHECK")),
    "check-shaping-is-gone": ("bandwidth", idle("CHECK")),
    "check-policy-is-gone": ("sbr", idle("CHECK")),
    "check-lease-is-gone": ("host-local", idle("CHECK")),
    "check-lease-is-of-another": ("host-local", idle("CHECK")),
    "check-drift": ("tuning", idle("CHECK")),
    "check-allows-additions": (
        "bridge",
        refuses("CHECK", lambda a: "192.0.2.7" in inside("ip", "-o", "addr")(a)),
    ),
}
DEL = {
    "del-succeeds": ("static", refuses("DEL")),
    "del-removes-the-interface": ("bridge", idle("DEL")),
    "del-leaves-nothing": ("host-local", idle("DEL")),
    "del-undoes-its-own": ("portmap", idle("DEL")),
    "del-twice": (
        "static",
        both(also("ADD", touch), also("DEL", lambda a: a.mark.unlink()), refuses("DEL", unmarked)),
    ),
    "del-never-added": ("static", both(also("ADD", touch), refuses("DEL", unmarked))),
    "del-never-added-changes-nothing": ("host-local", also("DEL", forget_leases)),
    "del-without-netns": ("static", refuses("DEL", nowhere)),
    "del-without-netns-cleans": ("host-local", idle("DEL", nowhere)),
    "del-netns-is-gone": ("static", refuses("DEL", lost)),
    "del-netns-is-gone-cleans": ("host-local", idle("DEL", lost)),
    "del-netns-is-gone-makes-nothing": (
        "static",
        before("DEL", lambda a: Path(a.netns).touch(), lost),
    ),
    "del-netns-is-a-file": ("bridge", refuses("DEL", a_file)),
    "del-without-prev-result": ("static", refuses("DEL", unaware)),
    "del-without-prev-result-cleans": ("host-local", idle("DEL", unaware)),
    "del-interface-is-gone": ("bridge", refuses("DEL", absent)),
    "del-interface-is-gone-cleans": ("bridge", idle("DEL", absent)),
    "del-something-is-missing": (
        "macvlan",
        refuses("DEL", lambda _: "up0" not in programs.run("ip", "-o", "link").stdout),
    ),
    "del-in-any-order": ("host-local", also("DEL", forget_leases)),
    "del-after-failed-add": ("bridge", on_failure("ADD", touch)),
    "del-after-refused-configuration": ("static", on_failure("ADD", touch)),
    "del-then-add": ("static", both(also("DEL", touch), refuses("ADD", marked))),
    "del-prints-nothing": ("static", prints("DEL", b"{}")),
    "del-survives-a-reboot": ("static", both(also("ADD", touch), refuses("DEL", unmarked))),
    "del-after-a-reboot-frees": ("host-local", idle("DEL", lost)),
}
DISK = {
    "disk-read-only-add": ("host-local", swallows("ADD")),
    "disk-read-only-add-leaves-nothing": ("host-local", on_failure("ADD", touch)),
    "disk-read-only-then-add": (
        "host-local",
        both(on_failure("ADD", touch), refuses("ADD", marked)),
    ),
    "disk-read-only-del": ("host-local", swallows("DEL")),
    "disk-read-only-status": ("host-local", idle("STATUS")),
    "disk-full-add": ("host-local", swallows("ADD")),
    "disk-full-add-leaves-nothing": (
        "host-local",
        on_failure("ADD", lambda _: (LEASES / "198.18.0.99").touch()),
    ),
    "disk-full-then-add": ("host-local", both(on_failure("ADD", touch), refuses("ADD", marked))),
    "disk-full-del": ("host-local", before("DEL", write_on_disk)),
    "disk-full-gc": ("host-local", before("GC", write_on_disk)),
    "disk-full-status": ("host-local", idle("STATUS")),
    "disk-needs-none-to-check": ("host-local", before("CHECK", write_on_disk)),
}
SPOILT = {
    "spoilt-file-add": ("host-local", crashes("ADD", spoilt)),
    "spoilt-file-del": ("host-local", crashes("DEL", spoilt)),
    "spoilt-file-frees": ("host-local", refuses("ADD", spoilt)),
    "spoilt-file-gc": ("host-local", crashes("GC", spoilt)),
    "spoilt-file-status": ("host-local", refuses("STATUS", spoilt)),
}
GC = {
    "gc-of-nothing": ("static", refuses("GC")),
    "gc-needs-no-container": ("static", refuses("GC", lambda a: "CNI_IFNAME" not in a.env)),
    "gc-keeps-the-valid": ("host-local", also("GC", forget_leases)),
    "gc-removes-the-stale": ("host-local", idle("GC")),
    "gc-tells-stale-from-valid": ("host-local", idle("GC")),
    "gc-goes-by-interface": (
        "host-local",
        also("GC", forget_leases, lambda a: b"net7" in a.stdin),
    ),
    "gc-keeps-other-networks": (
        "host-local",
        also("GC", forget_leases, lambda a: a.get("name") == "another"),
    ),
    "gc-with-null": (
        "static",
        refuses("GC", lambda a: a.get("cni.dev/valid-attachments") is None),
    ),
    "gc-twice": ("static", refuses("GC", in_turn("GC", 2))),
    "gc-then-del": (
        "static",
        both(also("GC", touch), refuses("DEL", lambda _: (MEMORY / "").is_dir())),
    ),
    "gc-too-old": ("static", idle("GC", old)),
    "status-is-ready": ("static", refuses("STATUS")),
    "status-needs-no-container": (
        "static",
        refuses("STATUS", lambda a: "CNI_IFNAME" not in a.env),
    ),
    "status-changes-nothing": ("static", also("STATUS", touch)),
    "status-says-full": ("host-local", idle("STATUS")),
    "status-is-not-needed": (
        "static",
        both(also("STATUS", touch), refuses("CHECK", lambda _: MEMORY.is_dir())),
    ),
    "status-too-old": ("static", idle("STATUS", old)),
    "add-where-there-is-no-room": ("host-local", on_failure("ADD", touch)),
}
CHAIN = {
    "chain-keeps-interfaces": ("portmap", says("ADD", lambda d, _: d["interfaces"].pop())),
    "chain-keeps-addresses": ("portmap", says("ADD", put(ips=[]))),
    "chain-keeps-dns": ("portmap", says("ADD", put(dns={}))),
    "chain-keeps-indexes": ("portmap", says("ADD", more("interfaces", GHOST, at=0))),
    "chain-without-prev-result": ("portmap", crashes("ADD", unaware)),
    "chain-prev-result-of-wrong-type": ("portmap", swallows("ADD")),
    "chain-prev-result-empty": (
        "portmap",
        crashes("ADD", lambda a: not (a.get("prevResult") or {}).get("ips")),
    ),
    "chain-prev-result-of-another-version": ("portmap", swallows("ADD")),
    "chain-index-out-of-range": ("portmap", crashes("ADD", lambda a: b"99" in a.stdin)),
    "chain-given-a-prev-result": ("bridge", says("ADD", more("interfaces", GHOST, at=0))),
    "variants-live": ("bridge", refuses("CHECK", lambda a: not a.get("ipam"))),
    "variants-make-way": (
        "bridge",
        both(
            also("ADD", lambda _: MEMORY.mkdir(exist_ok=True), lambda a: not a.get("ipam")),
            refuses("ADD", lambda a: a.get("ipam") and MEMORY.is_dir()),
        ),
    ),
}
DELEGATE = {
    "delegate-is-asked": ("bridge", asks(lambda a: a.given(CNI_CONTAINERID="x"), stubbed)),
    "delegate-address-is-used": ("bridge", says("ADD", SAME)),
    "delegate-route-is-made": ("bridge", also("ADD", inside("ip", "route", "del", "default"))),
    "delegate-dns-is-passed": ("bridge", says("ADD", put(dns={}))),
    "delegate-is-missing": ("bridge", swallows("ADD")),
    "delegate-fails": ("bridge", swallows("ADD")),
    "delegate-error-is-passed-on": ("bridge", errs(code=999)),
    "delegate-failure-leaves-nothing": ("bridge", on_failure("ADD", touch)),
    "delegate-failure-is-undone": ("bridge", keeps_from_delegate("DEL")),
    "delegate-garbage": ("bridge", swallows("ADD")),
    "delegate-without-addresses": ("bridge", swallows("ADD")),
    "delegate-without-gateway": (
        "bridge",
        both(fails_afterwards("ADD", stubbed), on_failure("ADD", touch)),
    ),
    "delegate-impossible-route": ("bridge", on_failure("ADD", touch)),
    "delegate-stderr-is-passed-on": ("bridge", mute),
    "delegate-del": ("bridge", keeps_from_delegate("DEL")),
    "delegate-del-without-netns": ("bridge", keeps_from_delegate("DEL", nowhere)),
    "delegate-del-fails": ("bridge", swallows("DEL")),
    "delegate-check": ("bridge", keeps_from_delegate("CHECK")),
    "delegate-check-fails": ("bridge", swallows("CHECK")),
    "delegate-status": ("bridge", swallows("STATUS")),
    "delegate-gc": ("bridge", keeps_from_delegate("GC")),
    "delegate-gc-fails": ("bridge", swallows("GC")),
}
ROBUSTNESS = {
    "parallel-add": ("host-local", says("ADD", SAME)),
    "parallel-del": ("host-local", idle("DEL")),
    "parallel-add-shares-once": (
        "portmap",
        also("ADD", run("iptables", "-A", "FORWARD", "-j", "ACCEPT")),
    ),
    "parallel-mixed": ("static", one_at_a_time),
    "cycles-leave-nothing": ("static", also("DEL", leave_a_log)),
    "leaves-no-process": ("static", also("ADD", linger)),
    "answers-in-time": ("static", before("ADD", lambda _: time.sleep(5.1))),
    "kill-during-add": ("static", slowly),
    "kill-then-add": ("static", guarded_by_a_file("ADD")),
    "kill-during-del": ("static", guarded_by_a_file("DEL")),
}
FLAWS: dict[str, tuple[str, Flaw]] = (
    VERSION
    | ENVIRONMENT
    | CONFIG
    | RESULT
    | CHECK
    | DEL
    | DISK
    | GC
    | CHAIN
    | DELEGATE
    | ROBUSTNESS
    | SPOILT
)
