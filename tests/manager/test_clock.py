"""The clock of leases, and the file that sets it ahead."""

import signal

import pytest

from podnet_manager.clock import Clock

HOST_GW = {"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}}


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "soon", "", "\x80"])
def test_what_is_no_number_leaves_the_clock_as_it_was(tmp_path, text) -> None:
    file = tmp_path / "clock"
    file.write_text("86400")
    clock = Clock(file)
    before = clock.steady()
    file.write_bytes(text.encode("latin-1"))

    with pytest.raises(ValueError, match=r"number|convert|decode"):
        clock.set()

    assert 0 <= clock.steady() - before < 3600


@pytest.mark.root
def test_a_signal_with_a_bad_clock_file_is_a_complaint_and_no_end(rack, until) -> None:
    file = rack.directory / "clock"
    (one,) = rack.up(1, HOST_GW, "--clock-file", str(file), "--lease-ttl", "86400")

    for text in ("soon", "nan"):
        file.write_text(text)
        one.process.send_signal(signal.SIGHUP)
        until(lambda said=text: f"{said}" in one.log, "it is said")

    assert "Traceback" not in one.log
    assert one.is_ready()
    file.write_text("80000")
    one.process.send_signal(signal.SIGHUP)
    until(lambda: "renewals_total 1\n" in one.ask("/metrics")[1], "the next one is read")
