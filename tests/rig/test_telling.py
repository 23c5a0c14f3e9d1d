"""Differences are told as JSON and in lines, and what a plugin has named cannot write on a terminal."""

from pathlib import Path

from podnet.cni.versions import Verb
from podnet.execute import Outcome
from podnet.kernel.facts import Fact, stated
from podnet.plan import Invocation
from podnet.rig.ledger import Ledger
from podnet.rig.picture import NODE, Change, Difference
from podnet.rig.telling import entries, lines


def outcome(verb: str, plugin: str) -> Outcome:
    step = Invocation(verb=Verb(verb), plugin=plugin, environment={}, stdin={})
    return Outcome(invocation=step, binary=Path(plugin), started=0.0, exit_status=0)


LINK = Fact("link", "eth0", stated(mtu=1500, up=True), "/run/netns/web")
FORWARD = Fact("sysctl", "ipv4/ip_forward", (("value", "0"),), NODE)


def test_a_difference_reads_as_lines() -> None:
    changed = Change(FORWARD, FORWARD._replace(attributes=(("value", "1"),)))
    found = Difference(added=(LINK,), removed=(FORWARD,), changed=(changed,))

    assert list(lines(entries(found))) == [
        "+ link eth0 mtu=1500 up  [/run/netns/web]",
        "- sysctl ipv4/ip_forward value=0",
        "~ sysctl ipv4/ip_forward value: 0 -> 1",
    ]


def test_what_a_plugin_has_named_is_escaped() -> None:
    evil = Fact("file", "/run/\x1b[2Jx", stated(content="a\r\n\udc80"), NODE)

    (line,) = lines(entries(Difference(added=(evil,))))

    assert line == "+ file /run/\\x1b[2Jx content=a\\r\\n\\udc80"


def test_what_comes_after_an_invocation_is_its_own_and_said_to_be_later() -> None:
    ledger = Ledger()
    ledger.begin(3)
    nothing, late = frozenset({FORWARD}), frozenset({FORWARD, LINK._replace(where=NODE)})

    ledger.observe(outcome("ADD", "mine"), nothing, nothing)
    ledger.settle(late)

    maker = ledger.maker((NODE, "link", "eth0"))
    assert maker is not None
    assert (str(maker), maker.cycle) == ("after ADD mine 1/1", 3)
    ledger.observe(outcome("DEL", "mine"), late, nothing)
    assert ledger.maker((NODE, "link", "eth0")) is None
