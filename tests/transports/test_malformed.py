"""The table of malformed requests, in this process: each is refused with its status and reason, before the handler."""

from __future__ import annotations

import pytest

from tests.transports.client import Response, scope_of, send
from tests.transports.library import Library, front
from tests.transports.malformed import CASES, Case


async def answer(case: Case, library: Library) -> Response:
    head, _, body = case.raw.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    scope = scope_of(method, target, dict(field.split(": ", 1) for field in fields))
    return await send(front(library), scope, body)


@pytest.mark.parametrize("case", [case for case in CASES if case.reason], ids=lambda case: case.name)
async def test_a_malformed_request_is_refused(case: Case) -> None:
    library = Library()
    response = await answer(case, library)
    assert (response.status, response.reason) == (case.status, case.reason)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json["instance"] == f"urn:request:{response.headers['request-id']}"
    assert library.journal.calls == []


def test_the_table_has_at_least_forty_rows_with_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40
