"""gc removes what no living pod needs, and never what one does."""

from pathlib import Path

import pytest


def _damage(node, pod: str) -> None:
    node.run(Path("/var/lib/podnet/pods", f"{pod}.json").write_text, "{")


def test_a_pod_whose_record_cannot_be_read_keeps_what_it_has(podnet, node, sh):
    podnet("create", "web", "db")
    _damage(node, "web")

    told = podnet("gc", status=1)

    assert "web.json is corrupt" in told.stderr
    assert "removed" not in told.stdout
    addresses = sh("ip netns exec web ip -o -4 addr show dev eth0")
    assert "10.88.0." in addresses
    assert len(sh("ls /var/lib/cni/networks/podnet | grep -c ^10").split()) == 1
    assert sh("ls /var/lib/cni/networks/podnet | grep -c ^10").strip() == "2"


def test_a_pod_whose_record_cannot_be_read_is_deleted_from_what_is_left(podnet, node, sh):
    podnet("create", "web")
    _damage(node, "web")

    podnet("delete", "web")

    assert podnet.json("list")["items"] == []
    assert sh("ip netns").strip() == ""
    assert sh("ls /var/lib/cni/networks/podnet /var/lib/podnet/cni/results").count("10.88") == 0


@pytest.mark.parametrize("lost", ["record", "namespace"])
def test_half_a_pod_is_removed_whole(podnet, node, sh, lost):
    podnet("create", "web", "db")
    if lost == "record":
        node.run(Path("/var/lib/podnet/pods/web.json").unlink)
    else:
        sh("ip netns delete web")

    podnet("gc")

    assert [item["name"] for item in podnet.json("list")["items"]] == ["db"]
    assert sh("ip netns").split()[0] == "db"
    assert sh("ls /var/lib/cni/networks/podnet | grep -c ^10").strip() == "1"
    podnet("check", "db")


def test_after_a_reboot_nothing_is_left_of_the_pods_that_were(podnet, node, sh):
    podnet("create", "web", "db")
    sh(
        "for n in web db; do ip netns delete $n; done; umount -l /run/netns; rm -rf /run/podnet /run/netns"
    )

    told = podnet("gc")

    assert told.stdout.count("its namespace is gone") == 2
    assert podnet.json("list")["items"] == []
    assert sh("ls /var/lib/cni/networks/podnet /var/lib/podnet/cni/results").count("10.88") == 0


def test_a_namespace_of_somebody_else_under_an_old_name_is_not_touched(podnet, sh):
    podnet("create", "web")
    sh("ip netns delete web; rm -rf /run/podnet; ip netns add web")

    podnet("gc")

    assert sh("ip netns").split()[0] == "web"
    assert podnet.json("list")["items"] == []


def test_gc_uses_the_plugins_that_the_pods_were_made_with(podnet, debian_plugins, sh):
    podnet("--plugin-dir", debian_plugins, "create", "web", "--network", "reference")
    sh("ip netns delete web")

    podnet("gc")

    assert podnet.json("list")["items"] == []
    assert sh("ls /var/lib/cni/networks/reference | grep -c ^10 || true").strip() == "0"
