"""Beside other things: resources of a team, applications that are mounted, an application that Trivet is mounted in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, assert_type

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from trivet import App, Module, PermissionDenied, Read, Resource, Struct
from trivet.testing import Client, context, principal, settings_for_tests
from trivet.testing.asgi import exchange


class Mailer:
    """Something with a life of its own."""

    def __init__(self, address: str) -> None:
        self.address = address


class Sender(Struct):
    address: str


class Secret(Struct):
    text: str


def world(*, fails: bool = False) -> tuple[App, list[str], Any]:
    """Return an app with two resources, the diary of their lives, and its operation."""
    diary: list[str] = []

    @asynccontextmanager
    async def open_mailer() -> AsyncIterator[Mailer]:
        diary.append("mailer opens")
        try:
            yield Mailer("shop@example.com")
        finally:
            diary.append("mailer closes")

    @asynccontextmanager
    async def open_warehouse() -> AsyncIterator[str]:
        if fails:
            raise ConnectionError("the warehouse is on fire")
        diary.append("warehouse opens")
        try:
            yield "warehouse"
        finally:
            diary.append("warehouse closes")

    mailer = Resource("mailer", open_mailer)
    warehouse = Resource("warehouse", open_warehouse)
    mail = Module("mail")

    @mail.query(public=True)
    async def get_sender(ctx: Read) -> Sender:
        """Return who sends."""
        return Sender(address=assert_type(mailer.get(ctx), Mailer).address)

    @mail.query(scope="mail.secrets")
    async def get_secret(ctx: Read) -> Secret:
        """Return nothing to anybody without the scope."""
        raise PermissionDenied

    app = App("mail", modules=[mail], resources=[mailer, warehouse], settings=settings_for_tests())
    return app, diary, get_sender


async def test_resources_open_in_order_and_close_in_reverse() -> None:
    app, diary, _ = world()
    async with Client(app) as client:
        assert diary == ["mailer opens", "warehouse opens"]
        assert (await client.get("/v1/sender")).json() == {"address": "shop@example.com"}
    assert diary == ["mailer opens", "warehouse opens", "warehouse closes", "mailer closes"]


async def test_a_resource_that_can_not_be_opened_keeps_the_app_from_starting() -> None:
    app, diary, _ = world(fails=True)
    with pytest.raises(ConnectionError, match="on fire"):
        await app.start()
    assert diary == ["mailer opens", "mailer closes"]


async def test_a_resource_that_the_app_does_not_list_is_named() -> None:
    _, _, operation = world()
    async with context(operation.module) as ctx:
        with pytest.raises(LookupError, match=r"Resource\('mailer'\).*App\(resources="):
            await operation.handler(ctx)


async def test_a_mounted_application_answers_for_itself_and_lives_as_a_resource() -> None:
    diary: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        diary.append("opens")
        yield
        diary.append("closes")

    async def hello(request: Any) -> PlainTextResponse:
        return PlainTextResponse(str(request.url_for("hello").path))

    legacy = Starlette(routes=[Route("/hello", hello)], lifespan=lifespan)
    life = Resource("legacy", lambda: legacy.router.lifespan_context(legacy))
    app = App("moving", modules=[], resources=[life], mounts={"/legacy": legacy})
    async with Client(app) as client:
        assert (await client.get("/legacy/hello")).text == "/legacy/hello"
        assert (await client.get("/legacy/nowhere")).text == "Not Found"
        assert (await client.get("/v1/nowhere")).json()["reason"] == "ROUTE_NOT_FOUND"
        assert diary == ["opens"]
    assert diary == ["opens", "closes"]


async def test_an_app_inside_starlette_keeps_its_policies_and_names_its_addresses() -> None:
    app, diary, _ = world()

    @asynccontextmanager
    async def lifespan(outer: Starlette) -> AsyncIterator[None]:
        async with app:
            yield

    outer = Starlette(routes=[Mount("/api", app=app)], lifespan=lifespan)
    async with outer.router.lifespan_context(outer):
        assert diary == ["mailer opens", "warehouse opens"]
        assert (await exchange(outer, "GET", "/api/v1/sender")).json() == {"address": "shop@example.com"}
        refused = await exchange(outer, "GET", "/api/v1/secret")
        assert (refused.status, refused.json()["type"]) == (401, "/api/problems/unauthenticated")
        assert (await exchange(outer, "GET", "/api/openapi.json")).json()["servers"][0]["url"] == "/api"
    assert diary[-1] == "mailer closes"


async def test_an_app_that_nobody_opened_says_so() -> None:
    app, _, _ = world()
    outer = Starlette(routes=[Mount("/api", app=app)])
    with pytest.raises(RuntimeError, match="async with app"):
        await exchange(outer, "GET", "/api/v1/sender")


async def test_the_caller_of_a_test_reaches_an_app_with_resources() -> None:
    app, _, operation = world()
    async with Client(app, principal=principal("ada")) as client:
        assert await client.call(operation) == Sender(address="shop@example.com")
