"""The table of malformed requests over a real socket, and what is only a question there: framing, versions, endings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from tests.integration.wire import Answer, Connection
from tests.transports.malformed import CASES, LARGE, ONE, VALID, Case, lend, request
from trivet.testing import Served, serve

ROOT = Path(__file__).resolve().parents[2]

GOOD = request("GET", ONE)
LAST = request("GET", ONE, "Connection: close")
MALFORMED = (400, "MALFORMED_REQUEST")


def line(text: str, *fields: str, body: bytes = b"") -> bytes:
    """Return a request whose first line is written out."""
    return "\r\n".join([text, *fields, "", ""]).encode("latin-1") + body


FRAMING = [
    Case("HTTP/0.9", b"GET /\r\n\r\n", 505, "VERSION_NOT_SUPPORTED"),
    Case("a version that is none", line("GET / HTTP/9.9", "Host: a"), *MALFORMED),
    Case("HTTP/2 without its preface", line("GET / HTTP/2.0", "Host: a"), 505, "VERSION_NOT_SUPPORTED"),
    Case("a part of the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", *MALFORMED),
    Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", *MALFORMED),
    Case("no host", line("GET / HTTP/1.1"), *MALFORMED),
    Case("two hosts", line("GET / HTTP/1.1", "Host: a", "Host: b"), *MALFORMED),
    Case("a host that is none", line("GET / HTTP/1.1", "Host: a/b"), *MALFORMED),
    Case("method in lower case", line("get / HTTP/1.1", "Host: a"), *MALFORMED),
    Case("method without an end", b"A" * 9000 + line(" / HTTP/1.1", "Host: a"), *MALFORMED),
    Case("CONNECT", line("CONNECT a:80 HTTP/1.1", "Host: a:80"), *MALFORMED),
    Case("target without a slash", line("GET livez HTTP/1.1", "Host: a"), *MALFORMED),
    Case("target with a fragment", line("GET /livez#top HTTP/1.1", "Host: a"), *MALFORMED),
    Case("target with a control character", line("GET /\x01 HTTP/1.1", "Host: a"), *MALFORMED),
    Case("target with a raw letter", line("GET /\xe4 HTTP/1.1", "Host: a"), *MALFORMED),
    Case("asterisk for another method", line("GET * HTTP/1.1", "Host: a"), 404, "ROUTE_NOT_FOUND"),
    Case("lines that end in LF", b"GET / HTTP/1.1\nHost: a\n\n", *MALFORMED),
    Case("lines that end in CR", b"GET / HTTP/1.1\rHost: a\r\r", *MALFORMED),
    Case("folded field", line("GET / HTTP/1.1", "Host: a", "X: a", " b"), *MALFORMED),
    Case("field without a name", line("GET / HTTP/1.1", "Host: a", ": x"), *MALFORMED),
    Case("field without a colon", line("GET / HTTP/1.1", "Host: a", "field"), *MALFORMED),
    Case("CR in a field", line("GET / HTTP/1.1", "Host: a", "X: a\rb"), *MALFORMED),
    Case("signed length", lend("Content-Length: +15", body=VALID), *MALFORMED),
    Case("hexadecimal length", lend("Content-Length: 0xf", body=VALID), *MALFORMED),
    Case("two lengths in one field", lend("Content-Length: 15, 15", body=VALID), *MALFORMED),
    Case("length of 30 digits", lend(f"Content-Length: {'9' * 30}", body=VALID), *MALFORMED),
    Case("coding that is not chunked", lend("Transfer-Encoding: gzip", body=VALID, length=False), *MALFORMED),
    Case("chunked is not the last coding", lend("Transfer-Encoding: chunked, gzip", body=VALID), *MALFORMED),
    Case(
        "chunks and a length",
        lend("Transfer-Encoding: chunked", "Content-Length: 15", body=b"0\r\n\r\n"),
        *MALFORMED,
    ),
    Case("negative chunk", lend("Transfer-Encoding: chunked", body=b"-1\r\n", length=False), *MALFORMED),
    Case("chunk of 20 digits", lend("Transfer-Encoding: chunked", body=b"f" * 20 + b"\r\n", length=False), *MALFORMED),
    Case(
        "chunk longer than it says",
        lend("Transfer-Encoding: chunked", body=b"1\r\n{}\r\n0\r\n\r\n", length=False),
        *MALFORMED,
    ),
    Case(
        "chunks over the limit",
        lend("Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE), length=False),
        413,
        "BODY_TOO_LARGE",
    ),
    Case("expectation and too much", lend("Expect: 100-continue", "Content-Length: 9999999", body=b""), 413,
         "BODY_TOO_LARGE"),
    Case(
        "WebSocket where none is served",
        request("GET", ONE, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        404,
        "ROUTE_NOT_FOUND",
    ),
    Case("URL without an end", b"GET /" + b"a" * 2_000_000, 414, "URL_TOO_LONG"),
    Case("head without an end", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2_000_000, 431, "HEADERS_TOO_LARGE"),
]  # fmt: skip
"""Requests that never reach an operation, or only over a socket."""

ROWS = [case if case.reason else Case(case.name, case.raw, *MALFORMED) for case in CASES] + FRAMING


class Otherwise(NamedTuple):
    """What Envoy does with a row of the table where uvicorn refuses it, and why that is safe."""

    status: int
    """0: it closes the connection without an answer."""
    reason: str | None
    why: str


AS_1_0 = Otherwise(200, None, "it is served as HTTP/1.0, whose answer is the last of its connection")

ENVOY = {
    "HTTP/0.9": AS_1_0,
    "a version that is none": AS_1_0,
    "HTTP/2 without its preface": AS_1_0,
    "a part of the preface of HTTP/2": Otherwise(0, None, "it is HTTP/2, and wrong: the connection is closed"),
    "CONNECT": Otherwise(400, "MALFORMED_PATH", "the target is checked first"),
    "asterisk for another method": Otherwise(400, "MALFORMED_REQUEST", "the parser knows for what it is"),
    "lines that end in LF": Otherwise(200, None, "RFC 9112 section 2.2 allows it, and nobody is behind Envoy"),
    "lines that end in CR": Otherwise(0, None, "it is no head, so the connection is closed when its time is up"),
    "folded field": Otherwise(200, None, "RFC 9112 section 5.2: the fold is replaced by a space"),
    "CR in a field": Otherwise(200, None, "the CR is taken out before anybody reads the field"),
    "URL without an end": Otherwise(0, None, "the connection is closed while its client still sends"),
}
"""The rows that Envoy answers differently."""


@pytest.fixture(scope="module")
def served(kind: str) -> Iterator[Served]:
    """The library, served to the developer."""
    environ = {"TRIVET_ENVIRONMENT": "development", "TRIVET_SERVER__HEAD_TIMEOUT": "5"}
    with serve("tests.integration.library_app:app", app_dir=ROOT, environ=environ) as served:
        yield served


def well(served: Served) -> bool:
    """Whether a good request on a new connection is answered."""
    with Connection(served) as connection:
        connection.send(LAST)
        return connection.answer().status == 200 and connection.ended()


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_a_malformed_request_is_refused_and_harms_no_other(case: Case, kind: str, served: Served) -> None:
    status, reason, _ = differently(kind).get(case.name, (case.status, case.reason, ""))
    with Connection(served) as connection:
        connection.send(case.raw)
        if status == 0:
            assert connection.ended()
        else:
            answer = connection.final(head=case.raw.startswith(b"HEAD"))
            assert answer.status == status
            if reason is not None:
                _is_problem(answer, status, reason)
            if answer.fields.get("connection") == "close":
                assert connection.ended()
            else:  # where it ends is known, so the connection can be kept
                connection.send(GOOD)
                assert connection.answer().status == 200
    assert well(served)


def differently(kind: str) -> dict[str, Otherwise]:
    return ENVOY if kind == "envoy" else {}


def _is_problem(answer: Answer, status: int, reason: str) -> None:
    problem = msgspec.json.decode(answer.body)
    assert (problem["status"], problem["reason"]) == (status, reason)
    assert answer.fields["content-type"] == "application/problem+json"
    assert problem["instance"] == f"urn:request:{answer.fields['request-id']}"


def test_every_row_that_envoy_answers_differently_is_in_the_table() -> None:
    assert set(ENVOY) <= {case.name for case in ROWS}


def test_the_preface_of_http_2_begins_http_2_on_envoy(kind: str, served: Served) -> None:
    with Connection(served) as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        start = connection.start()
        assert start[3:5] == b"\x04\x00" if kind == "envoy" else start.startswith(b"HTTP/1.1 400 ")  # a SETTINGS frame


def test_the_table_has_at_least_a_hundred_rows_with_names_of_their_own() -> None:
    assert len({case.name for case in ROWS}) == len(ROWS) >= 100


@pytest.mark.parametrize("reason", sorted({str(case.reason) for case in ROWS}))
def test_every_reason_has_a_page(reason: str, served: Served) -> None:
    with Connection(served) as connection:
        connection.send(request("GET", f"/problems/{reason.lower().replace('_', '-')}", "Accept: application/json"))
        answer = connection.answer()
        assert (answer.status, msgspec.json.decode(answer.body)["reason"]) == (200, reason)


# -- what is well formed stays served


@pytest.mark.parametrize(
    "raw",
    [
        GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GOOD.replace(b"Host: library\r\n", b"").replace(b"HTTP/1.1", b"HTTP/1.0"),
        GOOD.replace(b"Host: library", b"hOST:library:8000"),
        GOOD.replace(b"Host: library", b"Host: [::1]:8000"),
        GOOD.replace(b"Host: library", b"Host: "),
        GOOD.replace(b"GET ", b"GET http://library"),
        b"\r\n" + GOOD,
        request("GET", ONE, "X-Text: \xe4\xff"),
        request("GET", ONE, "X: a", "X: b", "Connection: Upgrade", "Upgrade: h2c"),
        lend("Transfer-Encoding: chunked", body=b"f;a=b\r\n" + VALID + b"\r\n0\r\n\r\n", length=False),
        lend("Expect: 100-continue", body=VALID),
    ],
    ids=[
        "1.0",
        "1.0, no host",
        "port",
        "IPv6",
        "empty host",
        "absolute",
        "line",
        "8 bit",
        "upgrade",
        "chunks",
        "expect",
    ],
)
def test_an_unusual_request_is_served(raw: bytes, served: Served) -> None:
    with Connection(served) as connection:
        connection.send(raw)
        assert connection.final().status in (200, 204)


# -- connections


def test_what_is_refused_in_the_middle_of_a_pipeline_is_answered_in_its_place(served: Served) -> None:
    refused = request("GET", "/nowhere")
    with Connection(served) as connection:
        connection.send(GOOD + refused + GOOD + lend(body=b"[]") + LAST)
        assert [connection.answer().status for _ in range(5)] == [200, 404, 200, 400, 200]
        assert connection.ended()


def test_bytes_that_are_not_http_do_not_take_the_place_of_the_answer_before_them(served: Served) -> None:
    with Connection(served) as connection:
        connection.send(GOOD + b"nonsense\r\n\r\n")
        first = connection.answer()
        assert first.status == 200
        if first.fields.get("connection") != "close":  # it was written before the nonsense was seen
            assert connection.answer().status == 400
        assert connection.ended()


def test_a_client_that_sends_much_more_than_allowed_still_reads_why_not(served: Served) -> None:
    with Connection(served) as connection:
        connection.send(lend(body=LARGE * 8))
        assert connection.answer().status == 413
        assert connection.ended()
    assert well(served)


def test_a_client_that_does_not_wait_after_an_expectation_is_not_misunderstood(served: Served) -> None:
    with Connection(served) as connection:
        connection.send(lend("Expect: 100-continue", "Content-Length: 15", body=b"", name="Content-Type: text/plain"))
        answer = connection.final()
        assert (answer.status, answer.fields["connection"]) == (415, "close")
        connection.send(GOOD)
        assert connection.ended()


def test_a_little_that_was_not_read_does_not_cost_the_connection(served: Served) -> None:
    with Connection(served) as connection:
        connection.send(request("POST", "/nowhere", body=b"x" * 100_000) + GOOD)
        assert [connection.answer().status, connection.answer().status] == [404, 200]


def test_a_request_in_single_bytes_is_a_request(served: Served) -> None:
    with Connection(served) as connection:
        for byte in lend("Connection: close", body=VALID):
            connection.send(bytes([byte]))
        assert connection.answer().status == 200
        assert connection.ended()
