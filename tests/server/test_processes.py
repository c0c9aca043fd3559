"""The server as it runs: real processes, real signals, real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server import plain_http
from tests.waiting import eventually
from trivet.testing import Served, serve

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("kind")
PATIENCE_SECONDS = 30


def serving(**environ: str) -> Any:
    return serve("plain:app", app_dir=HERE, environ=environ)


def ready(served: Served) -> int:
    return plain_http.get(f"{served.management_url}/readyz").status_code


def workers(served: Served) -> set[int]:
    pid = served.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def places(pid: int) -> set[tuple[frozenset[int], int]]:
    """Return on which cores the threads of a process run, and how these take turns."""
    threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    return {(frozenset(os.sched_getaffinity(thread)), os.sched_getscheduler(thread)) for thread in threads}


def gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def address(served: Served) -> tuple[str, int]:
    return "127.0.0.1", int(served.url.rpartition(":")[2])


def listens(served: Served) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address(served)) == 0


async def pid_of(served: Served, path: str = "/") -> int:
    """Return the worker that answers on a connection of its own."""
    async with plain_http.client() as client:
        answer = await client.get(served.url + path)
        assert answer.status_code == 200
        return int(answer.text)


async def pid_of_the_next(served: Served) -> int:
    """Return the worker that answers, when there may be none for a moment.

    A connection then waits in the supervisor's queue with uvicorn; with Envoy nobody listens.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await pid_of(served)
        except httpx2.TransportError:
            assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def asked(served: Served, path: str) -> asyncio.Task[int]:
    """Return a request that the application is answering just now."""
    answer = asyncio.create_task(pid_of(served, path))
    await asyncio.to_thread(eventually, lambda: f"sleeping {path}" in served.log.read_text())
    return answer


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trivet", *arguments],
        env={**os.environ, "TRIVET_SERVER__MANAGEMENT_PORT": "0", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_every_worker_answers() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        assert len(workers(served)) == 2
        assert {await pid_of(served, "/sleep/0.01") for _ in range(20)} <= workers(served)
        assert served.stop() == 0


async def test_a_request_in_flight_is_finished_and_then_it_exits_with_0() -> None:
    with serving() as served:
        answer = await asked(served, "/sleep/1")
        served.signal(signal.SIGTERM)
        assert await answer in range(10**9)
        assert served.process.wait(PATIENCE_SECONDS) == 0
        assert "closed" in served.log.read_text()


def test_a_request_whose_head_is_half_there_is_answered_before_it_exits() -> None:
    with (
        serving(TRIVET_SERVER__DRAIN_WAIT="0.3") as served,
        socket.create_connection(address(served), timeout=PATIENCE_SECONDS) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nx-half: ")
        assert plain_http.get(served.url).status_code == 200  # later, so that the half is there
        served.signal(signal.SIGTERM)
        eventually(lambda: not listens(served))
        client.sendall(b"there\r\n\r\n")
        answer = client.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.lower().count(b"connection: close") == 1
        assert served.process.wait(PATIENCE_SECONDS) == 0


async def test_a_drain_says_not_ready_at_once_and_still_accepts() -> None:
    with serving(TRIVET_SERVER__DRAIN_WAIT="2") as served:
        assert ready(served) == 200
        served.signal(signal.SIGTERM)
        eventually(lambda: ready(served) == 503)
        answer = plain_http.get(served.url)
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert plain_http.get(f"{served.management_url}/livez").status_code == 200
        assert served.process.wait(PATIENCE_SECONDS) == 0


async def test_after_the_drain_nobody_listens() -> None:
    with serving() as served:
        answer = await asked(served, "/sleep/2")
        served.signal(signal.SIGTERM)

        await asyncio.to_thread(eventually, lambda: not listens(served))
        assert await answer
        assert served.process.wait(PATIENCE_SECONDS) == 0


async def test_what_takes_too_long_is_cut_off() -> None:
    with serving(TRIVET_SERVER__DRAIN_TIMEOUT="0.3") as served:
        answer = await asked(served, "/sleep/60")
        served.signal(signal.SIGTERM)
        with pytest.raises((httpx2.TransportError, AssertionError)):
            await answer
        assert served.process.wait(PATIENCE_SECONDS) == 0
        assert "cut off" in served.log.read_text()


async def test_a_second_signal_ends_it_at_once() -> None:
    with serving(TRIVET_SERVER__DRAIN_WAIT="60") as served:
        children = workers(served)
        served.signal(signal.SIGTERM)
        eventually(lambda: ready(served) == 503)
        served.signal(signal.SIGTERM)
        assert served.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
        assert all(gone(pid) for pid in children)


async def test_ctrl_c_reaches_the_whole_group_and_still_drains_in_order() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        answer = await asked(served, "/sleep/1")
        for pid in [served.process.pid, *workers(served)]:
            os.kill(pid, signal.SIGINT)
        assert await answer
        assert served.process.wait(PATIENCE_SECONDS) == 0


async def test_a_service_manager_that_signals_every_process_gets_an_orderly_end() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        answer = await asked(served, "/sleep/1")
        for pid in [served.process.pid, *workers(served)]:
            os.kill(pid, signal.SIGTERM)
        assert await answer
        assert served.process.wait(PATIENCE_SECONDS) == 0


async def test_a_worker_that_crashes_is_replaced_and_counted() -> None:
    with serving() as served:
        before = await pid_of(served)
        with pytest.raises(httpx2.TransportError):
            await pid_of(served, "/die")
        after = await pid_of_the_next(served)
        assert after != before
        metrics = plain_http.get(f"{served.management_url}/metrics").text
        assert 'trivet_worker_restarts_total{reason="crash"} 1' in metrics
        assert "starting another one" in served.log.read_text()


async def test_a_worker_that_is_killed_is_replaced() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        before = workers(served)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(workers(served)) == 2 and victim not in workers(served))
        assert await pid_of(served) in workers(served)


async def test_a_worker_that_hangs_is_replaced() -> None:
    with serving(TRIVET_SERVER__WORKER_TIMEOUT="2") as served:
        before = workers(served)
        with pytest.raises(httpx2.TransportError):
            await pid_of(served, "/hang")
        assert "did not respond" in served.log.read_text()
        assert await pid_of_the_next(served) not in before


async def test_workers_end_when_their_supervisor_is_killed() -> None:
    with serving(WEB_CONCURRENCY="2") as served:
        children = workers(served)
        served.process.kill()
        served.process.wait()
        eventually(lambda: all(gone(pid) for pid in children))


@pytest.mark.parametrize("keep_alive", [False, True], ids=["a connection each", "kept connections"])
async def test_a_rolling_restart_under_load_fails_no_request(keep_alive: bool) -> None:
    with serving(WEB_CONCURRENCY="2", TRIVET_SERVER__DRAIN_WAIT="2") as served:
        before = workers(served)
        stop = asyncio.Event()
        answered: list[int] = []

        async def load() -> None:
            async with plain_http.client() as client:
                while not stop.is_set():
                    if keep_alive:
                        answered.append(int((await client.get(f"{served.url}/sleep/0.01")).raise_for_status().text))
                    else:
                        answered.append(await pid_of(served, "/sleep/0.01"))

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(load())
            await asyncio.to_thread(eventually, lambda: answered)
            served.signal(signal.SIGHUP)
            await asyncio.to_thread(eventually, lambda: b"workers are replaced" in served.log.read_bytes())
            stop.set()
        assert not before & workers(served)
        assert set(answered) & before
        assert set(answered) & workers(served)


async def test_a_rolling_restart_keeps_the_old_workers_when_the_new_code_is_broken(tmp_path: Path) -> None:
    source = tmp_path / "moving.py"
    source.write_text((HERE / "plain.py").read_text())
    with serve("moving:app", app_dir=tmp_path) as served:
        before = await pid_of(served)
        source.write_text("nonsense(")
        served.signal(signal.SIGHUP)
        eventually(lambda: "the old ones stay" in served.log.read_text())
        assert await pid_of(served) == before


# -- what can not be served


def test_a_port_that_is_taken_is_named_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("run", "plain:app", "--app-dir", str(HERE), "--port", str(port))
    assert ended.returncode == 1
    assert f"port {port} is taken by `" in ended.stderr
    assert f"(pid {os.getpid()})" in ended.stderr
    assert "choose another with --port or PORT" in ended.stderr


def test_a_port_that_another_server_shares_is_taken_too() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = command("run", "plain:app", "--app-dir", str(HERE), PORT=str(other.getsockname()[1]))
    assert ended.returncode == 1
    assert "is taken" in ended.stderr


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_a_host_that_is_not_ours_is_said_to_be(host: str) -> None:
    ended = command("run", "plain:app", "--app-dir", str(HERE), "--host", host, PORT="0")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert host in ended.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "there is no module 'broken'"),
        ("import no_such_library\napp = None", "No module named 'no_such_library'"),
        ("def helper():\n    raise ValueError('the reason')\nhelper()", "ValueError: the reason"),
        ("app = = 3", "SyntaxError"),
        ("application = print", "Did you mean broken:application?"),
        ("app = 3", "is of type int, not an application"),
        ("raise SystemExit(4)", "SystemExit: 4"),
    ],
    ids=["no module", "no library", "raises", "syntax", "no attribute", "not callable", "exits"],
)
def test_an_app_that_can_not_be_imported_is_explained(source: str | None, said: str, tmp_path: Path) -> None:
    if source is not None:
        (tmp_path / "broken.py").write_text(source)
    ended = command("run", "broken:app", "--app-dir", str(tmp_path), PORT="0")
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "trivet/server" not in ended.stderr
    assert "importlib" not in ended.stderr


def test_the_lines_of_the_users_own_code_are_shown(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def helper():\n    raise ValueError('the reason')\n\nhelper()\n")
    ended = command("run", "broken:app", "--app-dir", str(tmp_path), PORT="0")
    assert f"{tmp_path}/broken.py:4 in <module>" in ended.stderr
    assert f"{tmp_path}/broken.py:2 in helper" in ended.stderr


def test_an_app_that_refuses_to_start_says_why() -> None:
    ended = command("run", "plain:app", "--app-dir", str(HERE), PORT="0", REFUSES="1", WEB_CONCURRENCY="1")
    assert ended.returncode == 1
    assert "the cellar is flooded; pump it out" in ended.stderr


def test_wrong_settings_are_all_named() -> None:
    ended = command("run", "plain:app", PORT="x", TRIVET_SERVER_HOST="y")
    assert ended.returncode == 1
    assert "PORT" in ended.stderr
    assert "TRIVET_SERVER__HOST" in ended.stderr


# -- reloading


async def test_changed_code_runs_at_the_next_request(tmp_path: Path) -> None:
    source = tmp_path / "changing.py"
    source.write_text((HERE / "plain.py").read_text())
    with serve("changing:app", app_dir=tmp_path, command="dev") as served:
        before = await pid_of(served)
        source.write_text(source.read_text().replace("str(os.getpid())", "'4242'"))
        await asyncio.to_thread(eventually, lambda: plain_http.get(served.url).text == "4242")
        await asyncio.to_thread(eventually, lambda: before not in workers(served))


async def test_broken_code_is_reported_and_its_mend_is_awaited(tmp_path: Path) -> None:
    source = tmp_path / "mending.py"
    good = (HERE / "plain.py").read_text()
    source.write_text(good)
    with serve("mending:app", app_dir=tmp_path, command="dev") as served:
        source.write_text(good + "\nimport nothing_of_the_kind\n")
        eventually(lambda: "nothing_of_the_kind" in served.log.read_text())
        waiting = asyncio.create_task(pid_of(served))
        await asyncio.sleep(0.2)
        source.write_text(good + "\n# mended\n")
        assert await waiting in workers(served)


def test_code_that_is_broken_from_the_start_is_awaited_too(tmp_path: Path) -> None:
    source = tmp_path / "late.py"
    source.write_text("import nothing_of_the_kind\n")
    log = tmp_path / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trivet", "dev", "late:app", "--app-dir", str(tmp_path), "--port", str(port)],
            env={**os.environ, "TRIVET_SERVER__MANAGEMENT_PORT": "0"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "nothing_of_the_kind" in log.read_text())
        source.write_text((HERE / "plain.py").read_text())
        eventually(lambda: "Ctrl-C ends.\n" in log.read_text())
        assert plain_http.get(f"http://127.0.0.1:{port}").status_code == 200
    finally:
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_a_pinned_worker_keeps_to_a_core_and_so_does_who_takes_its_place() -> None:
    with serving(TRIVET_SERVER__PIN="true", TRIVET_SERVER__WORKERS="2") as served:
        first, second, *_ = sorted(os.sched_getaffinity(0)) * 2
        kept = [{(frozenset({core}), os.SCHED_BATCH)} for core in (first, second)]
        assert [places(pid) for pid in sorted(workers(served))] == kept
        killed = min(workers(served))
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: gone(killed) and len(workers(served) - {killed}) == 2 and ready(served) == 200)
        assert [places(pid) for pid in sorted(workers(served), reverse=True)] == kept
