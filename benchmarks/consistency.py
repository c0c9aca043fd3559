"""What a caller waits to read what it wrote: without replicas, and with one that is more or less late.

One caller writes, and reads at once with the `Consistency-Token` of the answer, over one kept-alive connection. A read
that gives another number than the one that was written ends the run. How late the replica is, is a setting of it
(`recovery_min_apply_delay`).
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.comparison import DifferentAnswers, as_series
from benchmarks.driver import HOST
from benchmarks.effort import Effort
from benchmarks.figures import percentile, spread
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section
from benchmarks.server import START_TIMEOUT, ServerFailed, serving
from tests.postgres import Server as Postgres
from trivet.core.shape import Struct

VERSION = 17
LATE = {"0": "a replica that is up to date", "100ms": "a replica 100 ms late", "1s": "a replica 1 s late"}
ALONE = "no replica"
TOKEN = "Consistency-Token"
SETTLING_SECONDS = 2.5
"""How long the app has to notice how late the replica is; longer than any of the delays."""


class Round(Struct):
    """What the caller saw in one round.

    Attributes:
        pairs: How often it wrote and read.
        p50: Median latency of its reads, in seconds.
        p99: Latency in seconds that one read in a hundred exceeds.
    """

    pairs: int
    p50: float
    p99: float


class Caller:
    """Writes a number and reads it, again and again.

    Args:
        port: Where the app listens.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT)
        self._value = 0

    def drive(self, seconds: float) -> Round:
        """Go on for so long.

        Raises:
            ServerFailed: A status is not 200.
            DifferentAnswers: A read gives another number than the one that was written before it.
        """
        taken: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or not taken:
            self._value += 1
            _, token = self.ask("PUT", msgspec.json.encode({"value": self._value}))
            began = time.perf_counter()
            found, _ = self.ask("GET", None, token)
            taken.append(time.perf_counter() - began)
            if found["value"] != self._value:
                raise DifferentAnswers(f"consistency: {self._value} was written, {found['value']} was read")
        taken.sort()
        return Round(pairs=len(taken), p50=percentile(taken, 0.5), p99=percentile(taken, 0.99))

    def ask(self, method: str, body: bytes | None, token: str = "") -> tuple[Any, str]:
        """Send a request and return what was answered, decoded, and the token that came with it."""
        headers = {TOKEN: token} if token else {}
        if body:
            headers["Content-Type"] = "application/json"
        self._connection.request(method, "/v1/entries/one", body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise ServerFailed(f"consistency: {method} answered {answer.status}: {content[:500]!r}")
        return msgspec.json.decode(content), answer.headers.get(TOKEN, "")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Consistency:
    """Latency of a read that must see what its caller wrote."""

    name = "consistency"
    title = "To read what one wrote"

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return (1 + len(LATE)) * effort.rounds

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure without a replica, then with one.

        Raises:
            ServerFailed: The app does not serve.
            DifferentAnswers: A read did not see what was written.
        """
        found: dict[str, list[Round]] = {}
        with ExitStack() as stack:
            progress.doing("consistency: starting PostgreSQL")
            primary = Postgres(VERSION)
            stack.callback(primary.remove)
            replica = primary.standby()
            stack.callback(replica.remove)
            with ledger(primary, (), workplace) as caller:
                found[ALONE] = self._rounds(caller, ALONE, effort, progress)
            with ledger(primary, (replica,), workplace) as caller:
                for delay, title in LATE.items():
                    replica.run(f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")
                    replica.run("SELECT pg_reload_conf()")
                    caller.drive(SETTLING_SECONDS)
                    found[title] = self._rounds(caller, title, effort, progress)
        return self._section(found)

    def _rounds(self, caller: Caller, title: str, effort: Effort, progress: Progress) -> list[Round]:
        rounds = []
        caller.drive(effort.warmup)
        for _ in range(effort.rounds):
            progress.doing(f"consistency: {title}")
            rounds.append(caller.drive(effort.seconds))
            progress.step()
        return rounds

    def _section(self, found: Mapping[str, Sequence[Round]]) -> Section:
        p50 = {title: spread([each.p50 * 1e3 for each in rounds]) for title, rounds in found.items()}
        p99 = {title: spread([each.p99 * 1e3 for each in rounds]) for title, rounds in found.items()}
        return Section(
            name=self.name,
            title=self.title,
            about=(
                "One caller writes a number and reads it at once, with the `Consistency-Token` that came with the "
                "answer, over one connection; shown is how long the read took. Where one gave another number, there "
                "would be no result here. A replica that has not come so far is waited for, 100 ms at most "
                "(`database.replica_wait`) and only where it may come so far in that time; otherwise the primary is "
                f"read. PostgreSQL {VERSION}, primary and replica on this machine, without fsync."
            ),
            columns=["where reads may go", "p50 ms", "range", "p99 ms", "range", "pairs"],
            rows=[
                [
                    title,
                    f"{p50[title].median:.2f}",
                    f"{p50[title].low:.2f} to {p50[title].high:.2f}",
                    f"{p99[title].median:.2f}",
                    f"{p99[title].low:.2f} to {p99[title].high:.2f}",
                    f"{sum(each.pairs for each in rounds):,}",
                ]
                for title, rounds in found.items()
            ],
            chart=Chart(
                kind="bars",
                unit="ms, median of a read",
                labels=list(found),
                series=[as_series("a read of what was written", list(p50.values()))],
            ),
            data={title: msgspec.to_builtins(rounds) for title, rounds in found.items()},
        )


@contextmanager
def ledger(primary: Postgres, replicas: Sequence[Postgres], workplace: Path) -> Iterator[Caller]:
    """Serve the app on these servers and give its caller."""
    name = f"consistency-{len(replicas)}"
    settings = {
        "TRIVET_DATABASE__URL": primary.url(),
        "TRIVET_DATABASE__REPLICAS": ",".join(replica.url() for replica in replicas),
        "TRIVET_DATABASE__CREATE": "true",
        "TRIVET_SECRET_KEY": "a secret that every benchmark may know",
    }
    home = workplace / name
    home.mkdir()
    with (
        serving(name, "benchmarks.apps.trivet_ledger:app", settings, home) as server,
        closing(Caller(server.port)) as caller,
    ):
        yield caller
