"""nft: transactions whole or not at all, and rules read as JSON."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from podnet.errors import MissingError
from podnet.kernel import firewall, namespaces, nft_tags, xtables
from podnet.kernel.firewall import NftError
from podnet.kernel.netlink import NetlinkError

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

    [rule] = node.run(firewall.table_rules, "inet", "demo")

    assert rule.text("comment") == "mine"
    assert rule.number("handle") == 2


def test_a_table_without_rules_is_empty_and_an_absent_one_is_none(node):
    node.run(firewall.apply, CHAIN)

    assert node.run(firewall.table_rules, "inet", "demo") == []
    assert node.run(firewall.table_rules, "inet", "nothing") is None


def test_a_transaction_is_whole_or_nothing(node):
    with pytest.raises(NftError, match=r"^nft: "):
        node.run(firewall.apply, CHAIN + "add rule inet demo nowhere accept\n")

    assert node.run(firewall.table_rules, "inet", "demo") is None


def test_a_syntax_error_says_where(node):
    with pytest.raises(NftError, match="syntax error"):
        node.run(firewall.apply, "add tabel inet demo\n")


@pytest.mark.parametrize("family", ["inet", "ip", "ip6"])
def test_tags_are_what_nft_itself_lists(node, family):
    node.run(
        firewall.apply,
        f"add table {family} demo\nadd table {family} other\n"
        f"add chain {family} demo a\nadd chain {family} demo b\nadd chain {family} other a\n"
        f'add rule {family} demo a accept comment "grüße, 1"\n'
        f"add rule {family} demo b accept\n"
        f'add rule {family} other a accept comment "other"\n',
    )

    tags = node.run(nft_tags.of, family, "demo")

    listed = node.run(firewall.table_rules, family, "demo")
    assert [(t.chain, t.handle, t.comment) for t in tags] == [
        (rule.text("chain"), rule.number("handle"), rule.text("comment")) for rule in listed
    ]
    assert [tag.comment for tag in tags] == ["grüße, 1", ""]
    assert node.run(nft_tags.of, family, "nothing") == []


def test_rules_are_deleted_by_their_tags_all_or_none(node):
    rules = [f'add rule inet demo forward accept comment "{n}"\n' for n in range(4)]
    node.run(firewall.apply, CHAIN + "".join(rules))
    tags = node.run(nft_tags.of, "inet", "demo")

    with pytest.raises(NetlinkError, match="delete rules of table inet demo: No such file"):
        node.run(nft_tags.delete, "inet", "demo", [tags[0], replace(tags[1], handle=999)])
    untouched = node.run(nft_tags.of, "inet", "demo")
    node.run(nft_tags.delete, "inet", "demo", tags[:3])

    assert untouched == tags
    assert node.run(nft_tags.of, "inet", "demo") == tags[3:]


def test_rules_are_of_the_thread_s_own_namespace(node):
    pod = Path("/run/netns/pod")
    node.run(namespaces.create, pod)
    node.run(firewall.apply, CHAIN)

    def inside():
        with namespaces.entered(str(pod)):
            return firewall.table_rules("inet", "demo")

    assert node.run(inside) is None


def test_without_nft_the_error_says_how_to_get_it(node, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")

    assert not node.run(firewall.available)
    with pytest.raises(MissingError) as raised:
        node.run(firewall.apply, CHAIN)
    assert raised.value.hint == "apt-get install nftables"


def test_a_table_of_iptables_is_in_use_while_it_has_a_rule(node):
    def sh(script: str) -> None:
        node.run(subprocess.run, ["sh", "-ec", script], check=True)

    if shutil.which("iptables-restore", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("there is no iptables: apt-get install iptables")
    before = node.run(xtables.in_use, 4, "nat")
    sh("iptables -t nat -A POSTROUTING -s 10.1.0.2 -j MASQUERADE")

    assert not before
    assert node.run(xtables.in_use, 4, "nat")
    assert not node.run(xtables.in_use, 6, "nat")
    sh("iptables -t nat -F")
    assert not node.run(xtables.in_use, 4, "nat")


def test_the_older_iptables_counts_too(node):
    if shutil.which("iptables-legacy", path="/usr/sbin:/sbin") is None:
        pytest.skip("there is no iptables-legacy: apt-get install iptables")
    made = node.run(subprocess.run, ["iptables-legacy", "-t", "nat", "-N", "X"], check=False)
    if made.returncode != 0:
        pytest.skip("the kernel has no ip_tables")

    assert node.run(xtables.in_use, 4, "nat")
