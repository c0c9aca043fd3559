"""What every answer says besides its content: how it may be kept, who may embed it, which request it was."""

from __future__ import annotations

import re

import pytest

from tests.transports.client import Client, Response, scope_of, send
from tests.transports.library import Library, book_id, front
from tests.transports.notebook import OWNER, notebook, put
from trivet.settings import Settings
from trivet.testing import Client as AppClient

ONE = f"/v1/books/{book_id(1)}"
EVERYWHERE = [
    ("GET", "/"),
    ("GET", "/openapi.json"),
    ("GET", "/problems"),
    ("GET", "/problems/not-found"),
    ("GET", "/problems/nothing-like-it"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("POST", "/livez"),
    ("OPTIONS", "/"),
    ("OPTIONS", "*"),
    ("GET", "/nowhere"),
    ("GET", "/%zz"),
    ("GET", f"/{'x' * 9000}"),
    ("GET", ONE),
    ("HEAD", ONE),
    ("OPTIONS", ONE),
    ("PUT", ONE),
    ("DELETE", ONE),
    ("GET", "/v1/books?x=1"),
    ("GET", "/v1/books:watch?count=1"),
    ("HEAD", "/v1/books:watch?count=1"),
    ("POST", f"{ONE}:burn"),
]


async def ask(method: str, target: str, headers: dict[str, str] | None = None) -> Response:
    return await Client(front(Library())).request(method, target, headers=headers)


@pytest.mark.parametrize(("method", "target"), EVERYWHERE, ids=lambda word: word[:40])
async def test_every_answer_has_a_request_id_and_is_what_it_says(method: str, target: str) -> None:
    answer = await ask(method, target)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["request-id"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await ask(method, target, {"Request-Id": "mine.1"})).headers["request-id"] == "mine.1"
    assert (await ask(method, target, {"Request-Id": "no good"})).headers["request-id"] != "no good"


@pytest.mark.parametrize(("method", "target"), EVERYWHERE, ids=lambda word: word[:40])
async def test_no_field_is_said_twice(method: str, target: str) -> None:
    names: list[bytes] = []

    async def recording(scope: object, receive: object, answer: object) -> None:
        async def take(message: dict[str, object]) -> None:
            headers = message.get("headers")
            if isinstance(headers, list):
                names.extend(name for name, _ in headers)
            await answer(message)  # type: ignore[operator]  # an ASGI send

        await front(Library())(scope, receive, take)

    await send(recording, scope_of(method, target, {"Accept-Encoding": "gzip"}))
    assert len(names) == len(set(names))


async def test_pages_and_the_contract_can_not_be_embedded_by_others() -> None:
    for target in ("/", "/openapi.json", "/problems"):
        assert (await ask("GET", target)).headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("target", ["/nowhere", "/v1/books?x=1", f"/v1/books/{book_id(404)}", "/v1/jobs/x"])
async def test_problems_are_kept_by_nobody(target: str) -> None:
    answer = await ask("GET", target)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


async def test_answers_are_private_unless_they_are_declared_to_be_shared() -> None:
    async with AppClient(notebook()) as client:
        note = await put(client)
        own = await client.get(note, as_=OWNER)
        assert own.headers["cache-control"] == "private, no-cache"
        shared = await client.get("/v1/count?of=a%2Cb%0Ac d")
        assert shared.headers["cache-control"] == (
            "public, max-age=60, s-maxage=60, stale-while-revalidate=30, stale-if-error=30"
        )
        assert shared.headers["surrogate-key"] == "count count:a%2Cb%0Ac%20d"
        assert shared.headers["cache-tag"] == "count,count:a%2Cb%0Ac%20d"
        assert shared.headers["vary"] == "accept-encoding, authorization"
        known = await client.get("/v1/count", as_=OWNER)
        assert known.headers["cache-control"] == "private, no-cache"
        assert "surrogate-key" not in known.headers
        changed = await client.patch(note, json={}, as_=OWNER)
        assert "cache-control" not in changed.headers


async def test_ranges_are_not_served_and_said_not_to_be() -> None:
    answer = await ask("GET", ONE, {"Range": "bytes=0-3"})
    assert (answer.status, answer.headers["accept-ranges"], "content-range" in answer.headers) == (200, "none", False)


async def test_where_the_time_went_is_said_in_development_only() -> None:
    assert "server-timing" not in (await ask("GET", ONE)).headers
    developed = Client(front(Library(), settings=Settings(environment="development")))
    timing = (await developed.get(ONE)).headers["server-timing"]
    assert re.fullmatch(
        r"(gate|bind|handler|encode);dur=\d+\.\d\d(, (gate|bind|handler|encode);dur=\d+\.\d\d){3}", timing
    )
