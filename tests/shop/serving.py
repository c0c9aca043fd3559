"""The shop as its users meet it: a server of its own, on a free port, with a database of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.postgres import empty_database
from trivet.testing import Served, serve

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE_SECONDS = 60
"""How long something that surely happens may take on a machine that is busy with other tests."""


@contextmanager
def shop(workers: int = 1, engine: str = "sqlite") -> Iterator[Served]:
    """Serve the shop; callers act as the developer.

    Args:
        workers: How many.
        engine: Of its database, which is empty at first.
    """
    environ = {"TRIVET_ENVIRONMENT": "development", "TRIVET_SERVER__WORKERS": str(workers)}
    with ExitStack() as stack:
        if engine == "postgresql":
            environ["TRIVET_DATABASE__URL"] = stack.enter_context(empty_database(18))
        yield stack.enter_context(serve("shop.app:app", app_dir=EXAMPLES, environ=environ))


def kill_a_worker(served: Served, index: int) -> None:
    """Take a worker away without a word, if there is one just now."""
    pid = served.process.pid
    workers = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    if workers:
        os.kill(workers[index % len(workers)], signal.SIGKILL)


async def pages(client: httpx2.AsyncClient, path: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
    """Yield the items of a list, page after page."""
    token: str | None = None
    while True:
        answer = await client.get(path, params={**query, "page_size": 100} | ({"page_token": token} if token else {}))
        answer.raise_for_status()
        body = answer.json()
        for item in body["items"]:
            yield item
        token = body.get("next_page_token")
        if token is None:
            return
