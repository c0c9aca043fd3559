"""What one connection may do, and how many there may be: on Envoy, whose HTTP/2 is spoken here frame by frame."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from trivet.testing import Served, serve

HERE = Path(__file__).parent
PATIENCE_SECONDS = 30

HEADERS, RST_STREAM, SETTINGS, GOAWAY = 1, 3, 4, 7
"""Types of frames (RFC 9113 section 6)."""

CANCEL = 8
MAX_CONCURRENT_STREAMS = b"\0\3"
STATUS_200 = 0x88
"""The field ``:status: 200`` in the static table of HPACK (RFC 7541 appendix A)."""


class Frame(NamedTuple):
    """One frame as it arrives."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Http2:
    """A client of HTTP/2 that knows no more than these tests need."""

    def __init__(self, served: Served) -> None:
        address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
        self.sock = socket.create_connection(address, timeout=PATIENCE_SECONDS)
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        self._rest = b""
        self._last = -1

    def ask(self, path: str, *, gives_up: bool = False) -> int:
        """Send a request, which may be given up in the same breath; returns its stream."""
        self._last += 2
        fields = {":method": "GET", ":scheme": "http", ":path": path, ":authority": "a"}
        block = b"".join(b"\0" + text(name) + text(value) for name, value in fields.items())  # literals, not indexed
        sent = frame(HEADERS, 0x5, self._last, block)
        if gives_up:
            sent += frame(RST_STREAM, 0, self._last, CANCEL.to_bytes(4))
        self.sock.sendall(sent)
        return self._last

    def frames(self) -> Iterator[Frame]:
        """Yield what arrives until the connection is closed."""
        while True:
            while len(self._rest) < 9 or len(self._rest) < 9 + int.from_bytes(self._rest[:3]):
                try:
                    more = self.sock.recv(65536)
                except ConnectionError:
                    return
                if not more:
                    return
                self._rest += more
            length = int.from_bytes(self._rest[:3])
            head, payload, self._rest = self._rest[:9], self._rest[9 : 9 + length], self._rest[9 + length :]
            arrived = Frame(head[3], head[4], int.from_bytes(head[5:]), payload)
            if arrived.kind == SETTINGS and not arrived.flags:
                self.sock.sendall(frame(SETTINGS, 1, 0))
            yield arrived

    def outcome(self, stream: int) -> Frame:
        """Return the head of an answer, or how it was refused."""
        return next(one for one in self.frames() if one.stream == stream and one.kind in (HEADERS, RST_STREAM))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def serving(**environ: str) -> Any:
    return serve("plain:app", app_dir=HERE, environ={"TRIVET_SERVER__KIND": "envoy", **environ})


@contextmanager
def connected(served: Served) -> Iterator[Http2]:
    client = Http2(served)
    with client.sock:
        yield client


def flood(client: Http2) -> None:
    """Begin requests and give each up, until the connection is gone."""
    for _ in range(100_000):
        client.ask("/sleep/5", gives_up=True)


def test_who_gives_up_again_and_again_loses_the_connection_and_nobody_else_does() -> None:
    with serving() as served, httpx2.Client(base_url=served.url, timeout=PATIENCE_SECONDS) as other:
        assert other.get("/").status_code == 200
        with connected(served) as client:
            for _ in range(100):  # as a client of gRPC may that is told to stop
                client.ask("/sleep/5", gives_up=True)
            assert client.outcome(client.ask("/")).payload[0] == STATUS_200
        with connected(served) as client, pytest.raises(ConnectionError):
            flood(client)
        assert other.get("/").status_code == 200


def test_as_many_requests_as_allowed_are_served_at_a_time_and_who_asks_for_more_loses_the_connection() -> None:
    with serving(TRIVET_LIMITS__STREAMS="4") as served:
        with connected(served) as client:
            said = next(one.payload for one in client.frames() if one.kind == SETTINGS)
            settings = {said[n : n + 2]: said[n + 2 : n + 6] for n in range(0, len(said), 6)}
            assert settings[MAX_CONCURRENT_STREAMS] == (4).to_bytes(4)
            streams = [client.ask("/sleep/1") for _ in range(4)]
            heads = (one for one in client.frames() if one.kind in (HEADERS, RST_STREAM))
            answered = {one.stream: one.payload[0] for _, one in zip(streams, heads, strict=False)}
            assert answered == dict.fromkeys(streams, STATUS_200)
            for _ in range(5):
                client.ask("/sleep/5")
            assert not any(one.kind == HEADERS for one in client.frames())  # until it is closed
        assert httpx2.get(served.url, timeout=PATIENCE_SECONDS).status_code == 200


def test_an_old_connection_is_told_to_go_and_what_is_in_flight_is_answered() -> None:
    with serving(TRIVET_SERVER__CONNECTION_AGE="1") as served:
        with connected(served) as client:
            stream = client.ask("/sleep/3")
            arrived = list(client.frames())  # until it is closed
        kinds = [one.kind for one in arrived if one.kind in (GOAWAY, HEADERS)]
        assert kinds[0] == GOAWAY
        assert [one.payload[0] for one in arrived if one.kind == HEADERS and one.stream == stream] == [STATUS_200]
        with httpx2.Client(base_url=served.url, timeout=PATIENCE_SECONDS) as kept:
            assert "connection" not in kept.get("/").headers
            time.sleep(1.5)
            answers = [kept.get("/"), kept.get("/")]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].headers["connection"] == "close"


def test_more_connections_than_allowed_are_closed_at_once_and_the_others_served() -> None:
    with serving(TRIVET_LIMITS__CONNECTIONS="5") as served:
        address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
        ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        with ExitStack() as stack:
            held = [stack.enter_context(socket.create_connection(address, PATIENCE_SECONDS)) for _ in range(5)]
            for sock in held:
                sock.sendall(ask)
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            with socket.create_connection(address, PATIENCE_SECONDS) as late:
                assert closed(late)
            for sock in held:
                sock.sendall(ask)
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            with socket.create_connection(address, PATIENCE_SECONDS) as sock:
                sock.sendall(ask)
                try:
                    if sock.recv(65536).startswith(b"HTTP/1.1 200"):
                        break
                except ConnectionError:
                    pass
            assert time.monotonic() < until, "the places of those that went are not given to others"


def closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
