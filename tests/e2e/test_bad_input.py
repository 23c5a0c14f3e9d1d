"""Bad input: one clear error that names what is wrong, the documented status, nothing changed.

Exit statuses: 0 done, 1 failed, 2 usage or configuration, 3 a plugin returned an error, 4 CHECK
found a difference, 7 the system lacks something, 124 timeout, 130 interrupted.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from podnet.testing import calls

pytestmark = pytest.mark.root

HOST_LOCAL = {"type": "host-local", "ranges": [[{"subnet": "10.66.0.0/24"}]]}
BRIDGE = {"type": "bridge", "bridge": "br-bad", "isGateway": True, "ipam": HOST_LOCAL}


def _errors(done: "subprocess.CompletedProcess[str]") -> str:
    """What podnet says went wrong: one error, and nothing on stdout."""
    assert done.stdout == ""
    assert done.stderr.count("error: ") == 1, done.stderr
    return done.stderr


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: str) -> bool:
    """A child whose parent was killed may wait for init as a zombie."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- configuration files

MALFORMED: dict[str, tuple[str | bytes, list[str]]] = {
    "a comma too much": (
        '{\n  "cniVersion": "1.0.0",\n  "name": "n",\n  "plugins": [{"type": "x"},]\n}\n',
        ["line 4", "column 29"],
    ),
    "it ends too early": ('{"name": "n",', ["line 1"]),
    "empty": ("", ["empty"]),
    "a comment": ('{\n  // hello\n  "name": "n"}', ["line 2", "column 3"]),
    "two documents": ('{"name": "n"}\n{"name": "m"}', ["line 2"]),
    "NaN": (
        '{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "x", "mtu": NaN}]}',
        ["NaN"],
    ),
    "BOM": ("\ufeff{}", ["BOM", "byte order mark"]),
    "not UTF-8": (b'{"name": "\xff\xfe"}', ["UTF-8"]),
    "null": ("null", ["object"]),
    "a list": ("[]", ["object"]),
    "no name": ('{"cniVersion": "1.0.0", "plugins": [{"type": "x"}]}', ["name"]),
    "a name that is a number": ('{"name": 5, "plugins": [{"type": "x"}]}', ["name"]),
    "a version that is a number": (
        '{"cniVersion": 1.0, "name": "n", "plugins": [{"type": "x"}]}',
        ["cniVersion"],
    ),
    "an unknown version": (
        '{"cniVersion": "9.9.9", "name": "n", "plugins": [{"type": "bridge"}]}',
        ["9.9.9"],
    ),
    "plugins that are an object": ('{"name": "n", "plugins": {}}', ["plugins"]),
    "no plugins": ('{"name": "n", "plugins": []}', ["plugins"]),
    "a plugin that is a string": ('{"name": "n", "plugins": ["bridge"]}', ["plugins"]),
    "a plugin without a type": ('{"name": "n", "plugins": [{"mtu": 5}]}', ["type"]),
    "a type that is a number": ('{"name": "n", "plugins": [{"type": 5}]}', ["type"]),
    "a type with a path": ('{"name": "n", "plugins": [{"type": "../x"}]}', ["../x"]),
    "a capability that is a string": (
        '{"name": "n", "plugins": [{"type": "x", "capabilities": {"ips": "true"}}]}',
        ["capabilities"],
    ),
    "ipam that is a list": ('{"name": "n", "plugins": [{"type": "x", "ipam": []}]}', ["ipam"]),
    "dns that is a string": ('{"name": "n", "plugins": [{"type": "x", "dns": "a"}]}', ["dns"]),
    "disableCheck that is a number": (
        '{"name": "n", "disableCheck": 1, "plugins": [{"type": "x"}]}',
        ["disableCheck"],
    ),
    "a name with a path": ('{"name": "../etc", "plugins": [{"type": "x"}]}', ["../etc"]),
    "a name with a newline": ('{"name": "n\\n", "plugins": [{"type": "x"}]}', ["name"]),
    "nested without an end": ("[" * 100_000, ["nest"]),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_bad_configuration_file_is_named_with_what_is_wrong(podnet, snapshot, tmp_path, case):
    content, expected = MALFORMED[case]
    path = tmp_path / "bad.conflist"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = snapshot()

    said = _errors(podnet("create", "web", "--network", path, status=2))

    assert any(word in said for word in ("bad.conflist", *expected))
    assert any(word in said for word in expected), said
    assert snapshot() == before


def test_of_malformed_json_file_line_and_column_are_said_by_lint_too(podnet, tmp_path):
    path = tmp_path / "bad.conflist"
    path.write_text(MALFORMED["a comma too much"][0])

    done = podnet("lint", path, status=2)

    assert f"{path}:4:29: error:" in done.stdout


def test_a_bad_file_does_not_hide_the_good_ones(podnet, conflist, net_d):
    conflist("good", BRIDGE)
    (net_d / "00-bad.conflist").write_text("{")

    done = podnet("create", "web")

    assert "00-bad.conflist" in done.stderr
    assert "good" in done.stdout


def test_a_directory_of_bad_files_only_says_which(podnet, net_d, snapshot):
    (net_d / "00-bad.conflist").write_text("{")
    before = snapshot()

    done = podnet("create", "web", status=2)

    assert str(net_d) in done.stderr
    assert "00-bad.conflist" in done.stderr
    assert snapshot() == before


def test_an_unknown_network_is_refused_with_those_there_are(podnet, conflist, snapshot):
    conflist("good", BRIDGE)
    before = snapshot()

    said = _errors(podnet("create", "web", "--network", "nope", status=2))

    assert '"nope"' in said
    assert "good" in said
    assert snapshot() == before


def test_a_version_that_the_plugin_does_not_speak_is_refused(podnet, conflist, stub, snapshot):
    said = '{"code": 1, "msg": "incompatible CNI versions"}'
    stub("old", script=f"[ $CNI_COMMAND = ADD ] && printf %s {_quoted(said)} && exit 1")
    conflist("n", {"type": "old"}, version="0.4.0")
    before = snapshot()

    done = podnet("create", "web", status=3)

    assert "incompatible CNI versions" in done.stderr
    assert "pod web" in done.stderr
    assert snapshot() == before


# --- names

POD_NAMES = ["../x", "a/b", "web\n", "", ".web", "web!", "é", "a" * 201, " web"]


@pytest.mark.parametrize("name", POD_NAMES)
def test_a_pod_name_that_is_not_allowed_is_refused(podnet, snapshot, name):
    before = snapshot()

    said = _errors(podnet("create", name, status=2))

    assert repr(name) in said
    assert snapshot() == before


@pytest.mark.parametrize("name", ["../x", "web\n"])
@pytest.mark.parametrize("command", ["delete", "inspect", "check", "exec", "attach", "detach"])
def test_a_pod_name_that_is_not_allowed_is_refused_by_every_command(
    podnet, snapshot, command, name
):
    more = {
        "exec": ("--", "true"),
        "attach": ("--network", "podnet"),
        "detach": ("--ifname", "eth0"),
    }.get(command, ())
    before = snapshot()

    said = _errors(podnet(command, name, *more, status=2))

    assert repr(name) in said
    assert snapshot() == before


@pytest.mark.parametrize(
    "ifname", ["sixteen-bytes-16", "é" * 8, "a/b", "a b", "eth0\n", ".", "..", "a:b"]
)
def test_an_interface_name_that_the_kernel_cannot_take_is_refused(podnet, snapshot, ifname):
    before = snapshot()

    said = _errors(podnet("create", "web", "--ifname", ifname, status=2))

    assert "interface name" in said
    assert snapshot() == before


@pytest.mark.parametrize("container_id", ["../x", "a/b", "id\n", "-x", "é"])
def test_a_container_id_that_is_not_allowed_is_refused(podnet, snapshot, container_id):
    before = snapshot()

    said = _errors(podnet("create", "web", f"--container-id={container_id}", status=2))

    assert "containerID" in said
    assert snapshot() == before


def test_a_network_called_like_a_path_cannot_lead_out_of_the_directory(podnet, net_d, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "1.conf").write_text('{"type": "evil"}')
    (net_d / "a.conflist").write_text(
        '{"cniVersion": "1.0.0", "name": "../outside", "plugins": [{"type": "bridge"}]}'
    )

    done = podnet("create", "web", status=2)

    assert "../outside" in done.stderr
    assert "evil" not in done.stderr


@pytest.mark.parametrize("name", ["../x", "a/b", "n\n", "", "a" * 64])
@pytest.mark.parametrize("command", ["create", "delete", "exec"])
def test_a_node_name_that_is_not_allowed_is_refused(podnet, snapshot, command, name):
    before = snapshot()

    more = ("--", "true") if command == "exec" else ()
    said = _errors(podnet("node", command, name, *more, status=2))

    assert repr(name) in said
    assert snapshot() == before


# --- options

OPTIONS = [
    ("-p", "80", "-p 80"),
    ("-p", "0:80", "'0'"),
    ("-p", "65536:80", "'65536'"),
    ("-p", "80:80/icmp", "80:80/icmp"),
    ("-p", "x:80", "'x'"),
    ("-p", "1.2.3:80:80", "1.2.3"),
    ("-p", "²:80", "'²'"),
    ("--ip", "10.88.0.256", "10.88.0.256"),
    ("--mac", "02:00:00", "02:00:00"),
    ("--bandwidth", "ingress=fast", "fast"),
    ("--bandwidth", "sideways=1M", "sideways"),
    ("--bandwidth", "ingress=0", "'0'"),
    ("--dns", "example", "example"),
    ("--cap", "mac", "--cap mac"),
    ("--cap", "mac={", "mac"),
    ("--arg", "K", "--arg K"),
    ("--arg", "K=a;b", "K=a;b"),
    ("--arg", "K=a=b", "K=a=b"),
    ("--label", "x", "--label x"),
    ("--network", "/nowhere/x.conflist", "/nowhere/x.conflist"),
]


@pytest.mark.parametrize(("option", "value", "named"), OPTIONS)
def test_an_option_value_that_makes_no_sense_is_named(podnet, snapshot, option, value, named):
    before = snapshot()

    said = _errors(podnet("create", "web", option, value, status=2))

    assert named in said
    assert snapshot() == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create"], "NAME"),
        (["create", "web", "--jobs", "0"], "--jobs"),
        (["create", "web", "--ifname", "a", "--ifname", "b"], "2 --ifname"),
        (["delete"], "which pods"),
        (["delete", "--all", "web"], "--all"),
        (["detach", "web"], "which attachment"),
        (["probe", "a", "b"], "which protocol"),
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["--node", "nowhere", "list"], "nowhere"),
        (["--timeout", "0", "list"], "--timeout"),
        (["list", "-o", "xml"], "xml"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_a_usage_error(podnet, snapshot, arguments, named):
    before = snapshot()

    done = podnet(*arguments, status=2)

    assert named in done.stderr
    assert done.stdout == ""
    assert snapshot() == before


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CNI_ARGS": "K"}, '"K"'),
        ({"CNI_ARGS": "K=a=b"}, '"K=a=b"'),
        ({"CAP_ARGS": "{"}, "CAP_ARGS"),
        ({"CAP_ARGS": "[]"}, "CAP_ARGS"),
        ({"CNI_IFNAME": "sixteen-bytes-16"}, "interface name"),
        ({"NETCONFPATH": "/nowhere"}, "/nowhere"),
        ({"PODNET_NODE": "nowhere"}, "nowhere"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(podnet, snapshot, variables, named):
    before = snapshot()

    said = _errors(podnet("create", "web", status=2, env=variables))

    assert named in said
    assert snapshot() == before


# --- plugins


def test_a_missing_plugin_is_named_with_where_it_was_looked_for(podnet, conflist, stub, snapshot):
    first = stub("first")
    conflist("n", {"type": "first"}, {"type": "nowhere"})
    before = snapshot()

    said = _errors(podnet("create", "web", status=2))

    assert '"nowhere"' in said
    assert str(first.parent) in said
    assert calls(first.parent, "first") == []
    assert snapshot() == before


def test_a_missing_ipam_plugin_is_named(podnet, conflist, snapshot):
    conflist("n", BRIDGE | {"ipam": {"type": "nowhere"}})
    before = snapshot()

    said = _errors(podnet("create", "web", status=2))

    assert '"nowhere"' in said
    assert "pod web" in said
    assert snapshot() == before


def test_a_plugin_that_cannot_be_executed_is_named(podnet, conflist, stub, snapshot):
    path = stub("plain")
    path.chmod(0o644)
    conflist("n", {"type": "plain"})
    before = snapshot()

    said = _errors(podnet("create", "web", status=2))

    assert f"{path} is not executable" in said
    assert snapshot() == before


@pytest.mark.parametrize("content", [b"#!/nowhere/interpreter\n", b"\x00\x01\x02", b""])
def test_a_plugin_that_is_no_program_is_named(podnet, conflist, stub, snapshot, content):
    path = stub("broken")
    path.write_bytes(content)
    conflist("n", {"type": "broken"})
    before = snapshot()

    done = podnet("create", "web", status=3)

    assert str(path) in done.stderr or "plugin broken" in done.stderr
    assert snapshot()["links"] == before["links"]


CHAIN = ("one", "two", "three")


@pytest.mark.parametrize("position", range(3))
def test_when_a_plugin_fails_all_are_deleted_backwards_and_nothing_is_left(
    podnet, conflist, stub, snapshot, tmp_path, position
):
    log = tmp_path / "log"
    said = '{"code": 107, "msg": "no luck today", "details": "none at all"}'
    for index, name in enumerate(CHAIN):
        fails = f"[ $CNI_COMMAND = ADD ] && printf %s {_quoted(said)} && exit 1"
        stub(
            name, script=f"echo $CNI_COMMAND {name} >> {log}; {fails if index == position else ''}"
        )
    conflist("n", *({"type": name} for name in CHAIN))
    before = snapshot()

    done = podnet("create", "web", status=3)

    assert log.read_text().split("\n")[:-1] == [
        *(f"ADD {name}" for name in CHAIN[: position + 1]),
        *(f"DEL {name}" for name in reversed(CHAIN)),
    ]
    plugin = f"plugin {CHAIN[position]} ({position + 1} of 3) of network n failed on ADD"
    assert f"error: pod web: {plugin}: no luck today; none at all" in done.stderr
    assert "code 107" in done.stderr
    assert done.stdout == ""
    assert snapshot() == before


def _quoted(text: str) -> str:
    return f"'{text}'"


@pytest.mark.parametrize("position", range(3))
def test_when_a_plugin_fails_on_delete_the_pod_stays_and_can_be_deleted_later(
    podnet, conflist, stub, snapshot, tmp_path, position
):
    for name in CHAIN:
        stub(name)
    conflist("n", *({"type": name} for name in CHAIN))
    before = snapshot()
    podnet("create", "web")
    stub(CHAIN[position], stdout='{"code": 11, "msg": "not now"}', status=1)

    done = podnet("delete", "web", status=3)

    assert f"pod web: plugin {CHAIN[position]} ({position + 1} of 3)" in done.stderr
    assert "not now" in done.stderr
    assert podnet.json("list")["items"][0]["state"] == "failed"
    stub(CHAIN[position])
    podnet("delete", "web")
    assert snapshot() == before


def test_when_undoing_fails_too_both_are_said_and_the_pod_stays_on_record(
    podnet, conflist, stub, snapshot
):
    stub("bad", stdout='{"code": 11, "msg": "never"}', status=1)
    conflist("n", {"type": "bad"})
    before = snapshot()

    done = podnet("create", "web", status=3)

    assert done.stderr.count("error: pod web: plugin bad") == 2
    assert "failed on ADD" in done.stderr
    assert "failed on DEL" in done.stderr
    assert podnet.json("list")["items"][0]["state"] == "failed"
    stub("bad")
    podnet("delete", "web")
    assert snapshot() == before


def test_of_two_networks_the_first_is_left_when_the_second_fails(
    podnet, conflist, stub, snapshot, tmp_path
):
    stub("good")
    stub("bad", script='[ $CNI_COMMAND = ADD ] && echo \'{"code": 101, "msg": "no"}\' && exit 1')
    conflist("a", {"type": "good"})
    conflist("b", {"type": "bad"})
    before = snapshot()

    podnet("create", "web", "--network", "a", "--network", "b", status=3)

    verbs = [env["CNI_COMMAND"] for env, _ in calls(tmp_path / "stubs", "good")]
    assert verbs == ["ADD", "DEL"]
    assert snapshot() == before


ODD_ANSWERS = {
    "nothing": ("", 0, "its output is empty"),
    "two documents": ('{"cniVersion": "1.0.0"}{"cniVersion": "1.0.0"}', 0, "2 JSON documents"),
    "an error and exit 0": ('{"code": 7, "msg": "bad config"}', 0, "bad config"),
    "no JSON": ("panic: nil", 0, "JSON"),
    "a list": ("[]", 0, "object"),
    "an address that is none": ('{"cniVersion": "1.0.0", "ips": [{"address": "x"}]}', 0, "address"),
    "an unknown version": ('{"cniVersion": "7.0.0"}', 0, "7.0.0"),
    "no reason": ("", 1, "no reason"),
}


@pytest.mark.parametrize("case", ODD_ANSWERS)
def test_a_plugin_that_answers_oddly_is_reported_for_what_it_said(
    podnet, conflist, stub, snapshot, case
):
    stdout, status, named = ODD_ANSWERS[case]
    script = "[ $CNI_COMMAND = ADD ] || exit 0"
    stub("odd", stdout=stdout, status=status, script=script)
    conflist("n", {"type": "odd"})
    before = snapshot()

    done = podnet("create", "web", status=3)

    assert "error: pod web: plugin odd (1 of 1) of network n failed on ADD" in done.stderr
    assert named in done.stderr
    assert snapshot() == before


def test_a_plugin_that_dies_by_a_signal_is_reported_for_that(podnet, conflist, stub, snapshot):
    stub("dies", script="[ $CNI_COMMAND = ADD ] && kill -SEGV $$")
    conflist("n", {"type": "dies"})
    before = snapshot()

    done = podnet("create", "web", status=3)

    assert "SIGSEGV" in done.stderr
    assert snapshot() == before


def test_a_plugin_that_takes_too_long_is_ended_with_its_children(
    podnet, conflist, stub, snapshot, tmp_path
):
    script = f"[ $CNI_COMMAND = ADD ] && {{ sleep 600 & echo $! > {tmp_path}/child; sleep 600; }}"
    stub("slow", script=script)
    conflist("n", {"type": "slow"})
    before = snapshot()

    done = podnet("create", "web", "--timeout", "0.5", status=124)

    assert "plugin slow (1 of 1) of network n failed on ADD: timed out after 0.5 s" in done.stderr
    assert not _runs((tmp_path / "child").read_text().strip())
    assert snapshot() == before


def test_an_exhausted_range_is_said_and_nothing_of_the_pod_stays(podnet, conflist, snapshot):
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.66.0.0/30"}]]}
    conflist("tiny", BRIDGE | {"ipam": ipam})
    podnet("create", "first")
    before = snapshot()

    done = podnet("create", "second", status=3)

    assert "error: pod second: plugin bridge (1 of 1) of network tiny failed on ADD" in done.stderr
    assert "no IP addresses available" in done.stderr
    assert snapshot() == before


def test_an_address_that_is_taken_is_refused(podnet, conflist, snapshot):
    conflist("n", BRIDGE)
    podnet("create", "first", "--ip", "10.66.0.9")
    before = snapshot()

    done = podnet("create", "second", "--ip", "10.66.0.9", status=3)

    assert "10.66.0.9" in done.stderr
    assert snapshot() == before


# --- network namespaces


@pytest.mark.parametrize(
    "netns",
    [
        "/nowhere",
        "/etc/passwd",
        "/run",
        "/proc/thread-self/ns/net",
        "/proc/self/ns/uts",
        "/proc/version",
        "",
    ],
)
def test_a_path_that_is_no_foreign_network_namespace_is_refused(
    podnet, conflist, stub, snapshot, tmp_path, netns
):
    stub("any")
    conflist("n", {"type": "any"})
    path = netns or tmp_path / "file"
    (tmp_path / "file").write_text("")
    before = snapshot()

    said = _errors(podnet("create", "web", "--netns", path, status=2))

    assert f"pod web: {'there is no network namespace ' * (netns == '/nowhere')}" in said
    assert str(path) in said
    assert calls(tmp_path / "stubs", "any") == []
    assert snapshot() == before


def test_a_namespace_file_that_somebody_else_made_is_not_taken_over(podnet, sh, snapshot):
    sh("ip netns add web")
    before = snapshot()

    said = _errors(podnet("create", "web", status=1))

    assert "/run/netns/web" in said
    assert snapshot() == before


# --- pods


def test_a_pod_of_the_same_name_is_refused_and_the_first_one_is_not_disturbed(
    podnet, conflist, snapshot
):
    conflist("n", BRIDGE)
    podnet("create", "web")
    before = snapshot()

    said = _errors(podnet("create", "web", status=2))

    assert "web" in said
    assert snapshot() == before
    podnet("check", "web")


def test_one_name_given_twice_is_refused(podnet, snapshot):
    before = snapshot()

    said = _errors(podnet("create", "web", "db", "web", status=2))

    assert "twice" in said
    assert snapshot() == before


def test_of_two_that_create_one_name_at_once_one_wins(podnet, conflist):
    conflist("n", BRIDGE)
    racing = [podnet.start("create", "web") for _ in range(4)]

    ended = sorted((process.communicate()[1], process.returncode) for process in racing)

    assert sorted(status for _, status in ended) == [0, 2, 2, 2]
    assert all("web" in said for said, status in ended if status == 2)
    podnet("check", "web")


def test_a_container_id_that_is_in_use_is_refused(podnet, conflist, snapshot):
    conflist("n", BRIDGE)
    podnet("create", "web", "--container-id", "c1")
    before = snapshot()

    done = podnet("create", "db", "--container-id", "c1", status=1)

    assert "c1" in done.stderr
    assert snapshot() == before


@pytest.mark.parametrize(
    "command",
    [
        ["delete", "ghost"],
        ["check", "ghost"],
        ["inspect", "ghost"],
        ["exec", "ghost", "--", "true"],
        ["ping", "ghost", "127.0.0.1"],
        ["probe", "ghost", "127.0.0.1", "--tcp", "1"],
        ["attach", "ghost", "--network", "podnet"],
        ["detach", "ghost", "--ifname", "eth0"],
    ],
)
def test_an_unknown_pod_is_named_with_those_there_are(podnet, snapshot, command):
    before = snapshot()

    said = _errors(podnet(*command, status=2))

    assert "there is no pod ghost" in said
    assert "there are: none" in said
    assert snapshot() == before


def test_an_unknown_pod_does_not_keep_the_others_from_being_deleted(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web")

    done = podnet("delete", "ghost", "web", status=2)

    assert "pod ghost" in done.stderr
    assert podnet("list", "-o", "name").stdout == ""


def test_a_second_interface_of_one_name_is_refused(podnet, conflist, snapshot):
    conflist("n", BRIDGE)
    podnet("create", "web")
    before = snapshot()

    said = _errors(podnet("attach", "web", "--network", "n", "--ifname", "eth0", status=2))

    assert "eth0" in said
    assert snapshot() == before


def test_when_attaching_fails_the_pod_is_as_it_was(podnet, conflist, stub, snapshot):
    conflist("n", BRIDGE)
    conflist("other", {"type": "bad"})
    stub("bad", script='[ $CNI_COMMAND = ADD ] && echo \'{"code": 101, "msg": "no"}\' && exit 1')
    podnet("create", "web", "--network", "n")
    before = snapshot()

    done = podnet("attach", "web", "--network", "other", status=3)

    assert "plugin bad (1 of 1) of network other" in done.stderr
    assert snapshot() == before
    podnet("check", "web")


@pytest.mark.parametrize("what", [("--ifname", "eth9"), ("--network", "nope")])
def test_an_attachment_that_is_not_there_cannot_be_detached(podnet, conflist, snapshot, what):
    conflist("n", BRIDGE)
    podnet("create", "web")
    before = snapshot()

    said = _errors(podnet("detach", "web", *what, status=2))

    assert "pod web has no such attachment" in said
    assert "it has: eth0 on n" in said
    assert snapshot() == before


def test_a_pod_whose_namespace_is_gone_is_a_difference(podnet, conflist, sh):
    conflist("n", BRIDGE)
    podnet("create", "web")
    sh("ip netns delete web")

    done = podnet("check", "web", status=4)

    assert "pod web" in done.stderr
    assert "gone" in done.stderr


def test_a_difference_is_told_from_a_failure_by_its_status(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web")
    podnet("exec", "web", "--", "ip", "addr", "flush", "dev", "eth0")

    done = podnet("check", "web", status=4)

    assert "pod web: plugin bridge (1 of 1) of network n failed on CHECK" in done.stderr
    assert "eth0" in done.stderr


# --- files


def test_a_read_only_state_directory_is_said_before_anything_is_made(
    podnet, conflist, sh, snapshot
):
    conflist("n", BRIDGE)
    sh("mkdir /var/lib/podnet; mount -t tmpfs -o ro none /var/lib/podnet")
    before = snapshot()

    said = _errors(podnet("create", "web", status=1))

    assert "/var/lib/podnet" in said
    assert "Read-only file system" in said
    assert "PODNET_STATE" in said
    assert snapshot() == before


def test_a_read_only_run_directory_is_said_before_anything_is_made(podnet, conflist, sh, snapshot):
    conflist("n", BRIDGE)
    sh("mkdir /run/podnet; mount -t tmpfs -o ro none /run/podnet")
    before = snapshot()

    said = _errors(podnet("create", "web", status=1))

    assert "/run/podnet" in said
    assert snapshot() == before


FREE_KIB = [0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48]


@pytest.mark.parametrize("free", FREE_KIB)
def test_on_a_state_directory_that_fills_up_a_pod_is_made_whole_or_not_at_all(
    podnet, conflist, sh, snapshot, free
):
    conflist("n", BRIDGE)
    sh("mkdir /var/lib/podnet; mount -t tmpfs -o size=256k none /var/lib/podnet")
    podnet("create", "other")
    podnet("delete", "other")
    before = snapshot()
    filler = f"head -c {free * 1024} /dev/zero > /var/lib/podnet/reserve"
    sh(f"{filler}; cat /dev/zero > /var/lib/podnet/filler 2>/dev/null || :")
    sh("rm /var/lib/podnet/reserve")

    process = podnet.start("create", "web")
    _, said = process.communicate(timeout=60)

    assert "Traceback" not in said
    assert process.returncode in {0, 1}, said
    if process.returncode == 1:
        assert "/var/lib/podnet" in said
        assert "No space left" in said
        sh("rm /var/lib/podnet/filler")
        assert snapshot() == before
    else:
        podnet("check", "web")
        sh("rm /var/lib/podnet/filler")
        podnet("delete", "web")
        assert snapshot() == before


def test_on_a_full_state_directory_a_pod_can_still_be_deleted(podnet, conflist, sh, snapshot):
    conflist("n", BRIDGE)
    sh("mkdir /var/lib/podnet; mount -t tmpfs -o size=256k none /var/lib/podnet")
    podnet("create", "warm")
    podnet("delete", "warm")
    before = snapshot()
    podnet("create", "web")
    sh("cat /dev/zero > /var/lib/podnet/filler 2>/dev/null || :")

    podnet("delete", "web")

    sh("rm /var/lib/podnet/filler")
    assert snapshot() == before


CORRUPT = {
    "empty": "",
    "cut": "{",
    "a list": "[]",
    "another object": '{"kind": "nonsense", "name": "web"}',
    "zeros": "\0" * 100,
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_record_is_named_and_the_pod_can_be_deleted(
    podnet, conflist, sh, snapshot, tmp_path, content
):
    conflist("n", BRIDGE)
    podnet("create", "other")
    podnet("create", "warm")
    podnet("delete", "warm")
    before = snapshot()
    podnet("create", "web")
    (tmp_path / "content").write_text(content)
    sh(f"cat {tmp_path}/content > /var/lib/podnet/pods/web.json")

    for command in (["inspect", "web"], ["check", "web"], ["exec", "web", "--", "true"]):
        said = _errors(podnet(*command, status=1))
        assert "/var/lib/podnet/pods/web.json is corrupt" in said
        assert "podnet delete web" in said
    listed = podnet("list", "-o", "name", status=1)
    assert listed.stdout == "other\n"
    assert "/var/lib/podnet/pods/web.json is corrupt" in listed.stderr
    assert "/var/lib/podnet/pods/web.json is corrupt" in podnet("gc", status=1).stderr
    podnet("create", "web", status=2)
    podnet("delete", "web")
    assert snapshot() == before


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_cache_entry_is_named_by_check_and_does_not_keep_a_pod_from_going(
    podnet, conflist, sh, snapshot, tmp_path, content
):
    conflist("n", BRIDGE)
    podnet("create", "warm")
    podnet("delete", "warm")
    before = snapshot()
    podnet("create", "web", "--container-id", "c1")
    entry = "/var/lib/podnet/cni/results/n-c1-eth0"
    (tmp_path / "content").write_text(content)
    sh(f"cat {tmp_path}/content > {entry}")

    said = _errors(podnet("check", "web", status=1))

    assert "pod web" in said
    assert f"{entry} is corrupt" in said
    assert entry in podnet("delete", "web").stderr
    assert snapshot() == before


def test_junk_where_the_cache_entry_would_go_is_said_before_anything_runs(
    podnet, conflist, sh, snapshot
):
    conflist("n", BRIDGE)
    entry = "/var/lib/podnet/cni/results/n-c1-eth0"
    sh(f"mkdir -p {os.path.dirname(entry)}; echo junk > {entry}")  # noqa: PTH120
    before = snapshot()

    said = _errors(podnet("create", "web", "--container-id", "c1", status=1))

    assert f"remove {entry}" in said
    assert snapshot() == before


# --- who we are

# As nobody, but able to read: the interpreter may be in somebody's home directory.
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
    "--bounding-set=-all,+dac_read_search",
)
WITHOUT_CAPABILITIES = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")


def test_root_without_capabilities_is_no_root(podnet, conflist, snapshot):
    conflist("n", BRIDGE)
    before = snapshot()

    done = podnet("create", "web", status=7, through=WITHOUT_CAPABILITIES)

    assert "no permission to make a network namespace" in _errors(done)
    assert snapshot() == before


@pytest.mark.usefixtures("becomes_anybody")
@pytest.mark.parametrize("command", [["list"], ["create", "web"], ["node", "create", "lab"]])
def test_without_root_and_without_a_home_podnet_says_what_it_needs(
    podnet, conflist, snapshot, command
):
    conflist("n", BRIDGE)
    before = snapshot()

    done = podnet(*command, status=2, through=AS_NOBODY, env={"HOME": "/run/nowhere"})

    assert "error: /run/nowhere/.local/state/podnet cannot be made" in _errors(done)
    assert "XDG_STATE_HOME" in done.stderr
    assert snapshot() == before


@pytest.mark.usefixtures("becomes_anybody")
@pytest.mark.parametrize("command", [["version"], ["networks"], ["--help"]])
def test_without_root_podnet_can_still_look(podnet, conflist, command):
    conflist("n", BRIDGE)

    done = podnet(*command, through=AS_NOBODY, env={"HOME": "/nonexistent"})

    assert "error" not in done.stderr


# --- interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("position", range(3))
def test_an_interrupt_in_the_middle_of_a_plugin_undoes_everything(  # noqa: PLR0913, PLR0917
    podnet, conflist, stub, snapshot, tmp_path, number, position
):
    log, child = tmp_path / "log", tmp_path / "child"
    for index, name in enumerate(CHAIN):
        slow = f"[ $CNI_COMMAND = ADD ] && {{ echo $$ > {child}; exec sleep 600; }}"
        stub(name, script=f"echo $CNI_COMMAND {name} >> {log}; {slow if index == position else ''}")
    conflist("n", *({"type": name} for name in CHAIN))
    before = snapshot()
    process = podnet.start("create", "web")
    _wait_for(lambda: child.exists() and child.read_text().endswith("\n"))

    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert "Traceback" not in said
    assert process.returncode == 128 + number, said
    assert log.read_text().split("\n")[:-1] == [
        *(f"ADD {name}" for name in CHAIN[: position + 1]),
        *(f"DEL {name}" for name in reversed(CHAIN)),
    ]
    assert not _runs(child.read_text().strip())
    assert snapshot() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_many_pods_are_made_leaves_whole_pods_or_none(
    podnet, conflist, stub, snapshot, tmp_path, number
):
    stub("slow", script=f"echo > {tmp_path}/$CNI_CONTAINERID; sleep 0.5")
    conflist("n", {"type": "slow"})
    before = snapshot()
    process = podnet.start("create", *(f"pod{i}" for i in range(12)), "--jobs", "2")
    _wait_for(lambda: len(list(tmp_path.glob("[0-9a-f]" * 64))) > 1)

    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert "Traceback" not in said
    assert process.returncode == 128 + number, said
    states = [pod["state"] for pod in podnet.json("list")["items"]]
    assert set(states) <= {"ready"}
    assert len(states) < 12
    if states:
        podnet("delete", "--all")
    assert snapshot() == before


def test_an_interrupted_delete_can_be_repeated(podnet, conflist, stub, snapshot, tmp_path):
    marker = tmp_path / "marker"
    slow = f"[ $CNI_COMMAND = DEL ] && [ ! -e {marker} ] && {{ echo > {marker}; exec sleep 600; }}"
    stub("slow", script=slow)
    conflist("n", {"type": "slow"})
    before = snapshot()
    podnet("create", "web")
    process = podnet.start("delete", "web")
    _wait_for(marker.exists)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert "Traceback" not in said
    assert process.returncode == 130, said
    podnet("delete", "web")
    assert snapshot() == before


def test_a_reader_that_has_seen_enough_is_no_failure_with_a_traceback(podnet, node):
    done = node.run(
        subprocess.run,
        ["sh", "-c", f"{Path(sys.executable).parent}/podnet plugins -o json | head -c 1"],
        capture_output=True,
        text=True,
        env=podnet.environment,
        check=False,
    )

    assert done.stdout == "{"
    assert done.stderr == ""


def test_nothing_of_json_is_lost_when_a_plugin_fails(podnet, conflist, stub):
    stub("bad", script='[ $CNI_COMMAND = ADD ] && echo \'{"code": 101, "msg": "no"}\' && exit 1')
    conflist("n", {"type": "bad"})

    done = podnet("create", "web", "-o", "json", status=3)

    assert json.loads(done.stdout)["items"] == []
