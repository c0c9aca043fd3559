"""Conditions, codings and HEAD over real sockets: what a server does to an answer on its way must not break them."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.shop.serving import PATIENCE_SECONDS, shop
from trivet.testing import Served

pytestmark = pytest.mark.integration

Answer = tuple[int, dict[str, str], bytes]
DATED = "date"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with shop() as served:
        yield served


def ask(served: Served, method: str, path: str, **fields: str) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = connection.getresponse()
        body = answer.read()
        names = [name.lower() for name, _ in answer.getheaders()]
        assert len(names) == len(set(names))
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body
    finally:
        connection.close()


@pytest.fixture
def product(served: Served) -> str:
    import json

    listed = json.loads(ask(served, "GET", "/v1/products?page_size=1")[2])
    return f"/v1/products/{listed['items'][0]['id']}"


def test_head_is_get_without_its_content(served: Served, product: str) -> None:
    for path in (product, "/v1/products", "/openapi.json", "/", "/nowhere"):
        for coding in ("identity", "gzip"):
            fields = {"Request-Id": "the-same", "Accept-Encoding": coding}
            status, got, body = ask(served, "GET", path, **fields)
            again, head, nothing = ask(served, "HEAD", path, **fields)
            varying = {DATED, "server-timing"}
            assert (again, nothing) == (status, b"")
            assert {n: v for n, v in head.items() if n not in varying} == {
                n: v for n, v in got.items() if n not in varying
            }
            assert int(head["content-length"]) == len(body)
            assert DATED in got


def test_what_one_has_is_not_sent_again(served: Served, product: str) -> None:
    for path in (product, "/v1/products", "/openapi.json"):
        for coding in ("identity", "gzip"):
            _, got, _ = ask(served, "GET", path, Accept_Encoding=coding)
            status, fields, body = ask(served, "GET", path, Accept_Encoding=coding, If_None_Match=got["etag"])
            assert (status, body, fields["etag"]) == (304, b"", got["etag"])
            assert not {"content-type", "content-length", "content-encoding", "transfer-encoding"} & fields.keys()
            assert {"date", "vary", "cache-control"} <= fields.keys()
    _, got, _ = ask(served, "GET", product)
    assert ask(served, "GET", product, If_Modified_Since=got["last-modified"])[0] == 304


def test_a_connection_goes_on_after_a_304_and_after_head(served: Served, product: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_SECONDS)
    _, got, whole = ask(served, "GET", product)
    for method, fields, status, body in (
        ("GET", {"If-None-Match": got["etag"]}, 304, b""),
        ("HEAD", {}, 200, b""),
        ("GET", {"If-Match": '"0-0"'}, 412, None),
        ("HEAD", {"If-None-Match": "*"}, 304, b""),
        ("GET", {}, 200, whole),
    ):
        connection.request(method, product, headers=fields)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == status
        assert body is None or content == body
    connection.close()


def test_a_compressed_answer_is_the_same_answer(served: Served) -> None:
    _, plain_fields, plain = ask(served, "GET", "/v1/products?page_size=50", Accept_Encoding="identity")
    _, fields, packed = ask(served, "GET", "/v1/products?page_size=50", Accept_Encoding="gzip")
    assert (fields["content-encoding"], int(fields["content-length"])) == ("gzip", len(packed))
    assert zlib.decompress(packed, 31) == plain
    assert fields["etag"] != plain_fields["etag"]


def test_changes_are_compared(served: Served, product: str) -> None:
    _, got, _ = ask(served, "GET", product)
    assert ask(served, "DELETE", product, If_Match='"0-00"')[0] == 412
    assert ask(served, "DELETE", product, If_Match="no tag")[0] == 400
    assert ask(served, "DELETE", product, If_None_Match="*")[0] == 412
    assert ask(served, "DELETE", product, If_Match=got["etag"])[0] == 204
    assert ask(served, "DELETE", product, If_Match=got["etag"])[0] == 404
