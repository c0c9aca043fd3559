"""GraphQL beside its peers, and beside our own REST for the same data; and a hostile client beside a friendly one.

Each contender is an application called in process, in an interpreter of its own, by the same prepared request: servers
and sockets cost the same for all and are left out. ``python -m benchmarks.graphql CONTENDER QUESTION SECONDS`` measures
one and prints `Figures`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import psutil

from benchmarks import subject
from benchmarks.apps.graphql_data import CUSTOMERS, PRODUCTS, ROWS, identity
from benchmarks.comparison import as_series
from benchmarks.effort import Effort
from benchmarks.figures import ratio, spread
from benchmarks.inside import ApplicationFailed, Message, started
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section, Target
from trivet.core.shape import Struct

NODE = Path(__file__).with_name("graphql_node")
BLOCKS = 5
FASTER, OF_REST = 40, 0.6
HOSTILE = 60
DISTINCT = 4000
MAX_KEPT = 1000


class Figures(Struct):
    """What one request costs: processor time in seconds, of the cheapest block."""

    cpu: float


class Hostile(Struct):
    """Seconds that a small query takes, alone and beside a client that sends hostile documents; and what is kept.

    Attributes:
        alone: The median without another client.
        beside: The median beside one.
        tail: What 99 of 100 take at most beside one.
        worst: The longest beside one.
        busy: Processor seconds that a hostile document takes.
        documents: How many were sent.
        kept: The most documents, and the most plans, that were kept after thousands of distinct ones.
        grown: Bytes by which the process grew during the second half of those.
    """

    alone: float
    beside: float
    tail: float
    worst: float
    busy: float
    documents: int
    kept: tuple[int, int]
    grown: int


PRODUCT = "id sku name stock brand { name country }"
DEEP = "id customer { name } lines { quantity product { name brand { name } } }"
INTROSPECTION = (
    "{ __schema { queryType { name } types { kind name fields { name args { name type { kind name ofType { kind name }"
    " } } type { kind name ofType { kind name ofType { kind name } } } } inputFields { name } enumValues { name } } } }"
)

QUESTIONS = {
    "list": ("100 products with their brands", f"{{ products {{ {PRODUCT} }} }}"),
    "one": ("one product", f'{{ product(id: "{identity(1)}") {{ {PRODUCT} }} }}'),
    "deep": ("20 orders, three levels deep", f"{{ orders {{ {DEEP} }} }}"),
    "introspection": ("the schema", INTROSPECTION),
}
"""What is asked, in words and as a document."""

TRIVET = {
    "list": f"{{ products(first: 100) {{ nodes {{ {PRODUCT} }} }} }}",
    "deep": f"{{ orders(first: 100) {{ nodes {{ {DEEP} }} }} }}",
}
"""The same of a server whose lists have pages."""

REST = {
    "list": "/v1/products?page_size=100",
    "one": f"/v1/products/{identity(1)}",
    "deep": "/v1/orders?page_size=100&expand=customer,lines.product",
}

APPS = {
    "trivet": ("Trivet, GraphQL", "graphql_trivet"),
    "rest": ("Trivet, REST", "graphql_trivet"),
    "strawberry": ("Strawberry", "graphql_strawberry"),
    "ariadne": ("Ariadne", "graphql_ariadne"),
    "mercurius": ("mercurius with JIT, on Node", None),
}


class Caller:
    """Sends one prepared request again and again.

    Args:
        app: The application.
        method: The HTTP method.
        target: Path and query.
        body: What is sent.
    """

    def __init__(self, app: Any, method: str, target: str, body: bytes) -> None:
        path, _, query = target.partition("?")
        self._app = app
        self._body = body
        self._scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"accept", b"application/json"),
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        if method == "GET":
            self._scope["headers"] = self._scope["headers"][:2]
        self.status = 0
        self.answer = b""

    async def call(self) -> None:
        """Send the request once."""
        self.answer = b""
        unread = True

        async def receive() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": self._body, "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError

        await self._app(dict(self._scope), receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.answer += message.get("body", b"")


def prepared(contender: str, question: str) -> tuple[Any, Caller]:
    """Return an application and what asks it."""
    app = import_module(f"benchmarks.apps.{APPS[contender][1]}").app
    if contender == "rest":
        return app, Caller(app, "GET", REST[question], b"")
    source = TRIVET.get(question) if contender == "trivet" else None
    body = msgspec.json.encode({"query": source or QUESTIONS[question][1]})
    return app, Caller(app, "POST", "/graphql", body)


async def measured(contender: str, question: str, seconds: float) -> Figures:
    """Measure one contender with one question."""
    app, caller = prepared(contender, question)
    if contender in ("strawberry", "ariadne"):  # they have no start-up
        return await _blocks(caller, seconds)
    async with started(app):
        return await _blocks(caller, seconds)


async def _blocks(caller: Caller, seconds: float) -> Figures:
    await caller.call()
    if caller.status != 200 or b'"errors"' in caller.answer:
        raise ApplicationFailed(f"{caller.status} {caller.answer[:500]!r}")
    best = float("inf")
    for _ in range(BLOCKS):
        end, count, start = time.perf_counter() + seconds / BLOCKS, 0, time.process_time()
        while time.perf_counter() < end or count < 2:
            await caller.call()
            count += 1
        best = min(best, (time.process_time() - start) / count)
    return Figures(cpu=best)


async def hostile() -> Hostile:
    """Time a small query while another client floods the planner with documents that are as bad as they may be.

    Then send thousands of small documents, each of them once, and look at what is kept.
    """
    app, friendly = prepared("trivet", "one")
    fields = " ".join(f'... on Query {{ a{n}: product(id: "{identity(n)}") {{ {PRODUCT} }} }}' for n in range(29))

    def sending(source: str) -> Caller:
        return Caller(app, "POST", "/graphql", msgspec.json.encode({"query": source}))

    def attack(number: int) -> Caller:
        merged = " ".join("brand { name }" for _ in range(70))  # compared with each other, pair by pair
        return sending(f"query Q{number} {{ {fields} products {{ nodes {{ {merged} }} }} }}")

    async def times(call: Callable[[], Awaitable[None]], until: Callable[[int], bool]) -> list[float]:
        taken: list[float] = []
        while until(len(taken)):
            start = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - start)
            await asyncio.sleep(0.001)
        return taken

    async with started(app):
        await friendly.call()
        alone = await times(friendly.call, lambda count: count < 200)

        async def flood() -> None:
            for number in range(HOSTILE):
                caller = attack(number)
                await caller.call()
                if b'"data"' not in caller.answer:
                    raise ApplicationFailed(f"a document that should be hard to plan is refused: {caller.answer!r}")

        began = time.process_time()
        flooding = asyncio.ensure_future(flood())
        beside = await times(friendly.call, lambda _: not flooding.done())
        await flooding
        busy = (time.process_time() - began - sum(beside)) / HOSTILE
        planner = (await app.service.front._graphql.service()).planner
        kept, sizes = (0, 0), []
        for number in range(DISTINCT):
            await sending(f'{{ product(id: "{identity(number)}") {{ id sku }} }}').call()
            kept = max(kept, planner.kept)
            if number in (DISTINCT // 2, DISTINCT - 1):
                sizes.append(psutil.Process().memory_info().rss)
        return Hostile(
            alone=median(alone),
            beside=median(beside),
            tail=sorted(beside)[len(beside) * 99 // 100],
            worst=max(beside),
            busy=busy,
            documents=HOSTILE,
            kept=kept,
            grown=sizes[1] - sizes[0],
        )


def of_node(question: str, seconds: float, workplace: Path) -> Figures:
    """Measure the contender on Node."""
    from tools import node

    folder = node.install(NODE)
    script, data = folder / "mercurius.mjs", workplace / "data.json"
    script.write_text((NODE / script.name).read_text(encoding="utf-8"), encoding="utf-8")
    data.write_text(json.dumps({"products": PRODUCTS, "customers": CUSTOMERS, "orders": ROWS}), encoding="utf-8")
    command: list[str | Path] = [node.NODE, script, data, QUESTIONS[question][1], str(seconds)]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=600)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Figures)


class Graphql:
    """Processor time per request of every contender and question, and what a hostile client does to others."""

    name = "graphql"
    title = "GraphQL"

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return effort.rounds * len(APPS) * len(QUESTIONS) + 1

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure all by turns."""
        taken: dict[tuple[str, str], list[float]] = {}
        for _ in range(effort.rounds):
            for question in QUESTIONS:
                for contender in APPS:
                    progress.doing(f"graphql: {question}, {contender}")
                    if (contender, question) != ("rest", "introspection"):
                        found = self._one(contender, question, effort.seconds, workplace)
                        taken.setdefault((contender, question), []).append(found.cpu * 1e6)
                    progress.step()
        progress.doing("graphql: a hostile client")
        beside = subject.run(["-m", "benchmarks.graphql", "hostile"], Hostile)
        progress.step()
        return self._section(taken, beside)

    def _one(self, contender: str, question: str, seconds: float, workplace: Path) -> Figures:
        if contender == "mercurius":
            return of_node(question, seconds, workplace)
        return subject.run(["-m", "benchmarks.graphql", contender, question, str(seconds)], Figures)

    def _section(self, taken: dict[tuple[str, str], list[float]], beside: Hostile) -> Section:
        faster = ratio(taken["strawberry", "list"], taken["trivet", "list"])
        of_rest = ratio(taken["rest", "list"], taken["trivet", "list"])
        return Section(
            name=self.name,
            title=self.title,
            about="The same data in memory, asked with the same documents, called in process: processor time per "
            "request. Strawberry has its caches for parsing and validation. REST answers the same objects, whole. "
            f"While a client sent {beside.documents} documents, each a new one that takes {beside.busy * 1e3:.0f} ms "
            f"to read and plan, a small query of another took {beside.beside * 1e3:.2f} ms (median), "
            f"{beside.tail * 1e3:.1f} ms (99 of 100) and {beside.worst * 1e3:.0f} ms at most, against "
            f"{beside.alone * 1e3:.2f} ms alone. After {DISTINCT:,} distinct documents, {beside.kept[0]:,} and "
            f"{beside.kept[1]:,} plans were kept; during the second half of them the process grew by "
            f"{max(beside.grown, 0) / 2**20:.1f} MiB.",
            columns=["contender", *(f"{title}, CPU µs" for title, _ in QUESTIONS.values())],
            rows=[
                [title, *(f"{median(found):,.0f}" if (found := taken.get((name, q))) else "-" for q in QUESTIONS)]
                for name, (title, _) in APPS.items()
            ],
            chart=Chart(
                kind="bars",
                unit="CPU µs per request",
                labels=[title for title, _ in QUESTIONS.values()],
                series=[
                    as_series(title, [spread(taken.get((name, q), [0.0])) for q in QUESTIONS])
                    for name, (title, _) in APPS.items()
                ],
            ),
            targets=[
                Target(
                    claim=f"100 products with brands take at most 1/{FASTER} of what Strawberry takes",
                    found=f"1/{faster.median:.0f}",
                    met=faster.median >= FASTER,
                ),
                Target(
                    claim=f"they take at most 1/{OF_REST:g} of what REST takes for the same",
                    found=f"{of_rest.median:.2f} of REST's rate",
                    met=of_rest.median >= OF_REST,
                ),
                Target(
                    claim=f"of {DISTINCT:,} distinct documents and their plans at most {MAX_KEPT:,} are kept",
                    found=f"{beside.kept[0]:,} and {beside.kept[1]:,}",
                    met=max(beside.kept) <= MAX_KEPT,
                ),
            ],
            data={"cpu_us": {f"{name}/{question}": found for (name, question), found in taken.items()}},
        )


GRAPHQL = Graphql()

if __name__ == "__main__":
    if sys.argv[1] == "hostile":
        subject.answer(hostile)
    else:
        subject.answer(lambda: measured(sys.argv[1], sys.argv[2], float(sys.argv[3])))
