"""Who is the developer: a program on this machine, and no page of somebody else's in a browser on it."""

from __future__ import annotations

import pytest

from trivet.core.call import Call
from trivet.policies.authenticate import is_local


@pytest.mark.parametrize(
    ("fields", "local"),
    [
        ({}, True),
        ({"host": "localhost:8000"}, True),
        ({"host": "127.0.0.1"}, True),
        ({"host": "[::1]:8000"}, True),
        ({"host": "localhost", "origin": "http://localhost:3000"}, True),
        ({"host": "shop.example:8000"}, False),
        ({"host": "127.0.0.1.example:8000"}, False),
        ({"host": ""}, False),
        ({"host": "localhost", "origin": "https://shop.example"}, False),
        ({"host": "localhost", "origin": "null"}, False),
        ({"host": "localhost", "origin": "https://localhost.example"}, False),
    ],
)
def test_names_that_lead_here_and_foreign_pages_are_not_the_developer(fields: dict[str, str], local: bool) -> None:
    head = {name.encode(): value.encode() for name, value in fields.items()}
    call = Call(None, protocol="rest", method="GET /", fields=head, peer="127.0.0.1", arrival=0.0, request_id="r-1")
    assert is_local(call) is local
