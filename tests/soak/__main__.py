"""The soak: hours' worth of mixed load of the shop in minutes, and whether memory and descriptors stay flat.

    python -m tests.soak --server envoy --minutes 10
    python -m tests.soak --server none --kills 300

Streams, kept and new connections, HTTP/2 where it is served, conditional requests, orders, exports into files, errors
and clients without manners, all at once, with every answer compared with what it must be. In the first half the workers
are replaced again and again; in the second half they stay, and are measured: the slopes are Theil and Sen's, the median
of the slopes between all pairs of samples, which a few outliers do not move. In between, everything that is kept for
the next time is filled: as many exports at once as the workers have readers and threads for. What fills by chance some
minutes later is a step and no leak, but a slope can not tell them apart.

After that ten thousand connections are open that had one request each, while a client with manners goes on: it must be
answered, the memory must stay in bounds, and all must be closed once they were idle for long enough.

Then workers and PostgreSQL are killed at random points, again and again, while customers order: what is left must be
one effect for each key, and each event handled once in effect. The seed is printed; ``TRIVET_SEED`` plays it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any, NamedTuple

import msgspec
from pyqwest import Client, HTTPTransport, HTTPVersion

from shop.seed import LAST_ORDER, OPENING
from tests.adversity import hardship
from tests.adversity.client import ask
from tests.adversity.hardship import size_of
from tests.adversity.serving import serving
from tests.adversity.sse import Broken, Refused, Stream
from tests.shop.crashes import crash
from tests.shop.serving import EXAMPLES
from trivet.testing import Served, serve

SAMPLE_SECONDS = 2.0
GROWTH = 0.05
"""By how much of itself the memory of the workers may grow in the second half, by its slope."""
DESCRIPTORS = 0.05
"""The same for the open descriptors."""
REPLACEMENTS = 5
REPLACED_BY, MEASURED_FROM = 0.4, 0.55
"""Parts of the time: until then workers are replaced; from then on they are measured."""
AT_ONCE = 8
"""Exports that fill what two workers keep: two readers and their threads each, and one more that waits for each."""
STREAMS = 20
CROWD = 10_000
CROWD_GROWTH = 64 * 2**20
CROWD_CONNECTION = 64 * 2**10
"""What the processes may grow by in any case, and for each connection of a crowd."""
READERS = 8
"""Descriptors that exports leave open: each of two workers keeps two readers of SQLite, of two descriptors each."""
WATCH = "/v1/orders:watch"


class Sample(NamedTuple):
    """What the workers use at a time."""

    seconds: float
    rss: int
    descriptors: int


class Report(msgspec.Struct):
    """What a soak found."""

    server: str
    minutes: float
    requests: int
    by_kind: dict[str, int]
    failures: dict[str, int]
    p50_ms: dict[str, float]
    p99_ms: dict[str, float]
    replacements: int
    stream_connections: int
    stream_events: int
    rss_mib_first: float
    rss_mib_half: float
    rss_mib_last: float
    rss_growth_percent: float
    descriptors_half: float
    descriptors_growth: float
    descriptors_before: int
    descriptors_after: int
    faults: list[str]


def slope(samples: list[Sample], of: Callable[[Sample], float]) -> float:
    """Return Theil and Sen's estimate of the growth per second."""
    pairs = list(combinations(samples[:: max(1, len(samples) // 150)], 2))
    return median((of(b) - of(a)) / (b.seconds - a.seconds) for a, b in pairs if b.seconds > a.seconds)


async def crowded(served: Served) -> dict[str, int]:
    """Let a crowd come and be idle, and return what it cost.

    Raises:
        AssertionError: A client with manners was not answered, or the memory is out of bounds.
        TimeoutError: Not all connections were closed.
    """
    port = int(served.url.rpartition(":")[2])
    await hardship.churn(port, 20)
    before = size_of(served)
    async with hardship.Beside(port) as beside, hardship.crowd(served, CROWD, hardship.GOOD):
        full, answers = size_of(served), beside.answers
        grown = full.rss - before.rss
        assert grown < CROWD_GROWTH + CROWD * CROWD_CONNECTION, f"the processes grew by {grown >> 20} MiB"
        await asyncio.sleep(5)
        assert beside.answers > answers, "nobody else was answered"
        async with asyncio.timeout(300):
            while size_of(served).descriptors > before.descriptors:  # noqa: ASYNC110 - another process
                await asyncio.sleep(1)
    return {
        "connections": full.descriptors - before.descriptors,
        "bytes_per_connection": grown // CROWD,
        "answers_beside": beside.answers,
    }


class Soak:
    """One soak of one served shop.

    Args:
        served: The shop.
        server: Which kind of server serves it.
        seconds: How long it takes.
        rate: Requests per second, of well-behaved clients.
    """

    def __init__(self, served: Served, server: str, seconds: float, rate: float) -> None:
        self._served = served
        self._port = int(served.url.rpartition(":")[2])
        self._server = server
        self._seconds = seconds
        self._rate = rate
        self._random = Random(1)
        self._start = time.monotonic()
        self._stop = asyncio.Event()
        self._products: list[str] = []
        self._tags: dict[str, str] = {}
        self._customers: list[str] = []
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._latencies: dict[str, list[float]] = defaultdict(list)
        self._samples: list[Sample] = []
        self._replaced = self._connections = self._events = 0
        versions = {"kept": HTTPVersion.HTTP1} | ({"http2": HTTPVersion.HTTP2} if server == "envoy" else {})
        self._clients = {
            name: Client(HTTPTransport(http_version=version, read_timeout=60.0, enable_otel=False))
            for name, version in versions.items()
        }

    async def run(self) -> Report:
        """Soak, and return what was found."""
        await self._learn()
        before = size_of(self._served)
        works: list[Awaitable[None]] = [
            self._often(self._kept, 0.5),
            self._often(self._new, 0.2),
            self._often(self._order, 0.1),
            self._often(self._export, 0.005),
            self._often(self._wrong, 0.2),
            self._rudely(),
            self._replace_and_fill(),
            self._sample(),
            *(self._watch() for _ in range(STREAMS)),
        ]
        if "http2" in self._clients:
            works.append(self._often(self._http2, 0.5))
        tasks = [asyncio.ensure_future(work) for work in works]
        await asyncio.sleep(self._seconds)
        self._stop.set()
        done, late = await asyncio.wait(tasks, timeout=90)
        for task in late:
            task.cancel()
        for task in done:
            task.result()
        self._clients.clear()
        after = await self._settled(before.descriptors)
        return self._report(before.descriptors, after)

    async def _settled(self, before: int) -> int:
        """Return how many descriptors stay open when the load has gone."""
        count, seconds = size_of(self._served).descriptors, 0
        while count > before + READERS and seconds < 100:
            await asyncio.sleep(1)
            count, seconds = size_of(self._served).descriptors, seconds + 1
        return count

    async def _learn(self) -> None:
        for path, into in (("/v1/products", self._products), ("/v1/customers", self._customers)):
            _, body = await ask(self._port, "GET", f"{path}?page_size=100")
            into += [item["id"] for item in json.loads(body)["items"]]

    # -- clients with manners

    async def _often(self, do: Callable[[], Awaitable[None]], share: float) -> None:
        """Do something at its share of the rate, however long each takes."""
        running: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            if len(running) < 200:
                task = asyncio.ensure_future(self._timed(do))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(self._random.expovariate(self._rate * share))
        await asyncio.gather(*running)

    async def _timed(self, do: Callable[[], Awaitable[None]]) -> None:
        kind = do.__name__.removeprefix("_")
        started = time.perf_counter()
        try:
            await do()
        except Exception as failed:
            self._failures[f"{kind}: {type(failed).__name__} {str(failed)[:120]}"] += 1
        self._latencies[kind].append(time.perf_counter() - started)
        self._counts[kind] += 1

    async def _kept(self) -> None:
        await self._read(self._clients["kept"])

    async def _http2(self) -> None:
        await self._read(self._clients["http2"])

    async def _read(self, client: Client) -> None:
        """Read a product, as often as not on condition; or a list."""
        if self._random.random() < 0.3:
            query = self._random.choice(("text=desk", "max_price=100", "page_size=50"))
            answer = await client.get(f"{self._served.url}/v1/products?{query}")
            assert answer.status == 200, answer.status
            return
        product = self._random.choice(self._products)
        known = self._tags.get(product)
        fields = {"if-none-match": known} if known else {}
        answer = await client.get(f"{self._served.url}/v1/products/{product}", headers=fields)
        assert answer.status == 200 or (known and answer.status == 304), answer.status
        if answer.status == 200:
            assert json.loads(answer.content)["id"] == product
        self._tags[product] = answer.headers["etag"]

    async def _new(self) -> None:
        path = self._random.choice(("/v1/orders?page_size=5&expand=customer,lines.product", "/v1/products?page_size=3"))
        status, body = await ask(self._port, "GET", path)
        assert (status, len(json.loads(body)["items"])) == (200, 5 if "orders" in path else 3)

    async def _order(self) -> None:
        lines = [{"product_id": self._random.choice(self._products), "quantity": 1}]
        body = {"customer_id": self._random.choice(self._customers), "lines": lines}
        status, answer = await ask(self._port, "POST", "/v1/orders", json.dumps(body).encode())
        expected = status == 201 or json.loads(answer)["reason"] in ("OUT_OF_STOCK", "CURRENCIES_DIFFER")
        assert expected, (status, answer)

    async def _export(self) -> None:
        """Let a job write the orders that were there from the start into a file, always as many, and take the file."""
        days = json.dumps({"first_day": f"{OPENING:%Y-%m-%d}", "last_day": f"{LAST_ORDER:%Y-%m-%d}"}).encode()
        status, body = await ask(self._port, "POST", "/v1/orders:export", days)
        assert status == 202, (status, body)
        job = f"/v1/jobs/{json.loads(body)['id']}"
        async with asyncio.timeout(120):
            while (state := await self._state(job)) in ("queued", "running"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)
        assert state == "succeeded", state
        status, file = await ask(self._port, "GET", f"{job}/file")
        assert status == 200, (status, file)
        assert file.startswith(b"id,"), file[:100]

    async def _state(self, job: str) -> str:
        status, body = await ask(self._port, "GET", job)
        assert status == 200, (status, body)
        state: str = json.loads(body)["state"]
        return state

    async def _wrong(self) -> None:
        method, path, body, wanted = self._random.choice(
            (
                ("GET", "/nowhere", b"", 404),
                ("GET", "/v1/products/none", b"", 400),
                ("PUT", "/v1/products", b"", 405),
                ("POST", "/v1/orders", b'{"lines": 3}', 400),
                ("POST", "/v1/orders", b"\xff", 400),
                ("GET", "/v1/products?page_size=-1", b"", 400),
            )
        )
        status, _ = await ask(self._port, method, path, body)
        assert status == wanted, (method, path, status)

    async def _watch(self) -> None:
        """Follow the orders from one connection to the next; positions only go forward."""
        position, last = "", (0, 0)
        while not self._stop.is_set():
            stream = Stream(self._port, WATCH, after=position)
            try:
                async with stream:
                    self._connections += 1
                    async for event in stream.events(patience=120):
                        at, _, rest = event.id.partition("-")
                        place = (int(at), int(rest.partition(".")[2]))
                        if place <= last:
                            self._failures["stream: an event came twice"] += 1
                        last = place
                        self._events += 1
                        if self._stop.is_set():
                            return
            except (Broken, Refused, ConnectionError, TimeoutError, asyncio.IncompleteReadError) as failed:
                self._failures[f"stream: {type(failed).__name__} {failed}"] += 1
            position = stream.parser.id
            await asyncio.sleep(self._random.uniform(0, 0.5))

    # -- the others

    async def _rudely(self) -> None:
        while not self._stop.is_set():
            for happens in (hardship.resets, hardship.churn):
                with suppress(TimeoutError):
                    await happens(self._port, 20)
                self._counts["rude"] += 20
            await asyncio.sleep(1)

    async def _replace_and_fill(self) -> None:
        for number in range(REPLACEMENTS):
            part = (number + 0.5) / REPLACEMENTS * REPLACED_BY
            await asyncio.sleep(max(0.0, self._start + part * self._seconds - time.monotonic()))
            done = self._served.log.read_bytes().count(b"the workers are replaced")
            self._served.signal(signal.SIGHUP)
            with suppress(TimeoutError):  # what was not replaced is missed in the report
                async with asyncio.timeout(90):
                    while self._served.log.read_bytes().count(b"the workers are replaced") == done:  # noqa: ASYNC110 - a log
                        await asyncio.sleep(0.2)
                    self._replaced += 1
        await asyncio.gather(*(self._timed(self._export) for _ in range(AT_ONCE)))

    async def _sample(self) -> None:
        while not self._stop.is_set():
            seconds = time.monotonic() - self._start
            size = await asyncio.to_thread(size_of, self._served)
            self._samples.append(Sample(seconds, size.rss, size.descriptors))
            self._show(seconds, size.rss)
            await asyncio.sleep(SAMPLE_SECONDS)

    def _show(self, seconds: float, rss: int) -> None:
        if not sys.stderr.isatty():
            return
        share = min(1.0, seconds / self._seconds)
        bar = "█" * int(share * 30)
        line = f"{self._server:7} ▕{bar:30}▏ {seconds:4.0f}/{self._seconds:.0f} s"
        line += f"  {sum(self._counts.values()):8,} requests  {rss >> 20:5} MiB  {self._events:7,} events"
        line += f"  {sum(self._failures.values())} failures"
        print(f"\r{line}", end="", file=sys.stderr, flush=True)

    def _report(self, before: int, after: int) -> Report:
        half = [sample for sample in self._samples if sample.seconds >= self._seconds * MEASURED_FROM]
        length = half[-1].seconds - half[0].seconds
        rss = median(sample.rss for sample in half)
        growth = slope(half, lambda sample: sample.rss) * length / rss
        more = slope(half, lambda sample: sample.descriptors) * length
        report = Report(
            server=self._server,
            minutes=self._seconds / 60,
            requests=sum(self._counts.values()),
            by_kind=dict(self._counts),
            failures=dict(self._failures),
            p50_ms={kind: round(median(times) * 1000, 1) for kind, times in self._latencies.items()},
            p99_ms={kind: round(quantiles(times, n=100)[98] * 1000, 1) for kind, times in self._latencies.items()},
            replacements=self._replaced,
            stream_connections=self._connections,
            stream_events=self._events,
            rss_mib_first=round(self._samples[0].rss / 2**20, 1),
            rss_mib_half=round(half[0].rss / 2**20, 1),
            rss_mib_last=round(half[-1].rss / 2**20, 1),
            rss_growth_percent=round(growth * 100, 2),
            descriptors_half=median(sample.descriptors for sample in half),
            descriptors_growth=round(more, 2),
            descriptors_before=before,
            descriptors_after=after,
            faults=[],
        )
        if self._failures:
            report.faults.append(f"{sum(self._failures.values())} requests failed")
        if growth > GROWTH:
            report.faults.append(f"the memory grows by {growth:.1%} in the second half; {GROWTH:.0%} is allowed")
        if more > DESCRIPTORS * report.descriptors_half:
            report.faults.append(f"{more:.1f} more descriptors are open after the second half")
        if after > before + READERS:
            report.faults.append(f"{after - before} descriptors stay open when nobody is left")
        if self._replaced < REPLACEMENTS:
            report.faults.append(f"the workers were replaced {self._replaced} times, not {REPLACEMENTS}")
        if "Traceback" in self._served.log.read_text():
            report.faults.append("there are tracebacks in the log")
        return report


def main() -> int:
    """Run a soak on each server that is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--server", choices=("envoy", "uvicorn", "both", "none"), default="both")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second of well-behaved clients")
    parser.add_argument("--kills", type=int, default=300, help="how many, two thirds of them on PostgreSQL; 0 for none")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    reports: list[Report] = []
    for server in {"both": ("envoy", "uvicorn"), "none": ()}.get(options.server, (options.server,)):
        environ = {
            "TRIVET_ENVIRONMENT": "development",
            "TRIVET_SERVER__KIND": server,
            "TRIVET_SERVER__WORKERS": "2",
            "TRIVET_SERVER__DRAIN_WAIT": "2",
            "TRIVET_SERVER__DRAIN_TIMEOUT": "20",
        }
        with serve("shop.app:app", app_dir=EXAMPLES, environ=environ) as served:
            report = asyncio.run(Soak(served, server, options.minutes * 60, options.rate).run())
            if report.faults:
                kept = Path(f"soak-{server}.log").resolve()
                kept.write_bytes(served.log.read_bytes())
                print(f"\nthe log is in {kept}", file=sys.stderr)
        with serving(1, TRIVET_SERVER__KIND=server, TRIVET_SERVER__KEEP_ALIVE="60") as served:
            print("\ncrowd", server, json.dumps(asyncio.run(crowded(served))), file=sys.stderr)
        reports.append(report)
        shown: dict[str, Any] = msgspec.to_builtins(report)
        print(file=sys.stderr)
        print(json.dumps(shown, indent=1))
        if options.json is not None:
            options.json.write_bytes(msgspec.json.encode(reports))
    for report in reports:
        for fault in report.faults:
            print(f"{report.server}: {fault}", file=sys.stderr)
    if options.kills:
        seed = int(os.environ.get("TRIVET_SEED") or Random().randrange(2**32))
        asyncio.run(crash("sqlite", options.kills // 3, seed))
        asyncio.run(crash("postgresql", options.kills - options.kills // 3, seed))
    return 1 if any(report.faults for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
