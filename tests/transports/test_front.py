"""The front: pages, health, the contract, mounts, and life below somebody else's path."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, cast

import pytest
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.transports.client import Client, scope_of, send
from tests.transports.library import Library, book_id, front
from trivet import About
from trivet.core.error import Unavailable
from trivet.settings import Settings
from trivet.settings.tree import RestSettings

ONE = f"/v1/books/{book_id(1)}"
PAGES = ("/", "/docs", "/docs/books.create_book", "/docs/schemas/Book", "/problems", "/problems/not-found")


async def test_the_index_leads_to_everything() -> None:
    client = Client(front(Library()))
    page = await client.get("/", {"Accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for address in ("/docs", "/openapi.json", "/problems", "/livez", "/readyz"):
        assert f'href="{address}"' in page.body.decode()
        assert (await client.get(address)).status == 200
    index = (await client.get("/", {"Accept": "application/json"})).json
    assert {"id": "books.get_book", "method": "GET", "path": "/v1/books/{id}"}.items() <= {
        **next(op for op in index["operations"] if op["id"] == "books.get_book")
    }.items()


async def test_pages_need_nothing_from_elsewhere() -> None:
    client = Client(front(Library()))
    for address in PAGES:
        answer = await client.get(address)
        page = answer.body.decode()
        elsewhere = re.findall(r'(?:src|href|action)="(?!/|#|data:)([^"]*)"', page)
        assert elsewhere == []
        assert page.startswith('<!doctype html><html lang="en">')
        assert "prefers-color-scheme" in page


async def test_a_page_may_do_what_is_in_it_and_nothing_else() -> None:
    client = Client(front(Library()))
    for address in PAGES:
        answer = await client.get(address)
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        page = answer.body.decode()
        for directive, tag in (("style-src", "style"), ("script-src", "script")):
            (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert policy[directive] == f"'sha256-{digest}'"
        assert {name: policy[name] for name in ("default-src", "connect-src", "base-uri", "form-action")} == {
            "default-src": "'none'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
        }
        assert policy["frame-ancestors"] == "'none'"
        assert " style=" not in page
        assert not re.search(r"<[^>]+ on[a-z]+=", page)


async def test_own_addresses_are_only_read() -> None:
    client = Client(front(Library()))
    assert (await client.request("OPTIONS", "/")).headers["allow"] == "GET, HEAD, OPTIONS"
    response = await client.request("POST", "/livez")
    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    head = await client.request("HEAD", "/openapi.json")
    assert head.body == b""
    assert int(head.headers["content-length"]) > 1000
    assert (await client.request("OPTIONS", "*")).status == 204


async def test_the_contract_is_valid_and_cached_by_its_tag() -> None:
    client = Client(front(Library()))
    first = await client.get("/openapi.json")
    validate(first.json)
    again = await client.get("/openapi.json", {"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status, again.body) == (304, b"")
    assert (await client.get("/openapi.json", {"If-None-Match": '"other"'})).status == 200


class Database:
    """Answers pings as long as it is told to."""

    def __init__(self) -> None:
        self.up = True
        self.pings = 0

    async def ping(self) -> None:
        self.pings += 1
        if not self.up:
            raise Unavailable


async def test_ready_means_started_reachable_and_not_draining() -> None:
    built = front(Library())
    client = Client(built)
    database = Database()
    built.runtime.database = cast(Any, database)
    assert (await client.get("/readyz")).json == {"status": "ready"}
    assert (await client.get("/readyz")).status == 200
    assert database.pings == 1
    database.up = False
    built.front.health.forget()
    response = await client.get("/readyz")
    assert (response.status, response.json["waiting_for"]) == (503, ["database"])
    built.runtime.draining = True
    assert (await client.get("/readyz")).json["waiting_for"] == ["draining"]
    built.runtime.draining = built.runtime.ready = False
    assert (await client.get("/readyz")).json["waiting_for"] == ["start"]
    assert (await client.get("/livez")).status == 200


async def test_requests_are_logged_and_probes_are_not() -> None:
    built = front(Library())
    client = Client(built)
    for target in ("/livez", "/readyz", "/", f"{ONE}?x=secret", "/nowhere"):
        await client.get(target)
    assert len(built.lines) == 2
    assert b"secret" not in b"".join(built.lines)
    assert b'"operation":"unrouted"' in built.lines[1]


async def test_other_applications_are_served_beside_by_their_prefix() -> None:
    seen: list[Any] = []

    async def legacy(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["root_path"], scope["path"]))
        await PlainTextResponse("old")(scope, receive, send)

    client = Client(front(Library(), legacy=legacy))
    assert (await client.get("/legacy/a/b")).body == b"old"
    assert (await client.get("/legacy")).body == b"old"
    assert (await client.get("/legacyx")).status == 404
    assert seen == [("/legacy", "/legacy/a/b"), ("/legacy", "/legacy")]


async def test_a_starlette_app_can_be_mounted() -> None:
    async def hello(request: Any) -> PlainTextResponse:
        return PlainTextResponse(f"hello {request.url_for('hello').path}")

    client = Client(front(Library(), legacy=Starlette(routes=[Route("/hello", hello)])))
    assert (await client.get("/legacy/hello")).body == b"hello /legacy/hello"


async def test_the_front_works_below_the_path_of_another_application() -> None:
    outer = Starlette(routes=[Mount("/api", app=front(Library()))])
    client = Client(outer)
    assert (await client.get(f"/api{ONE}")).json["title"] == "Volume 1"
    assert (await client.get("/api/")).status == 200
    created = await client.post(
        "/api/v1/books",
        {"title": "E", "author_id": str(book_id(1)), "price": {"amount": "1", "currency": "EUR"}},
    )
    assert created.headers["location"] == f"/api/v1/books/{book_id(77)}"
    missing = await client.get("/api/nowhere")
    assert missing.json["type"] == "/api/problems/route-not-found"
    assert (await client.get(missing.json["type"])).status == 200
    assert (await client.get("/api/openapi.json")).json["servers"][0]["url"] == "/api"


async def test_a_root_path_that_the_server_sets_is_no_part_of_the_path() -> None:
    client = Client(front(Library()), root_path="/behind/proxy")
    assert (await client.get(ONE)).status == 200
    assert b'href="/behind/proxy/openapi.json"' in (await client.get("/")).body


async def test_a_path_without_its_raw_form_is_understood() -> None:
    built = front(Library())
    scope = scope_of("GET", ONE, {})
    del scope["raw_path"]
    assert (await send(built, scope)).status == 200


async def test_a_web_socket_is_refused() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await front(Library())({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize("length", [8191, 8192])
async def test_the_limit_of_a_url_is_exact(length: int) -> None:
    target = "/v1/books?tags=" + "x" * (length - len("/v1/books?tags="))
    assert (await Client(front(Library())).get(target)).status == (414 if length > 8191 + 1 else 400)


async def test_the_reference_has_a_page_for_each_operation_and_each_shape() -> None:
    client = Client(front(Library()))
    contract = (await client.get("/openapi.json")).json
    names = [op["operationId"] for methods in contract["paths"].values() for op in methods.values()]
    for name in (*names, *(f"schemas/{shape}" for shape in contract["components"]["schemas"])):
        assert (await client.get(f"/docs/{name}")).status == 200, name
    for name in ("books.nothing", "schemas/Nothing", "schemas", "../problems", "books"):
        answer = await client.get(f"/docs/{name}")
        assert (answer.status, answer.json["reason"]) == (404, "ROUTE_NOT_FOUND"), name


async def test_a_page_of_an_operation_says_what_the_contract_says() -> None:
    client = Client(front(Library()))
    page = (await client.get("/docs/books.create_book")).body.decode()
    assert "Needs the scope <code>books.write</code>." in page
    assert "at most 40 characters" in page
    assert 'href="/problems/title-taken"' in page
    assert 'data-method="POST" data-path="/v1/books" data-type="application/json"' in page
    assert "&quot;title&quot;: &quot;Emma&quot;" in page
    deprecated = (await client.get("/docs/books.dust_book")).body.decode()
    assert "This operation is deprecated." in deprecated
    assert "books.<wbr>polish" not in deprecated
    assert "Deprecated; use books.polish_book." in deprecated


async def test_a_header_field_that_can_be_sent_is_a_field_of_the_form() -> None:
    client = Client(front(Library()))
    page = (await client.get("/docs/books.get_book")).body.decode()
    assert '<h2 id="header">Header fields</h2>' in page
    assert re.search(r'<input [^>]*name="If-None-Match"[^>]* data-in="header"', page)


async def test_what_an_app_says_about_itself_brings_no_markup() -> None:
    about = About(description="Books & <b>more</b>.", contact="<i>Desk</i>", url="https://library.example/?a=1&b=2")
    client = Client(front(Library(), about=about))
    for address in ("/", "/docs"):
        page = (await client.get(address)).body.decode()
        assert "Books &amp; &lt;b&gt;more&lt;/b&gt;." in page
        assert "<i>Desk" not in page
    assert 'href="https://library.example/?a=1&amp;b=2"' in (await client.get("/")).body.decode()


async def test_an_app_can_keep_to_itself_what_there_is() -> None:
    client = Client(front(Library(), settings=Settings(rest=RestSettings(docs=False))))
    for address in ("/", "/docs", "/docs/books.get_book", "/openapi.json", "/problems"):
        assert (await client.get(address)).status == 404, address
    problem = (await client.get("/problems/title-taken")).body.decode()
    assert "books.create_book" not in problem
    assert re.findall(r'href="(/[^"]*)"', problem) == []
    assert (await client.get("/problems/title-taken", {"Accept": "application/json"})).json["raised_by"] == []
    assert (await client.get("/livez")).status == 200


async def test_every_link_of_the_pages_leads_somewhere() -> None:
    client = Client(Starlette(routes=[Mount("/api", app=front(Library()))]))
    seen: set[str] = set()
    waiting = ["/api/"]
    while waiting:
        page = (await client.get(waiting.pop(), {"Accept": "text/html"})).body.decode()
        anchors = set(re.findall(r' id="([^"]+)"', page))
        for address in set(re.findall(r'href="([^"]+)"', page)) - seen:
            if address.startswith("data:"):
                continue
            path, _, anchor = address.partition("#")
            if not path:
                assert anchor in anchors
                continue
            seen.add(address)
            assert (await client.get(path)).status == 200, address
            if path.startswith(("/api/problems", "/api/docs")):
                waiting.append(path)
            elif anchor:
                assert f' id="{anchor}"' in (await client.get(path)).body.decode(), address
    assert {"/api/problems/not-found", "/api/docs/books.get_book", "/api/docs/schemas/Book"} <= seen


async def test_pages_have_landmarks_and_one_first_heading() -> None:
    client = Client(front(Library()))
    for address in PAGES:
        page = (await client.get(address)).body.decode()
        assert [len(re.findall(rf"<{tag}[ >]", page)) for tag in ("h1", "main", "header")] == [1, 1, 1]
        assert re.search(r'<nav aria-label="[^"]+">', page)
        anchors = re.findall(r' id="([^"]+)"', page)
        assert len(set(anchors)) == len(anchors), address
