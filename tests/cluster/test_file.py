"""A cluster's file: what it says, and what is said of its mistakes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from podnet.cluster import record
from podnet.cluster.file import read
from podnet.cluster.record import Cluster, Member
from podnet.cluster.schema import of_file
from podnet.cluster.steps import WORDS, Step
from podnet.cluster.workload import PodOn
from podnet.errors import UsageError

WHOLE = """
name: lab
nodes:
  - {name: a, labels: {zone: west}}
  - name: b
backend: {Type: vxlan, DirectRouting: true}
store: etcd
dualStack: true
network: 10.99.0.0/16
leaseTTL: 60
conflist:
  cniVersion: 1.0.0
  name: own
  plugins: [{type: flannel}]
pods:
  - name: web
  - {name: db, nodes: [b], labels: {app: shop}, network: own}
steps:
  - cut: b
  - probe: {expect: not all, within: 3}
  - restore: b
  - wait: 0.5
  - unlink: {node: a, link: flannel.1}
  - probe:
  - kill: "@store"
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "lab.yaml"
        path.write_text(text)
        return path

    return write


def test_a_file_says_nodes_pods_and_steps(written) -> None:
    scenario = read(written(WHOLE))

    conflist = {"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "flannel"}]}
    assert scenario.cluster == Cluster(
        name="lab",
        members=(
            Member(name="a", number=1, labels={"zone": "west"}),
            Member(name="b", number=2),
        ),
        backend={"Type": "vxlan", "DirectRouting": True},
        store=record.Store.ETCD,
        network="10.99.0.0/16",
        ipv6_network=record.IPV6_NETWORK,
        lease_ttl=60,
        conflist=conflist,
    )
    assert scenario.pods == (
        PodOn(node="a", name="web"),
        PodOn(node="b", name="web"),
        PodOn(node="b", name="db", network="own", labels={"app": "shop"}),
    )
    assert scenario.steps[:2] == (
        Step("cut", {"node": "b"}),
        Step("probe", {"expect": "not all", "within": 3}),
    )
    assert scenario.steps[-2:] == (Step("probe", {}), Step("kill", {"node": "@store"}))


def test_what_a_file_does_not_say_is_as_without_one(written) -> None:
    scenario = read(written("nodes: 2\n"))

    assert scenario.cluster == Cluster(members=record.numbered("cluster", 2))
    assert not scenario.pods
    assert not scenario.steps
    assert len(read(written("")).cluster.members) == 3


def test_a_conflist_may_stand_in_a_file_beside_it(written, tmp_path) -> None:
    own = {"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "ptp"}]}
    tmp_path.joinpath("own.conflist").write_text(json.dumps(own))

    assert read(written("conflist: own.conflist\n")).cluster.conflist == own


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: 0", ["1:1: a cluster has 1 to 250 Nodes, not 0"]),
        ("nodes: yes", ["1:1: nodes must be a number or a list, not true"]),
        ("nodes: [{}]", ["1:9: nodes[0].name is missing"]),
        ("nodes:\n- name: a\n- name: a", ["3:3: there are two Nodes a"]),
        ("name: ../x", ["a cluster cannot be called '../x'"]),
        ("bakend: vxlan", ["1:1: a cluster's file has no key bakend", "did you mean backend?"]),
        ("backend: udp", ["there is no backend udp"]),
        ("backend: {type: 7}", ["1:11: backend.type must be a string, not 7"]),
        ("backend: 7", ["1:1: backend must be a name or an object, not 7"]),
        ("store: mysql\nstore: etcd", ["2:1: the key store stands twice"]),
        ("store: mysql", ['1:1: store must be "sqlite" or "etcd", not "mysql"']),
        ("nodes: 2\nbackend: {Type: vxlan, VNI: -4}", ["2:24: backend.VNI must be", "not -4"]),
        ("backend:\n  Type: bgp\n  AS: ours", ["3:3: backend.AS must be"]),
        ("nodes: 2\nnetwork: none", ["2:1: none is no IPv4 network"]),
        ("nodes: 2\nnetwork: 10.9.0.0/29", ["2:1: network 10.9.0.0/29 is too small"]),
        ("nodes: 4\nnetwork: 10.9.0.0/26", ["2:1: network 10.9.0.0/26 has 3 subnets"]),
        ("ipv6Network: 10.0.0.0/8", ["1:1: 10.0.0.0/8 is no IPv6 network"]),
        ("nodes: 2\nipv6Network: fd00::/125", ["2:1: network fd00::/125 is too small"]),
        ("leaseTTL: 0.5", ["1:1: leaseTTL must be at least 1, not 0.5"]),
        ("conflist: no.conflist", ["1:1: cannot read no.conflist: No such file"]),
        ("conflist: {name: x, plugins: 3}", ["1:1: the conflist cannot be used"]),
        ("pods: [{name: a/b}]", ["1:9: a pod cannot be called 'a/b'"]),
        ("pods: [{name: web, nodes: [n9]}]", ["1:28: there is no Node n9", "n1, n2, n3"]),
        ("pods: [{name: web}, {name: web}]", ["1:21: there are two pods web on Node n1"]),
        ("steps: [cut]", ['1:9: steps[0] must be an object, not "cut"']),
        ("steps: [{cut: n1, wait: 1}]", ["1:9: a step says one thing, not 2"]),
        ("steps:\n- cut: n9", ["2:3: there is no Node n9"]),
        ("steps:\n- kill: '@store'", ["2:3: there is no Node @store"]),
        ("steps:\n- cut:", ["2:3: cut needs a node"]),
        ("steps:\n- unlink: {node: n1}", ["2:3: steps[0].unlink.link is missing"]),
        ("nodes: [", [":2:1: it is not YAML"]),
        ("[1, 2]", ["1:1: a cluster's file must be an object, not a list"]),
    ],
)
def test_a_mistake_is_told_with_its_place(written, text, said) -> None:
    path = written(f"{text}\n")

    with pytest.raises(UsageError) as caught:
        read(path)

    for words in said:
        assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def test_all_mistakes_are_told_in_the_order_of_the_file(written) -> None:
    text = "nodes: 2\n" + "pods:\n" + "".join(f"- name: p{n}\n  nodes: [x{n}]\n" for n in range(10))

    with pytest.raises(UsageError) as caught:
        read(written(text))

    told = [line for line in str(caught.value).splitlines() if "there is no Node" in line]
    assert [line.rpartition(" ")[2] for line in told] == [f"x{n}" for n in range(10)]


def test_the_schema_is_json_schema_and_holds_what_is_read() -> None:
    schema = of_file()
    Draft7Validator.check_schema(schema)

    assert Draft7Validator(schema).is_valid(
        yaml.safe_load(WHOLE.replace("probe:\n", "probe: {}\n"))
    )
    mistakes: list[object] = [{"nodes": []}, {"store": "mysql"}, {"steps": [{"cut": 1}]}, {"x": 1}]
    for wrong in mistakes:
        assert not Draft7Validator(schema).is_valid(wrong)


def test_every_word_of_a_step_says_what_it_does() -> None:
    assert {"cut", "kill", "reboot", "expire", "steal", "impair", "probe"} <= WORDS.keys()
    assert all(word.about.endswith(".") for word in WORDS.values())


def test_a_record_of_a_cluster_is_read_back_as_it_was(written) -> None:
    cluster = read(written(WHOLE)).cluster.whole()

    assert Cluster.from_wire(json.loads(json.dumps(asdict(cluster)))) == cluster
