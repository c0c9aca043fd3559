"""What a caller has seen, over GraphQL: in the header field, in extensions, and over a WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.data.postgresql.ledger import mark_of, on_replicas, serving
from tests.graphql.test_websocket import INIT, opened
from tests.postgres import SURVIVES, Server
from trivet.testing import Client

pytestmark = pytest.mark.integration

Pair = tuple[Server, Server]


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """A primary, and a replica that replays nothing."""
    primary = Server(17, SURVIVES)
    replica = primary.standby()
    yield primary, replica
    replica.remove()
    primary.remove()


@pytest.fixture
async def client(servers: Pair) -> AsyncIterator[Client]:
    async with serving(*servers) as client:
        servers[1].run("SELECT pg_wal_replay_pause()")
        yield client
        servers[1].run("SELECT pg_wal_replay_resume()")


def put(id: str, value: int) -> dict[str, Any]:
    return {"query": f'mutation {{ putEntry(id: "{id}", value: {value}) {{ value }} }}'}


def get(id: str, token: str = "") -> dict[str, Any]:
    extensions = {"extensions": {"consistencyToken": token}} if token else {}
    return {"query": f'{{ entry(id: "{id}") {{ value }} }}', **extensions}


async def test_a_change_and_what_is_read_after_it_have_a_token_in_the_header_and_in_extensions(client: Client) -> None:
    written = await client.post("/graphql", json=put("a", 1))
    token = written.json()["extensions"]["consistencyToken"]
    assert mark_of(client, token) == mark_of(client, written.headers["consistency-token"])
    found = await client.post("/graphql", json=get("a"), headers={"consistency-token": token})
    assert found.json()["data"] == {"entry": {"value": 1}}
    again = found.json()["extensions"]["consistencyToken"]
    assert again == found.headers["consistency-token"]
    assert mark_of(client, again).position >= mark_of(client, token).position


async def test_who_keeps_no_account_and_changes_nothing_is_told_nothing(client: Client) -> None:
    found = await client.post("/graphql", json={"query": "{ __typename }"})
    assert found.json() == {"data": {"__typename": "Query"}}
    assert "consistency-token" not in found.headers


async def test_changes_of_one_request_see_each_other_and_have_one_token(client: Client) -> None:
    both = 'mutation { one: putEntry(id: "b", value: 1) { value } two: putEntry(id: "b", value: 2) { value } }'
    written = (await client.post("/graphql", json={"query": both})).json()
    token = written["extensions"]["consistencyToken"]
    found = await client.post("/graphql", json=get("b"), headers={"consistency-token": token})
    assert found.json()["data"] == {"entry": {"value": 2}}


async def test_an_operation_over_a_websocket_takes_the_token_in_its_extensions(client: Client) -> None:
    async with opened(client.app, INIT) as socket:
        assert (await socket.next())["type"] == "connection_ack"

        async def ask(payload: dict[str, Any]) -> Any:
            socket.say({"type": "subscribe", "id": "1", "payload": payload})
            answer = await socket.next()
            if answer["type"] == "next":
                assert (await socket.next())["type"] == "complete"
            return answer["payload"]

        written = await ask(put("c", 3))
        token = written["extensions"]["consistencyToken"]
        found = await ask(get("c", token))
        assert found["data"] == {"entry": {"value": 3}}
        assert mark_of(client, found["extensions"]["consistencyToken"]).position >= mark_of(client, token).position
        [refused] = await ask(get("c", "no token"))
        assert refused["extensions"]["errors"][0]["pointer"] == "#/consistency-token"
        [refused] = await ask({**get("c"), "extensions": {"consistencyToken": 1}})
        assert refused["extensions"]["errors"][0]["pointer"] == "#/extensions/consistencyToken"
        assert on_replicas(client) == 0
