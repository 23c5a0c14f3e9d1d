"""`podnet leaks` and `podnet trace --diff`, as a person meets them."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
RESULT = '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}]}'


def test_a_leak_is_shown_with_its_maker_and_is_exit_status_5(podnet, conflist, stub) -> None:
    stub("clean", stdout=RESULT)
    stub("leaky", stdout=RESULT, script='[ $CNI_COMMAND = DEL ] || echo > "/run/$CNI_CONTAINERID"')
    conflist("demo", {"type": "clean"}, {"type": "leaky"})

    table = podnet("leaks", "demo", "--cycles", "2", status=5)
    report = json.loads(podnet("leaks", "demo", "--cycles", "2", "-o", "json", status=5).stdout)

    title, row, *_ = table.stdout.splitlines()
    assert title.split() == ["VERDICT", "CLASS", "COUNT", "MADE", "BY", "WHAT"]
    assert row.split()[:7] == ["LEAK,", "grows", "attachment", "2", "ADD", "leaky", "2/2"]
    assert "2 cycles, 8 invocations" in table.stderr
    assert report["kind"] == "LeakReport"
    leak, *_ = report["items"]
    assert (leak["kind"], leak["class"], leak["grows"]) == ("file", "attachment", True)
    assert [maker["cycle"] for maker in leak["madeBy"]] == [1, 2]


def test_what_an_add_leaves_that_goes_wrong_is_told(podnet, conflist, stub) -> None:
    # What ADD has made, DEL knows by the result only, and an ADD that was killed has none.
    forgets = 'grep -q prevResult "$0.calls/$n.stdin" && rm "/run/$CNI_CONTAINERID"'
    stub("first", stdout=RESULT)
    stub(
        "forgetful",
        stdout=RESULT,
        script=f'[ $CNI_COMMAND = DEL ] || echo > "/run/$CNI_CONTAINERID"\n'
        f"[ $CNI_COMMAND = ADD ] || {{ {forgets}; }}",
    )
    conflist("alone", {"type": "forgetful"})

    fine = podnet("leaks", "alone", "--cycles", "2")
    killed = podnet(
        "--fault", "forgetful:ADD:kill-after", "leaks", "alone", "--cycles", "2", status=5
    )

    assert "2 cycles, 4 invocations" in fine.stderr
    row = killed.stdout.splitlines()[1].split()
    assert row[:7] == ["LEAK,", "grows", "attachment", "2", "ADD", "forgetful", "1/1"]
    assert "no cycles, 4 invocations" in killed.stderr
    assert "killed by signal 9" in killed.stderr


def test_where_nothing_leaks_it_says_so_and_touches_no_other_node(podnet, snapshot) -> None:
    before = snapshot()

    done = podnet("leaks", "podnet", "--cycles", "2", "--strict", "--allow", "*")

    assert ": no leaks" in done.stderr
    assert snapshot() == before


def test_plugins_are_found_where_the_detectors_node_has_directories_of_its_own(
    podnet, conflist, node
) -> None:
    plugin = Path("/var/lib/mine/good")
    node.run(plugin.parent.mkdir)
    node.run(plugin.write_text, f"#!/bin/sh\ncat > /dev/null\necho '{RESULT}'\n")
    node.run(plugin.chmod, 0o755)
    conflist("demo", {"type": "good"})

    podnet("--plugin-dir", "/var/lib/mine", "leaks", "demo", "--cycles", "1")


def test_a_node_is_prepared_or_it_is_said_why_not(podnet, conflist, stub) -> None:
    stub("mine", stdout=RESULT, script="ip link show up0 >&2 || exit 1")
    conflist("demo", {"type": "mine"})

    podnet("leaks", "demo", "--cycles", "1", "--prepare", "ip link add up0 type bridge")
    failed = podnet("leaks", "demo", "--prepare", "ip link add up0 type nonsense", status=2)
    refused = [
        podnet("leaks", "demo", "--prepare", command, status=2).stderr
        for command in ("/nowhere", "/etc", "ip 'link", "")
    ]

    assert "the Node cannot be prepared: ip link add up0 type nonsense" in failed.stderr
    assert "/nowhere: No such file or directory" in refused[0]
    assert "/etc: Permission denied" in refused[1]
    assert "ip 'link: No closing quotation" in refused[2]
    assert "an empty command" in refused[3]


def test_trace_tells_what_each_plugin_changed_and_where_its_result_is_not_true(
    podnet, conflist, stub
) -> None:
    liar = json.loads(RESULT) | {"interfaces": [{"name": "eth0", "sandbox": "x"}]}
    stub("maker", stdout=RESULT, script="ip link add net0 type bridge >&2")
    stub("liar", stdout=json.dumps(liar))
    conflist("demo", {"type": "maker"}, {"type": "liar"})

    podnet("--diff", "create", "web", "--network", "demo")
    shown = podnet("trace", "web", "--diff").stdout.splitlines()
    first, second = podnet.json("trace", "web")["items"]

    assert "     + link net0 kind=bridge mtu=1500 txqlen=1000" in shown
    assert shown[-2:] == [
        "     changed nothing",
        "     ! the result is not true: interface eth0 is not in the container",
    ]
    assert [change["key"] for change in first["changes"]] == ["net0"]
    assert (first["untrue"], second["changes"]) == ([], [])


def test_trace_says_how_changes_are_written_down_where_nobody_did(podnet, conflist, stub) -> None:
    stub("plain", stdout=RESULT)
    conflist("demo", {"type": "plain"})
    podnet("create", "web", "--network", "demo")

    done = podnet("trace", "--diff")

    assert "podnet --diff create NAME" in done.stderr


def test_a_fault_of_a_node_is_refused_and_not_passed_over(podnet) -> None:
    done = podnet("leaks", "--fault", "disk-full", status=2)
    assert "the fault disk-full=/var/lib/cni is one of a Node" in done.stderr
