"""Requests that hide another one: wherever servers disagree about where a request ends, nobody answers the hidden one.

Every case is sent with an honest request behind it, and everything that comes back is read. However a server reads a
case, each answer must be a whole one, and none may be the answer to what is hidden in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from tests.integration.wire import Connection
from tests.transports.malformed import ONE, VALID, request
from trivet.testing import Served, serve

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b'"alive"'
"""What is answered to the hidden request, and to no other."""

LAST = request("GET", ONE, "Connection: close")
END = b"0\r\n\r\n"


class Case(NamedTuple):
    """A request with another one inside."""

    name: str
    raw: bytes


def post(*fields: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
    """Return a request to lend a book, with these header fields and no others about its body."""
    start = b"POST " + ONE.encode() + b":lend HTTP/" + version
    return b"\r\n".join([start, b"Host: localhost", b"Content-Type: application/json", *fields, b"", b""]) + body


def length(count: int) -> bytes:
    return b"Content-Length: %d" % count


def chunk() -> bytes:
    return b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN)


CHUNKED = b"Transfer-Encoding: chunked"
WHOLE = len(END + HIDDEN)

CASES = [
    Case("length, then chunks", post(length(WHOLE), CHUNKED, body=END + HIDDEN)),
    Case("chunks, then length", post(CHUNKED, length(WHOLE), body=END + HIDDEN)),
    Case("a length shorter than the chunks", post(length(4), CHUNKED, body=chunk() + END)),
    Case("no length and chunks", post(length(0), CHUNKED, body=HIDDEN)),
    Case("chunked before identity", post(b"Transfer-Encoding: chunked, identity", length(WHOLE), body=END + HIDDEN)),
    Case("identity before chunked", post(b"Transfer-Encoding: identity, chunked", length(WHOLE), body=END + HIDDEN)),
    Case("chunked twice", post(b"Transfer-Encoding: chunked, chunked", length(WHOLE), body=END + HIDDEN)),
    Case("chunked in two fields", post(CHUNKED, CHUNKED, length(WHOLE), body=END + HIDDEN)),
    Case("identity in its own field", post(b"Transfer-Encoding: identity", CHUNKED, length(WHOLE), body=END + HIDDEN)),
    Case("nearly chunked", post(b"Transfer-Encoding: xchunked", length(WHOLE), body=END + HIDDEN)),
    Case("chunked in quotes", post(b'Transfer-Encoding: "chunked"', length(WHOLE), body=END + HIDDEN)),
    Case("chunked with a parameter", post(b"Transfer-Encoding: chunked;a=b", length(WHOLE), body=END + HIDDEN)),
    Case("chunked with an empty member", post(b"Transfer-Encoding: , chunked", length(WHOLE), body=END + HIDDEN)),
    Case("no coding at all", post(b"Transfer-Encoding:", length(WHOLE), body=END + HIDDEN)),
    Case("space before the colon", post(b"Transfer-Encoding : chunked", length(WHOLE), body=END + HIDDEN)),
    Case("tab before the colon", post(b"Transfer-Encoding\t: chunked", length(WHOLE), body=END + HIDDEN)),
    Case("space before the name", post(b" Transfer-Encoding: chunked", length(WHOLE), body=END + HIDDEN)),
    Case("vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked", length(WHOLE), body=END + HIDDEN)),
    Case("NUL after chunked", post(b"Transfer-Encoding: chunked\0", length(WHOLE), body=END + HIDDEN)),
    Case("underscore in the name", post(b"Transfer_Encoding: chunked", length(WHOLE), body=END + HIDDEN)),
    Case("folded chunked", post(b"Transfer-Encoding:\r\n chunked", length(WHOLE), body=END + HIDDEN)),
    Case("chunked after a bare CR", post(b"X: a\rTransfer-Encoding: chunked", length(WHOLE), body=END + HIDDEN)),
    Case("chunked after a bare LF", post(b"X: a\nTransfer-Encoding: chunked", length(WHOLE), body=END + HIDDEN)),
    Case("length after a bare CR", post(b"X: a\rContent-Length: 0", length(len(HIDDEN)), body=HIDDEN)),
    Case("length after a bare LF", post(b"X: a\nContent-Length: 0", length(len(HIDDEN)), body=HIDDEN)),
    Case("two lengths, the first shorter", post(length(0), length(len(HIDDEN)), body=HIDDEN)),
    Case("two lengths, the second shorter", post(length(len(HIDDEN)), length(0), body=HIDDEN)),
    Case("a list of lengths", post(b"Content-Length: 0, %d" % len(HIDDEN), body=HIDDEN)),
    Case("a length with a sign", post(b"Content-Length: +%d" % len(HIDDEN), body=HIDDEN)),
    Case("a length with a NUL", post(b"Content-Length: %d\0" % len(HIDDEN), body=HIDDEN)),
    Case("a length in octal", post(b"Content-Length: 0%o" % len(HIDDEN), body=HIDDEN + b" " * 200)),
    Case("a length in hexadecimal", post(b"Content-Length: 0x%x" % len(HIDDEN), body=HIDDEN)),
    Case("a length that overflows", post(b"Content-Length: %d" % (2**64 + 2), body=b"{}" + HIDDEN)),
    Case("a length that is to be dropped", post(b"Connection: content-length", length(len(HIDDEN)), body=HIDDEN)),
    Case("LF in a chunk extension", post(CHUNKED, body=b"5;a\n" + b"x" * 5 + b"\r\n0\r\n\r\n" + HIDDEN)),
    Case("CR in a chunk extension", post(CHUNKED, body=b"2;a\rb\r\n{}\r\n" + chunk() + END)),
    Case("a chunk size with a space inside", post(CHUNKED, body=b"0 2\r\n{}\r\n0\r\n\r\n")),
    Case("a chunk size with a prefix", post(CHUNKED, body=b"0x" + chunk() + END)),
    Case("a chunk size with an underscore", post(CHUNKED, body=b"1_0\r\n" + HIDDEN + b"\r\n0\r\n\r\n")),
    Case("a chunk size that overflows", post(CHUNKED, body=b"10000000000000002\r\n{}\r\n0\r\n\r\n")),
    Case("a chunk that ends in LF", post(CHUNKED, body=b"2\n{}\n0\n\n")),
    Case("a chunk longer than it says", post(CHUNKED, body=b"2\r\n{}" + HIDDEN + END)),
    Case("a trailer without a colon", post(CHUNKED, body=b"2\r\n{}\r\n0\r\n" + HIDDEN)),
    Case("a length in the trailer", post(CHUNKED, body=b"2\r\n{}\r\n0\r\nContent-Length: %d\r\n\r\n" % len(LAST))),
    Case("chunks in 1.0", post(b"Connection: keep-alive", length(WHOLE), CHUNKED, body=END + HIDDEN, version=b"1.0")),
    Case("a body where none is read", request("GET", ONE, body=HIDDEN)),
    Case("a body for nobody", request("POST", "/nowhere", body=HIDDEN)),
    Case("a body after an expectation", post(b"Expect: 100-continue", length(len(HIDDEN)), body=HIDDEN)),
    Case("another expectation", post(b"Expect: 200-ok", length(len(HIDDEN)), body=HIDDEN)),
    Case("a body after an upgrade", post(b"Connection: Upgrade", b"Upgrade: h2c", length(len(HIDDEN)), body=HIDDEN)),
    Case("behind nonsense", b"nonsense\r\n\r\n" + HIDDEN),
    Case("behind a method that is none", b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN),
    Case("behind a field that is none", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n" + HIDDEN),
    Case("behind two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + length(len(HIDDEN)) + b"\r\n\r\n" + HIDDEN),
    Case("behind CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n" + HIDDEN),
    Case("in the target", b"GET /v1/books?tags=a HTTP/1.1\r\nX: b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
         % (len(HIDDEN), HIDDEN)),
    Case("honest", post(length(len(VALID)), body=VALID)),
]  # fmt: skip


@pytest.fixture(scope="module")
def served(kind: str) -> Iterator[Served]:
    environ = {"TRIVET_ENVIRONMENT": "development", "TRIVET_SERVER__HEAD_TIMEOUT": "3"}
    with serve("tests.integration.library_app:app", app_dir=ROOT, environ=environ) as served:
        yield served


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Return the status and the body of each answer; a provisional one is none."""
    found = []
    while received:
        head, ended, received = received.partition(b"\r\n\r\n")
        assert ended, f"half a head: {head!r}"
        first, *lines = head.split(b"\r\n")
        fields = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
        assert len(fields) == len(lines), "a field came twice"
        status = int(first.split()[1])
        count = int(fields[b"content-length"]) if status not in (100, 204, 304) else 0
        body, received = received[:count], received[count:]
        assert len(body) == count, f"half a body: {body!r}"
        if status >= 400:
            assert fields[b"content-type"] == b"application/problem+json"
            assert msgspec.json.decode(body)["status"] == status
        if status != 100:
            found.append((status, body))
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_hidden_in_a_request_is_never_answered(case: Case, served: Served) -> None:
    with Connection(served) as connection:
        connection.send(case.raw + LAST)
        found = answers(connection.everything())
    assert all(ANSWER not in body for _, body in found)
    assert len(found) <= 2
    if case.name == "honest":
        assert [status for status, _ in found] == [200, 200]


def test_the_hidden_request_is_one_that_would_be_answered(served: Served) -> None:
    with Connection(served) as connection:
        connection.send(HIDDEN + LAST)
        found = answers(connection.everything())
    assert ANSWER in found[0][1]
    assert [status for status, _ in found] == [200, 200]
