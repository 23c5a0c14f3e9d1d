"""link-note, in Python, behind a bridge: what a runtime asks of it, and what it may break."""

import json
from pathlib import Path

import pytest

from podnet.testing import run_in

CONFLIST = Path(__file__).parent.parent / "note.conflist"


def test_the_note_is_on_the_interface(cni, make_pod, podnet_node):
    pod = make_pod()

    cni(CONFLIST).add(pod).require()

    printed = run_in(podnet_node, pod, "ip", "-json", "link", "show", "eth0").stdout
    assert json.loads(printed)[0]["ifalias"] == "made by link-note"


@pytest.mark.podnet_versions("0.4.0", "1.0.0", "1.1.0")
def test_the_result_of_the_plugin_before_is_passed_on(cni, make_pod, stub_plugin):
    interfaces = [{"name": "eth0", "sandbox": "/run/netns/pod1"}]
    stub_plugin("before", result={"cniVersion": "1.0.0", "interfaces": interfaces})
    pod = make_pod()
    plugins = [{"type": "loopback"}, {"type": "link-note", "note": "hello"}]
    noted = cni({"cniVersion": "1.0.0", "name": "n", "plugins": plugins})

    answer = noted.add(make_pod("other", ifname="lo"))

    assert [i.name for i in answer.result.interfaces] == ["lo"], pod


def test_check_notices_another_note(cni, make_pod, podnet_node):
    noted, pod = cni(CONFLIST), make_pod()
    noted.add(pod).require()
    assert noted.check(pod).ok

    run_in(podnet_node, pod, "ip", "link", "set", "eth0", "alias", "scribble")

    assert "scribble" in noted.check(pod).error.msg


@pytest.mark.podnet_leakcheck
def test_nothing_is_left_when_it_is_killed_in_the_middle(cni, make_pod, podnet_faults):
    noted, pod = cni(CONFLIST), make_pod()
    podnet_faults("link-note:ADD:kill-after")
    assert not noted.add(pod).ok

    podnet_faults()
    assert noted.delete(pod, known=False).ok
    noted.remove(pod)


def test_a_note_that_is_none_is_refused_with_the_spec_s_code(cni, make_pod):
    config = {"note": "", "prevResult": {"cniVersion": "1.0.0"}}

    assert cni("link-note", config).add(make_pod()).error.code == 7
