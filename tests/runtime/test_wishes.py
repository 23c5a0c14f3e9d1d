"""What a pod is asked to be, turned into what will be on record."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from podnet import wishes
from podnet.cni.config import Network
from podnet.cni.errors import CniError
from podnet.errors import UsageError
from podnet.pod import Pod, State
from podnet.wishes import PodWish, Wish

DEMO = Network.from_conflist(b'{"name":"demo","plugins":[{"type":"bridge"}]}')
OTHER = Network.from_conflist(b'{"name":"other","plugins":[{"type":"ptp"}]}')


def test_a_wish_becomes_a_pod_that_is_about_to_be(elsewhere):
    before = time.time()

    pod = wishes.planned(PodWish(name="web", networks=[Wish(network=DEMO)]), elsewhere)

    assert (pod.name, pod.state, pod.owns_netns) == ("web", State.CREATING, True)
    assert pod.netns == str(elsewhere.namespaces / "web")
    assert before <= pod.created <= time.time()
    assert [(m.ifname, m.network, m.result) for m in pod.memberships] == [("eth0", DEMO, None)]
    assert pod.memberships[0].path == elsewhere.plugin_path


def test_nothing_is_made(elsewhere):
    wishes.planned(PodWish(name="web", networks=[Wish(network=DEMO)]), elsewhere)

    assert not elsewhere.state.exists()
    assert not elsewhere.run.exists()


def test_container_ids_are_drawn_as_kubelets_runtimes_draw_them(elsewhere):
    """From containerd: the 64 hexadecimal digits of a sandbox ID."""
    ids = {
        wishes.planned(PodWish(name="web", networks=[]), elsewhere).container_id for _ in range(3)
    }

    assert len(ids) == 3
    assert {len(drawn) for drawn in ids} == {64}
    assert set("".join(ids)) <= set("0123456789abcdef")


def test_a_container_id_and_a_namespace_can_be_given(elsewhere, tmp_path, monkeypatch):
    """From cnitool: the caller chooses the container ID; a relative path becomes absolute."""
    monkeypatch.chdir(tmp_path)
    wish = PodWish(
        name="web", networks=[], netns="here/../ns", container_id="mine", labels={"app": "web"}
    )

    pod = wishes.planned(wish, elsewhere)

    assert (pod.container_id, pod.labels) == ("mine", {"app": "web"})
    assert pod.netns == str(Path.cwd() / "ns")
    assert not pod.owns_netns


def test_interfaces_are_numbered_in_order_around_those_that_are_named(elsewhere):
    """From ocicni: missing ifnames get the first free ethN."""
    networks = [
        Wish(network=DEMO, ifname="eth1"),
        Wish(network=OTHER),
        Wish(network=DEMO),
        Wish(network=DEMO, ifname="net0"),
        Wish(network=DEMO),
    ]

    pod = wishes.planned(PodWish(name="web", networks=networks), elsewhere)

    assert [m.ifname for m in pod.memberships] == ["eth1", "eth0", "eth2", "net0", "eth3"]


def test_two_interfaces_of_one_name_are_refused(elsewhere):
    """From ocicni: duplicates are rejected."""
    networks = [Wish(network=DEMO), Wish(network=OTHER, ifname="eth0")]

    with pytest.raises(UsageError, match="pod web has an interface eth0 already"):
        wishes.planned(PodWish(name="web", networks=networks), elsewhere)


def test_arguments_are_kubernetes_own_in_cri_os_order(elsewhere):
    """Trap 23: IgnoreUnknown=1 first, or plugins refuse the K8S_* keys."""
    wish = PodWish(name="web", container_id="c1", networks=[Wish(network=DEMO)])

    (joined,) = wishes.planned(wish, elsewhere).memberships

    assert joined.args[:4] == (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", "default"),
        ("K8S_POD_NAME", "web"),
        ("K8S_POD_INFRA_CONTAINER_ID", "c1"),
    )
    assert [key for key, _ in joined.args[4:]] == ["K8S_POD_UID"]
    (again,) = wishes.planned(wish, elsewhere).memberships
    assert again.args == joined.args, "a pod's UID is its container's"


def test_arguments_of_ones_own_come_after_or_replace(elsewhere):
    own = (("IP", "10.1.0.9"), ("K8S_POD_NAMESPACE", "prod"))
    wish = PodWish(name="web", networks=[Wish(network=DEMO, args=own)])

    (joined,) = wishes.planned(wish, elsewhere).memberships

    assert dict(joined.args)["K8S_POD_NAMESPACE"] == "prod"
    assert [key for key, _ in joined.args][1] == "K8S_POD_NAMESPACE"
    assert joined.args[-1] == ("IP", "10.1.0.9")


def test_capability_arguments_are_kept_unfiltered(elsewhere):
    wish = PodWish(name="web", networks=[Wish(network=DEMO, capability_args={"mac": "02::1"})])

    (joined,) = wishes.planned(wish, elsewhere).memberships

    assert joined.capability_args == {"mac": "02::1"}


@pytest.mark.parametrize("name", ["", "../x", "a b", "a" * 201])
def test_a_name_that_is_not_allowed_is_refused(elsewhere, name):
    with pytest.raises(UsageError, match="a pod cannot be called"):
        wishes.planned(PodWish(name=name, networks=[]), elsewhere)


@pytest.mark.parametrize(
    "wish",
    [
        PodWish(name="web", networks=[], container_id="../x"),
        PodWish(name="web", networks=[Wish(network=DEMO, ifname="a" * 16)]),
        PodWish(name="web", networks=[Wish(network=DEMO, ifname="a/b")]),
        PodWish(name="web", networks=[Wish(network=DEMO, args=(("K", "a;b"),))]),
        PodWish(name="web", networks=[Wish(network=DEMO, args=(("", "a"),))]),
    ],
)
def test_identifiers_and_arguments_are_checked_before_anything_is_made(elsewhere, wish):
    """Traps 12 and 23: validate everywhere, before anything is looked up."""
    with pytest.raises(CniError):
        wishes.planned(wish, elsewhere)


def test_joining_later_takes_the_next_free_interface(elsewhere):
    pod = wishes.planned(PodWish(name="web", networks=[Wish(network=DEMO)]), elsewhere)

    joined = wishes.membership(pod, Wish(network=OTHER), elsewhere)

    assert joined.ifname == "eth1"
    assert len(pod.memberships) == 1, "the pod is as it was"


def test_joining_a_pod_with_gaps_takes_the_first_gap(elsewhere):
    pod = Pod(name="web", container_id="c1", netns="/x")
    first = wishes.membership(pod, Wish(network=DEMO, ifname="eth1"), elsewhere)

    joined = wishes.membership(replace(pod, memberships=(first,)), Wish(network=OTHER), elsewhere)

    assert joined.ifname == "eth0"
