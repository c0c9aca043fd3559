"""HTTP as it arrives over a real socket: what never reaches the application."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trivet.testing import Served, serve

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("kind")


@pytest.fixture(scope="module")
def served(kind: str) -> Iterator[Served]:
    limits = {"TRIVET_LIMITS__HEADERS": "4096", "TRIVET_LIMITS__URL": "1024"}
    with serve("plain:app", app_dir=HERE, environ=limits) as served:
        yield served


@pytest.fixture(scope="module")
def impatient(kind: str) -> Iterator[Served]:
    """A server that waits half a second for a head."""
    with serve("plain:app", app_dir=HERE, environ={"TRIVET_SERVER__HEAD_TIMEOUT": "0.5"}) as served:
        yield served


def send(served: Served, *pieces: bytes) -> bytes:
    """Send bytes and return everything that comes back until the connection is closed."""
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30) as sock:
        for piece in pieces:
            try:
                sock.sendall(piece)
            except ConnectionError:
                break
        received = b""
        while True:
            try:
                more = sock.recv(65536)
            except ConnectionError:
                return received
            if not more:
                return received
            received += more


def problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert "content-type: application/problem+json" in lines
    assert "connection: close" in lines
    document = msgspec.json.decode(body)
    assert f"request-id: {document['instance'].removeprefix('urn:request:')}" in lines
    assert document["status"] == int(head.split()[1])
    return document["status"], document["reason"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nname with spaces: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["words", "name", "length", "smuggling", "TLS", "path"],
)
def test_what_is_not_http_is_answered_with_a_problem(request_bytes: bytes, served: Served) -> None:
    assert problem(send(served, request_bytes)) == (400, "MALFORMED_REQUEST")


def test_a_version_that_is_none_is_refused_or_taken_for_1_0(kind: str, served: Served) -> None:
    answer = send(served, b"GET / HTTP/9.9\r\n\r\n")
    if kind == "envoy":  # it serves HTTP/1.0, and what is not 1.1 is that
        assert answer.startswith(b"HTTP/1.0 200")
    else:
        assert problem(answer) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize("path", [b"/%ff", b"/%c3", b"/%ed%a0%80", b"/%", b"/%zz"])
def test_a_path_that_is_not_utf_8_is_refused(path: bytes, served: Served) -> None:
    answer = send(served, b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert problem(answer) == (400, "MALFORMED_PATH")


def test_a_head_that_never_ends_is_refused(served: Served) -> None:
    pieces = [b"GET / HTTP/1.1\r\nhost: x\r\n", *(b"x-%d: %s\r\n" % (i, b"y" * 900) for i in range(400))]
    answer = send(served, *pieces)
    assert not answer or problem(answer) == (431, "HEADERS_TOO_LARGE")


def test_a_head_that_comes_too_slowly_is_refused(impatient: Served) -> None:
    assert problem(send(impatient, b"GET / HTTP/1.1\r\nhost: x\r\n")) == (408, "REQUEST_TIMEOUT")


def test_a_connection_on_which_nothing_comes_is_closed(impatient: Served) -> None:
    assert send(impatient) == b""


def test_a_second_head_on_a_kept_connection_has_the_same_limit(impatient: Served) -> None:
    answer = send(impatient, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HTTP/1.1\r\n")
    first, second = answer.split(b"HTTP/1.1 408", 1)
    assert first.startswith(b"HTTP/1.1 200")
    assert b"REQUEST_TIMEOUT" in second


def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    one = b"GET /sleep/0.05 HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert send(served, one + one + last).count(b"HTTP/1.1 200 OK") == 3


def test_a_server_says_nothing_about_its_software(served: Served) -> None:
    answer = send(served, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").lower()
    assert b"\r\nserver:" not in answer
    assert b"\r\ndate:" in answer


# -- the management listener


def manage(served: Served, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(served.management_url.rpartition(":")[2])), timeout=30) as sock:
        sock.sendall(request)
        received = b""
        while more := sock.recv(65536):
            received += more
        return received


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 200),
        (b"HEAD /livez HTTP/1.0\r\n\r\n", 200),
        (b"GET /readyz?verbose HTTP/1.1\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"GET metrics HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_the_management_listener_answers(request_bytes: bytes, status: int, served: Served) -> None:
    answer = manage(served, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    head, _, body = answer.partition(b"\r\n\r\n")
    if request_bytes.startswith(b"HEAD"):
        assert body == b""
    else:
        assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"


def test_a_client_that_says_nothing_to_management_does_no_harm(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", int(served.management_url.rpartition(":")[2]))):
        assert manage(served, b"GET /livez HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")
