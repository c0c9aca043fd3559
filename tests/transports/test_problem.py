"""Problem documents: every kind of error has a status, a document and a page that explains it."""

from __future__ import annotations

import typing
from datetime import date
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.transports.client import Client
from tests.transports.library import Library, front
from trivet.contracts.problem import PHRASES, REFUSALS, STATUS, slug_of, status_of
from trivet.core.call import Call
from trivet.core.error import Code, Error, Internal, InvalidArgument, Violation
from trivet.transports.catalogue import ADVICE, error_classes
from trivet.transports.rest.problem import render

BASES = sorted(
    {kind for kind in error_classes() if kind.__module__.startswith("trivet.")},
    key=lambda kind: (kind.reason, kind.__module__, kind.__qualname__),
)


def call() -> Call:
    return Call(None, protocol="rest", method="GET /", peer=None, arrival=0.0, request_id="r-1")


SAMPLES: dict[Any, Any] = {str: "x", int: 3, UUID: UUID(int=1), date: date(2026, 1, 1)}


def sample(kind: type[Error]) -> Error:
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind.shape):
        if field.required:
            plain = typing.get_origin(field.type) or field.type
            fields[field.name] = SAMPLES.get(plain, () if plain is tuple else None)
    return kind(**fields)


@pytest.mark.parametrize("kind", BASES, ids=lambda kind: kind.__qualname__)
def test_every_error_renders_as_a_problem(kind: type[Error]) -> None:
    shown = render(sample(kind), call(), "/shop")
    document = msgspec.json.decode(shown.body)
    assert document["type"] == f"/shop/problems/{slug_of(kind)}"
    assert document["status"] == shown.status == status_of(kind)
    assert (document["code"], document["reason"]) == (kind.code.name.lower(), kind.reason)
    assert document["instance"] == "urn:request:r-1"
    assert dict(shown.fields)[b"content-type"] == b"application/problem+json"
    assert shown.status in PHRASES


def test_every_code_has_a_status_and_advice() -> None:
    assert set(STATUS) == set(ADVICE) == set(Code)


def test_refusals_are_listed_by_status() -> None:
    statuses = [status_of(kind) for kind in REFUSALS]
    assert statuses == sorted(statuses)


def test_an_internal_error_leaks_neither_detail_nor_fields() -> None:
    document = msgspec.json.decode(render(Internal(detail="the password is x"), call()).body)
    assert "detail" not in document


def test_violations_are_listed() -> None:
    error = InvalidArgument(detail="No.", violations=(Violation(detail="is required", pointer="#/a"),))
    document = msgspec.json.decode(render(error, call()).body)
    assert (document["detail"], document["errors"]) == ("No.", [{"detail": "is required", "pointer": "#/a"}])


PLATFORM = [kind for kind in BASES if kind.__module__.startswith("trivet.")]


@pytest.mark.parametrize("kind", PLATFORM, ids=lambda kind: kind.reason)
async def test_every_type_is_explained_to_people_and_programs(kind: type[Error]) -> None:
    client = Client(front(Library()))
    page = await client.get(f"/problems/{slug_of(kind)}", {"Accept": "text/html,*/*"})
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert kind.reason in page.body.decode()
    for accept in ("application/json", "application/problem+json"):
        described = await client.get(f"/problems/{slug_of(kind)}", {"Accept": accept})
        assert described.json["status"] == status_of(kind)


async def test_the_page_of_a_declared_error_names_who_raises_it() -> None:
    client = Client(front(Library()))
    assert b"books.create_book" in (await client.get("/problems/title-taken")).body
    listed = (await client.get("/problems", {"Accept": "application/json"})).json["items"]
    assert {"reason": "TITLE_TAKEN", "raised_by": ["books.create_book"]}.items() <= next(
        item for item in listed if item["reason"] == "TITLE_TAKEN"
    ).items()


async def test_an_unknown_type_is_not_found() -> None:
    response = await Client(front(Library())).get("/problems/no-such-thing")
    assert (response.status, response.reason) == (404, "ROUTE_NOT_FOUND")
