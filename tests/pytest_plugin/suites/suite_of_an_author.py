"""What an author of a plugin may write: run by test_fixtures.py, in a pytest of its own."""

import json
import urllib.request
from pathlib import Path

import pytest
import yaml

SUBNET = {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]}
CONFIG = {"bridge": "br0", "isGateway": True, "ipam": SUBNET}
LIST = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", **CONFIG}]}


def test_a_plugin_is_called_with_what_add_returned(cni, make_pod):
    bridge, pod = cni("bridge", CONFIG), make_pod()

    assert str(bridge.add(pod).result.ips[0].address) == "10.9.0.2/24"
    assert bridge.check(pod).ok
    assert bridge.delete(pod).ok
    assert [o.invocation.verb for o in bridge.outcomes] == ["ADD", "CHECK", "DEL"]


def test_a_node_begins_with_nothing(cni, make_pod):
    assert str(cni("bridge", CONFIG).add(make_pod()).result.ips[0].address) == "10.9.0.2/24"


def test_a_network_is_a_file_a_mapping_or_a_name(cni, tmp_path, request):
    path = tmp_path / "net.conflist"
    path.write_text(json.dumps(LIST))
    directory = Path(request.config.getoption("cni_conf_dir"))
    directory.mkdir()
    (directory / "10-net.conflist").write_text(json.dumps(LIST))

    for network in (LIST, path, str(path), "net"):
        assert cni(network).network.name == "net"


def test_a_delegate_is_a_stub_that_tells_what_it_was_asked(cni, make_pod, stub_ipam):
    ipam = stub_ipam("10.7.0.9/24", gateway="10.7.0.1")

    result = cni("bridge", {"bridge": "br0", "ipam": ipam}).add(make_pod()).result

    assert str(result.ips[0].address) == "10.7.0.9/24"
    environment, stdin = stub_ipam.calls()[0]
    assert (environment["CNI_COMMAND"], stdin["ipam"]) == ("ADD", ipam)


def test_a_plugin_is_a_stub_that_does_as_it_is_told(cni, make_pod, stub_plugin):
    stub_plugin("broken", stderr="I am", status=3)

    answer = cni("broken").add(make_pod())

    assert (answer.exit_status, answer.stderr) == (3, b"I am")


@pytest.mark.podnet_versions("0.4.0", "1.0.0")
def test_an_answer_is_in_the_version_that_is_asked_in(cni, make_pod, cni_version):
    answer = cni("bridge", CONFIG).add(make_pod())

    assert answer.document["cniVersion"] == cni_version


@pytest.mark.podnet_fault("bridge:ADD:kill-after")
def test_a_fault_is_there_by_marker(cni, make_pod):
    bridge, pod = cni("bridge", CONFIG), make_pod()

    assert bridge.add(pod).last.signal == 9
    assert bridge.delete(pod).ok


def test_a_fault_comes_and_goes(cni, make_pod, podnet_faults):
    bridge, pod = cni("bridge", CONFIG), make_pod()

    podnet_faults("bridge:ADD:error=11")
    assert bridge.add(pod).error.code == 11
    podnet_faults("disk-read-only=/var/lib/cni")
    assert "Read-only file system" in bridge.add(pod).error.msg
    podnet_faults()
    assert bridge.add(pod).ok


def test_a_node_starts_again_where_the_test_says(cni, make_pod, podnet_node, podnet_faults):
    mounts = podnet_node.run(Path("/proc/thread-self/mountinfo").read_text).count("\n")
    bridge, pod = cni("bridge", CONFIG), make_pod()
    bridge.add(pod).require()
    podnet_node.run(Path("/run/lost").touch)
    leases = Path("/var/lib/cni/networks/demo")
    podnet_faults("disk-read-only=/etc/cni", "reboot")

    lost = (Path(pod.netns), Path("/sys/class/net/br0"), Path("/run/lost"))
    assert [path for path in lost if podnet_node.run(path.exists)] == []
    assert podnet_node.run(lambda: Path("/etc/cni/writable").touch()) is None
    assert podnet_node.run(Path("/proc/thread-self/mountinfo").read_text).count("\n") == mounts
    assert "10.9.0.2" in podnet_node.run(lambda: [path.name for path in leases.iterdir()])
    assert bridge.delete(pod).ok
    assert bridge.add(make_pod("after")).ok
    assert "10.9.0.2" not in podnet_node.run(lambda: [path.name for path in leases.iterdir()])


@pytest.mark.podnet_fault("ipam-exhausted=demo")
def test_a_fault_of_the_node_knows_the_networks_of_callers(cni, make_pod):
    assert cni("bridge", CONFIG).add(make_pod()).error is not None


def test_a_recorder_has_the_calls_of_delegates_too(cni, make_pod, recorder):
    cni("bridge", CONFIG).add(make_pod())

    assert [call.plugin for call in recorder.calls()] == ["bridge", "host-local"]


@pytest.mark.podnet_requires("veth", "bridge", "tbf")
def test_what_is_there_is_no_reason_to_skip(podnet_features):
    assert podnet_features.lacking("veth") == ""


def test_a_clean_plugin_leaks_nothing(cni, make_pod, leakcheck):
    bridge, pod = cni("bridge", CONFIG), make_pod()

    bridge.add(pod)
    bridge.delete(pod)

    assert leakcheck.leaks() == []


def test_a_kubernetes_api_is_on_the_node(fake_kube, podnet_node, tmp_path):
    fake_kube.network("macvlan", {"type": "macvlan"})
    config = yaml.safe_load(fake_kube.kubeconfig(tmp_path / "kubeconfig").read_text())
    url = config["clusters"][0]["cluster"]["server"]
    token = config["users"][0]["user"]["token"]
    path = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions/macvlan"

    asked = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    with podnet_node.run(urllib.request.urlopen, asked) as answer:
        assert json.load(answer)["spec"]["config"] == '{"type": "macvlan"}'


@pytest.mark.podnet_requires("etcd")
def test_an_etcd_is_on_the_node(etcd, podnet_node):
    with podnet_node.run(urllib.request.urlopen, f"{etcd}/health") as answer:
        assert json.load(answer)["health"] == "true"


def test_a_cluster_is_up_and_its_pods_reach_each_other(podnet_cluster):
    cluster = podnet_cluster(nodes=2)

    for node in cluster.nodes:
        cluster.create(node)

    assert cluster.unreached() == []
