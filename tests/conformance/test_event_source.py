"""Somebody else's EventSource follows the shop through a restart and a crash: nothing missed, nothing twice."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tools import node

from tests.shop.serving import PATIENCE_SECONDS, kill_a_worker, shop
from trivet.testing import Served

HERE = Path(__file__).parent
SCRIPT = HERE / "clients" / "eventsource.mjs"

pytestmark = [pytest.mark.slow, pytest.mark.conformance, pytest.mark.timeout(300)]


class Follower:
    """An EventSource in a process of its own.

    Attributes:
        messages: What it got, in order.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, output: Any) -> None:
        for line in output:
            self._said.put(json.loads(line))

    def until(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """Return what it says next of a kind, with these members in its data."""
        while True:
            said = self._said.get(timeout=PATIENCE_SECONDS)
            if said["kind"] == "message":
                self.messages.append(said)
            assert not said.get("closed"), "it gave up"
            if said["kind"] == kind and wanted.items() <= said.get("data", {}).items():
                return said


@contextmanager
def following(url: str, folder: Path) -> Iterator[Follower]:
    (folder / "node_modules").symlink_to(node.install(HERE) / "node_modules")
    script = folder / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    process = subprocess.Popen([node.NODE, script, url], stdout=subprocess.PIPE, text=True)
    try:
        yield Follower(process)
    finally:
        process.kill()
        process.communicate()


class Buyer:
    """Places orders, one desk at a time.

    Attributes:
        placed: Their ids.
    """

    def __init__(self, served: Served) -> None:
        self.placed: list[str] = []
        self._client = httpx2.Client(base_url=served.url, timeout=PATIENCE_SECONDS)
        (customer,) = self._client.get("/v1/customers?page_size=1").json()["items"]
        (product,) = self._client.get("/v1/products?text=walnut+desk&page_size=1").json()["items"]
        line = {"product_id": product["id"], "quantity": 1}
        self._order = {"customer_id": customer["id"], "lines": [line]}

    def __enter__(self) -> Buyer:
        return self

    def __exit__(self, *raised: object) -> None:
        self._client.close()

    def buy(self) -> str:
        """Place an order, again with the same key while nobody answers; returns its id."""
        key = {"Idempotency-Key": f"order-{len(self.placed)}"}
        while True:
            try:
                answer = self._client.post("/v1/orders", json=self._order, headers=key)
            except httpx2.TransportError:
                continue
            if answer.status_code < 500 and answer.status_code != 409:
                break
        assert answer.status_code == 201, answer.text
        self.placed.append(answer.json()["id"])
        return self.placed[-1]


def test_it_comes_back_by_itself_and_misses_nothing(kind: str, tmp_path: Path) -> None:
    with shop() as served, following(f"{served.url}/v1/orders:watch", tmp_path) as follower, Buyer(served) as buyer:
        follower.until("open")
        follower.until("message", order_id=buyer.buy(), status="CONFIRMED")
        for away in (partial(served.signal, signal.SIGHUP), partial(kill_a_worker, served, 0)):
            away()
            missed = buyer.buy()  # while it is away, or about to go
            follower.until("error")
            seen = [message["data"] for message in follower.messages]
            if not any(data["order_id"] == missed and data["status"] == "CONFIRMED" for data in seen):
                follower.until("message", order_id=missed, status="CONFIRMED")
            follower.until("message", order_id=buyer.buy(), status="CONFIRMED")
        told = [(message["data"]["order_id"], message["data"]["status"]) for message in follower.messages]
        assert sorted(told) == sorted((id, status) for id in buyer.placed for status in ("PENDING", "CONFIRMED"))
        ids = [message["id"] for message in follower.messages]
        assert len(set(ids)) == len(ids)
