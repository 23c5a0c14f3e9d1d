"""host-local: leases as files, the reference's own, from ranges.

Every call is a process in a host in memory, as a runtime makes it.
"""

import fcntl
import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from podnet.kernel import disks

RANGE = {"subnet": "10.1.0.0/29"}  # .1 is the gateway, .2 to .6 are assigned
OUTSIDE = ("cniVersion", "name", "args", "runtimeConfig")  # keys beside "ipam", not in it
LAST = "last_reserved_ip.0"


def _config(*sets: Any, **more: Any) -> dict[str, Any]:
    """A configuration with these range sets; of one set, its only range."""
    ranges = [[members] if isinstance(members, dict) else members for members in sets or (RANGE,)]
    outside = {key: more.pop(key) for key in OUTSIDE if key in more}
    ipam = {"type": "host-local", "ranges": ranges} | more
    return {"type": "host-local", "ipam": ipam} | outside


def _ips(answer: Any) -> list[str]:
    """The addresses of a result, without prefix lengths."""
    return [ip["address"].partition("/")[0] for ip in answer.result.get("ips", [])]


def _add(host: Any, config: dict[str, Any], *cids: str, **more: Any) -> list[str]:
    """ADD for each container, in order; the address that each got from the first set."""
    return [_ips(host.call("ADD", config, cid=cid, netns="/x", **more))[0] for cid in cids]


def _delete(host: Any, config: dict[str, Any], cid: str = "c1", **more: Any) -> None:
    assert host.call("DEL", config, cid=cid, **more).result == {}


# Which address


def test_a_result_has_address_gateway_and_routes_and_no_interface(host):
    routes = [
        {"dst": "0.0.0.0/0"},
        {"dst": "10.9.0.0/16", "gw": "10.1.0.3", "mtu": 1300, "priority": 5, "table": 99},
    ]

    result = host.call("ADD", _config(routes=routes)).result

    assert result == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.0.2/29", "gateway": "10.1.0.1"}],
        "routes": routes,
    }


def test_addresses_are_assigned_in_order_and_not_reused_at_once(host):
    """Round robin: what was just released is the last to be assigned again."""
    config = _config()

    first = _add(host, config, "c1", "c2")
    _delete(host, config, "c1")
    rest = _add(host, config, "c3", "c4", "c5", "c6")

    assert first == ["10.1.0.2", "10.1.0.3"]
    assert rest == ["10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2"]


def test_an_exhausted_range_is_an_error_that_names_it(host):
    config = _config({"subnet": "10.1.0.0/30"})
    _add(host, config, "c1")

    error = host.call("ADD", config, cid="c2").error

    assert (error["code"], error["msg"]) == (
        999,
        "failed to allocate for range 0: no IP addresses available in range set: 10.1.0.1-10.1.0.2",
    )
    assert list(host.leases()) == ["10.1.0.2"]


def test_a_set_s_ranges_are_alternatives_in_order(host):
    config = _config([{"subnet": "10.1.0.0/30"}, {"subnet": "10.2.0.0/30"}])

    assert _add(host, config, "c1", "c2") == ["10.1.0.2", "10.2.0.2"]
    _, msg = host.call("ADD", config, cid="c3").refusal
    assert msg == (
        "failed to allocate for range 0: "
        "no IP addresses available in range set: 10.1.0.1-10.1.0.2,10.2.0.1-10.2.0.2"
    )


def test_every_set_yields_an_address_with_its_own_prefix_and_gateway(host):
    config = _config(RANGE, {"subnet": "fd00::/64"}, {"subnet": "10.2.0.0/16"})

    assert host.call("ADD", config).result["ips"] == [
        {"address": "10.1.0.2/29", "gateway": "10.1.0.1"},
        {"address": "fd00::2/64", "gateway": "fd00::1"},
        {"address": "10.2.0.2/16", "gateway": "10.2.0.1"},
    ]
    assert set(host.leases()) == {"10.1.0.2", "fd00::2", "10.2.0.2"}


def test_all_sets_or_none(host):
    """The second set is exhausted: the lease from the first is given back."""
    config = _config(RANGE, {"subnet": "10.2.0.0/30"})
    _add(host, config, "c1")

    assert host.call("ADD", config, cid="c2").status == 1

    assert set(host.leases()) == {"10.1.0.2", "10.2.0.2"}


def test_the_same_attachment_gets_no_second_address(host):
    """plugins#327: upstream keeps it an error, and so do we."""
    config = _config()
    _add(host, config, "c1")

    _, msg = host.call("ADD", config).refusal

    assert msg == (
        "failed to allocate for range 0: "
        "10.1.0.2 has been allocated to c1, duplicate allocation is not allowed"
    )
    assert list(host.leases()) == ["10.1.0.2"]


def test_another_interface_of_the_container_does(host):
    config = _config()
    first = _add(host, config, "c1")

    assert (first, _add(host, config, "c1", ifname="eth1")) == (["10.1.0.2"], ["10.1.0.3"])


def test_networks_have_leases_of_their_own(host):
    assert _add(host, _config(name="demo"), "c1") == ["10.1.0.2"]
    assert _add(host, _config(name="other"), "c1") == ["10.1.0.2"]


def test_the_old_single_form_is_a_set(host):
    config = {
        "type": "host-local",
        "ipam": {
            "type": "host-local",
            "subnet": "10.1.0.0/24",
            "rangeStart": "10.1.0.50",
            "rangeEnd": "10.1.0.60",
            "gateway": "10.1.0.254",
        },
    }

    [ip] = host.call("ADD", config).result["ips"]

    assert ip == {"address": "10.1.0.50/24", "gateway": "10.1.0.254"}


def test_ranges_of_the_capability_come_first(host):
    config = _config(runtimeConfig={"ipRanges": [[{"subnet": "10.7.0.0/24"}]]})

    assert _ips(host.call("ADD", config)) == ["10.7.0.2", "10.1.0.2"]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_the_oldest_versions_have_one_address_per_family(host, version):
    two = _config(RANGE, {"subnet": "10.2.0.0/24"}, cniVersion=version)
    both = _config(RANGE, {"subnet": "fd00::/64"}, cniVersion=version)

    assert host.call("ADD", two).refusal == (
        7,
        f"CNI version {version} does not support more than 1 address per family",
    )
    assert host.call("ADD", both).result == {
        "cniVersion": version,
        "ip4": {"ip": "10.1.0.2/29", "gateway": "10.1.0.1"},
        "ip6": {"ip": "fd00::2/64", "gateway": "fd00::1"},
        "dns": {},
    }


def test_a_configuration_without_ipam_is_refused(host):
    assert host.call("ADD", {"type": "host-local"}).refusal == (7, "IPAM config missing 'ipam' key")


# Addresses that are asked for


ASKED: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "CNI_ARGS": ({}, {"CNI_ARGS": "IP=10.1.0.5"}),
    "args.cni": ({"args": {"cni": {"ips": ["10.1.0.5"]}}}, {}),
    "the capability": ({"runtimeConfig": {"ips": ["10.1.0.5"]}}, {}),
    "with a prefix": ({"runtimeConfig": {"ips": ["10.1.0.5/29"]}}, {}),
}


@pytest.mark.parametrize("way", ASKED)
def test_an_address_may_be_asked_for(host, way):
    config, environment = ASKED[way]

    assert _ips(host.call("ADD", _config(**config), **environment)) == ["10.1.0.5"]


def test_the_next_one_follows_what_was_asked_for(host):
    config = _config()
    _add(host, config, "c1", CNI_ARGS="IP=10.1.0.4")

    assert _add(host, config, "c2") == ["10.1.0.5"]


def test_one_address_may_be_asked_for_in_each_set(host):
    asked = {"ips": ["10.2.0.9", "10.1.0.5"]}
    config = _config(RANGE, {"subnet": "10.2.0.0/24"}, runtimeConfig=asked)

    assert _ips(host.call("ADD", config)) == ["10.1.0.5", "10.2.0.9"]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (["10.1.0.1"], "failed to allocate for range 0: requested ip 10.1.0.1 is subnet's gateway"),
        (
            ["10.1.0.2"],
            "requested IP address 10.1.0.2 is not available in range set 10.1.0.1-10.1.0.6",
        ),
        (["10.9.0.1"], "failed to allocate all requested IPs: 10.9.0.1"),
        (["10.1.0.4", "10.1.0.5"], "failed to allocate all requested IPs: 10.1.0.5"),
    ],
)
def test_an_address_that_cannot_be_had_is_an_error_and_nothing_is_leased(host, asked, text):
    _add(host, _config(), "c1")

    error = host.call("ADD", _config(runtimeConfig={"ips": asked}), cid="c2").error

    assert text in error["msg"]
    assert list(host.leases()) == ["10.1.0.2"]


def test_an_address_that_the_same_attachment_has_cannot_be_asked_for_again(host):
    _add(host, _config(), "c1")

    _, msg = host.call("ADD", _config(), CNI_ARGS="IP=10.1.0.2").refusal

    assert "requested IP address 10.1.0.2 is not available" in msg


def test_what_is_no_address_cannot_be_asked_for(host):
    assert host.call("ADD", _config(), CNI_ARGS="IP=ten").refusal == (
        6,
        "requested IP is not an address: 'ten'",
    )


def test_arguments_for_others_are_refused_unless_they_may_be_ignored(host):
    assert host.call("ADD", _config(), CNI_ARGS="A=1").refusal == (
        4,
        'ARGS: unknown args ["A=1"]',
    )
    assert _add(host, _config(), "c1", CNI_ARGS="IgnoreUnknown=1;A=1;IP=10.1.0.3") == ["10.1.0.3"]


def test_the_reference_gives_the_same_answers(host, debian_plugins):
    """Each side by side, from a directory of its own: the same calls, the same results."""
    v4, v6 = {"subnet": "10.1.0.0/30"}, {"subnet": "fd00::/64"}
    one = {"cniVersion": "1.0.0"}
    asked = {"runtimeConfig": {"ips": ["10.1.0.2"]}}
    calls = [
        ("ADD", _config(v4, v6, **one), "c1"),
        ("ADD", _config(v4, v6, **one), "c1"),
        ("ADD", _config(v4, v6, **one), "c2"),
        ("ADD", _config(v4, **one, **asked), "c2"),
        ("ADD", _config({"subnet": "10.1.0.5/30"}, **one), "c2"),
        ("ADD", _config({"subnet": "10.1.0.0/31"}, **one), "c2"),
        ("ADD", _config(v4, v4, **one), "c2"),
        ("ADD", _config([v4, v6], **one), "c2"),
        ("ADD", _config([], **one), "c2"),
        ("ADD", {"type": "host-local", "ipam": {"type": "host-local"}, **one}, "c2"),
        ("DEL", _config(v4, v6, **one), "nobody"),
        ("DEL", _config(v4, v6, **one), "c1"),
        ("CHECK", _config(v4, v6, **one), "c1"),
        ("ADD", _config(v4, v6, **one), "c3"),
    ]

    for verb, config, cid in calls:
        theirs, ours = (
            host.call(
                verb,
                config | {"ipam": config["ipam"] | {"dataDir": directory}},
                cid=cid,
                **({"directory": debian_plugins} if directory == "/run/theirs" else {}),
            )
            for directory in ("/run/theirs", "/run/ours")
        )
        assert ours.status == theirs.status, (verb, config)
        if ours.status == 0:
            assert ours.result == {k: v for k, v in theirs.result.items() if (k, v) != ("dns", {})}
        else:
            assert _essence(ours) in _essence(theirs), (verb, config)


def _essence(answer: Any) -> str:
    """An error's text without what only one of the two says around it."""
    text = str(answer.error["msg"])
    return text.split(": ", 1)[1] if text.startswith("invalid range set") else text


# On disk


def _modes(directory: Path) -> dict[str, str]:
    return {
        path.name: oct(stat.S_IMODE(path.stat().st_mode))
        for path in [directory, *directory.iterdir()]
    }


def test_leases_are_the_reference_s_files(host):
    config = _config(RANGE, {"subnet": "fd00::/64"})
    _add(host, config, "c1")

    assert host.leases() == {"10.1.0.2": "c1\r\neth0", "fd00::2": "c1\r\neth0"}
    assert host.node.run((host.root / "demo" / LAST).read_text) == "10.1.0.2"
    assert host.node.run(_modes, host.root / "demo") == {
        "demo": "0o755",
        "lock": "0o640",
        "10.1.0.2": "0o600",
        "fd00::2": "0o600",
        "last_reserved_ip.0": "0o600",
        "last_reserved_ip.1": "0o600",
    }


def test_leases_may_be_elsewhere(host):
    _add(host, _config(dataDir="/run/leases"), "c1")

    assert host.node.run(Path("/run/leases/demo/10.1.0.2").read_bytes) == b"c1\r\neth0"
    assert not host.node.run(host.root.exists)


def test_an_empty_lease_that_a_crash_left_is_free(host):
    """Upstream never assigns it again (plugins#498)."""
    host.sh(f"mkdir -p {host.root}/demo; : > {host.root}/demo/10.1.0.2")

    assert _add(host, _config(), "c1") == ["10.1.0.2"]
    assert host.leases() == {"10.1.0.2": "c1\r\neth0"}


def test_a_file_that_is_no_lease_is_no_reason_to_fail(host):
    """An editor's backup, say: the reference does not mind."""
    config = _config()
    _add(host, config, "c1")
    host.sh(f"cd {host.root}/demo; echo x > 10.1.0.3~; echo x > 10.1.0.bak; echo x > notes")

    assert _add(host, config, "c2") == ["10.1.0.3"]
    assert host.call("CHECK", config).status == 0
    _delete(host, config, "c1")
    assert host.call("GC", config | {"cni.dev/valid-attachments": []}).status == 0
    assert "notes" in host.sh(f"ls {host.root}/demo")


def test_what_is_no_file_takes_its_address_and_is_left_alone(host):
    """As with the reference, which reads what it can; only a lease is anybody's."""
    config = _config(RANGE | {"rangeEnd": "10.1.0.5"})
    host.sh(
        f"mkdir -p {host.root}/demo; cd {host.root}/demo; "
        "mkdir 10.1.0.2; ln -s /nowhere 10.1.0.3; mkfifo 10.1.0.4"
    )

    assert host.call("STATUS", config).status == 0
    assert _add(host, config, "c1") == ["10.1.0.5"]
    _delete(host, config, "c1")
    assert host.call("GC", config | {"cni.dev/valid-attachments": []}).status == 0
    left = host.sh(f"cd {host.root}/demo; ls -d 10*").split()
    assert left == ["10.1.0.2", "10.1.0.3", "10.1.0.4"]


def test_a_file_that_cannot_be_read_is_named(host):
    host.sh(f"mkdir -p {host.root}/demo/{LAST}")

    assert host.call("ADD", _config()).error["msg"] == f"{host.root}/demo/{LAST}: Is a directory"


def test_leases_without_an_ifname_are_released_by_their_container(host):
    """The format before plugins v0.7: a container ID and nothing else."""
    config = _config()
    host.sh(f"cd /run; mkdir -p {host.root}/demo; printf 'c1\\n' > {host.root}/demo/10.1.0.2")

    assert host.call("CHECK", config).status == 0
    assert _add(host, config, "c2") == ["10.1.0.3"]
    _delete(host, config, "c1", ifname="eth7")

    assert list(host.leases()) == ["10.1.0.3"]


def test_an_attachment_s_own_leases_go_before_old_ones_of_its_container(host):
    config = _config()
    host.sh(f"mkdir -p {host.root}/demo; printf 'c1' > {host.root}/demo/10.1.0.2")
    host.sh(f"printf 'c1\\r\\neth0' > {host.root}/demo/10.1.0.3")

    _delete(host, config, "c1")
    left = list(host.leases())
    _delete(host, config, "c1")

    assert (left, list(host.leases())) == (["10.1.0.2"], [])


def test_white_space_around_a_lease_does_not_matter(host):
    host.sh(f"mkdir -p {host.root}/demo; printf ' c1\\neth0 \\n' > {host.root}/demo/10.1.0.2")

    _delete(host, _config(), "c1")

    assert host.leases() == {}


def test_the_index_follows_changes_by_others(host):
    """Released and leased behind our back, with the same number of files before and after."""
    config = _config()
    _add(host, config, "c1", "c2")
    host.sh(f"cd {host.root}/demo; rm 10.1.0.2; printf 'c9\\r\\neth0' > 10.1.0.4")

    assert host.call("CHECK", config, cid="c1").status == 1
    assert host.call("CHECK", config, cid="c9").status == 0
    _delete(host, config, "c9")
    assert _add(host, config, "c1") == ["10.1.0.4"]
    assert host.leases() == {"10.1.0.3": "c2\r\neth0", "10.1.0.4": "c1\r\neth0"}


def test_a_lease_that_others_gave_to_somebody_else_is_not_released(host):
    config = _config()
    _add(host, config, "c1")
    host.sh(
        f"cd {host.root}/demo; touch -r . /run/time; printf 'c9\\r\\neth0' > 10.1.0.2; "
        "touch -r /run/time ."
    )

    _delete(host, config, "c1")

    assert host.leases() == {"10.1.0.2": "c9\r\neth0"}


@pytest.mark.parametrize("damage", ["rm", ": >", "echo rubbish >"])
def test_a_lost_index_is_made_anew(host, damage):
    config = _config()
    _add(host, config, "c1", "c2")
    host.sh(f"for f in {host.root}/.podnet/demo/*; do {damage} $f; done")

    assert host.call("CHECK", config, cid="c2").status == 0
    _delete(host, config, "c1")

    assert list(host.leases()) == ["10.1.0.3"]


def test_an_entry_of_the_index_that_a_power_cut_emptied_loses_no_lease(host):
    """Nothing else shows it: the stamp is right."""
    config = _config()
    _add(host, config, "c1", "c2")
    host.sh(f"cd {host.root}/.podnet/demo; for f in *; do [ $f = stamp ] || : > $f; done")

    assert host.call("CHECK", config, cid="c2").status == 0
    _delete(host, config, "c1")

    assert list(host.leases()) == ["10.1.0.3"]


def test_a_lease_is_freed_where_there_is_no_room_for_an_index(host):
    """Others leased, and filled the disk."""
    host.sh(
        f"mkdir -p {host.root}/demo; cd {host.root}/demo; for i in 2 3; do echo c$i > 10.1.0.$i; done"
    )
    host.node.run(disks.fill, host.root)

    _delete(host, _config(), "c2")

    assert list(host.leases()) == ["10.1.0.3"]
    assert host.call("CHECK", _config(), cid="c3").status == 0
    assert host.call("ADD", _config(), cid="c4").error["msg"].endswith("No space left on device")


# CHECK, DEL, GC, STATUS


def test_a_lease_full_of_nuls_is_nobody_s_where_the_range_is_full(host):
    config = _config({"subnet": "10.1.0.0/30"}, {"subnet": "fd00::/64"})
    _add(host, config, "c1")
    assert host.call("STATUS", config).error["code"] == 50
    host.sh(f"head -c 8 /dev/zero > {host.root}/demo/10.1.0.2")

    assert host.call("STATUS", config).status == 0
    assert _add(host, config, "c2") == ["10.1.0.2"]


def test_check_is_content_while_the_lease_is_there(host):
    config = _config()
    result = host.call("ADD", config).result

    assert host.call("CHECK", config | {"prevResult": result}).status == 0
    _delete(host, config)
    assert host.call("CHECK", config | {"prevResult": result}).refusal == (
        999,
        "host-local: Failed to find address added by container c1",
    )


def test_check_notices_that_one_of_two_leases_is_gone(host):
    config = _config(RANGE, {"subnet": "fd00::/64"})
    result = host.call("ADD", config).result
    host.sh(f"rm {host.root}/demo/fd00::2")

    _, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert msg == "host-local: fd00::2 is not leased to c1 any more"


def test_delete_releases_what_the_attachment_has_and_nothing_else(host):
    config = _config(RANGE, {"subnet": "fd00::/64"})
    _add(host, config, "c1", "c2")
    _add(host, config, "c1", ifname="eth1")

    _delete(host, config, "c1")

    assert set(host.leases().values()) == {"c2\r\neth0", "c1\r\neth1"}
    assert len(host.leases()) == 4


def test_delete_may_be_repeated_and_knows_nobody(host):
    config = _config()
    _delete(host, config, "nobody")
    assert not host.node.run(host.root.exists)
    _add(host, config, "c1")

    for _ in range(2):
        _delete(host, config, "c1")

    assert host.leases() == {}


def test_gc_keeps_a_lease_under_the_key_s_first_name_and_without_one(host):
    config = _config({"subnet": "10.1.0.0/24"})
    _add(host, config, "c1", "c2")

    assert host.call("GC", config).refusal == (7, "cni.dev/valid-attachments is missing")
    assert set(host.leases()) == {"10.1.0.2", "10.1.0.3"}
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    assert host.call("GC", config | {"cni.dev/attachments": valid}).result == {}
    assert set(host.leases()) == {"10.1.0.3"}


def test_gc_releases_what_is_not_valid_and_empty_files(host):
    config = _config({"subnet": "10.1.0.0/24"})
    _add(host, config, "c1", "c2", "c3")
    _add(host, config, "c1", ifname="eth1")
    host.sh(f": > {host.root}/demo/10.1.0.99; printf c3 > {host.root}/demo/10.1.0.98")
    valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c3", "ifname": "eth0"}]

    assert host.call("GC", config | {"cni.dev/valid-attachments": valid}).result == {}

    assert host.leases() == {
        "10.1.0.2": "c1\r\neth0",
        "10.1.0.4": "c3\r\neth0",
        "10.1.0.98": "c3",
    }


def test_gc_of_a_network_without_leases_makes_nothing(host):
    assert host.call("GC", _config() | {"cni.dev/valid-attachments": []}).status == 0
    assert not host.node.run(host.root.exists)


def test_gc_leaves_other_networks_alone(host):
    _add(host, _config(name="other"), "c1")
    _add(host, _config(), "c1")

    host.call("GC", _config() | {"cni.dev/valid-attachments": []})

    assert (host.leases(), list(host.leases("other"))) == ({}, ["10.1.0.2"])


def test_status_is_50_when_a_set_is_exhausted(host):
    config = _config({"subnet": "10.1.0.0/30"}, {"subnet": "fd00::/64"})
    assert host.call("STATUS", config).result == {}
    _add(host, config, "c1")

    assert host.call("STATUS", config).refusal == (
        50,
        "no IP addresses available in range set 0: 10.1.0.1-10.1.0.2",
    )


def test_status_is_50_exactly_when_an_add_would_find_nothing(host):
    """An empty file of a crash is no lease: ADD takes the address."""
    config = _config({"subnet": "10.1.0.0/30"})
    host.sh(f"mkdir -p {host.root}/demo; : > {host.root}/demo/10.1.0.2")

    assert host.call("STATUS", config).status == 0
    assert _add(host, config, "c1") == ["10.1.0.2"]


def test_status_is_50_when_leases_cannot_be_written(host):
    host.sh("mkdir /run/sealed; mount -t tmpfs -o ro none /run/sealed")

    assert host.call("STATUS", _config(dataDir="/run/sealed/x")).refusal == (
        50,
        "leases cannot be written in /run/sealed/x: Read-only file system",
    )


# With the reference, on the same files


@pytest.mark.parametrize("ours_first", [True, False])
def test_either_implementation_checks_and_releases_what_the_other_leased(
    host, debian_plugins, ours_first
):
    config = _config(RANGE, {"subnet": "fd00::/64"}, cniVersion="1.0.0")
    theirs = {"directory": debian_plugins}
    adds, deletes = ({}, theirs) if ours_first else (theirs, {})
    result = host.call("ADD", config, **adds).result
    others = host.call("ADD", config, cid="c2", **deletes).result

    with_result = config | {"prevResult": result}
    assert host.call("CHECK", with_result, **deletes).status == 0
    assert host.call("DEL", with_result, **deletes).status == 0

    assert [ip["address"] for ip in others["ips"]] == ["10.1.0.3/29", "fd00::3/64"]
    assert set(host.leases()) == {"10.1.0.3", "fd00::3"}
    assert host.call("CHECK", with_result, **adds).status == 1


def test_the_two_take_turns_on_one_range(host, debian_plugins):
    config = _config(cniVersion="1.0.0")
    sides = [{}, {"directory": debian_plugins}] * 3

    leased = [_add(host, config, f"c{n}", **side)[0] for n, side in enumerate(sides[:5])]
    for number, side in enumerate(reversed(sides[:5])):
        _delete(host, config, f"c{number}", **side)

    assert leased == [f"10.1.0.{n}" for n in range(2, 7)]
    assert host.leases() == {}


# Many at once, and a disk that is full


def test_processes_at_the_same_time_get_different_addresses(host):
    config = _config({"subnet": "10.1.0.0/24"})
    cids = [f"c{number}" for number in range(16)]

    with ThreadPoolExecutor(8) as pool:
        leased = list(pool.map(lambda cid: _add(host, config, cid)[0], cids))

    assert sorted(leased) == sorted(f"10.1.0.{n}" for n in range(2, 18))
    assert {cid.partition("\r")[0] for cid in host.leases().values()} == set(cids)


def test_a_call_waits_for_whoever_holds_the_lock(host):
    """The reference's lock, so that the two wait for each other."""
    config = _config()
    _add(host, config, "c1")

    with ThreadPoolExecutor(1) as pool, host.node.run((host.root / "demo/lock").open) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(_add, host, config, "c2")
        time.sleep(0.4)
        before = list(host.leases())
        fcntl.flock(lock, fcntl.LOCK_UN)

        assert (before, waiting.result(10)) == (["10.1.0.2"], ["10.1.0.3"])


def test_a_thousand_leases_in_a_row_are_passed_over(host):
    config = _config({"subnet": "10.0.0.0/16"})
    host.sh(
        f"mkdir -p {host.root}/demo; cd {host.root}/demo; "
        "for i in 0 1 2 3; do for j in $(seq 0 255); do printf 'x\\r\\ne' > 10.0.$i.$j; done; done; "
        "echo x > 10.0.0.5.bak"
    )

    assert _add(host, config, "c1") == ["10.0.4.0"]


@pytest.mark.parametrize("free", range(1, 12))
def test_a_disk_that_fills_up_leaves_nothing(host, free):
    """However far ADD comes: there is all of it, or no lease (plugins#498)."""
    config = _config(RANGE, {"subnet": "fd00::/64"}, dataDir="/run/small")
    host.sh(f"mkdir /run/small; mount -t tmpfs -o size={free * 4}k none /run/small")

    answer = host.call("ADD", config)

    found = host.sh("find /run/small -type f").split()
    leases = [name for name in found if name.endswith(("10.1.0.2", "fd00::2"))]
    assert len(leases) == (2 if answer.status == 0 else 0)
    if answer.status:
        assert "No space left on device" in answer.error["msg"]
        assert [name for name in found if name.endswith(".draft")] == []
    # With its source, or mount repeats who owns it, who is nobody in a user namespace.
    host.sh("mount -o remount,size=1m none /run/small")
    assert (host.call("ADD", config, cid="c2").status, host.call("DEL", config).status) == (0, 0)


def test_leases_on_a_full_disk_can_be_released(host):
    config = _config(dataDir="/run/small")
    host.sh("mkdir /run/small; mount -t tmpfs -o size=64k none /run/small")
    _add(host, config, "c1", "c2")
    host.sh("dd if=/dev/zero of=/run/small/filler bs=4k 2>/dev/null || true")

    _delete(host, config, "c1")
    _delete(host, config, "c1")

    assert "10.1.0.2" not in host.sh("ls /run/small/demo").split()
    assert "10.1.0.3" in host.sh("ls /run/small/demo").split()


# Names and resolvers


def test_dns_is_read_from_a_resolv_conf(host):
    host.sh(
        "printf '%s\\n' '# comment' '; comment' 'nameserver 10.1.0.1' '  nameserver 10.1.0.9  ' "
        "'domain first.example' 'domain second.example' 'search a.example b.example' "
        "'search c.example' 'options ndots:5' 'options rotate' 'sortlist 10.0.0.0' 'nameserver' "
        "> /run/resolv.conf"
    )

    result = host.call("ADD", _config(resolvConf="/run/resolv.conf")).result

    assert result["dns"] == {
        "nameservers": ["10.1.0.1", "10.1.0.9"],
        "domain": "second.example",
        "search": ["a.example", "b.example", "c.example"],
        "options": ["ndots:5", "rotate"],
    }


def test_a_resolv_conf_that_is_not_there_is_an_error_and_nothing_is_leased(host):
    _, msg = host.call("ADD", _config(resolvConf="/run/gone")).refusal

    assert msg == "/run/gone: No such file or directory"
    assert host.leases() == {}


def test_nothing_is_said_on_stderr(host):
    assert [host.call(verb, _config()).stderr for verb in ("ADD", "CHECK", "DEL")] == ["", "", ""]


def test_configurations_may_come_as_any_json(host):
    """Keys in another case, null for the default: as Go reads them."""
    config = _config() | {"ipam": {"Type": "host-local", "SUBNET": "10.1.0.0/29", "ranges": None}}

    printed = host.call("ADD", json.loads(json.dumps(config))).result

    assert printed["ips"] == [{"address": "10.1.0.2/29", "gateway": "10.1.0.1"}]


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0"])
def test_the_middle_versions_spell_the_family(host, version):
    config = _config(RANGE, {"subnet": "fd00::/64"}, cniVersion=version)

    assert host.call("ADD", config).result == {
        "cniVersion": version,
        "ips": [
            {"version": "4", "address": "10.1.0.2/29", "gateway": "10.1.0.1"},
            {"version": "6", "address": "fd00::2/64", "gateway": "fd00::1"},
        ],
        "dns": {},
    }
