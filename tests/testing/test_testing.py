"""The tools for tests, on a small app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, NewType, assert_type
from uuid import UUID

import pytest

from trivet import (
    App,
    Event,
    JobStatus,
    Meta,
    Module,
    NotFound,
    Page,
    PageRequest,
    PermissionDenied,
    Read,
    Run,
    Struct,
    Table,
    Unauthenticated,
    Write,
)
from trivet.testing import Client, Response, context, principal, settings_for_tests

PostId = NewType("PostId", UUID)
Title = Annotated[str, Meta(max_length=100)]

blog = Module("blog")


class NewPost(Struct):
    """What an author says."""

    title: Title


class Post(Struct):
    """Something to read."""

    id: PostId
    author: Annotated[str, Meta(max_length=100)]
    title: Title
    likes: int
    version: int


class PostWritten(Event):
    """Somebody wrote a post."""

    post_id: PostId


posts = Table(
    blog,
    Post,
    key=lambda p: p.id,
    readable=lambda who, p: p.author == who.subject,
    writable=lambda who, p: p.author == who.subject,
)


@posts.listing(order="title")
def all_posts(p: Post, title: str | None = None) -> bool:
    return p.title == title


@blog.query(scope="posts.read")
async def get_post(ctx: Read, id: PostId) -> Post:
    """Return a post."""
    return await posts.get(ctx, id)


@blog.query(scope="posts.read")
async def list_posts(ctx: Read, page: PageRequest, title: Title | None = None) -> Page[Post]:
    """List posts."""
    return await posts.page(ctx, all_posts, page, title=title)


@blog.command(scope="posts.write")
async def create_post(ctx: Write, post: NewPost) -> Post:
    """Write a post."""
    created = Post(id=PostId(ctx.new_id()), author=ctx.principal.subject, title=post.title, likes=0, version=1)
    await posts.insert(ctx, created)
    ctx.emit(PostWritten(post_id=created.id))
    return created


@blog.on(PostWritten)
async def like(ctx: Write, event: PostWritten) -> None:
    post = await posts.get(ctx, event.post_id)
    await posts.update(ctx, Post(id=post.id, author=post.author, title=post.title, likes=1, version=post.version))


@blog.stream(public=True)
async def watch_ticks(ctx: Read, count: Annotated[int, Meta(ge=0, le=10)] = 2) -> AsyncIterator[Title]:
    """Tick."""
    for number in range(count):
        yield f"tick {number}"


@blog.job(scope="posts.write")
async def import_posts(ctx: Run, title: Title) -> Post:
    """Write a post later."""
    return await ctx.call(create_post, NewPost(title=title))


app = App("blog", modules=[blog])
ADA = principal("ada", scopes="posts.read posts.write")
BOB = principal("bob", scopes=["posts.read"], roles="reader", tenant="t", team="red")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(app, principal=ADA) as client:
        yield client


def test_a_principal_is_built_from_words() -> None:
    assert ADA.may("posts.write")
    assert not BOB.may("posts.write")
    assert BOB.has("reader")
    assert (BOB.tenant, BOB.attributes) == ("t", {"team": "red"})


async def test_requests_go_through_the_app(client: Client) -> None:
    created = await client.post("/v1/posts", json={"title": "one"})
    assert created.status == 201
    answer = await client.get("/v1/posts", query={"title": "one", "page_size": 5})
    assert [item["title"] for item in answer.json()["items"]] == ["one"]
    assert answer.headers["content-type"] == "application/json"
    assert "one" in answer.text


async def test_a_request_says_who_calls(client: Client) -> None:
    path = (await client.post("/v1/posts", json={"title": "one"})).headers["location"]
    assert (await client.get(path)).status == 200
    assert (await client.get(path, as_=BOB)).status == 404
    assert (await client.post("/v1/posts", json={"title": "two"}, as_=BOB)).status == 403
    assert (await client.as_(BOB).get(path)).status == 404


async def test_nobody_calls_unless_said() -> None:
    async with Client(app) as client:
        assert (await client.get("/v1/posts")).status == 401


async def test_a_header_can_not_claim_to_be_somebody() -> None:
    async with Client(app) as client:
        answer = await client.get("/v1/posts", headers={"trivet.principal": "ada", "authorization": "Bearer ada"})
        assert answer.status == 401


async def test_operations_are_called_with_their_types_through_their_policies(client: Client) -> None:
    post = await client.call(create_post, NewPost(title="one"))
    assert_type(post, Post)
    assert (await client.call(get_post, id=post.id)).title == "one"
    with pytest.raises(NotFound):
        await client.as_(BOB).call(get_post, post.id)
    with pytest.raises(PermissionDenied):
        await client.as_(BOB).call(create_post, NewPost(title="two"))
    with pytest.raises(TypeError, match="missing argument"):
        await client.call(get_post)  # type: ignore[call-overload] # that is the point
    async with Client(app) as nobody:
        with pytest.raises(Unauthenticated):
            await nobody.call(get_post, post.id)


async def test_a_stream_is_read(client: Client) -> None:
    assert [item async for item in await client.call(watch_ticks, 3)] == ["tick 0", "tick 1", "tick 2"]


async def test_events_are_handled_before_it_is_settled(client: Client) -> None:
    post = await client.call(create_post, NewPost(title="one"))
    await client.settle()
    assert (await client.call(get_post, post.id)).likes == 1


async def test_jobs_and_what_they_cause_are_done_when_it_is_settled(client: Client) -> None:
    status = await client.call(import_posts, "later")
    assert_type(status, JobStatus)
    await client.settle()
    [post] = (await client.call(list_posts, PageRequest())).items
    assert (post.title, post.likes) == ("later", 1)


async def test_every_client_has_a_database_of_its_own() -> None:
    async with Client(app, principal=ADA) as one, Client(app, principal=ADA) as other:
        await one.call(create_post, NewPost(title="one"))
        assert (await other.call(list_posts, PageRequest())).items == []


async def test_a_context_on_a_clients_database_prepares_and_looks(client: Client) -> None:
    async with client.context(blog) as ctx:
        post = await create_post.handler(ctx, NewPost(title="prepared"))
    async with client.context(blog, write=False) as reading:
        assert_type(reading, Read)
        assert await posts.get(reading, post.id) == post


async def test_a_context_runs_a_handler_with_the_rules_of_its_caller() -> None:
    async with context(blog, principal=ADA) as ctx:
        assert_type(ctx, Write)
        post = await create_post.handler(ctx, NewPost(title="one"))
        assert await get_post.handler(ctx, post.id) == post


async def test_a_context_is_rolled_back(client: Client) -> None:
    async with client.context(blog, commit=False) as ctx:
        await create_post.handler(ctx, NewPost(title="gone"))
    assert (await client.call(list_posts, PageRequest())).items == []


async def test_a_context_that_acts_as_the_module_sees_every_row(client: Client) -> None:
    post = await client.call(create_post, NewPost(title="one"))
    async with client.as_(BOB).context(blog, as_module=True) as ctx:
        assert (await posts.get(ctx, post.id)).id == post.id


async def test_any_asgi_application_can_be_asked() -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.method} {request.url.path} {request.query_params['q']}")

    async with Client(Starlette(routes=[Route("/a b", hello)])) as client:
        answer = await client.get("/a b", query={"q": "ä&"})
        assert isinstance(answer, Response)
        assert answer.text == "GET /a b ä&"
        with pytest.raises(TypeError):
            await client.settle()


def test_settings_for_tests_keep_what_the_app_was_told_otherwise() -> None:
    base = settings_for_tests()
    assert base.database.url.reveal() == "sqlite://"
    assert not base.identity.developer
    assert settings_for_tests(base) == base
