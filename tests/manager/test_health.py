"""Questions about a manager's health: where they may be asked, and what nobody must lose by them."""

import socket
import threading
from http.client import HTTPConnection

import pytest

from podnet.errors import UsageError
from podnet.node import Node
from podnet_manager import health
from podnet_manager.log import Log
from podnet_manager.status import Status


def ask(address, request: bytes = b"GET /healthz HTTP/1.0\r\n\r\n") -> bytes:
    """Return the answer to a question on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as answer:
        client.settimeout(20)
        client.connect(str(address))
        client.sendall(request)
        return answer.read()


def test_a_file_where_the_socket_should_be_stays(tmp_path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("for years")

    with (
        pytest.raises(UsageError, match="cannot listen on unix:"),
        health.serving(Status(), f"unix:{precious}", Log()),
    ):
        pass

    assert precious.read_text() == "for years"


def test_a_socket_that_an_earlier_run_has_left_is_none_in_the_way(tmp_path) -> None:
    left = tmp_path / "health.sock"
    with socket.socket(socket.AF_UNIX) as earlier:
        earlier.bind(str(left))

    with health.serving(Status(), f"unix:{left}", Log()):
        assert ask(left).endswith(b"\r\n\r\nalive\n")
        assert left.stat().st_mode & 0o777 == 0o600

    assert not left.exists()


@pytest.mark.root
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_one_of_either_family(host) -> None:
    def served() -> bytes:
        with health.serving(Status(), f"{host}:8471", Log()):
            connection = HTTPConnection(host.strip("[]"), 8471, timeout=20)
            connection.request("GET", "/healthz")
            try:
                return connection.getresponse().read()
            finally:
                connection.close()

    with Node.in_memory("one") as node:
        assert node.run(served) == b"alive\n"


def test_a_client_that_hangs_up_is_nothing_to_talk_of(tmp_path, capfd) -> None:
    address, gone = tmp_path / "health.sock", threading.Event()

    class Slow(Status):
        """Answers when nobody listens any more."""

        def is_alive(self) -> bool:
            """Wait for that."""
            return gone.wait(20)

    with health.serving(Slow(), f"unix:{address}", Log(as_json=True)):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address))
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        gone.set()
        assert b"alive" in ask(address)

    assert capfd.readouterr().err == ""


def test_an_answer_that_fails_is_a_line_of_the_log(tmp_path, capfd) -> None:
    class Broken(Status):
        """Cannot tell."""

        def is_alive(self) -> bool:
            """Fail."""
            raise ZeroDivisionError("broken")

    with health.serving(Broken(), f"unix:{tmp_path}/health.sock", Log()):
        assert ask(tmp_path / "health.sock") == b""

    (line,) = capfd.readouterr().err.splitlines()
    assert "not answered reason=" in line
    assert "broken" in line
