"""Sysctls: read, written only when different, and of the calling thread's namespace."""

import subprocess
from pathlib import Path

import pytest

from podnet.kernel import links, namespaces, sysctl
from podnet.kernel.netlink import Netlink

FORWARD = ("ipv4", "ip_forward")


def test_a_value_is_written_and_read_back(node):
    node.run(sysctl.write, *FORWARD, value="1")
    there = node.run(sysctl.read, *FORWARD)
    node.run(sysctl.write, *FORWARD, value="0")

    assert (there, node.run(sysctl.read, *FORWARD)) == ("1", "0")


def test_write_tells_whether_the_kernel_has_the_key(node):
    assert node.run(sysctl.write, *FORWARD, value="1")
    assert not node.run(sysctl.write, "ipv4", "conf", "nothing0", "arp_notify", value="1")


def test_read_of_an_absent_key_is_none(node):
    assert node.run(sysctl.read, "ipv4", "conf", "nothing0", "arp_notify") is None


def test_a_dot_in_an_interface_s_name_needs_no_escape(node):
    def work():
        with Netlink() as netlink:
            links.add_bridge(netlink, "br.5")
        sysctl.write("ipv4", "conf", "br.5", "arp_notify", value="1")
        return Path("/proc/sys/net/ipv4/conf/br.5/arp_notify").read_text()

    assert node.run(work) == "1\n"


def test_a_value_that_is_set_already_is_not_written_again(node):
    """Writing would fail where /proc/sys is read-only, as in a container."""

    def work():
        sysctl.write(*FORWARD, value="1")
        for options in (["--bind"], ["-o", "remount,ro,bind"]):
            subprocess.check_call(["mount", *options, "/proc/sys", "/proc/sys"])
        return sysctl.write(*FORWARD, value="1")

    assert node.run(work)
    with pytest.raises(OSError, match="Read-only file system"):
        node.run(sysctl.write, *FORWARD, value="0")


def test_a_refused_value_is_an_error(node):
    with pytest.raises(OSError, match="Invalid argument"):
        node.run(sysctl.write, *FORWARD, value="perhaps")


def test_a_sysctl_is_of_the_thread_s_own_namespace(node):
    pod = Path("/run/netns/pod")
    node.run(namespaces.create, pod)

    def work():
        sysctl.write(*FORWARD, value="0")
        with namespaces.entered(str(pod)):
            sysctl.write(*FORWARD, value="1")
            inside = sysctl.read(*FORWARD)
        return inside, sysctl.read(*FORWARD)

    assert node.run(work) == ("1", "0")
