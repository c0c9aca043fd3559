"""Content-codings: which one a caller prefers, and that every answer says what it is in."""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.client import Client, Response
from tests.transports.library import Library, book_id, front
from trivet.settings import CompressionSettings, Settings
from trivet.transports.rest.coding import IDENTITY, Codings, choose, qualities

AVAILABLE = ("zstd", "br", "gzip")
NAMES = st.sampled_from([*AVAILABLE, IDENTITY, "*", "deflate"])
WEIGHTS = st.sampled_from(["", ";q=0", ";q=0.0", ";q=0.5", "; q=0.25", ";q=1", ";Q=1.000", " ; q=0.125 "])


def decoded(response: Response) -> bytes:
    zstd: Any = import_module("compression.zstd" if _has("compression.zstd") else "backports.zstd")
    decoders: dict[str, Any] = {
        "gzip": lambda body: zlib.decompress(body, 31),
        "br": import_module("brotli").decompress,
        "zstd": zstd.decompress,
        IDENTITY: bytes,
    }
    plain: bytes = decoders[response.headers.get("content-encoding", IDENTITY)](response.body)
    return plain


def _has(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def transcribed(said: dict[str, float]) -> list[str]:
    """Return what RFC 9110 section 12.5.3 finds acceptable, the best first; the plain body is ``identity``."""
    acceptable: list[tuple[float, int, str]] = []
    for rank, name in enumerate((*AVAILABLE, IDENTITY)):
        if name in said:
            weight = said[name]  # "listed in the field value with qvalue": acceptable unless 0
        elif "*" in said:
            weight = said["*"]  # "any available content coding not explicitly listed"
        elif name == IDENTITY:
            weight = 1e-9  # acceptable "unless specifically excluded", and never preferred to what is asked for
        else:
            weight = 0.0
        if weight > 0:
            acceptable.append((-weight, rank, name))
    return [name for _, _, name in sorted(acceptable)]


@given(st.dictionaries(NAMES, WEIGHTS, max_size=6))
def test_the_choice_is_the_one_of_the_rfc(said: dict[str, str]) -> None:
    value = ", ".join(name + weight for name, weight in said.items()).encode()
    choice = choose(value, AVAILABLE)
    expected = transcribed(qualities(value))
    if choice is None:
        assert expected == []
        return
    assert (choice.coding or IDENTITY) == expected[0]
    assert choice.identity == (IDENTITY in expected)
    assert {coding or IDENTITY for coding in choice.acceptable} == set(expected)
    assert choice.acceptable[0] == (choice.coding or "")


@given(st.binary(max_size=60))
def test_any_bytes_are_decided_on(value: bytes) -> None:
    choice = choose(value, AVAILABLE)
    assert choice is None or choice.coding in (None, *AVAILABLE)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("br;q=1, zstd;q=0.5", "br"),
        ("*", "zstd"),
        ("gzip;q=0.001", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("deflate", None),
        ("", None),
        ("gzip;q=0", None),
        ("gzip;q=2", None),
        ("gzip;level=9", None),
        ("*;q=0, identity", None),
        ("*;q=0, br", "br"),
    ],
)
async def test_a_body_is_sent_in_what_was_chosen(accept: str, coding: str | None) -> None:
    client = Client(front(Library()))
    plain = await client.get("/openapi.json")
    answer = await client.get("/openapi.json", {"Accept-Encoding": accept})
    assert answer.headers.get("content-encoding") == coding
    assert decoded(answer) == plain.body
    assert answer.headers["vary"] == "accept, accept-encoding"
    assert (answer.headers["etag"] == plain.headers["etag"]) == (coding is None)


@pytest.mark.parametrize("accept", ["identity;q=0", "*;q=0", "deflate, identity;q=0"])
async def test_where_nothing_is_acceptable_nothing_is_done(accept: str) -> None:
    library = Library()
    client = Client(front(library))
    for target in ("/openapi.json", f"/v1/books/{book_id(1)}"):
        answer = await client.get(target, {"Accept-Encoding": accept})
        assert (answer.status, answer.reason, "content-encoding" in answer.headers) == (406, "NOT_ACCEPTABLE", False)
    refused = await client.post(f"/v1/books/{book_id(1)}:lend", {"reader": "me"}, {"Accept-Encoding": accept})
    assert (refused.status, library.journal.calls) == (406, [])


async def test_what_is_small_stays_as_it_is_unless_that_is_refused() -> None:
    client = Client(front(Library()))
    small = await client.get("/v1/books:count", {"Accept-Encoding": "gzip"})
    assert ("content-encoding" in small.headers, small.headers["vary"]) == (False, "accept-encoding")
    forced = await client.get("/v1/books:count", {"Accept-Encoding": "gzip, identity;q=0"})
    assert (forced.headers["content-encoding"], msgspec.json.decode(decoded(forced))) == ("gzip", {"value": 5})


async def test_a_large_body_is_compressed_beside_the_event_loop() -> None:
    codings = Codings(CompressionSettings())
    body = bytes(range(256)) * 1024
    for coding in AVAILABLE:
        assert (
            decoded(Response(200, [(b"content-encoding", coding.encode())], await codings.encode(body, coding))) == body
        )


async def test_problems_are_compressed_like_answers_and_kept_by_nobody() -> None:
    client = Client(front(Library()))
    many = "&".join(f"unknown{number}=1" for number in range(60))
    problem = await client.get(f"/v1/books?{many}", {"Accept-Encoding": "gzip"})
    assert (problem.status, problem.headers["content-encoding"]) == (400, "gzip")
    assert (problem.headers["cache-control"], "etag" in problem.headers) == ("no-store", False)
    assert len(msgspec.json.decode(decoded(problem))["errors"]) > 10


async def test_compression_can_be_left_to_a_proxy() -> None:
    client = Client(front(Library(), settings=Settings(compression=CompressionSettings(enabled=False))))
    answer = await client.get("/v1/books", {"Accept-Encoding": "gzip"})
    assert not {"content-encoding", "vary"} & answer.headers.keys()


async def test_a_stream_is_never_compressed() -> None:
    client = Client(front(Library()))
    stream = await client.get("/v1/books:watch?count=1", {"Accept-Encoding": "gzip", "Accept": "text/event-stream"})
    assert (stream.status, "content-encoding" in stream.headers) == (200, False)
    refused = await client.get("/v1/books:watch?count=1", {"Accept-Encoding": "gzip, identity;q=0"})
    assert refused.status == 406


async def test_a_compressed_request_is_refused_with_what_is_read() -> None:
    client = Client(front(Library()))
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused = await client.request("POST", f"/v1/books/{book_id(1)}:lend", zlib.compress(b"{}", wbits=31), headers)
    assert (refused.status, refused.headers["accept-encoding"]) == (415, IDENTITY)
    assert "accept" not in refused.headers
    wrong = await client.request("POST", f"/v1/books/{book_id(1)}:lend", b"a=1", {"content-type": "text/plain"})
    assert (wrong.status, "accept-encoding" in wrong.headers, wrong.headers["accept"]) == (
        415,
        False,
        "application/json",
    )
