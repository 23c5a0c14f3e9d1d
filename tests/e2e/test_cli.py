"""The command line as its users know it: every command, every form of output, cnitool's habits."""

import ipaddress
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from podnet.testing import calls

pytestmark = pytest.mark.root

HOST_LOCAL = {"type": "host-local", "ranges": [[{"subnet": "10.67.0.0/24"}]]}
BRIDGE = {
    "type": "bridge",
    "bridge": "br-cli",
    "isDefaultGateway": True,
    "ipam": HOST_LOCAL,
}
RESULT = (
    '{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}],'
    ' "ips": [{"address": "10.9.8.7/24", "interface": 0}], "dns": {}}'
)


@pytest.fixture
def stub_net(stub, conflist, tmp_path):
    """A network of one plugin that makes nothing; returns what it was asked."""
    stub("stub", stdout=RESULT)
    everything = ("portMappings", "bandwidth", "dns", "ips", "mac", "aliases")
    conflist("stub", {"type": "stub", "capabilities": dict.fromkeys(everything, True)})
    return lambda: calls(tmp_path / "stubs", "stub")


def _lines(done: "subprocess.CompletedProcess[str]") -> list[list[str]]:
    return [line.split() for line in done.stdout.splitlines()]


# --- create


def test_create_prints_the_pod_with_its_address(podnet, conflist):
    conflist("n", BRIDGE)

    [title, row] = _lines(podnet("create", "web"))

    assert title == ["NAME", "STATE", "ADDRESSES", "NETWORKS", "AGE"]
    assert row[:4] == ["web", "ready", "10.67.0.2", "n"]


def test_a_pod_has_lo_up_an_address_and_a_default_route(podnet, conflist, sh):
    conflist("n", BRIDGE)
    podnet("create", "web")

    [lo, eth0] = json.loads(sh("ip -n web -j addr"))
    [route] = json.loads(sh("ip -n web -j route show default"))

    assert "UP" in lo["flags"]
    assert [a["local"] for a in eth0["addr_info"] if a["family"] == "inet"] == ["10.67.0.2"]
    assert route["gateway"] == "10.67.0.1"


def test_several_names_make_several_pods_in_the_order_they_were_said(podnet, conflist):
    conflist("n", BRIDGE)
    names = [f"pod{number}" for number in range(9, -1, -1)]

    done = podnet("create", *names, "--jobs", "4", "-o", "name")

    assert done.stdout.split() == names
    assert len({tuple(pod["addresses"]) for pod in podnet.json("list")["items"]}) == 10


def test_jobs_is_how_many_pods_are_made_at_a_time(podnet, conflist, stub, tmp_path):
    stub("slow", script="sleep 0.4")
    conflist("n", {"type": "slow"})

    started = time.monotonic()
    podnet("create", "a", "b", "c", "d", "--jobs", "4")
    together = time.monotonic() - started
    started = time.monotonic()
    podnet("delete", "a", "b", "c", "d", "--jobs", "1")
    one_by_one = time.monotonic() - started

    assert together < 1.6
    assert one_by_one >= 1.6


def test_kubernetes_cni_args_reach_the_plugin_and_arg_adds_to_them(podnet, stub_net):
    podnet("create", "web", "--container-id", "c1", "--arg", "X=1", "--arg", "K8S_POD_NAMESPACE=ns")

    [(environment, _)] = stub_net()

    pairs = dict(pair.split("=") for pair in environment["CNI_ARGS"].split(";"))
    assert environment["CNI_ARGS"].startswith("IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;")
    assert pairs["K8S_POD_NAME"] == "web"
    assert pairs["K8S_POD_INFRA_CONTAINER_ID"] == "c1"
    assert pairs["X"] == "1"
    assert environment["CNI_CONTAINERID"] == "c1"
    assert environment["CNI_IFNAME"] == "eth0"
    assert environment["CNI_NETNS"] == "/run/netns/web"


def test_options_become_capability_arguments_under_their_documented_names(podnet, stub_net):
    podnet(
        *("create", "web"),
        *("-p", "8080:80", "-p", "127.0.0.1:5353:53/udp", "-p", "[::1]:80:80/sctp"),
        *("--ip", "10.9.8.7", "--ip", "fd00::7/64", "--mac", "02:00:00:00:00:01"),
        *("--bandwidth", "ingress=10M,egress=500k,egressBurst=1M"),
        *("--dns", "10.0.0.53", "--dns-search", "example.com"),
        *("--cap", 'aliases={"stub": ["www"]}'),
    )

    [(_, request)] = stub_net()

    assert request["runtimeConfig"] == {
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
            {"hostPort": 80, "containerPort": 80, "protocol": "sctp", "hostIP": "::1"},
        ],
        "ips": ["10.9.8.7", "fd00::7/64"],
        "mac": "02:00:00:00:00:01",
        "bandwidth": {
            "ingressRate": 10_000_000,
            "ingressBurst": 2**32 - 1,
            "egressRate": 500_000,
            "egressBurst": 1_000_000,
        },
        "dns": {"servers": ["10.0.0.53"], "searches": ["example.com"]},
        "aliases": {"stub": ["www"]},
    }


def test_an_address_is_asked_for_by_cni_args_where_no_plugin_declares_the_capability(
    podnet, conflist
):
    conflist("n", BRIDGE)

    podnet("create", "web", "--ip", "10.67.0.77", "--mac", "02:00:00:00:00:42")

    [item] = podnet.json("list")["items"]
    assert item["addresses"] == ["10.67.0.77"]
    link = podnet("exec", "web", "--", "cat", "/sys/class/net/eth0/address").stdout
    assert link == "02:00:00:00:00:42\n"


def test_what_no_plugin_of_the_network_takes_is_refused(podnet, conflist):
    conflist("n", BRIDGE)

    done = podnet("create", "web", "-p", "80:80", status=2)

    assert "no plugin of network n takes portMappings" in done.stderr


def test_networks_are_joined_in_order_and_interfaces_named_by_it(podnet, conflist, stub_net):
    conflist("n", BRIDGE)

    podnet("create", "web", "--network", "n", "--network", "stub", "--ifname", "net0")

    [item] = podnet.json("list")["items"]
    assert item["interfaces"] == ["net0", "eth0"]
    assert item["networks"] == ["n", "stub"]


def test_a_network_can_be_the_path_of_its_file(podnet, conflist, tmp_path):
    path = conflist("n", BRIDGE)
    elsewhere = path.rename(tmp_path / "elsewhere.conflist")

    podnet("create", "web", "--network", elsewhere)

    assert podnet.json("list")["items"][0]["networks"] == ["n"]


def test_an_existing_namespace_is_used_and_left_alone(podnet, conflist, sh):
    conflist("n", BRIDGE)
    sh("ip netns add mine")

    podnet("create", "web", "--netns", "/run/netns/mine")
    assert "10.67.0.2" in sh("ip -n mine addr show dev eth0")
    podnet("delete", "web")

    assert "eth0" not in sh("ip -n mine link")
    assert "mine" in sh("ip netns")


def test_ip_netns_knows_the_pods(podnet, conflist, sh):
    conflist("n", BRIDGE)
    podnet("create", "web")

    assert sh("ip netns exec web ip -br link show dev eth0").startswith("eth0")


# --- dry runs


Step = tuple[str, str, str, dict[str, str], dict[str, Any]]


def _planned(podnet: Any, *arguments: str) -> list[Step]:
    plan = podnet.json(*arguments, "--dry-run")
    assert plan["kind"] == "Plan"
    return [
        (step["verb"], step["plugin"], step["network"], step["environment"], step["stdin"])
        for step in plan["items"]
    ]


def _ran(podnet: Any, verb: str) -> list[Step]:
    transcript = podnet.json("trace", "web")
    assert transcript["kind"] == "Transcript"
    return [
        (
            step["verb"],
            step["plugin"],
            step["network"],
            {k: v for k, v in step["environment"].items() if k != "TRACEPARENT"},
            step["stdin"],
        )
        for step in transcript["items"]
        if step["verb"] == verb
    ]


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_what_dry_run_says_is_what_runs(podnet, conflist, stub, snapshot, version):
    for name in ("one", "two", "three"):
        stub(name, stdout=RESULT.replace("1.0.0", "0.4.0"))
    chain = [{"type": name, "capabilities": {"mac": True}} for name in ("one", "two", "three")]
    conflist("n", *chain, version=version)
    conflist("m", {"type": "one"}, version=version)
    create = (
        *("create", "web", "--container-id", "c1", "--mac", "02:00:00:00:00:01"),
        *("--network", "n", "--network", "m"),
    )
    before = snapshot()

    planned = _planned(podnet, *create)
    assert snapshot() == before
    podnet(*create)
    ran = _ran(podnet, "ADD")
    for (*_, request), (*_, sent) in zip(planned, ran, strict=True):
        # A plugin's request waits for the result of the one before it.
        assert sent.keys() - request.keys() <= {"prevResult"}
        sent.pop("prevResult", None)
    assert planned == ran

    if version != "0.3.1":
        planned = _planned(podnet, "check", "web")
        podnet("check", "web")
        assert planned == _ran(podnet, "CHECK")

    planned = _planned(podnet, "delete", "web")
    podnet("delete", "web")
    assert planned == _ran(podnet, "DEL")
    assert [step[:3] for step in planned] == [
        ("DEL", "one", "m"),
        *(("DEL", name, "n") for name in ("three", "two", "one")),
    ]
    assert all(("prevResult" in step[4]) is (version != "0.3.1") for step in planned)


def test_a_dry_run_for_people_names_plugins_variables_and_requests(podnet, conflist, snapshot):
    conflist("n", BRIDGE, {"type": "host-local", "ipam": {}})
    before = snapshot()

    said = podnet("create", "web", "--container-id", "c1", "--dry-run").stdout

    assert "1. ADD bridge  (network n)" in said
    assert "2. ADD host-local  (network n)" in said
    assert "     CNI_CONTAINERID=c1\n" in said
    assert '       "bridge": "br-cli",\n' in said
    assert said.count("prevResult: what the plugin before answers") == 1
    assert snapshot() == before


# --- looking


def test_list_has_a_table_and_a_wide_one(podnet, conflist):
    conflist("n", BRIDGE)
    assert podnet("list").stdout == ""
    podnet("create", "web", "--label", "app=shop", "--label", "tier=front")
    podnet("create", "db")

    [_, first, second] = _lines(podnet("list"))
    [title, wide, _] = _lines(podnet("list", "-o", "wide"))

    assert [first[0], second[0]] == ["db", "web"]
    assert {"INTERFACES", "LABELS", "NETNS"} <= set(title)
    assert {"eth0", "/run/netns/db"} <= set(wide)


def test_json_yaml_and_names_say_the_same(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web", "db")

    as_json = json.loads(podnet("list", "-o", "json").stdout)
    as_yaml = yaml.safe_load(podnet("list", "--output=yaml").stdout)
    names = podnet("list", "-oname").stdout.split()

    assert (as_json["apiVersion"], as_json["kind"]) == ("podnet/v1", "PodList")
    for listed in (as_json, as_yaml):
        for item in listed["items"]:
            assert item.pop("age")
    assert as_yaml == as_json
    assert [item["name"] for item in as_json["items"]] == names == ["db", "web"]


def test_list_can_be_narrowed_by_labels(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web", "--label", "app=shop", "--label", "tier=front")
    podnet("create", "db", "--label", "app=shop")

    assert podnet("list", "--label", "app=shop", "-o", "name").stdout.split() == ["db", "web"]
    both = ("--label", "app=shop", "--label", "tier=front")
    assert podnet("list", *both, "-o", "name").stdout.split() == ["web"]
    assert podnet("list", "--label", "app=other", "-o", "name").stdout == ""


def test_inspect_shows_what_is_on_record(podnet, stub_net):
    podnet("create", "web", "--label", "app=shop", "--mac", "02:00:00:00:00:01", "--arg", "X=1")

    record = podnet.json("inspect", "web")

    [attachment] = record["attachments"]
    assert record["kind"] == "Pod"
    assert record["state"] == "ready"
    assert record["alive"] is True
    assert record["labels"] == {"app": "shop"}
    assert attachment["ifname"] == "eth0"
    assert ["X", "1"] in attachment["args"]
    assert attachment["capabilityArgs"] == {"mac": "02:00:00:00:00:01"}
    assert attachment["network"]["name"] == "stub"
    assert attachment["result"]["ips"] == [{"address": "10.9.8.7/24", "interface": 0}]
    assert yaml.safe_load(podnet("inspect", "web").stdout) == record
    assert podnet("inspect", "web", "-o", "name").stdout == "web\n"


def test_networks_lists_files_in_order_and_what_is_missing(podnet, conflist, net_d):
    conflist("20-second", {"type": "nowhere"}, BRIDGE | {"ipam": {"type": "lost"}})
    conflist("10-first", BRIDGE, {"type": "loopback", "capabilities": {"mac": True}})

    done = podnet("networks")
    listed = podnet.json("networks")

    assert [row[0] for row in _lines(done)] == ["NAME", "10-first", "20-second"]
    assert str(net_d) in done.stderr
    assert "NETCONFPATH" in done.stderr
    first, second = listed["items"]
    assert first["plugins"] == ["bridge", "loopback"]
    assert first["capabilities"] == ["mac"]
    assert first["missing"] == []
    assert first["file"] == str(net_d / "10-first.conflist")
    assert second["missing"] == ["nowhere", "lost"]


def test_without_any_configuration_podnets_own_examples_are_used_and_it_says_so(podnet):
    done = podnet("networks")

    assert "podnet's own examples" in done.stderr
    assert _lines(done)[1][:3] == ["podnet", "1.1.0", "bridge"]


def test_the_systems_configuration_comes_before_the_examples(podnet, sh):
    sh(
        "mkdir -p /etc/cni/net.d; printf %s '"
        + json.dumps({"cniVersion": "1.0.0", "name": "system", "plugins": [BRIDGE]})
        + "' > /etc/cni/net.d/1.conflist"
    )

    done = podnet("networks", "-o", "name")

    assert done.stdout == "system\n"
    assert "/etc/cni/net.d" in done.stderr


def test_plugins_lists_each_with_its_versions_the_first_of_a_name_only(podnet, stub, net_d):
    spoken = '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}'
    path = stub("bridge", stdout=spoken)
    stub("broken", status=1)
    stub("plain").chmod(0o644)

    found = {item["name"]: item for item in podnet.json("plugins")["items"]}

    assert found["bridge"]["versions"] == ["0.4.0", "1.0.0"]
    assert found["bridge"]["path"] == str(path)
    assert "broken" in found["broken"]["problem"]
    assert "1.1.0" in found["host-local"]["versions"]
    assert "plain" not in found


def test_debians_plugins_are_all_understood(podnet, debian_plugins):
    found = podnet.json("--plugin-dir", debian_plugins, "plugins")["items"]

    of_debian = [item for item in found if item["path"].startswith(debian_plugins)]
    assert {"bridge", "portmap", "bandwidth", "firewall"} <= {item["name"] for item in of_debian}
    assert all("1.0.0" in item["versions"] for item in of_debian), of_debian


def test_status_asks_the_plugins_of_1_1_0_and_only_those(podnet, conflist, stub, tmp_path):
    stub("fine")
    stub("old")
    conflist("a", {"type": "fine"}, version="1.1.0")
    conflist("b", {"type": "old"}, version="1.0.0")

    rows = _lines(podnet("status"))

    assert rows[1][:3] == ["a", "1.1.0", "yes"]
    assert rows[2][:4] == ["b", "1.0.0", "not", "asked"]
    verbs = [environment["CNI_COMMAND"] for environment, _ in calls(tmp_path / "stubs", "fine")]
    assert verbs == ["STATUS"]
    assert calls(tmp_path / "stubs", "old") == []


def test_status_of_a_network_that_cannot_serve_says_why(podnet, conflist, stub):
    stub("busy", stdout='{"code": 50, "msg": "no uplink"}', status=1)
    conflist("a", {"type": "busy"}, version="1.1.0")

    [item] = podnet.json("status", "a", status=3)["items"]

    assert item["ready"] is False
    assert "no uplink" in item["message"]


def test_lint_says_file_line_column_and_what_to_do(podnet, tmp_path):
    path = tmp_path / "n.conflist"
    path.write_text(
        '{\n  "cniVersion": "1.0.0",\n  "name": "n",\n  "plugin": [],\n'
        '  "plugins": [\n    {"type": "bridge", "prevResult": {}},\n    {"type": "portmap"},\n'
        '    {"type": "lost"}\n  ]\n}'
    )

    done = podnet("lint", path, status=2)

    assert (
        f"{path}:4:3: warning: the list has no key plugin\n  did you mean plugins?" in done.stdout
    )
    assert f"{path}:6:24: warning: prevResult is the runtime's" in done.stdout
    assert f"{path}:7:6: warning: portmap without its capability" in done.stdout
    assert '"portMappings": true' in done.stdout
    assert f'{path}:8:6: error: failed to find plugin "lost"' in done.stdout
    found = podnet.json("lint", path, status=2)
    assert found["kind"] == "FindingList"
    places = {(item["line"], item["column"]) for item in found["items"]}
    assert places == {(4, 3), (6, 24), (7, 6), (8, 6)}


def test_lint_has_nothing_to_say_of_a_good_file(podnet, conflist):
    assert podnet("lint", conflist("n", BRIDGE)).stdout == ""


# --- exec


@pytest.mark.parametrize("status", [0, 1, 3, 7, 42, 127, 255])
def test_exec_passes_the_exit_status_through(podnet, conflist, status):
    conflist("n", BRIDGE)
    podnet("create", "web")

    podnet("exec", "web", "--", "sh", "-c", f"exit {status}", status=status)


def test_exec_of_a_command_that_does_not_exist_or_is_no_program(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web")

    assert "/no/such" in podnet("exec", "web", "--", "/no/such", status=127).stderr
    assert "/etc/passwd" in podnet("exec", "web", "--", "/etc/passwd", status=126).stderr


def test_exec_dies_by_the_signal_that_its_command_dies_by(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web")

    podnet("exec", "web", "--", "sh", "-c", "kill -TERM $$", status=-signal.SIGTERM)


def test_exec_sees_the_pods_links_and_its_sysfs_and_passes_streams_through(podnet, conflist, node):
    conflist("n", BRIDGE)
    podnet("create", "web")
    script = "ls /sys/class/net; ip -o link | wc -l; cat; echo aside >&2"

    done = node.run(
        subprocess.run,
        [str(Path(sys.executable).parent / "podnet"), "exec", "web", "--", "sh", "-c", script],
        input="from stdin",
        capture_output=True,
        text=True,
        env=podnet.environment,
        check=True,
    )

    assert done.stdout == "eth0\nlo\n2\nfrom stdin"
    assert done.stderr == "aside\n"


def test_everything_after_two_dashes_is_the_commands(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web")

    done = podnet("exec", "web", "--", "echo", "--quiet", "--node", "x", "-o", "json", "--")

    assert done.stdout == "--quiet --node x -o json --\n"


def test_exec_needs_no_ip_netns(podnet, conflist, tmp_path):
    conflist("n", BRIDGE)
    podnet("create", "web")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cat").symlink_to("/bin/cat")

    done = podnet(
        *("exec", "web", "--", "cat", "/proc/net/dev"), env={"PATH": str(tmp_path / "bin")}
    )

    assert "eth0:" in done.stdout


# --- attach and detach


def test_attach_and_detach(podnet, conflist, sh):
    conflist("n", BRIDGE)
    podnet("create", "web")

    [_, row] = _lines(podnet("attach", "web", "--network", "n"))
    assert row[3] == "n,n"
    podnet("attach", "web", "--network", "n", "--ifname", "net7")
    podnet("check", "web")
    assert podnet.json("list")["items"][0]["interfaces"] == ["eth0", "eth1", "net7"]
    podnet("detach", "web", "--ifname", "eth1")

    assert podnet.json("list")["items"][0]["interfaces"] == ["eth0", "net7"]
    assert "eth1" not in sh("ip -n web link")
    podnet("check", "web")


def test_attach_takes_the_same_options_as_create(podnet, conflist, stub_net):
    conflist("n", BRIDGE)
    podnet("create", "web", "--network", "n")

    podnet("attach", "web", "--network", "stub", "-p", "80:80", "--arg", "X=1")

    [(environment, request)] = stub_net()
    assert environment["CNI_IFNAME"] == "eth1"
    assert environment["CNI_ARGS"].endswith(";X=1")
    assert request["runtimeConfig"]["portMappings"][0]["hostPort"] == 80


# --- delete and gc


def test_delete_all(podnet, conflist, snapshot):
    conflist("n", BRIDGE)
    podnet("create", "warm")
    podnet("delete", "warm")
    before = snapshot()
    podnet("create", "web", "db", "mail")

    done = podnet("delete", "--all")

    assert done.stdout == ""
    assert "deleted web" in done.stderr
    assert podnet("list").stdout == ""
    assert snapshot() == before


def test_a_pod_is_deleted_with_the_configuration_it_was_made_with(podnet, conflist, snapshot):
    path = conflist("n", BRIDGE)
    podnet("create", "warm")
    podnet("delete", "warm")
    before = snapshot()
    podnet("create", "web")
    path.unlink()

    podnet("check", "web")
    podnet("delete", "web")

    assert snapshot() == before


def test_delete_goes_on_by_force_where_a_plugin_refuses(podnet, conflist, stub, snapshot):
    stub("bad")
    conflist("n", {"type": "bad"})
    before = snapshot()
    podnet("create", "web")
    stub("bad", stdout='{"code": 11, "msg": "never"}', status=1)

    podnet("delete", "web", status=3)
    done = podnet("delete", "web", "--force")

    assert "never" in done.stderr
    assert podnet("list").stdout == ""
    assert {k: v for k, v in snapshot().items() if k != "files"} == {
        k: v for k, v in before.items() if k != "files"
    }


def test_gc_has_nothing_to_do_and_says_so(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web")

    done = podnet("gc")

    assert done.stdout == ""
    assert "nothing to remove" in done.stderr
    podnet("check", "web")


def test_gc_removes_a_pod_whose_namespace_somebody_removed(podnet, conflist, sh, snapshot):
    conflist("n", BRIDGE)
    podnet("create", "warm")
    podnet("delete", "warm")
    before = snapshot()
    podnet("create", "web")
    sh("ip netns delete web")

    done = podnet("gc")

    assert done.stdout == "removed pod web (its namespace is gone)\n"
    assert snapshot() == before


def test_gc_tells_plugins_which_attachments_are_valid(podnet, conflist, stub, tmp_path):
    stub("stub")
    conflist("n", {"type": "stub"}, version="1.1.0")
    podnet("create", "web", "--container-id", "c1")

    podnet("gc")

    last: Any = calls(tmp_path / "stubs", "stub")[-1]
    environment, request = last
    assert environment["CNI_COMMAND"] == "GC"
    valid = [{"containerID": "c1", "ifname": "eth0"}]
    assert request["cni.dev/valid-attachments"] == valid
    assert request["cni.dev/attachments"] == valid


def test_gc_minds_only_its_own_networks_plugins(podnet, debian_plugins):
    """The packaged network of version 1.1.0 is none for Debian's plugins, but nobody is on it."""
    podnet("--plugin-dir", debian_plugins, "create", "web", "--network", "reference")
    podnet("delete", "web")

    podnet("--plugin-dir", debian_plugins, "gc")


# --- trace


def test_trace_shows_every_step_also_of_a_pod_that_is_gone(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web", "db")
    podnet("check", "web")
    podnet("delete", "web")

    rows = _lines(podnet("trace", "web"))

    assert [row[1:4] for row in rows] == [
        ["ok", verb, "bridge"] for verb in ("ADD", "CHECK", "DEL")
    ]
    assert len(_lines(podnet("trace", "web", "--last", "1"))) == 1
    assert len(podnet.json("trace")["items"]) == 4
    verbose = podnet("trace", "web", "-v", "--last", "1").stdout
    assert "CNI_COMMAND=DEL" in verbose
    assert '"prevResult"' in verbose


def test_trace_shows_what_failed_and_what_it_said(podnet, conflist, stub):
    said = '{"code": 101, "msg": "no luck"}'
    stub("bad", script=f"[ $CNI_COMMAND = ADD ] && echo '{said}' && echo why >&2 && exit 1")
    conflist("n", {"type": "bad"})
    podnet("create", "web", status=3)

    [failed, _] = podnet.json("trace", "web")["items"]

    assert "FAIL" in podnet("trace", "web").stdout
    assert "no luck" in podnet("trace", "web").stdout
    assert (failed["exit_status"], failed["stderr"]) == (1, "why\n")
    assert json.loads(failed["stdout"]) == json.loads(said)
    assert failed["duration_ms"] > 0
    assert failed["pod"] == "web"
    assert failed["node"] == "test"


def test_an_inherited_trace_context_is_passed_on(podnet, stub_net):
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    podnet("create", "web", env={"TRACEPARENT": context})

    assert stub_net()[0][0]["TRACEPARENT"] == context
    assert podnet.json("trace", "web")["items"][0]["environment"]["TRACEPARENT"] == context


# --- ping and probe


def test_pods_and_the_node_reach_each_other(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web", "db")

    for how in (("--tcp", "5432"), ("--udp", "53"), ("--icmp",)):
        podnet("probe", "web", "db", *how)
        podnet("probe", "@node", "db", *how)
    podnet("probe", "web", "10.67.0.1", "--tcp", "9")
    pinged = podnet.json("ping", "web", "db", "-c", "3")

    assert len(pinged["items"]) == 3
    assert all(answer["reached"] and answer["ms"] > 0 for answer in pinged["items"])
    assert (pinged["from"], pinged["to"], pinged["protocol"]) == ("web", "db", "icmp")
    assert ipaddress.ip_address(pinged["address"]) in ipaddress.ip_network("10.67.0.0/24")


def test_an_unreachable_pod_is_a_failure_with_a_reason(podnet, conflist, sh):
    conflist("n", BRIDGE)
    podnet("create", "web", "db")
    sh("ip -n db link set eth0 down")

    for command in (["ping", "web", "db", "-c", "1"], ["probe", "web", "db", "--tcp", "80"]):
        done = podnet(*command, "-W", "0.2", status=1)
        assert "web -> db" in done.stdout
        assert " ms\n" not in done.stdout


def test_a_pod_without_ipv6_cannot_be_pinged_by_it(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web")

    assert "has no IPv6 address" in podnet("ping", "web", "web", "-6", status=2).stderr


def test_a_server_of_the_pods_own_is_probed_where_there_is_one(podnet, conflist):
    conflist("n", BRIDGE)
    podnet("create", "web", "db")
    code = "import socket; s = socket.create_server(('', 80)); print('up', flush=1); s.accept()"
    server = podnet.start("exec", "db", "--", sys.executable, "-c", code)
    with server:
        assert server.stdout.readline() == "up\n"

        podnet("probe", "web", "db", "--tcp", "80")

        assert server.wait(timeout=10) == 0  # it was it that was asked


# --- cnitool's variables


def test_cnitools_variables_work(podnet, stub_net, net_d):
    podnet(
        *("create", "web"),
        env={
            "CNI_ARGS": "X=1;Y=2",
            "CAP_ARGS": '{"mac": "02:00:00:00:00:09", "undeclared": 1}',
            "CNI_IFNAME": "net5",
        },
    )

    [(environment, request)] = stub_net()
    assert environment["CNI_IFNAME"] == "net5"
    assert environment["CNI_ARGS"].endswith(";X=1;Y=2")
    assert request["runtimeConfig"] == {"mac": "02:00:00:00:00:09"}
    assert environment["CNI_PATH"].startswith(podnet.environment["CNI_PATH"])


def test_options_come_before_cnitools_variables(podnet, stub_net):
    podnet(
        *("create", "web", "--ifname", "net6", "--arg", "X=2", "--mac", "02:00:00:00:00:06"),
        env={"CNI_ARGS": "X=1", "CAP_ARGS": '{"mac": "x"}', "CNI_IFNAME": "net5"},
    )

    [(environment, request)] = stub_net()
    assert environment["CNI_IFNAME"] == "net6"
    assert environment["CNI_ARGS"].endswith(";X=2")
    assert request["runtimeConfig"] == {"mac": "02:00:00:00:00:06"}


def test_conf_dir_comes_before_netconfpath(podnet, conflist, tmp_path):
    conflist("n", BRIDGE)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.conflist").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": "other", "plugins": [BRIDGE]})
    )

    done = podnet("networks", "-o", "name", "--conf-dir", tmp_path / "other")

    assert done.stdout == "other\n"


def test_plugin_dir_comes_before_cni_path_and_that_before_the_embedded(podnet, stub, tmp_path):
    stub("bridge")
    first = tmp_path / "first"
    first.mkdir()
    (first / "host-local").write_text("#!/bin/sh\nexit 0\n")
    (first / "host-local").chmod(0o755)

    items = podnet.json("plugins", "--plugin-dir", first)["items"]

    path_of = {item["name"]: Path(item["path"]).parent for item in items}
    assert path_of["host-local"] == first
    assert path_of["bridge"] == tmp_path / "stubs"
    assert path_of["loopback"].parts[-2:] == ("podnet_plugins", "bin")


def test_a_pod_of_another_plugin_directory_is_deleted_without_naming_it(
    podnet, conflist, stub, tmp_path
):
    stub("special")
    conflist("n", {"type": "special"})
    directory = podnet.environment.pop("CNI_PATH")
    podnet("--plugin-dir", directory, "create", "web")

    podnet("check", "web")
    podnet("delete", "web")

    verbs = [environment["CNI_COMMAND"] for environment, _ in calls(tmp_path / "stubs", "special")]
    assert verbs == ["ADD", "CHECK", "DEL"]


# --- options, streams, help


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quiet", "--timeout", "5", "networks", "-o", "name"],
        ["networks", "--quiet", "--timeout", "5", "-o", "name"],
        ["networks", "-o", "name", "-q", "--timeout=5"],
        ["networks", "--timeout=5", "-o", "name", "--quiet"],
    ],
)
def test_podnets_own_options_may_stand_anywhere(podnet, conflist, arguments):
    conflist("n", BRIDGE)

    done = podnet(*arguments)

    assert done.stdout == "n\n"
    assert done.stderr == ""


def test_stdout_has_data_only(podnet, conflist, net_d):
    conflist("n", BRIDGE)
    (net_d / "bad.conflist").write_text("{")

    for command in (
        ["create", "web", "-o", "json"],
        ["attach", "web", "--network", "n", "-o", "json"],
        ["detach", "web", "--ifname", "eth1", "-o", "json"],
        ["list", "-o", "json"],
        ["inspect", "web", "-o", "json"],
        ["networks", "-o", "json"],
        ["plugins", "-o", "json"],
        ["status", "-o", "json"],
        ["trace", "-o", "json"],
        ["ping", "web", "@node", "-o", "json"],
        ["version", "-o", "json"],
    ):
        if "@node" in command:
            continue
        json.loads(podnet(*command).stdout)
    for command in (["check", "web"], ["gc"], ["delete", "web"]):
        assert podnet(*command).stdout == ""


def test_a_plugins_log_does_not_get_into_the_data(podnet, conflist, stub):
    stub("loud", stdout=RESULT, script="echo noise >&2")
    conflist("n", {"type": "loud"})

    assert json.loads(podnet("create", "web", "-o", "json").stdout)["items"][0]["name"] == "web"


def test_version(podnet):
    said = podnet("version").stdout

    assert said.startswith("podnet ")
    assert "1.1.0" in said
    assert "0.1.0" in podnet.json("version")["cni"]
    assert podnet("version", "-o", "name").stdout == said.splitlines()[0] + "\n"
    assert podnet("--version").stdout == said


COMMANDS = (
    *("create", "delete", "check", "attach", "detach", "list", "exec", "inspect", "networks"),
    *("plugins", "status", "lint", "trace", "ping", "probe", "gc", "version", "node"),
)


def test_help_names_every_command_and_the_exit_statuses(podnet):
    said = podnet("--help").stdout

    for command in COMMANDS:
        assert f"  {command} " in said
    assert "130 interrupted" in " ".join(said.split())


def test_every_command_explains_itself(podnet):
    for command in ("create", "exec", "lint", "probe", "node", "plugins"):
        assert "Usage: podnet" in podnet(command, "--help").stdout
    assert "Usage: podnet" in podnet(status=2).stderr + podnet(status=2).stdout


def test_the_shell_completes_commands(podnet):
    done = podnet(
        env={
            "_PODNET_COMPLETE": "complete_bash",
            "COMP_WORDS": "podnet de",
            "COMP_CWORD": "1",
        }
    )

    assert {"delete", "detach"} == set(done.stdout.split())


def test_the_shell_completion_can_be_shown(podnet):
    script = podnet(env={"_PODNET_COMPLETE": "source_bash"}).stdout

    assert "complete -o default -F _podnet_completion podnet" in script


# --- Nodes


def test_a_node_is_made_used_listed_and_deleted(podnet, snapshot):
    before = snapshot()
    assert podnet("node", "list").stdout == ""

    podnet("node", "create", "lab")
    podnet("node", "create", "rack")
    assert podnet("node", "list", "-o", "name").stdout.split() == ["lab", "rack"]
    assert podnet("node", "exec", "lab", "--", "hostname").stdout == "lab\n"
    podnet("node", "exec", "lab", "--", "sh", "-c", "exit 5", status=5)
    podnet("node", "exec", "lab", "--", "/no/such", status=127)
    podnet("--node", "lab", "create", "web", "db")
    podnet("--node", "lab", "ping", "web", "db", "-c", "1")
    podnet("list", "--node", "lab")
    assert podnet("list", "-o", "name").stdout == ""
    assert podnet("list", "-o", "name", env={"PODNET_NODE": "lab"}).stdout.split() == ["db", "web"]
    assert podnet("list", "-o", "name", env={"PODNET_NODE": "rack"}).stdout == ""
    assert podnet.json("--node", "lab", "trace")["items"][0]["node"] == "lab"
    podnet("node", "create", "lab", status=2)
    podnet("node", "delete", "lab", "rack")
    podnet("node", "delete", "lab", status=2)

    assert snapshot() == before


def test_a_node_is_deleted_with_the_processes_in_it(podnet, tmp_path):
    podnet("node", "create", "lab")
    process = podnet.start("node", "exec", "lab", "--", "sh", "-c", "echo up; exec sleep 600")
    assert process.stdout.readline() == "up\n"

    podnet("node", "delete", "lab")

    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL


def test_pods_of_two_nodes_do_not_meet(podnet):
    for name in ("left", "right"):
        podnet("node", "create", name)
        podnet("--node", name, "create", "web")

    addresses = [
        podnet.json("--node", name, "list")["items"][0]["addresses"] for name in ("left", "right")
    ]

    assert addresses[0] == addresses[1]
    podnet("node", "delete", "left", "right")


def test_a_parent_that_ignores_the_end_of_its_children_is_no_trouble(sh):
    podnet = f"env --ignore-signal=CHLD {Path(sys.executable).parent / 'podnet'} --no-plugin-host"

    assert sh(f"{podnet} create web -o name && {podnet} delete web") == "web\n"
