"""The fixtures that a plugin's author gets, in suites that are run as theirs would be."""

BRIDGE = """
import json
import pytest

SUBNET = {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]}
CONFIG = {"bridge": "br0", "isGateway": True, "ipam": SUBNET}
"""


def test_a_plugin_is_called_in_a_node_of_the_test_s_own(suite):
    suite(
        BRIDGE
        + """
def test_add_check_delete(cni, make_pod):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    assert str(bridge.add(pod).result.ips[0].address) == "10.9.0.2/24"
    assert bridge.check(pod).ok
    assert bridge.delete(pod).ok
    assert [o.invocation.verb for o in bridge.outcomes] == ["ADD", "CHECK", "DEL"]

def test_the_next_begins_with_nothing(cni, make_pod):
    assert str(cni("bridge", CONFIG).add(make_pod()).result.ips[0].address) == "10.9.0.2/24"
""",
        passed=2,
    )


def test_a_node_can_be_a_module_s_by_overriding_one_fixture(suite):
    suite(
        BRIDGE
        + """
@pytest.fixture
def podnet_node(podnet_node_module):
    return podnet_node_module

@pytest.mark.parametrize("number", [2, 3])
def test_addresses_go_on(cni, make_pod, number):
    pod = make_pod(f"pod{number}")
    result = cni("bridge", CONFIG).add(pod).result
    assert str(result.ips[0].address.ip) == f"10.9.0.{number}"
""",
        passed=2,
    )


def test_networks_are_given_as_files_mappings_and_names(suite, pytester):
    suite(
        BRIDGE
        + """
from pathlib import Path
LIST = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", **CONFIG}]}

def test_all_of_them(cni, make_pod, tmp_path):
    path = tmp_path / "net.conflist"
    path.write_text(json.dumps(LIST))
    directory = Path("net.d")
    directory.mkdir()
    (directory / "10-net.conflist").write_text(json.dumps(LIST))
    for network in (LIST, path, str(path), "net"):
        assert cni(network).network.name == "net"
""",
        "--cni-conf-dir=net.d",
        passed=1,
    )


def test_stubs_answer_and_tell_what_they_were_asked(suite):
    suite(
        """
def test_a_delegate(cni, make_pod, stub_ipam):
    ipam = stub_ipam("10.7.0.9/24", gateway="10.7.0.1")
    result = cni("bridge", {"bridge": "br0", "ipam": ipam}).add(make_pod()).result
    assert str(result.ips[0].address) == "10.7.0.9/24"
    environment, stdin = stub_ipam.calls()[0]
    assert (environment["CNI_COMMAND"], stdin["ipam"]) == ("ADD", ipam)

def test_a_plugin(cni, make_pod, stub_plugin):
    stub_plugin("broken", stderr="I am", status=3)
    answer = cni("broken").add(make_pod())
    assert (answer.exit_status, answer.stderr) == (3, b"I am")
""",
        passed=2,
    )


def test_versions_are_run_over_and_what_is_not_spoken_is_skipped(suite):
    result = suite(
        BRIDGE
        + """
@pytest.mark.podnet_versions("0.4.0", "1.0.0")
def test_result(cni, make_pod, cni_version):
    answer = cni("bridge", CONFIG).add(make_pod())
    assert answer.document["cniVersion"] == cni_version

@pytest.mark.podnet_versions("0.1.0", "1.1.0")
def test_old(cni, make_pod, stub_plugin):
    stub_plugin("new", result={"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]})
    cni("new")
""",
        passed=3,
        skipped=1,
    )

    result.stdout.fnmatch_lines(["*new does not speak 0.1.0"])


def test_versions_can_be_chosen_on_the_command_line(suite):
    suite(
        BRIDGE
        + """
@pytest.mark.podnet_versions()
def test_result(cni, make_pod, cni_version):
    assert cni_version == "1.0.0"
""",
        "--cni-versions=1.0.0",
        passed=1,
    )


def test_a_missing_feature_is_a_skip_that_says_so_and_an_error_where_it_must_not_be(suite):
    text = """
import pytest

@pytest.mark.podnet_requires("veth", "bridge", "tbf")
def test_there(): pass

@pytest.mark.podnet_requires("batadv", "bareudp", "ovs-vsctl")
def test_missing(): pass
"""

    suite(text, passed=1, skipped=1).stdout.fnmatch_lines(["*this kernel has no batadv*"])
    suite(text, "--podnet-strict", passed=1, errors=1).stdout.fnmatch_lines(["*no batadv*strict*"])


def test_a_feature_or_fault_that_nobody_knows_stops_the_run(suite):
    for marker in ('podnet_requires("macvaln")', 'podnet_fault("bridge:ADD:kil")'):
        result = suite(f"import pytest\n@pytest.mark.{marker}\ndef test_it(cni): pass\n")

        assert result.ret == 4, result.stdout.str()
        result.stderr.fnmatch_lines(["*test_suite.py::test_it: there is no *"])


def test_faults_happen_by_marker_and_by_fixture(suite):
    suite(
        BRIDGE
        + """
@pytest.mark.podnet_fault("bridge:ADD:kill-after")
def test_killed(cni, make_pod):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    assert bridge.add(pod).last.signal == 9
    assert bridge.delete(pod).ok

def test_for_a_while(cni, make_pod, podnet_faults):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    podnet_faults("bridge:ADD:error=11")
    assert bridge.add(pod).error.code == 11
    podnet_faults()
    assert bridge.add(pod).ok
""",
        passed=2,
    )


def test_a_node_s_own_faults_happen_and_are_undone(suite):
    suite(
        BRIDGE
        + """
def test_disk(cni, make_pod, podnet_faults):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    podnet_faults("disk-read-only=/var/lib/cni")
    assert "Read-only file system" in bridge.add(pod).error.msg
    podnet_faults()
    assert bridge.add(pod).ok

@pytest.mark.podnet_fault("ipam-exhausted=demo")
def test_addresses(cni, make_pod):
    assert cni("bridge", CONFIG).add(make_pod()).error is not None
""",
        passed=2,
    )


def test_a_recorder_has_the_calls_of_delegates_too(suite):
    suite(
        BRIDGE
        + """
def test_recorded(cni, make_pod, recorder):
    cni("bridge", CONFIG).add(make_pod())
    assert [call.plugin for call in recorder.calls()] == ["bridge", "host-local"]
""",
        passed=1,
    )


def test_what_is_left_on_the_node_fails_the_test(suite):
    result = suite(
        BRIDGE
        + """
def test_clean(cni, make_pod, leakcheck):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    bridge.add(pod)
    bridge.delete(pod)
    assert leakcheck.leaks() == []

@pytest.mark.podnet_leakcheck
def test_leaky(cni, make_pod, podnet_node):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    bridge.add(pod)
    bridge.remove(pod)
""",
        passed=2,
        errors=1,
    )

    result.stdout.fnmatch_lines(["*this is left on the Node:*", "*file /var/lib/cni*10.9.0.2*"])


def test_services_are_there_for_plugins_that_need_them(suite):
    suite(
        """
import json, urllib.request, yaml
from podnet.cluster import faults

def test_kube(fake_kube, podnet_node, tmp_path):
    fake_kube.network("macvlan", {"type": "macvlan"})
    config = yaml.safe_load(fake_kube.kubeconfig(tmp_path / "kubeconfig").read_text())
    url = config["clusters"][0]["cluster"]["server"]
    token = config["users"][0]["user"]["token"]
    path = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions/macvlan"
    asked = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    with podnet_node.run(urllib.request.urlopen, asked) as answer:
        assert json.load(answer)["spec"]["config"] == '{"type": "macvlan"}'

def test_etcd(etcd, podnet_node):
    with podnet_node.run(urllib.request.urlopen, f"{etcd}/health") as answer:
        assert json.load(answer)["health"] == "true"

def test_a_cluster(podnet_cluster):
    cluster = podnet_cluster(nodes=2)
    for node in cluster.nodes:
        cluster.create(node)
    assert cluster.unreached() == []
    cluster.fault(faults.cut, "n2")
    assert cluster.unreached() != []
""",
        passed=3,
    )


def test_workers_share_nothing(suite):
    text = BRIDGE + (
        "@pytest.mark.parametrize('number', range(20))\n"
        "def test_one(cni, make_pod, number):\n"
        "    pod = make_pod()\n"
        "    assert str(cni('bridge', CONFIG).add(pod).result.ips[0].address.ip) == '10.9.0.2'\n"
    )

    suite(text, "-n", "2", "-p", "no:randomly", passed=20)
