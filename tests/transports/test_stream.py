"""Streams as server-sent events, and clients that go away."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest

from tests.adversity.ticker import ticker
from tests.messaging.contract.world import Shifted
from tests.transports.client import Client, Conversation, scope_of
from tests.transports.library import Library, book_id, front
from trivet import App
from trivet.testing.app import settings_for_tests

WATCH = "/v1/books:watch"


async def test_items_are_events_and_the_end_is_the_end() -> None:
    response = await Client(front(Library())).get(f"{WATCH}?count=3", {"Accept": "text/event-stream"})
    assert (response.status, response.headers["content-type"]) == (200, "text/event-stream")
    opening, *events, end = response.body.decode().split("\n\n")
    assert re.fullmatch(r"retry: [123]\d\d\d", opening)
    assert len(events) == 3
    assert all(event.startswith('data: {"id":') and "\n" not in event for event in events)
    assert end == ""


async def test_what_fails_before_the_first_item_is_an_ordinary_error() -> None:
    library = Library()
    response = await Client(front(library)).get(f"{WATCH}?count=99")
    assert (response.status, response.reason) == (404, "NOT_FOUND")
    assert library.journal.closed.is_set()


async def test_what_fails_later_is_an_event() -> None:
    response = await Client(front(Library())).get(f"{WATCH}?count=6")
    _, *items, error, _ = response.body.decode().split("\n\n")
    assert (response.status, len(items)) == (200, 4)
    assert error.startswith("event: error\ndata: {")
    assert '"reason":"ARCHIVE_CLOSED"' in error


async def test_an_open_stream_whose_process_stood_still_while_events_were_removed_says_so() -> None:
    clock = Shifted()
    app = App("ticker", modules=[ticker], settings=settings_for_tests())
    await app.start(clock=clock)
    conversation = Conversation(app, scope_of("GET", "/v1/ticks:watch", {}))
    assert (await conversation.next())["status"] == 200
    assert re.fullmatch(rb"retry: \d+\nid: 0-\d+\n\n", (await conversation.next())["body"])
    clock.ahead = timedelta(days=9)
    error = (await conversation.next())["body"]
    assert error.startswith(b"event: error\ndata: {")
    assert b'"reason":"POSITION_EXPIRED"' in error
    await asyncio.wait_for(conversation.task, 5)
    await app.stop()


async def test_a_reader_that_goes_away_closes_the_generator() -> None:
    library = Library()
    conversation = Conversation(front(library), scope_of("GET", f"{WATCH}?count=1&silent=true", {}))
    assert (await conversation.next())["status"] == 200
    assert b"\ndata: " in (await conversation.next())["body"]
    conversation.leave()
    await asyncio.wait_for(conversation.task, 5)
    assert library.journal.closed.is_set()


async def test_a_silent_stream_gets_its_head_and_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivet.transports.rest.stream.HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr("trivet.transports.rest.stream.TICK_SECONDS", 0.01)
    conversation = Conversation(front(Library()), scope_of("GET", f"{WATCH}?count=0&silent=true", {}))
    assert (await conversation.next())["type"] == "http.response.start"
    assert (await conversation.next())["body"].startswith(b"retry: ")
    assert (await conversation.next())["body"] == b": still here\n\n"
    conversation.leave()
    await asyncio.wait_for(conversation.task, 5)


async def test_a_stream_ends_when_the_process_is_about_to() -> None:
    library = Library()
    built = front(library)
    conversation = Conversation(built, scope_of("GET", f"{WATCH}?count=1&silent=true", {}))
    assert (await conversation.next())["status"] == 200
    assert (await conversation.next())["more_body"]
    built.runtime.end_streams()
    assert not (await conversation.next()).get("more_body", False)
    await asyncio.wait_for(conversation.task, 5)
    assert library.journal.closed.is_set()
    assert b'"status":200,"code":"OK"' in built.lines[-1]


async def test_a_stream_that_comes_while_streams_end_is_sent_back_at_once() -> None:
    built = front(Library())
    built.runtime.end_streams()
    response = await Client(built).get(f"{WATCH}?count=1&silent=true")
    assert (response.status, response.body[:7]) == (200, b"retry: ")
    assert b"data" not in response.body


async def test_a_stream_that_json_alone_would_satisfy_is_not_acceptable() -> None:
    response = await Client(front(Library())).get(WATCH, {"Accept": "application/json"})
    assert (response.status, response.json["available"]) == (406, ["text/event-stream"])


async def test_head_of_a_stream_ends_at_once() -> None:
    response = await Client(front(Library())).request("HEAD", WATCH)
    assert (response.status, response.body) == (200, b"")


async def test_a_client_that_goes_away_cancels_the_handler() -> None:
    library = Library()
    built = front(library)
    conversation = Conversation(built, scope_of("GET", f"/v1/books/{book_id(1)}:wait", {}))
    await asyncio.sleep(0)
    conversation.leave()
    await asyncio.wait_for(conversation.task, 5)
    assert library.journal.cancelled.is_set()
    assert conversation.silent
    assert b'"status":499,"code":"CANCELLED"' in built.lines[-1]


async def test_a_client_that_goes_away_while_sending_is_not_answered() -> None:
    library = Library()
    built = front(library)
    fields = {"content-type": "application/json", "content-length": "10"}
    conversation = Conversation(built, scope_of("POST", f"/v1/books/{book_id(1)}:lend", fields))
    conversation._incoming.get_nowait()
    conversation._incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    conversation.leave()
    await asyncio.wait_for(conversation.task, 5)
    assert conversation.silent
    assert b'"status":499,"code":"CANCELLED"' in built.lines[-1]


async def test_a_cancellation_from_elsewhere_goes_on() -> None:
    conversation = Conversation(front(Library()), scope_of("GET", f"/v1/books/{book_id(1)}:wait", {}))
    await asyncio.sleep(0)
    conversation.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await conversation.task
