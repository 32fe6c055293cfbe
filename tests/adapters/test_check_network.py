"""TCP and HTTP checks against real listeners on the loopback interface."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from haagent.adapters.checks.network import _tls, http, tcp
from haagent.adapters.checks.result import LONGEST, Result

OK_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@contextmanager
def listener(address: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        yield server


@contextmanager
def serving(
    answer: bytes | Callable[[socket.socket], None],
    address: str = "127.0.0.1",
    context: ssl.SSLContext | None = None,
) -> Iterator[tuple[int, list[bytes]]]:
    """Serve each connection with ``answer``; yield the port and what was asked."""
    asked: list[bytes] = []

    def one(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            plain = connection if context is None else context.wrap_socket(connection, True)
            with plain:
                asked.append(plain.recv(4096))
                if callable(answer):
                    answer(plain)
                else:
                    plain.sendall(answer)

    def run(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    with listener(address) as server:
        threading.Thread(target=run, args=(server,), daemon=True).start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS, and its certificate: signed by itself, for shop.example."""
    home = tmp_path_factory.mktemp("certificate")
    key, certificate = home / "key.pem", home / "certificate.pem"
    names = "subjectAltName=DNS:shop.example,IP:127.0.0.1"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=shop.example -addext {names}"
        f" -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@pytest.fixture
def certificate(authority: tuple[ssl.SSLContext, Path]) -> ssl.SSLContext:
    return authority[0]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_where_somebody_listens_passes_and_one_that_is_closed_fails(address: str) -> None:
    with listener(address) as server:
        port = server.getsockname()[1]
        assert tcp(address, port, 1.0).passed

    result = tcp(address, port, 1.0)

    assert not result.passed
    assert "connection refused" in result.text


def test_a_host_that_does_not_answer_fails_at_the_limit() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        began_s = time.monotonic()

        result = tcp("127.0.0.1", full.getsockname()[1], 0.2)

        assert not result.passed
        assert "no connection" in result.text
        assert time.monotonic() - began_s < 3
        for filler in fillers:
            filler.close()


def test_an_answer_with_a_status_that_is_wanted_passes() -> None:
    with serving(OK_ANSWER) as (port, asked):
        result = http(f"http://127.0.0.1:{port}/health?full=1", 2.0)

    assert result.passed
    assert result.text.startswith("HTTP 200 OK in ")
    assert asked[0].startswith(b"GET /health?full=1 HTTP/1.1\r\n")
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % port in asked[0]


def test_over_ipv6_the_address_is_named_in_brackets() -> None:
    with serving(OK_ANSWER, "::1") as (port, asked):
        assert http(f"http://[::1]:{port}", 2.0).passed

    assert asked[0].startswith(b"GET / HTTP/1.1\r\n")
    assert b"\r\nHost: [::1]:%d\r\n" % port in asked[0]


def test_another_status_fails_and_is_told() -> None:
    with serving(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") as (port, _):
        assert http(f"http://127.0.0.1:{port}/", 2.0) == Result(
            False, "HTTP 503 Service Unavailable, not 200..399"
        )
        assert http(f"http://127.0.0.1:{port}/", 2.0, status=(503, 503)).passed


def test_a_name_is_sent_to_an_address() -> None:
    with serving(OK_ANSWER) as (port, asked):
        assert http(f"http://127.0.0.1:{port}/", 2.0, host="shop.example").passed

    assert b"\r\nHost: shop.example\r\n" in asked[0]


def test_an_announcement_is_not_yet_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    with serving(early + b"HTTP/1.1 500 Sorry\r\n\r\n") as (port, _):
        assert http(f"http://127.0.0.1:{port}/", 2.0).text == "HTTP 500 Sorry, not 200..399"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "the connection was closed unanswered"),
        (b"220 mail.example ESMTP\r\n", "no HTTP: 220 mail.example ESMTP"),
        (b"HTTP/1.1 20", "no HTTP: HTTP/1.1 20"),
        (b"\x00\xff\n", "no HTTP: ?\ufffd"),
    ],
)
def test_whoever_does_not_speak_http_fails(answer: bytes, text: str) -> None:
    with serving(answer) as (port, _):
        assert http(f"http://127.0.0.1:{port}/", 2.0) == Result(False, text)


def test_an_answer_that_trickles_has_one_limit_for_all_of_it() -> None:
    def trickle(connection: socket.socket) -> None:
        pause = threading.Event()
        for byte in b"HTTP/1.1 200 OK\r\n" * 10:
            connection.sendall(bytes([byte]))
            pause.wait(0.1)

    with serving(trickle) as (port, _):
        began_s = time.monotonic()
        result = http(f"http://127.0.0.1:{port}/", 0.5)

    assert result == Result(False, "no answer in 0.5 s")
    assert time.monotonic() - began_s < 3


def test_a_body_without_end_does_not_hold_up_the_result() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Event().wait(3)

    with serving(endless) as (port, _):
        began_s = time.monotonic()
        assert http(f"http://127.0.0.1:{port}/", 5.0).passed

    assert time.monotonic() - began_s < 3


def test_a_status_line_without_end_is_bounded() -> None:
    def endless(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * 1024)

    with serving(endless) as (port, _):
        result = http(f"http://127.0.0.1:{port}/", 2.0)

    assert not result.passed
    assert len(result.text) <= LONGEST


def test_a_certificate_that_nobody_vouches_for_fails(certificate: ssl.SSLContext) -> None:
    with serving(OK_ANSWER, context=certificate) as (port, _):
        result = http(f"https://127.0.0.1:{port}/", 2.0)

    assert not result.passed
    assert "self-signed certificate" in result.text


def test_a_certificate_is_taken_as_it_is_where_the_file_says_so(
    certificate: ssl.SSLContext,
) -> None:
    with serving(OK_ANSWER, context=certificate) as (port, _):
        assert http(f"https://127.0.0.1:{port}/", 2.0, verify=False).passed


def test_a_certificate_that_is_vouched_for_counts_for_the_names_in_it_alone(
    authority: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, file = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    _tls.cache_clear()
    with serving(OK_ANSWER, context=certificate) as (port, _):
        url = f"https://127.0.0.1:{port}/"
        ours, other = (http(url, 2.0, host=name) for name in ("shop.example", "else.example"))
    _tls.cache_clear()

    assert ours.passed
    assert not other.passed
    assert "else.example" in other.text


def test_a_server_without_tls_fails_over_https() -> None:
    with serving(OK_ANSWER) as (port, _):
        result = http(f"https://127.0.0.1:{port}/", 2.0, verify=False)

    assert not result.passed
    assert "wrong version number" in result.text or "record layer" in result.text


def test_a_server_that_never_greets_fails_at_the_limit_over_https() -> None:
    with listener() as server:
        began_s = time.monotonic()
        result = http(f"https://127.0.0.1:{server.getsockname()[1]}/", 0.3)

    assert result == Result(False, "no answer in 0.3 s")
    assert time.monotonic() - began_s < 3
