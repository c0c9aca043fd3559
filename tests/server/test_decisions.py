"""What the supervisor decides, without processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.server.backoff import HEALTHY_SECONDS, LAST_SECONDS, failures_after, restart_delay
from trivet.server.fleet import Fleet
from trivet.server.interface import Message, Receive, Scope, Send
from trivet.server.lifespan import Lifespan, LifespanFailed
from trivet.server.loading import CannotLoad, parse_target
from trivet.server.management import parse
from trivet.server.reload import Watch, changed, outermost, stamps
from trivet.telemetry.metrics import Registry


@given(st.integers(1, 10_000))
def test_pauses_grow_up_to_a_limit(failures: int) -> None:
    assert 0 < restart_delay(failures) <= restart_delay(failures + 1) <= LAST_SECONDS


def test_a_worker_that_served_long_enough_starts_over() -> None:
    assert failures_after(5, HEALTHY_SECONDS - 1) == 6
    assert failures_after(5, HEALTHY_SECONDS) == 1


# -- metrics of all workers


def snapshot(count: float) -> bytes:
    registry = Registry()
    registry.counter("asked_total", "Questions.").bind().inc(count)
    registry.gauge("open", "Open.").bind().set(count)
    return registry.snapshot()


def test_counters_of_workers_are_added_and_those_of_the_dead_are_kept() -> None:
    fleet = Fleet(Registry())
    fleet.report(1, "1", snapshot(2))
    fleet.report(2, "2", snapshot(3))
    assert "asked_total 5" in fleet.text()
    fleet.ended(1)
    fleet.report(3, "1", snapshot(10))
    fleet.ended(3)
    assert "asked_total 15" in fleet.text()
    assert 'open{worker="2"} 3' in fleet.text()
    assert 'worker="1"' not in fleet.text()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 100)), max_size=20))
def test_a_counter_never_goes_back_whatever_happens_to_workers(steps: list[tuple[int, bool, int]]) -> None:
    fleet, counts, total = Fleet(Registry()), dict.fromkeys(range(4), 0), 0
    for pid, dies, more in steps:
        counts[pid] += more
        total += more
        fleet.report(pid, str(pid), snapshot(counts[pid]))
        if dies:
            fleet.ended(pid)
            counts[pid] = 0
        assert f"asked_total {total}" in fleet.text()


def test_a_worker_that_never_reported_leaves_nothing() -> None:
    fleet = Fleet(Registry())
    fleet.report(1, "1", b"")
    fleet.ended(1)
    assert fleet.text().strip() == ""


# -- watching files


def test_changes_are_found_and_environments_passed_over(tmp_path: Path) -> None:
    for name in ("a.py", "sub/b.py", "venv/lib/c.py", ".hidden/d.py", "__pycache__/e.py", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "venv/pyvenv.cfg").write_text("")
    before = stamps([tmp_path])
    assert {Path(path).name for path in before} == {"a.py", "b.py"}
    (tmp_path / "a.py").write_text("x")
    (tmp_path / "sub/b.py").unlink()
    (tmp_path / "g.py").write_text("")
    assert [Path(path).name for path in changed(before, stamps([tmp_path]))] == ["a.py", "g.py", "b.py"]


def test_directories_inside_others_are_left_out() -> None:
    assert outermost(["/a/b", "/a", "/c", "/ab"]) == {"/a", "/c", "/ab"}


async def test_a_watch_waits_until_an_editor_is_done(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path)])
    change = asyncio.create_task(watch.change())
    await asyncio.sleep(0)
    (tmp_path / "a.py").write_text("x")
    os.replace(tmp_path / "a.py", tmp_path / "b.py")
    assert [Path(path).name for path in await change] == ["b.py"]


# -- targets and request lines


@pytest.mark.parametrize(
    ("text", "module", "attribute"),
    [("shop.app:app", "shop.app", "app"), ("shop", "shop", "app"), ("a:b.c", "a", "b.c")],
)
def test_a_target_is_a_module_and_an_attribute(text: str, module: str, attribute: str) -> None:
    target = parse_target(text)
    assert (target.module, target.attribute, target.directory) == (module, attribute, os.getcwd())


@given(st.text())
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_target(text)
    except CannotLoad as refused:
        assert "module:attribute" in str(refused)  # noqa: PT017 - it may also be accepted
    else:
        assert all(part.isidentifier() for part in target.module.split("."))


@given(st.binary())
def test_any_head_is_a_request_or_refused(head: bytes) -> None:
    parsed = parse(head)
    assert parsed is None or parsed[1].startswith("/")


# -- lifespan


async def test_an_application_that_knows_no_lifespan_is_served_without() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"

    lifespan = Lifespan(app)
    await lifespan.startup()
    await lifespan.shutdown()


async def test_the_state_of_the_lifespan_is_kept_for_requests() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "lifespan.startup":
            scope["state"]["pool"] = 3
            await send({"type": "lifespan.startup.complete"})
        await send({"type": f"{message['type']}.complete"})

    lifespan = Lifespan(app)
    await lifespan.startup()
    assert lifespan.state == {"pool": 3}
    await lifespan.shutdown()


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_a_refusal_is_raised_with_its_message(phase: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message: Message = await receive()
            if message["type"].endswith(phase):
                await send({"type": f"lifespan.{phase}.failed", "message": "the cellar is flooded"})
                return
            await send({"type": f"{message['type']}.complete"})

    async def live(lifespan: Lifespan) -> None:
        await lifespan.startup()
        await lifespan.shutdown()

    with pytest.raises(LifespanFailed, match="the cellar is flooded"):
        await live(Lifespan(app))


async def test_a_bug_in_the_startup_surfaces_as_itself() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Lifespan(app).startup()
