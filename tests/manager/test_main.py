"""The manager's command line: what is wrong ends it with a status, and what must be done is done."""

import shutil

import pytest

HOST_GW = {"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--etcd-endpoints", "10.0.0.1:2379"], "'10.0.0.1:2379' is no endpoint"),
        (["--etcd-endpoints", "http://a:1,"], "'' is no endpoint"),
        (["--etcd-endpoints", "https://a:1", "--etcd-cafile", "/none"], "cannot be used"),
        (["--etcd-endpoints", "https://a:1", "--etcd-keyfile", "/none"], "only one of them"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--release",)], ids=["run", "release"])
def test_what_makes_no_sense_to_ask_etcd_with_is_not_tried_again_and_again(
    rack, options, said, more
) -> None:
    one = rack.machine()
    one.start(*options, *more)

    assert one.process.wait(30) == 2

    one.process = None
    assert said in one.log
    assert "Traceback" not in one.log


def test_without_nft_all_but_the_rules_is_removed_and_that_is_said(rack, until) -> None:
    (one, two) = rack.up(2, HOST_GW)
    one.stop()
    programs = rack.directory / "programs"
    programs.mkdir()
    (programs / "setpriv").symlink_to(shutil.which("setpriv"))

    one.start("--release", PATH=str(programs))

    assert one.process.wait(30) == 7
    one.process = None
    assert "error: there is no nft program" in one.log
    assert not one.subnet_file.exists()
    assert one.routes() == {}
    until(lambda: two.routes() == {}, "the lease is given back")


def test_all_that_fails_at_the_end_is_said(rack) -> None:
    one = rack.machine()
    one.subnet_file.mkdir()

    one.start("--release", "--store", str(rack.directory / "m1" / "subnet.env"))

    assert one.process.wait(30) == 1
    one.process = None
    assert one.log.count("error: ") == 2
    assert "Traceback" not in one.log
