"""Two answers say the same when only chance tells them apart."""

import json

import pytest

from podnet.rig.likeness import Names, differences, said


def _result(
    address: str = "10.1.0.2/24",
    veth: str = "veth01234567",
    mac: str = "02:00:00:00:00:01",
    **more: object,
) -> bytes:
    whole = {
        "interfaces": [{"name": veth}, {"name": "eth0", "mac": mac, "sandbox": "/run/netns/a"}],
        "ips": [{"address": address, "gateway": "10.1.0.1", "interface": 1}],
        **more,
    }
    return json.dumps(whole).encode()


def _different(then: bytes, now: bytes, ended: tuple[str, str] = ("exit 0", "exit 0")) -> list[str]:
    sides = []
    for ending, answer in zip(ended, (then, now), strict=True):
        names = Names()
        names.learn(answer)
        sides.append(said(ending, answer, names))
    return list(differences(*sides))


@pytest.mark.parametrize(
    "now",
    [
        _result(),
        _result(address="10.1.0.77/24"),
        _result(veth="vethffffffff", mac="4e:aa:bb:cc:dd:ee"),
        _result(dns={}, routes=[]),
    ],
)
def test_what_chance_gave_is_no_difference(now):
    assert _different(_result(), now) == []


@pytest.mark.parametrize(
    ("now", "key"),
    [
        (_result(address="10.2.0.2/24"), "ips"),
        (_result(address="10.1.0.2/16"), "ips"),
        (_result(routes=[{"dst": "0.0.0.0/0"}]), "routes"),
        (_result(veth="other0"), "interfaces"),
        (b"no json", "interfaces"),
        (_result() + _result(), "interfaces"),
    ],
)
def test_anything_else_is_one(now, key):
    assert any(sentence.startswith(f"{key}: ") for sentence in _different(_result(), now))


def test_the_exit_status_counts():
    assert _different(b"", b"", ("exit 0", "exit 1")) == ['ended: "exit 0", now "exit 1"']


def test_one_name_given_twice_is_one_name():
    names = Names()
    names.learn(_result())
    assert names.plain(
        "-s 10.1.0.2/32 on veth01234567, not 10.1.0.22, veth76543210 veth01234567"
    ) == ("-s <lease 1 of 10.1.0.0/24>/32 on <veth 1>, not 10.1.0.22, <veth 2> <veth 1>")
