"""WebSockets on both servers: who the client is, what is refused, what is bounded, how they end."""

from __future__ import annotations

import ast
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.waiting import eventually
from trivet.testing import Served, serve

HERE = Path(__file__).parent
PATIENCE_SECONDS = 30
MIB = 1024 * 1024

ASKS = (
    "Host: a",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def serving(**environ: str) -> Any:
    return serve("sockets:app", app_dir=HERE, environ=environ)


@pytest.fixture(scope="module")
def served(kind: str) -> Iterator[Served]:
    with serving(TRIVET_SERVER__HEAD_TIMEOUT="1", TRIVET_SERVER__CONNECTION_AGE="1") as served:
        yield served


def port_of(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


def opened(served: Served, path: str = "/", **options: Any) -> ClientConnection:
    options = {"compression": None, "open_timeout": PATIENCE_SECONDS} | options
    client: ClientConnection = connect(f"ws://127.0.0.1:{port_of(served)}{path}", **options)
    return client


def told(client: ClientConnection) -> dict[str, Any]:
    """Return what the application was told about a socket."""
    seen: dict[str, Any] = ast.literal_eval(str(client.recv(PATIENCE_SECONDS)))
    return seen


def closed(client: ClientConnection) -> int:
    """Return the code with which a socket is closed."""
    with pytest.raises(ConnectionClosed) as caught:  # noqa: PT012 (what was sent before may come first)
        while True:
            client.recv(PATIENCE_SECONDS)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def handshake(*fields: str, line: str = "GET / HTTP/1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode() + body


def send(served: Served, request: bytes) -> bytes:
    """Send bytes and return what comes back until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=PATIENCE_SECONDS) as sock:
        sock.sendall(request)
        received = b""
        while more := sock.recv(65536):
            received += more
        return received


def raw(served: Served) -> socket.socket:
    """Return a connection that became a WebSocket, with what the application said still to be read."""
    sock = socket.create_connection(("127.0.0.1", port_of(served)), timeout=PATIENCE_SECONDS)
    sock.sendall(handshake(*ASKS))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return sock


# -- who it is


def test_the_application_is_told_whose_connection_it_is_whatever_the_client_says(kind: str, served: Served) -> None:
    lies = {"X-Trivet-Connection": "6.6.6.6;6;6.6.6.6;6;;", "X-Envoy-Retry-On": "5xx"}
    with opened(served, "/a%2Fb?x=%41", additional_headers=lies) as client:
        seen = told(client)
        mine = client.socket.getsockname()
    assert (seen["client"], seen["server"]) == (mine, ("127.0.0.1", port_of(served)))
    assert (seen["scheme"], seen["raw_path"], seen["query_string"]) == ("ws", b"/a%2Fb", b"x=%41")
    assert seen["tls"] is None
    fields = dict(seen["headers"])
    assert len(fields) == len(seen["headers"])
    assert fields[b"host"] == f"127.0.0.1:{port_of(served)}".encode()
    for name in lies:  # on uvicorn they are fields as any other, and nobody obeys them
        assert (name.lower().encode() in fields) is (kind == "uvicorn")


def test_over_tls_it_is_told_who_showed_which_certificate(kind: str, tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    issued = ours.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate"))
    theirs.cert_pem.write_to_path(str(tmp_path / "clients"))
    client = theirs.issue_cert("device.example", common_name="device; nine")
    context = ssl.create_default_context(cadata=ours.cert_pem.bytes().decode())
    with client.private_key_and_cert_chain_pem.tempfile() as shown:
        context.load_cert_chain(shown)
    environ = {
        "TRIVET_TLS__CERTIFICATE": str(tmp_path / "certificate"),
        "TRIVET_TLS__KEY": str(tmp_path / "key"),
        "TRIVET_TLS__CLIENT_CERTIFICATE": "optional",
        "TRIVET_TLS__CLIENT_CA": str(tmp_path / "clients"),
    }
    anonymous = ssl.create_default_context(cadata=ours.cert_pem.bytes().decode())
    with serving(**environ) as served:
        for given in (context, anonymous):
            with connect(f"wss://localhost:{port_of(served)}/", ssl=given) as socket:
                seen = told(socket)
            assert seen["scheme"] == "wss"
            assert seen["tls"]["tls_version"] == 0x0304
            chain, name = seen["tls"]["client_cert_chain"], seen["tls"]["client_cert_name"]
            assert b"x-forwarded-client-cert" not in dict(seen["headers"])
            if given is anonymous:
                assert (chain, name) == ([], None)
            else:
                assert name.startswith("CN=device")
                assert ssl.PEM_cert_to_DER_cert(chain[0]) == ssl.PEM_cert_to_DER_cert(
                    client.cert_chain_pems[0].bytes().decode()
                )


# -- what is refused


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (handshake(*ASKS, line="POST / HTTP/1.1"), 405, "METHOD_NOT_ALLOWED"),
        (handshake(*ASKS[:-1]), 400, "MALFORMED_REQUEST"),
        (handshake(*ASKS[:3], "Sec-WebSocket-Version: 7", ASKS[4]), 400, "MALFORMED_REQUEST"),
        (handshake(*ASKS, "Content-Length: 3", body=b"abc"), 400, "MALFORMED_REQUEST"),
        (handshake(*ASKS, "X: " + "a" * 10_000), 431, "HEADERS_TOO_LARGE"),
        (handshake(*ASKS, line=f"GET /{'a' * 9_000} HTTP/1.1"), 414, "URL_TOO_LONG"),
        (handshake(*ASKS, line="GET /%ff HTTP/1.1"), 400, "MALFORMED_PATH"),
        (handshake("Host: a/b", *ASKS[1:]), 400, "MALFORMED_REQUEST"),
        (handshake(*ASKS, line="GET /deny HTTP/1.1"), 403, "PERMISSION_DENIED"),
        (handshake(*ASKS)[:-2], 408, "REQUEST_TIMEOUT"),
    ],
    ids=["method", "key", "version", "body", "field", "path", "encoding", "host", "application", "unfinished"],
)
def test_what_is_no_handshake_is_refused(request_bytes: bytes, status: int, reason: str, served: Served) -> None:
    head, _, body = send(served, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in head.lower()
    assert msgspec.json.decode(body)["reason"] == reason


def test_a_refusal_says_what_would_be_accepted(served: Served) -> None:
    other = send(served, handshake(*ASKS[:3], "Sec-WebSocket-Version: 7", ASKS[4])).lower()
    assert b"\r\nsec-websocket-version: 13\r\n" in other
    assert b"\r\nallow: get\r\n" in send(served, handshake(*ASKS, line="POST / HTTP/1.1")).lower()


def test_http_1_0_has_no_upgrades(kind: str, served: Served) -> None:
    head, _, body = send(served, handshake(*ASKS, line="GET / HTTP/1.0")).partition(b"\r\n\r\n")
    if kind == "uvicorn":  # as if nothing was asked (RFC 9110 section 7.8); Envoy has decided by then
        assert (head.split()[1], body) == (b"200", b"http")
    else:
        assert (head.split()[1], msgspec.json.decode(body)["reason"]) == (b"400", "MALFORMED_REQUEST")


def test_an_upgrade_to_anything_else_is_ignored(served: Served) -> None:
    for other in ("other", "h2c", "websockets"):
        answer = send(served, handshake("Host: a", "Connection: Upgrade, close", f"Upgrade: {other}"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"http")


def test_requests_on_an_open_socket_are_no_requests(served: Served) -> None:
    with raw(served) as sock:
        sock.sendall(handshake("Host: a"))
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert b"\x88" in answer  # it is closed
    assert b"HTTP/1.1" not in answer


# -- what is bounded


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_message_as_large_as_a_body_may_be_is_heard_and_a_larger_one_closes(
    compression: str | None, served: Served
) -> None:
    with opened(served, compression=compression, max_size=2 * MIB) as client:
        told(client)
        client.send("x" * MIB)
        assert client.recv(PATIENCE_SECONDS) == "x" * MIB
        client.send("x" * (MIB + 1))
        assert closed(client) == 1009


def test_a_client_that_reads_nothing_stops_the_application_and_costs_little_memory(kind: str, served: Served) -> None:
    worker = psutil.Process(served.process.pid).children()[0]
    with opened(served, "/flood", max_queue=1) as client:
        last = 0

        def stopped() -> bool:
            nonlocal last
            before, last = last, served.log.read_text().count("sent ")
            time.sleep(0.3)
            return 0 < before == last

        eventually(stopped)
        assert last * 65_536 < 32 * MIB  # what sockets and Envoy buffer on the way
        assert worker.memory_info().rss < 400 * MIB
        client.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: "flood ended" in served.log.read_text())


def test_many_are_open_at_the_same_time_and_gone_when_their_clients_are(kind: str) -> None:
    with serving() as served:
        worker = psutil.Process(served.process.pid).children()[0]
        before = worker.num_fds()
        with ExitStack() as clients:
            for _ in range(300):
                clients.enter_context(raw(served))
            assert worker.num_fds() >= before + 300
        eventually(lambda: worker.num_fds() <= before)
        eventually(lambda: served.log.read_text().count("disconnected") == 300)


# -- how they end


def test_a_socket_outlives_the_age_of_connections(kind: str, served: Served) -> None:
    with opened(served) as client:
        told(client)
        for text in ("one", "two", "three"):
            time.sleep(0.8)
            client.send(text)
            assert client.recv(PATIENCE_SECONDS) == text


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=["SIGHUP", "SIGTERM"])
def test_a_process_that_ends_tells_its_sockets_to_come_back(kind: str, number: signal.Signals) -> None:
    with serving(TRIVET_SERVER__DRAIN_WAIT="0.5") as served, opened(served) as client:
        told(client)
        served.signal(number)
        client.send("still here")
        assert client.recv(PATIENCE_SECONDS) == "still here"
        assert closed(client) == 1012
        if number is signal.SIGHUP:
            with opened(served) as again:
                assert told(again)["scheme"] == "ws"
            assert served.stop() == 0
        else:
            assert served.process.wait(PATIENCE_SECONDS) == 0


def test_a_client_that_does_not_answer_the_close_holds_nobody_up(kind: str) -> None:
    with serving() as served, raw(served):
        assert served.stop() == 0
        assert "were cut off" not in served.log.read_text()


def test_the_application_hears_that_its_client_is_gone(kind: str) -> None:
    with serving() as served:
        with opened(served) as client:
            told(client)
            client.close(4321)
        eventually(lambda: "disconnected 4321" in served.log.read_text())
