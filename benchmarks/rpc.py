"""gRPC beside its peers: the same messages, asked by one client, answered by servers in processes of their own.

Trivet and its floor run on the same server, Envoy with Python inside, with one worker. What is counted is the
processor time of all processes of a server per call, so that neither the client nor the wire matters; contenders are
asked by turns, and ratios are those of one round. gRPC's own client sees beforehand that they answer the same; the
load is made by `benchmarks.http2`, in a process of its own: ``python -m benchmarks.rpc QUESTION PORT COUNT``.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import psutil
import uvloop

from benchmarks.apps import rpc_bare, rpc_trivet
from benchmarks.apps import rpc_messages as messages
from benchmarks.comparison import DifferentAnswers, as_series
from benchmarks.effort import Effort
from benchmarks.figures import ratio, spread
from benchmarks.http2 import connected
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section, Target
from benchmarks.server import ROOT, ServerFailed, environment
from trivet.contracts.proto import text

NODE = Path(__file__).with_name("rpc_node")
START_SECONDS = 30.0
AT_ONCE = 20
"""Calls in flight; streams one after the other."""

CALLS_PER_SECOND = {"unary": 2000, "order": 1000, "stream": 8}
"""How many calls stand for a second of effort; the number is fixed, so that every contender does the same work."""

QUESTIONS = {
    "unary": "a small unary call",
    "order": f"an order of {messages.LINES} lines",
    "stream": f"a stream of {messages.MESSAGES:,} messages",
}

METHODS = {"unary": "Level", "order": "Price", "stream": "Ticks"}

TITLES = {
    "trivet": "Trivet, every policy",
    "bare": "bare framing over ASGI, same server",
    "grpc_aio": "grpc.aio",
    "connect": "connectrpc, same server",
    "grpc_js": "grpc-js on Node",
}
FASTER, OF_FLOOR = 2.0, 2.0


def path_of(question: str) -> str:
    """Return the path of the method that is called."""
    return f"/{messages.SERVICE}/{METHODS[question]}"


def request_of(question: str) -> Any:
    """Return the message that is asked with."""
    if question == "stream":
        return messages.TicksRequest(count=messages.MESSAGES)
    return messages.LevelRequest(sku="SKU-0001") if question == "unary" else messages.order()


def asking(question: str, channel: Any) -> Callable[[], Any]:
    """Return what asks once, and returns the bytes of the answers."""
    path, request = path_of(question), request_of(question).SerializeToString()
    if question == "stream":
        ticks = channel.unary_stream(path)

        async def read() -> list[bytes]:
            return [each async for each in ticks(request, wait_for_ready=True)]

        return read
    call = channel.unary_unary(path)

    async def ask() -> list[bytes]:
        return [await call(request, wait_for_ready=True)]

    return ask


async def drive(question: str, port: int, count: int) -> None:
    """Ask so many times, after asking a few times for warmth; waits for a line in between."""
    stream = question == "stream"
    least = sum(map(len, rpc_bare.TICKS)) if stream else len(rpc_bare.UNARY[path_of(question)])
    at_once = 1 if stream else AT_ONCE
    async with connected(path_of(question), port, rpc_bare.framed(request_of(question)), least) as calls:
        await calls.make(min(count, 2 if stream else 200), at_once)
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        await calls.make(count, at_once)
        say("done")
        await asyncio.to_thread(sys.stdin.readline)


def say(line: str) -> None:
    """Write a line to the parent."""
    print(line, flush=True)


class Peer:
    """A running server.

    Args:
        process: Its main process.
        port: Where it listens.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have used so far."""
        main = psutil.Process(self._process.pid)
        times = [one.cpu_times() for one in (main, *main.children(recursive=True))]
        return sum(time.user + time.system for time in times)

    def measure(self, question: str, count: int) -> float:
        """Return the processor seconds of one call.

        Raises:
            ServerFailed: It did not answer.
        """
        command = [sys.executable, "-m", "benchmarks.rpc", question, str(self.port), str(count)]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            if client.stdout.readline() != "ready\n":
                raise ServerFailed(f"rpc: {question} was not answered at all")
            before = self.cpu_seconds()
            client.stdin.write("go\n")
            client.stdin.flush()
            if client.stdout.readline() != "done\n":
                raise ServerFailed(f"rpc: {question} was not answered to the end")
            spent = self.cpu_seconds() - before
            client.stdin.write("end\n")
            client.stdin.flush()
        return spent / count


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def command_of(name: str, port: int, workplace: Path) -> tuple[list[str], Mapping[str, str]]:
    """Return what starts a contender, and what it is told."""
    if name == "grpc_aio":
        return [sys.executable, "-m", "benchmarks.apps.rpc_grpc_aio", str(port)], {}
    if name == "grpc_js":
        from tools import node

        folder = node.install(NODE)
        script, protos = folder / "grpc_js.mjs", workplace / "protos"
        script.write_text((NODE / script.name).read_text(encoding="utf-8"), encoding="utf-8")
        for path, content in text.files(rpc_trivet.app.contract()[0].packages).items():
            (protos / path).parent.mkdir(parents=True, exist_ok=True)
            (protos / path).write_text(content, encoding="utf-8")
        return [str(node.NODE), str(script), str(port), str(protos)], {}
    told = {
        "TRIVET_SERVER__PORT": str(port),
        "TRIVET_SERVER__MANAGEMENT_PORT": "0",
        "TRIVET_SERVER__KIND": "envoy",
        "TRIVET_SERVER__WORKERS": "1",
        "TRIVET_SERVER__DRAIN_WAIT": "0",
        "TRIVET_LOG__FORMAT": "json",
        "TRIVET_DATABASE__URL": f"sqlite:///{workplace}/{name}.db",
        "TRIVET_DATABASE__CREATE": "true",
        "TRIVET_SECRET_KEY": "a secret that every benchmark may know",
    }
    return [sys.executable, "-m", "trivet", "run", f"benchmarks.apps.rpc_{name}:app", "--app-dir", str(ROOT)], told


@contextmanager
def serving(name: str, workplace: Path) -> Iterator[Peer]:
    """Serve a contender.

    Raises:
        ServerFailed: It does not serve; the message has the end of its log.
    """
    port = free_port()
    command, told = command_of(name, port, workplace)
    log = workplace / f"rpc-{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**environment(), **told}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    end = log.read_text(errors="replace")[-2000:]
                    raise ServerFailed(f"rpc: {name} does not serve:\n{end}") from None
                time.sleep(0.05)
        yield Peer(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def answers(port: int) -> dict[str, list[str]]:
    """Return what a server answers, as the texts of protobuf's messages."""
    kinds = {"unary": messages.LevelResponse, "order": messages.PriceResponse, "stream": messages.TicksResponse}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        found: dict[str, list[str]] = {}
        for question, kind in kinds.items():
            contents = await asking(question, channel)()
            found[question] = [without_position(kind.FromString(content)) for content in contents]
        return found


def without_position(message: Any) -> str:
    """Return a message as text, but for where a stream stands, which only Trivet says."""
    if "position" in message.DESCRIPTOR.fields_by_name:
        message.ClearField("position")
    return str(message)


class Rpc:
    """Processor time per call of every contender and question."""

    name = "rpc"
    title = "gRPC"

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return effort.rounds * len(TITLES) * len(QUESTIONS) + len(TITLES)

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure all by turns.

        Raises:
            DifferentAnswers: They do not answer the same.
            ServerFailed: One does not serve.
        """
        taken: dict[tuple[str, str], list[float]] = {}
        with ExitStack() as stack:
            peers: dict[str, Peer] = {}
            expected: dict[str, list[str]] | None = None
            for name, title in TITLES.items():
                progress.doing(f"rpc: starting {title}")
                peers[name] = stack.enter_context(serving(name, workplace))
                found = asyncio.run(answers(peers[name].port))
                if expected is not None and found != expected:
                    raise DifferentAnswers(f"rpc: {name} answers differently")
                expected = found
                progress.step()
            for _ in range(effort.rounds):
                for question in QUESTIONS:
                    count = max(2, int(CALLS_PER_SECOND[question] * effort.seconds))
                    for name, peer in peers.items():
                        progress.doing(f"rpc: {question}, {name}")
                        taken.setdefault((name, question), []).append(peer.measure(question, count) * 1e6)
                        progress.step()
        return self._section(taken)

    def _section(self, taken: Mapping[tuple[str, str], list[float]]) -> Section:
        rows: list[list[str]] = []
        for name, title in TITLES.items():
            row = [title]
            for question in QUESTIONS:
                beside = ratio(taken[name, question], taken["trivet", question])
                row += [f"{spread(taken[name, question]).median:,.0f}", f"{beside.median:.2f}"]
            rows.append(row)
        targets = [self._target(taken, "grpc_aio", FASTER, True, question) for question in QUESTIONS]
        targets += [self._target(taken, "bare", OF_FLOOR, False, question) for question in QUESTIONS]
        return Section(
            name=self.name,
            title=self.title,
            about=(
                "The same messages over gRPC, asked by one client of HTTP/2 that costs little beside the servers (20 "
                "calls in flight on one connection, streams one by one). "
                "Counted is the processor time of the server's processes per call, in µs, and beside it how many times "
                "Trivet's that is. Trivet answers through every policy, with an access line for each call; the others "
                "have none. The floor sends bytes that were made beforehand."
            ),
            columns=[
                "server",
                *(column for text in QUESTIONS.values() for column in (f"{text}, CPU µs", "Trivet = 1")),
            ],
            rows=rows,
            chart=Chart(
                kind="bars",
                unit="CPU µs per small unary call",
                labels=list(TITLES.values()),
                series=[as_series("CPU per call", [spread(taken[name, "unary"]) for name in TITLES])],
            ),
            targets=targets,
            data={
                f"{name}/{question}": {"cpu_us": msgspec.to_builtins(spread(found)), "taken": found}
                for (name, question), found in taken.items()
            },
        )

    def _target(
        self, taken: Mapping[tuple[str, str], list[float]], other: str, times: float, more: bool, question: str
    ) -> Target:
        if more:
            found = ratio(taken[other, question], taken["trivet", question]).median
            claim = f"{QUESTIONS[question]}: {TITLES[other]} takes at least {times:g} times the processor time"
            return Target(claim=claim, found=f"{found:.2f} times", met=found >= times)
        found = ratio(taken["trivet", question], taken[other, question]).median
        claim = f"{QUESTIONS[question]}: Trivet takes at most {times:g} times the processor time of the bare framing"
        return Target(claim=claim, found=f"{found:.2f} times", met=found <= times)


RPC = Rpc()


def main() -> None:
    """Be the client."""
    question, port, count = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(drive(question, int(port), int(count)))


if __name__ == "__main__":
    main()
