"""Replacements in the middle of which a process is killed: service comes back, and nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.server import plain_http
from tests.waiting import eventually
from trivet.testing import Served, serve

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60
pytestmark = pytest.mark.usefixtures("kind")


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    """Serve an application whose import takes as long as a file called `hold` is beside it."""
    waits = (
        "import pathlib, time\n"
        "print('importing', flush=True)\n"
        "while pathlib.Path(__file__).with_name('hold').exists():\n"
        "    time.sleep(0.02)\n"
    )
    future, _, rest = (HERE / "plain.py").read_text().partition("import asyncio\n")
    (directory / "held.py").write_text(f"{future}{waits}import asyncio\n{rest}")
    with serve("held:app", app_dir=directory) as served:
        yield served


def workers(served: Served) -> list[psutil.Process]:
    return [child for child in psutil.Process(served.process.pid).children() if child.status() != "zombie"]


def answered(served: Served) -> int:
    """Return who answers, 0 when nobody does."""
    try:
        return int(plain_http.get(served.url).text)
    except httpx2.TransportError:
        return 0


def shared(process: psutil.Process) -> list[Path]:
    """Return what a worker shares with its successor: the memory of Envoy, and the directory of its sockets."""
    words = process.cmdline()
    if "--base-id" not in words:
        return []
    directory = Path(words[words.index("--config-path") + 1]).parent
    return [directory, Path(f"/dev/shm/envoy_shared_memory_{words[words.index('--base-id') + 1]}0")]


def began_to_replace(served: Served, directory: Path) -> tuple[psutil.Process, psutil.Process]:
    """Return a worker and the one that is to replace it, which is still importing the application."""
    (old,) = workers(served)
    (directory / "hold").touch()
    served.signal(signal.SIGHUP)
    eventually(lambda: served.log.read_text().count("importing") == 2)
    (new,) = (process for process in workers(served) if process != old)
    return old, new


def replace(served: Served) -> None:
    """Replace the workers, without a disturbance."""
    before = served.log.read_text().count("workers are replaced")
    served.signal(signal.SIGHUP)
    eventually(lambda: served.log.read_text().count("workers are replaced") > before)


def test_a_worker_that_is_killed_while_its_successor_starts_is_followed_by_one(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        old, _ = began_to_replace(served, tmp_path)
        traces = shared(old)
        old.kill()
        (tmp_path / "hold").unlink()
        after = eventually(lambda: answered(served))
        assert [after] == [process.pid for process in workers(served)]
        replace(served)
        assert answered(served) not in (0, after, old.pid)
        assert served.stop() == 0
        assert not any(path.exists() for path in traces)


def test_a_successor_that_is_killed_before_it_serves_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        old, new = began_to_replace(served, tmp_path)
        traces = shared(old)
        new.kill()
        eventually(lambda: "the old ones stay" in served.log.read_text())
        assert {answered(served) for _ in range(5)} == {old.pid}
        (tmp_path / "hold").unlink()
        replace(served)
        assert answered(served) not in (0, old.pid)
        traces += shared(workers(served)[0])
        assert served.stop() == 0
        assert not any(path.exists() for path in traces)


@pytest.mark.parametrize("first", ["supervisor", "all but the new worker"])
def test_nothing_is_left_when_the_supervisor_is_killed_while_a_worker_is_replaced(first: str, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        old, new = began_to_replace(served, tmp_path)
        traces = shared(old)
        served.process.kill()
        served.process.wait()
        if first != "supervisor":
            old.kill()
        (tmp_path / "hold").unlink()
        eventually(lambda: not old.is_running() and not new.is_running())
        assert not any(path.exists() for path in traces)
    assert os.environ["TRIVET_SERVER__KIND"] == "uvicorn" or len(traces) == 2
