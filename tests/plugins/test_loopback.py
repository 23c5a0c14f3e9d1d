"""loopback: lo up, and nothing else; run as a process, in a host in memory."""

from typing import Any

import pytest

LOOPBACK = {"type": "loopback"}


def _lo_is_up(host: Any, netns: str) -> bool:
    [lo] = host.ip("link show dev lo", netns=netns)
    return "UP" in lo["flags"]


def _down(host: Any, name: str = "c1") -> Any:
    netns = host.container(name)
    host.sh("ip link set lo down", netns=netns)
    return netns


def test_add_sets_lo_up_and_reports_its_addresses(host):
    netns = _down(host)

    result = host.call("ADD", LOOPBACK).result

    assert _lo_is_up(host, netns)
    assert result == {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns}],
        "ips": [
            {"interface": 0, "address": "127.0.0.1/8"},
            {"interface": 0, "address": "::1/128"},
        ],
    }


def test_add_works_on_lo_whatever_cni_ifname_is(host):
    netns = _down(host)

    host.call("ADD", LOOPBACK, ifname="eth7")

    assert _lo_is_up(host, netns)


def test_add_twice_is_no_error(host):
    host.container("c1")
    first = host.call("ADD", LOOPBACK)

    assert host.call("ADD", LOOPBACK).result == first.result


def test_add_passes_prev_result_on_unchanged(host):
    host.container("c1")
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/c1"}],
        "ips": [{"interface": 0, "address": "10.1.0.2/24", "gateway": "10.1.0.1"}],
        "routes": [{"dst": "0.0.0.0/0", "priority": 5}],
        "dns": {"nameservers": ["10.1.0.1"]},
    }

    assert host.call("ADD", LOOPBACK | {"prevResult": previous}).result == previous


def test_add_reports_no_ipv6_address_where_there_is_none(host):
    netns = host.container("c1")
    host.sh("sysctl -q -w net.ipv6.conf.lo.disable_ipv6=1", netns=netns)

    result = host.call("ADD", LOOPBACK).result

    assert result["ips"] == [{"interface": 0, "address": "127.0.0.1/8"}]


def test_a_stranger_s_address_on_lo_fails_add(host):
    netns = host.container("c1")
    host.sh("ip addr add 10.9.9.9/32 dev lo", netns=netns)

    error = host.call("ADD", LOOPBACK).error

    assert error["msg"] == "loopback interface found with non-loopback address"
    assert error["details"] == "10.9.9.9/32"


def test_version_0_1_0_has_the_oldest_shape_of_result(host):
    """A configuration without a version is 0.1.0 (SPEC section 1; libcni)."""
    host.container("c1")

    result = host.call("ADD", LOOPBACK | {"cniVersion": ""}).result

    assert result == {
        "cniVersion": "0.1.0",
        "ip4": {"ip": "127.0.0.1/8"},
        "ip6": {"ip": "::1/128"},
        "dns": {},
    }


def test_check_is_content_after_add(host):
    host.container("c1")
    result = host.call("ADD", LOOPBACK).result

    answer = host.call("CHECK", LOOPBACK | {"prevResult": result})

    assert (answer.status, answer.stdout) == (0, "")


def test_check_notices_that_lo_is_down(host):
    _down(host)

    assert host.call("CHECK", LOOPBACK).refusal == (999, "loopback interface is down")


@pytest.mark.parametrize("address", ["127.0.0.1/8", "::1/128"])
def test_check_notices_that_an_address_is_gone(host, address):
    netns = host.container("c1")
    host.sh(f"ip addr del {address} dev lo", netns=netns)

    _, msg = host.call("CHECK", LOOPBACK).refusal

    assert msg == f"loopback interface has lost its address {address}"


def test_check_misses_no_ipv6_where_that_is_off(host):
    netns = host.container("c1")
    host.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", netns=netns)

    assert host.call("CHECK", LOOPBACK).result == {}


def test_delete_sets_lo_down_and_may_be_repeated(host):
    netns = host.container("c1")

    answers = [host.call("DEL", LOOPBACK) for _ in range(2)]

    assert [(answer.status, answer.stdout) for answer in answers] == [(0, ""), (0, "")]
    assert not _lo_is_up(host, netns)


def test_delete_without_a_namespace_is_success(host):
    """SPEC section 2, "DEL": complete without error even if resources are missing."""
    for netns in ("", "/run/netns/gone"):
        assert host.call("DEL", LOOPBACK, netns=netns).status == 0


def test_add_and_check_without_a_namespace_are_code_8(host):
    for verb in ("ADD", "CHECK"):
        code, msg = host.call(verb, LOOPBACK, netns="/run/netns/gone").refusal
        assert (code, msg) == (8, 'failed to open netns "/run/netns/gone": no such file')


def test_a_file_that_is_no_namespace_is_code_8(host):
    host.sh("mkdir -p /run/netns && touch /run/netns/file")

    code, msg = host.call("ADD", LOOPBACK, netns="/run/netns/file").refusal

    assert (code, msg) == (8, '"/run/netns/file" is not a network namespace')


def test_delete_never_sets_the_host_s_own_lo_down(host):
    """Upstream did, given the path of a process that had ended (plugins#714)."""
    own = "/proc/self/ns/net"

    code, _ = host.call("DEL", LOOPBACK, netns=own).refusal

    assert code == 8
    assert _lo_is_up(host, "")
