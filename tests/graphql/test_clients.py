"""Other people's clients, and their audit of servers, against GraphQL over real sockets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools import node

from trivet.testing.server import Served, serve

NODE = Path(__file__).with_name("node")
ROOT = Path(__file__).resolve().parents[2]
WATCHED = "subscription { watchBooks(count: 3) { title author { name } } }"
BOOKS = [
    {"data": {"watchBooks": {"title": f"Volume {n}", "author": {"name": name}}}}
    for n, name in ((1, "Austen"), (2, "Poe"), (3, "Austen"))
]

pytestmark = pytest.mark.conformance


@pytest.fixture(scope="module")
def served(kind: str) -> Iterator[Served]:
    environ = {
        "TRIVET_SERVER__KIND": kind,
        "TRIVET_GRAPHQL__INTROSPECTION": "true",
        "PYTHONPATH": str(ROOT),
    }
    with serve("library_server:app", app_dir=Path(__file__).parent, environ=environ) as running:
        yield running


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients")
    (folder / "node_modules").symlink_to(node.install(NODE) / "node_modules")
    for script in NODE.glob("*.mjs"):
        (folder / script.name).write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def run(scripts: Path, *arguments: str) -> list[Any]:
    """Run a script and return the lines that it printed, parsed where they are JSON."""
    ended = subprocess.run(
        [node.NODE, *arguments], cwd=scripts, check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) if line[:1] in "{[" else line for line in ended.stdout.splitlines()]


def test_the_audit_of_graphql_http_has_nothing_to_say(served: Served, scripts: Path) -> None:
    [results] = run(scripts, "audit.mjs", f"{served.url}/graphql")
    assert len(results) >= 60
    assert [result for result in results if result["status"] != "ok"] == []


@pytest.mark.parametrize("client", ["ws.mjs", "sse.mjs"], ids=["graphql-ws", "graphql-sse"])
def test_clients_follow_subscriptions(served: Served, scripts: Path, client: str) -> None:
    url = f"{served.url}/graphql"
    if client == "ws.mjs":
        url = url.replace("http", "ws", 1)
    assert run(scripts, client, url, WATCHED) == [*BOOKS, "complete"]
    assert run(scripts, client, url, WATCHED, "1") == [BOOKS[0], "complete"]
    assert run(scripts, client, url, "{ countBooks }") == [{"data": {"countBooks": 5}}, "complete"]
    [refused] = run(scripts, client, url, "{ nope }")
    assert "failed" in refused
    *items, failed, end = run(scripts, client, url, "subscription { watchBooks(count: 9) { title } }")
    assert (len(items), failed["errors"][0]["extensions"]["reason"], end) == (4, "ARCHIVE_CLOSED", "complete")
