"""What portmap and firewall decide without a kernel: configuration, chains, and rules as words."""

from ipaddress import ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.cni.errors import CniError
from podnet.cni.result import Interface, IPConfig, Result
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.kernel import xtables
from podnet_plugins import nft_rules, portmap_iptables
from podnet_plugins.nft_rules import Rule
from podnet_plugins.portmap_config import PortmapConfig, container_addresses
from podnet_plugins.skel import Call

WEB = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}


def _call(*mappings: Any, **keys: Any) -> Call:
    values = {"runtimeConfig": {"portMappings": list(mappings)}} | keys
    fields = Fields(values)
    return Call(verb=Verb.ADD, config=fields, network="test", container_id="1234", ifname="eth0")


def _refusal(*mappings: Any, **keys: Any) -> tuple[int, str]:
    with pytest.raises(CniError) as raised:
        PortmapConfig.of(_call(*mappings, **keys))
    return raised.value.code, raised.value.msg


def _lines(monkeypatch: Any, *mappings: Any, **keys: Any) -> list[str]:
    """The lines that go to iptables-restore, for the nat table."""
    written: dict[str, list[str]] = {}
    monkeypatch.setattr(xtables, "saved", lambda family: {})
    monkeypatch.setattr(
        xtables, "apply", lambda family, table, lines: written.update({table: list(lines)})
    )
    call = _call(*mappings, **keys)
    ip = ip_interface("10.0.0.2/24")
    portmap_iptables._add(call, PortmapConfig.of(call), ip)  # noqa: SLF001
    return written["nat"]


# portmap's configuration


def test_ports_are_ports():
    for key in ("hostPort", "containerPort"):
        for port in (0, -1, 65536, 70000):
            path = f"runtimeConfig.portMappings[0].{key}"
            wanted = (7, f"{path} must be between 1 and 65535, not {port}")
            assert _refusal(WEB | {key: port}) == wanted


def test_protocols_and_host_addresses_are_known():
    assert _refusal(WEB | {"protocol": "icmp"}) == (
        7,
        'portMappings: protocol "icmp" is none of tcp, udp, sctp',
    )
    code, message = _refusal(WEB | {"hostIP": "192.0.2.300"})
    assert (code, "192.0.2.300" in message) == (7, True)


@pytest.mark.parametrize(
    ("keys", "backend"),
    [
        ({}, ""),
        ({"backend": "nftables"}, "nftables"),
        ({"externalSetMarkChain": "MARK"}, "iptables"),
        ({"conditionsV4": ["-s", "192.0.2.1"]}, "iptables"),
        ({"conditionsV6": ["!", "-d", "fd00::1"]}, "iptables"),
        ({"conditionsV6": ["ip6", "saddr", "fd00::1"]}, "nftables"),
    ],
)
def test_keys_of_one_backend_ask_for_it(keys, backend):
    assert PortmapConfig.of(_call(**keys)).demanded_backend() == backend


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"backend": "nftables", "externalSetMarkChain": "MARK"},
            "externalSetMarkChain is for the iptables backend, but backend asks for nftables",
        ),
        (
            {"backend": "iptables", "conditionsV4": ["ip", "saddr", "192.0.2.1"]},
            "conditionsV4 is for the nftables backend, but backend asks for iptables",
        ),
        (
            {"conditionsV4": ["ip", "saddr", "192.0.2.1"], "conditionsV6": ["-s", "fd00::1"]},
            "conditionsV6 is for the iptables backend, but conditionsV4 asks for nftables",
        ),
        (
            {"externalSetMarkChain": "MARK", "markMasqBit": 13},
            "Cannot specify externalSetMarkChain and markMasqBit",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys, message):
    assert _refusal(**keys) == (7, message)


def test_the_container_s_addresses_are_the_first_of_each_family_on_its_interface():
    interfaces = (
        Interface("br0"),
        Interface("eth0", sandbox="/n"),
        Interface("eth1", sandbox="/n"),
    )
    ips = [("10.0.0.9/24", 2), ("fd00::2/64", 1), ("10.0.0.2/24", 1), ("10.0.0.3/24", None)]
    result = Result(
        interfaces=interfaces, ips=tuple(IPConfig(ip_interface(a), interface=i) for a, i in ips)
    )

    found = [str(ip) for ip in container_addresses(_call(), result)]

    assert found == ["10.0.0.2/24", "fd00::2/64"]


# portmap's rules for iptables


def test_a_container_s_chain_is_the_reference_s(monkeypatch):
    lines = _lines(monkeypatch, WEB)

    assert ":CNI-DN-2bbe0c48b91a7d1b8a675 - [0:0]" in lines
    assert lines[-1] == (
        '-I CNI-HOSTPORT-DNAT 1 -p tcp -m comment --comment "dnat name: \\"test\\" id: \\"1234\\"" '
        "-m multiport --dports 8080 -j CNI-DN-2bbe0c48b91a7d1b8a675"
    )


def test_a_rule_has_fifteen_ports_at_most(monkeypatch):
    many = [WEB | {"hostPort": port} for port in range(1, 32)]

    entries = [line for line in _lines(monkeypatch, *many) if "multiport" in line]

    counts = [line.split("--dports ")[1].split()[0].count(",") + 1 for line in entries]
    assert counts == [15, 15, 1]
    assert [line.split()[2] for line in entries] == ["1", "2", "3"]


def test_marks_come_before_the_translation(monkeypatch):
    own = [line for line in _lines(monkeypatch, WEB) if line.startswith("-A CNI-DN-")]

    assert [line.partition(" -s ")[2].split()[0] if " -s " in line else "" for line in own] == [
        "10.0.0.0/24",
        "127.0.0.1/32",
        "",
    ]
    assert own[-1].endswith("-j DNAT --to-destination 10.0.0.2:80")


# Rules as words


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)))
def test_quoted_words_are_read_back(found):
    assert xtables.words(" ".join(map(xtables.quoted, found))) == found


def test_rules_are_the_same_whatever_the_order_of_matches_and_comments():
    rule = '-i br0 -p tcp -m tcp --dport 80 -m comment --comment "a b" -j DROP'

    assert xtables.same(rule, "-p tcp --dport 80 -i br0 -j DROP")
    assert not xtables.same(rule, "-p tcp --dport 80 ! -i br0 -j DROP")
    assert not xtables.same(rule, "-p tcp --dport 81 -i br0 -j DROP")
    assert xtables.target(rule) == "DROP"
    assert xtables.target("-d 10.0.0.2/32") == ""


def test_a_rule_is_left_exactly_once():
    rule = "-j LOG"

    assert xtables.once({}, "INPUT", rule) == ["-A INPUT -j LOG"]
    assert xtables.once({"INPUT": []}, "INPUT", rule, first=True) == ["-I INPUT 1 -j LOG"]
    assert xtables.once({"INPUT": [rule]}, "INPUT", rule) == []
    assert xtables.once({"INPUT": [rule, "-j DROP", rule]}, "INPUT", rule) == ["-D INPUT -j LOG"]


def test_a_missing_nft_rule_is_one_that_no_other_includes():
    wanted = Rule("a", ("tcp dport == 80", "drop"), "c1")
    more = Rule("a", ("ip saddr == 10.0.0.1", "tcp dport == 80", "drop"), "c1", handle=3)

    assert nft_rules.missing([wanted], [more]) == []
    for other in (
        Rule("b", wanted.statements, "c1"),
        Rule("a", wanted.statements, "c2"),
        Rule("a", ("tcp dport == 80",), "c1"),
    ):
        assert nft_rules.missing([wanted], [other]) == [wanted]
    assert more.deleted("ip t") == "delete rule ip t a handle 3\n"
    assert wanted.added("ip t") == 'add rule ip t a tcp dport == 80 drop comment "c1"\n'
