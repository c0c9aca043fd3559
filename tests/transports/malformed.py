"""Malformed and unusual requests as bytes, with what the library (library.py) answers.

One table for two tests: in this process (`test_malformed.py`), and over a real socket. A row whose reason is ``None``
is refused by the server before the application sees it, so only a socket can ask that question; then `status` says
what servers answer (a closed connection counts as well).
"""

from __future__ import annotations

from typing import NamedTuple

BOOK = "00000000-0000-0000-0000-000000000001"
ONE = f"/v1/books/{BOOK}"
VALID = b'{"reader":"me"}'


class Case(NamedTuple):
    """One request."""

    name: str
    raw: bytes
    status: int
    reason: str | None


def request(method: str, target: str, *fields: str, body: bytes = b"", length: bool = True) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
    if length and body and not any(field.lower().startswith("content-length") for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def lend(*fields: str, body: bytes, name: str = "Content-Type: application/json", length: bool = True) -> bytes:
    """Return a request that lends a book."""
    return request("POST", f"{ONE}:lend", *([name] if name else []), *fields, body=body, length=length)


LARGE = b'{"reader":"' + b"x" * 1_048_576 + b'"}'
DEEP = b'{"reader":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

CASES: list[Case] = [
    Case("no such path", request("GET", "/nowhere"), 404, "ROUTE_NOT_FOUND"),
    Case("no such version", request("GET", f"/v9/books/{BOOK}"), 404, "ROUTE_NOT_FOUND"),
    Case("trailing slash", request("GET", f"{ONE}/"), 404, "ROUTE_NOT_FOUND"),
    Case("empty segment", request("GET", f"/v1//books/{BOOK}"), 404, "ROUTE_NOT_FOUND"),
    Case("dot segment", request("GET", "/v1/books/%2e%2e"), 404, "ROUTE_NOT_FOUND"),
    Case("encoded slash", request("GET", f"/v1%2Fbooks/{BOOK}"), 404, "ROUTE_NOT_FOUND"),
    Case("upper-case path", request("GET", f"/V1/BOOKS/{BOOK}"), 404, "ROUTE_NOT_FOUND"),
    Case("unknown custom verb", request("POST", f"{ONE}:explode"), 404, "ROUTE_NOT_FOUND"),
    Case("custom verb without a name", request("POST", f"{ONE}:"), 404, "ROUTE_NOT_FOUND"),
    Case("encoded colon is no verb", request("POST", f"{ONE}%3Alend"), 405, "METHOD_NOT_ALLOWED"),
    Case("cut percent escape", request("GET", "/v1/books/%4"), 400, "MALFORMED_PATH"),
    Case("bad percent escape", request("GET", "/v1/books/%zz"), 400, "MALFORMED_PATH"),
    Case("path is not UTF-8", request("GET", "/v1/books/%ff%fe"), 400, "MALFORMED_PATH"),
    Case("overlong UTF-8 in path", request("GET", "/v1/books/%c0%af"), 400, "MALFORMED_PATH"),
    Case("id is no UUID", request("GET", "/v1/books/one"), 400, "INVALID_ARGUMENT"),
    Case("id is a UUID in braces", request("GET", f"/v1/books/%7B{BOOK}%7D"), 400, "INVALID_ARGUMENT"),
    Case("id is a UUID without hyphens", request("GET", f"/v1/books/{BOOK.replace('-', '')}"), 400, "INVALID_ARGUMENT"),
    Case("id with a NUL", request("GET", f"{ONE}%00"), 400, "INVALID_ARGUMENT"),
    Case("method not served", request("PUT", ONE), 405, "METHOD_NOT_ALLOWED"),
    Case("method of another protocol", request("PROPFIND", ONE), 405, "METHOD_NOT_ALLOWED"),
    Case("TRACE", request("TRACE", ONE), 405, "METHOD_NOT_ALLOWED"),
    Case("unknown query parameter", request("GET", f"{ONE}?verbose=1"), 400, "INVALID_ARGUMENT"),
    Case("scalar said twice", request("GET", "/v1/books?genre=NOVEL&genre=POEMS"), 400, "INVALID_ARGUMENT"),
    Case("boolean is 1", request("GET", "/v1/books?lent=1"), 400, "INVALID_ARGUMENT"),
    Case("integer with a leading zero", request("GET", "/v1/books?year=01999"), 400, "INVALID_ARGUMENT"),
    Case("integer in other digits", request("GET", "/v1/books?year=%D9%A1%D9%A9%D9%A9%D9%A9"), 400, "INVALID_ARGUMENT"),
    Case("integer with 5,000 digits", request("GET", f"/v1/books?year={'9' * 5000}"), 400, "INVALID_ARGUMENT"),
    Case("decimal is NaN", request("GET", "/v1/books?price_max=NaN"), 400, "INVALID_ARGUMENT"),
    Case("unknown enum member", request("GET", "/v1/books?genre=novel"), 400, "INVALID_ARGUMENT"),
    Case("instant without offset", request("GET", "/v1/books?since=2026-01-31T12:00:00"), 400, "INVALID_ARGUMENT"),
    Case("negative page size", request("GET", "/v1/books?page_size=-1"), 400, "INVALID_ARGUMENT"),
    Case("empty page token", request("GET", "/v1/books?page_token="), 400, "INVALID_ARGUMENT"),
    Case("query is not UTF-8", request("GET", "/v1/books?genre=%ff"), 400, "INVALID_ARGUMENT"),
    Case("bad escape in query", request("GET", "/v1/books?genre=%n"), 400, "INVALID_ARGUMENT"),
    Case("too many list items", request("GET", "/v1/books?tags=a&tags=b&tags=c&tags=d"), 400, "INVALID_ARGUMENT"),
    Case("missing query parameter", request("GET", "/v1/books:find"), 400, "INVALID_ARGUMENT"),
    Case("unknown path to expand", request("GET", f"{ONE}?expand=publisher"), 400, "INVALID_ARGUMENT"),
    Case("body on GET", request("GET", ONE, "Content-Type: application/json", body=b"{}"), 400, "UNEXPECTED_BODY"),
    Case("body on DELETE", request("DELETE", ONE, "Content-Type: text/plain", body=b"x"), 400, "UNEXPECTED_BODY"),
    Case("no content type", lend(body=VALID, name=""), 415, "UNSUPPORTED_MEDIA_TYPE"),
    Case("form", lend(body=b"reader=me", name="Content-Type: application/x-www-form-urlencoded"), 415,
         "UNSUPPORTED_MEDIA_TYPE"),
    Case("JSON in Latin-1", lend(body=VALID, name="Content-Type: application/json; charset=latin-1"), 415,
         "UNSUPPORTED_MEDIA_TYPE"),
    Case("merge patch where none is read", lend(body=VALID, name="Content-Type: application/merge-patch+json"), 415,
         "UNSUPPORTED_MEDIA_TYPE"),
    Case("compressed body", lend("Content-Encoding: gzip", body=b"\x1f\x8b"), 415, "UNSUPPORTED_CONTENT_CODING"),
    Case("empty body where one is needed", lend(body=b""), 400, "INVALID_ARGUMENT"),
    Case("cut JSON", lend(body=b'{"reader":'), 400, "INVALID_ARGUMENT"),
    Case("two JSON documents", lend(body=VALID + VALID), 400, "INVALID_ARGUMENT"),
    Case("JSON is a list", lend(body=b"[]"), 400, "INVALID_ARGUMENT"),
    Case("JSON with a comment", lend(body=b'{"reader":"me"} // hi'), 400, "INVALID_ARGUMENT"),
    Case("JSON with NaN", lend(body=b'{"reader":"me","days":NaN}'), 400, "INVALID_ARGUMENT"),
    Case("body is not UTF-8", lend(body=b'{"reader":"\xff"}'), 400, "INVALID_ARGUMENT"),
    Case("lone surrogate", lend(body=b'{"reader":"\\ud800"}'), 400, "INVALID_ARGUMENT"),
    Case("deeply nested JSON", lend(body=DEEP), 400, "INVALID_ARGUMENT"),
    Case("unknown body field", lend(body=b'{"reader":"me","colour":"red"}'), 400, "INVALID_ARGUMENT"),
    Case("string for an integer", lend(body=b'{"reader":"me","days":"3"}'), 400, "INVALID_ARGUMENT"),
    Case("integer past 2^53", lend(body=b'{"reader":"me","days":9007199254740993}'), 400, "INVALID_ARGUMENT"),
    Case("integer of 400 digits", lend(body=b'{"reader":"me","days":%b}' % (b"9" * 400)), 400, "INVALID_ARGUMENT"),
    Case("null where there must be a value", lend(body=b'{"reader":null}'), 400, "INVALID_ARGUMENT"),
    Case("body over the limit", lend(body=LARGE), 413, "BODY_TOO_LARGE"),
    Case("length over the limit, nothing sent", lend("Content-Length: 99999999", body=b""), 413, "BODY_TOO_LARGE"),
    Case("URL over the limit", request("GET", f"/v1/books?tags={'x' * 8200}"), 414, "URL_TOO_LONG"),
    Case("header fields over the limit", request("GET", ONE, *(f"X-{n}: {'x' * 4000}" for n in range(9))), 431,
         "HEADERS_TOO_LARGE"),
    Case("nothing acceptable", request("GET", ONE, "Accept: application/xml"), 406, "NOT_ACCEPTABLE"),
    Case("JSON refused by quality", request("GET", ONE, "Accept: */*, application/json;q=0"), 406, "NOT_ACCEPTABLE"),
    Case("time-out is no number", request("GET", ONE, "Request-Timeout: soon"), 400, "INVALID_ARGUMENT"),
    Case("credentials nobody can verify", request("GET", ONE, "Authorization: Bearer x"), 401, "UNAUTHENTICATED"),
    Case("not HTTP", b"hello\r\n\r\n", 400, None),
    Case("two lengths", lend("Content-Length: 3", "Content-Length: 15", body=VALID), 400, None),
    Case("negative length", lend("Content-Length: -1", body=b""), 400, None),
    Case("space before colon", request("GET", ONE, "X-Field : x"), 400, None),
    Case("NUL in a header field", request("GET", ONE, "X-Field: \x00"), 400, None),
    Case("bad chunk", lend("Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n", length=False), 400, None),
]  # fmt: skip
