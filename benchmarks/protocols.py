"""Servers and versions of HTTP: the same application of Trivet's on each, asked by one client.

uvicorn and Envoy run as ``trivet run`` starts them, granian serves the same ASGI application; each with one worker.
Connections are kept, or there is a new one for each request. What is counted is the processor time of all processes of
a server per request. Latency is that of a closed loop with so many requests in flight, which keeps the server busy all
the time: it says how servers differ under that load and not how long a request takes that is alone.

``python -m benchmarks.protocols`` is the client: it reads a `Load` as a line of JSON, says ``ready`` when it is warm,
waits for a line, and answers with a `Result`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import trustme
from pyqwest import Client, HTTPTransport, HTTPVersion, SyncClient, SyncHTTPTransport

from benchmarks import orders, products
from benchmarks.apps import trivet_products
from benchmarks.comparison import Ask, DifferentAnswers, Plan, as_series, difference, turns
from benchmarks.driver import HOST, Result, UnexpectedAnswer, say
from benchmarks.effort import Effort
from benchmarks.figures import percentile, ratio, spread
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section
from benchmarks.rpc import free_port
from benchmarks.server import ROOT, Request, Sample, Server, ServerFailed, environment
from trivet.core.shape import Struct
from trivet.testing import serve

VERSIONS = {"1": HTTPVersion.HTTP1, "2": HTTPVersion.HTTP2, "3": HTTPVersion.HTTP3}
QUESTIONS = {"order": "a validated POST", "product": "a product by id", "page": "a page of 50"}
PLANS: Mapping[str, Plan] = {"order": orders.plan, "product": products.one, "page": products.walk}
ON_NEW = "product"
"""What is asked over new connections: these cost the same whatever is asked."""
APP = "benchmarks.apps.trivet_spine:app"
SHARE = 0.5
"""Of the length of a measurement elsewhere: there are many of them here."""


class Way(Struct):
    """A server, and how it is asked.

    Attributes:
        server: uvicorn, envoy or granian.
        version: Of HTTP; 3 is over TLS, the others are not.
        kept: Whether connections are kept; otherwise there is a new one for each request.
    """

    server: str
    version: str
    kept: bool

    @property
    def name(self) -> str:
        """As in the data of a report."""
        return f"{self.server}-{self.version}-{'kept' if self.kept else 'new'}"

    @property
    def tls(self) -> bool:
        """Whether it is over TLS."""
        return self.version == "3"

    @property
    def title(self) -> str:
        """As the report shows it."""
        version = {"1": "HTTP/1.1", "2": "HTTP/2 (h2c)", "3": "HTTP/3 (TLS)"}[self.version]
        return f"{self.server}, {version}, {'kept' if self.kept else 'new connections'}"


SERVERS = {"uvicorn": "1", "envoy": "123", "granian": "12"}
"""Each server and the versions that it speaks."""

WAYS = tuple(
    Way(server=server, version=version, kept=kept)
    for kept in (True, False)
    for server, versions in SERVERS.items()
    for version in versions
)
REFERENCE = WAYS[0]
MEASURED = [(question, way) for question in QUESTIONS for way in WAYS if way.kept or question == ON_NEW]


class Load(Struct):
    """What to send, where to, how, and for how long.

    Attributes:
        authority: Certificate of who signed the server's; empty without TLS.
    """

    url: str
    requests: list[Request]
    version: str
    kept: bool
    authority: bytes
    at_once: int
    warmup: float
    seconds: float


# -- the client


class Clients:
    """Requests in flight, and what was seen of them."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._shots = itertools.cycle(load.requests)
        self._clients = [self._client() for _ in range(load.at_once)]

    def _client(self) -> Client:
        return Client(
            HTTPTransport(
                http_version=VERSIONS[self._load.version],
                tls_ca_cert=self._load.authority or None,
                enable_otel=False,
                enable_gzip=False,
                enable_brotli=False,
                enable_zstd=False,
                timeout=30.0,
            )
        )

    async def drive(self, seconds: float) -> Result:
        """Keep every client busy for that long, then wait for what is in flight.

        Raises:
            UnexpectedAnswer: A status is another than was verified.
        """
        latencies: list[float] = []
        received = 0
        began = time.perf_counter()
        until = began + seconds

        async def busy(client: Client) -> None:
            nonlocal received
            while time.perf_counter() < until:
                shot = next(self._shots)
                asked = client if self._load.kept else self._client()
                sent = time.perf_counter()
                received += await ask(asked, self._load.url, shot)
                latencies.append(time.perf_counter() - sent)

        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(busy(client))
        elapsed = time.perf_counter() - began
        ordered = sorted(latencies)
        return Result(
            requests=len(ordered),
            seconds=elapsed,
            p50=percentile(ordered, 0.50),
            p99=percentile(ordered, 0.99),
            received=received,
        )


async def ask(client: Client, url: str, request: Request) -> int:
    """Send a request and return how many bytes its answer has.

    Raises:
        UnexpectedAnswer: Its status is another than the expected one.
    """
    answer = await client.execute(request.method, url + request.target, headers_of(request), request.body or None)
    if answer.status != request.status:
        raise UnexpectedAnswer(f"status {answer.status} instead of {request.status}: {answer.content[:300]!r}")
    return len(answer.content)


def headers_of(request: Request) -> dict[str, str]:
    """Return the fields that a request is sent with."""
    return {"accept": "application/json", **({"content-type": "application/json"} if request.body else {})}


async def run(load: Load) -> None:
    """Warm up, say so, wait for the word, measure, say what was seen."""
    clients = Clients(load)
    await clients.drive(load.warmup)
    say(b"ready")
    await asyncio.to_thread(sys.stdin.buffer.readline)
    gc.collect()
    gc.disable()
    say(msgspec.json.encode(await clients.drive(load.seconds)))


# -- the servers


class Peer(Server):
    """A server that more than one version of HTTP is spoken to, with TLS or without."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, authority: bytes) -> None:
        super().__init__(process, port, log)
        self.authority = authority
        self.url = f"https://{HOST}:{port}" if authority else f"http://{HOST}:{port}"

    def drive(self, way: Way, requests: list[Request], effort: Effort) -> Sample:
        """Drive it once and return what it cost.

        Raises:
            ServerFailed: An answer was not the expected one.
        """
        load = Load(
            url=self.url,
            requests=requests,
            version=way.version,
            kept=way.kept,
            authority=self.authority,
            at_once=effort.connections,
            warmup=effort.warmup,
            seconds=effort.seconds * SHARE,
        )
        return self.driven_by("benchmarks.protocols", load)


def settings_of(home: Path, authority: trustme.CA | None) -> dict[str, str]:
    """Return what a server is told, for which a database is seeded and a certificate is issued."""
    settings = {
        **trivet_products.seed(f"sqlite:///{home}/spine.db", products.rows()),
        "TRIVET_DATABASE__CREATE": "true",
        "TRIVET_SECRET_KEY": "a secret that every benchmark may know",
        "TRIVET_LOG__FORMAT": "json",
    }
    if authority is None:
        return settings
    issued = authority.issue_cert(HOST)
    certificate, key = home / "server.pem", home / "server.key"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return settings | {"TRIVET_TLS__CERTIFICATE": str(certificate), "TRIVET_TLS__KEY": str(key)}


@contextmanager
def serving(server: str, workplace: Path, tls: bool) -> Iterator[Peer]:
    """Serve the application with one worker, on a database of its own.

    Raises:
        ServerFailed: It does not serve; the message has the end of its log.
    """
    home = workplace / f"protocols-{server}{'-tls' if tls else ''}"
    home.mkdir()
    authority = trustme.CA() if tls else None
    settings = settings_of(home, authority)
    if server == "granian":
        with granian(home, settings) as peer:
            yield peer
        return
    with ExitStack() as stack:
        try:
            served = stack.enter_context(serve(APP, app_dir=ROOT, environ=settings | {"TRIVET_SERVER__KIND": server}))
        except RuntimeError as failure:
            raise ServerFailed(f"protocols: {server}: {failure}") from failure
        port = int(served.url.rpartition(":")[2])
        yield Peer(served.process, port, served.log, authority.cert_pem.bytes() if authority else b"")


@contextmanager
def granian(home: Path, settings: Mapping[str, str]) -> Iterator[Peer]:
    """Serve the application on granian.

    Raises:
        ServerFailed: It does not serve; the message has the end of its log.
    """
    words = ["--interface", "asgi", "--workers", "1", "--loop", "uvloop", "--no-ws", "--log-level", "warning"]
    port, log = free_port(), home / "granian.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "granian", *words, "--host", HOST, "--port", str(port), APP],
            cwd=home,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    peer = Peer(process, port, log, b"")
    try:
        peer.wait()
        yield peer
    finally:
        peer.stop()


def asking(peer: Peer, way: Way) -> Ask:
    """Return what sends one request and returns the decoded JSON of its answer."""
    client = SyncClient(
        SyncHTTPTransport(
            http_version=VERSIONS[way.version], tls_ca_cert=peer.authority or None, enable_otel=False, timeout=30.0
        )
    )

    def ask(request: Request) -> Any:
        answer = client.execute(request.method, peer.url + request.target, headers_of(request), request.body or None)
        if answer.status != request.status:
            raise peer.failure(f"{request.method} {request.target} answered {answer.status}: {answer.content[:500]!r}")
        return msgspec.json.decode(answer.content)

    return ask


def verified(
    peers: Mapping[tuple[str, bool], Peer], effort: Effort, progress: Progress
) -> dict[tuple[str, str, str], list[Request]]:
    """Return what each server is asked in each version, after seeing that all answer the same.

    Raises:
        DifferentAnswers: They do not.
    """
    found: dict[tuple[str, str, str], list[Request]] = {}
    expected: dict[str, list[Any]] = {}
    for way in WAYS:
        if not way.kept:
            continue
        progress.doing(f"protocols: verifying {way.title}")
        ask = asking(peers[way.server, way.tls], way)
        for question, plan in PLANS.items():
            planned = plan(ask, effort)
            found[way.server, way.version, question] = [request for request, _ in planned]
            answers = [answer for _, answer in planned]
            place = difference(expected.setdefault(question, answers), answers)
            if place:
                raise DifferentAnswers(f"protocols: {question}: {REFERENCE.title} and {way.title}: {place}")
    return found


# -- the section


class Protocols:
    """Processor time per request and latency of every server, version of HTTP and request."""

    name = "protocols"
    title = "Servers and versions of HTTP"

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return effort.rounds * len(MEASURED)

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure all by turns.

        Raises:
            DifferentAnswers: They do not answer the same.
            ServerFailed: One does not serve.
        """
        with ExitStack() as stack:
            peers: dict[tuple[str, bool], Peer] = {}
            for way in WAYS:
                place = (way.server, way.tls)
                if place not in peers:
                    progress.doing(f"protocols: starting {way.server}")
                    peers[place] = stack.enter_context(serving(way.server, workplace, way.tls))
            requests = verified(peers, effort, progress)
            taken: dict[tuple[str, Way], list[Sample]] = {}
            measured = {f"{question}-{way.name}": (question, way) for question, way in MEASURED}
            for name in turns(list(measured), effort.rounds):
                question, way = measured[name]
                progress.doing(f"protocols: {name}")
                place = (way.server, way.tls)
                sample = peers[place].drive(way, requests[way.server, way.version, question], effort)
                taken.setdefault((question, way), []).append(sample)
                progress.step()
        return self._section(taken, effort)

    def _section(self, taken: Mapping[tuple[str, Way], list[Sample]], effort: Effort) -> Section:
        rows: list[list[str]] = []
        for (question, way), samples in sorted(taken.items(), key=lambda item: MEASURED.index(item[0])):
            beside = ratio([s.cpu for s in samples], [s.cpu for s in taken[question, REFERENCE]])
            rows.append(
                [
                    f"{QUESTIONS[question]}: {way.title}",
                    f"{spread([s.cpu * 1e6 for s in samples]).median:,.0f}",
                    f"{beside.median:.2f}",
                    f"{beside.low:.2f} to {beside.high:.2f}",
                    f"{spread([s.rate for s in samples]).median:,.0f}",
                    f"{spread([s.seen.p50 * 1e3 for s in samples]).median:.2f}",
                    f"{spread([s.seen.p99 * 1e3 for s in samples]).median:.2f}",
                ]
            )
        shown = [way for way in WAYS if way.kept]
        return Section(
            name=self.name,
            title=self.title,
            about=(
                "One application of Trivet's with the three requests above, in one worker of each server: uvicorn and "
                "Envoy as `trivet run` starts them, granian with uvloop serving the same ASGI application. One client "
                f"(pyqwest) keeps {effort.connections} requests in flight, each on a connection of its own, one after "
                "the other, for half as long as elsewhere; latency is under that load, with the client on the same "
                "processors. Without TLS but for HTTP/3. Over new connections, each request opens one, TCP or QUIC "
                "with its handshake. uvicorn speaks HTTP/1.1 only, and granian has no HTTP/3. Processor time is that "
                "of all processes of the server, its supervisor too."
            ),
            columns=["request, server", "CPU µs/request", "CPU, first = 1", "range", "requests/s", "p50 ms", "p99 ms"],
            rows=rows,
            chart=Chart(
                kind="bars",
                unit="CPU µs for a product by id",
                labels=[way.title.removesuffix(", kept") for way in shown],
                series=[
                    as_series(
                        "CPU per request", [spread([s.cpu * 1e6 for s in taken["product", way]]) for way in shown]
                    )
                ],
            ),
            data={
                f"{question}-{way.name}": {"rounds": [msgspec.to_builtins(sample) for sample in samples]}
                for (question, way), samples in taken.items()
            },
        )


def main() -> None:
    """Be the client."""
    load = msgspec.json.decode(sys.stdin.buffer.readline(), type=Load)
    try:
        asyncio.run(run(load))
    except* UnexpectedAnswer as failures:
        sys.exit(str(failures.exceptions[0]))


if __name__ == "__main__":
    main()
