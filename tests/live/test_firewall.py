"""nft: transactions whole or not at all, and rules read as JSON."""

from pathlib import Path

import pytest

from podnet.errors import MissingError
from podnet.kernel import firewall, namespaces
from podnet.kernel.firewall import NftError

CHAIN = "add table inet demo\nadd chain inet demo forward\n"


@pytest.fixture
def node(node):
    if not node.run(firewall.available):
        pytest.skip("there is no nft: apt-get install nftables")
    try:
        node.run(firewall.apply, "add table inet probe\ndelete table inet probe\n")
    except NftError as exc:
        pytest.skip(f"the kernel has no nf_tables: {exc}")
    return node


def test_rules_are_listed_with_handle_and_comment(node):
    node.run(firewall.apply, CHAIN + 'add rule inet demo forward accept comment "mine"\n')

    [rule] = node.run(firewall.rules, "inet", "demo", "forward")

    assert rule.text("comment") == "mine"
    assert rule.number("handle") == 2


def test_a_chain_without_rules_is_empty_and_an_absent_one_is_none(node):
    node.run(firewall.apply, CHAIN)

    assert node.run(firewall.rules, "inet", "demo", "forward") == []
    assert node.run(firewall.rules, "inet", "demo", "backward") is None
    assert node.run(firewall.rules, "inet", "nothing", "forward") is None


def test_a_transaction_is_whole_or_nothing(node):
    with pytest.raises(NftError, match=r"^nft: "):
        node.run(firewall.apply, CHAIN + "add rule inet demo nowhere accept\n")

    assert node.run(firewall.rules, "inet", "demo", "forward") is None


def test_a_syntax_error_says_where(node):
    with pytest.raises(NftError, match="syntax error"):
        node.run(firewall.apply, "add tabel inet demo\n")


def test_rules_are_of_the_thread_s_own_namespace(node):
    pod = Path("/run/netns/pod")
    node.run(namespaces.create, pod)
    node.run(firewall.apply, CHAIN)

    def inside():
        with namespaces.entered(str(pod)):
            return firewall.rules("inet", "demo", "forward")

    assert node.run(inside) is None


def test_without_nft_the_error_says_how_to_get_it(node, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")

    assert not node.run(firewall.available)
    with pytest.raises(MissingError) as raised:
        node.run(firewall.apply, CHAIN)
    assert raised.value.hint == "apt-get install nftables"
