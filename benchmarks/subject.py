"""A fresh interpreter that measures itself: for what happens inside a process, not between two."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from benchmarks.server import ROOT, environment

T = TypeVar("T")


class SubjectFailed(Exception):
    """The interpreter ended with an error; the message has the end of its output."""


def run(arguments: list[str], expects: type[T]) -> T:
    """Run ``python ARGUMENTS`` and return the JSON of the last line that it printed.

    Raises:
        SubjectFailed: It ended with an error.
    """
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment(), capture_output=True, check=False, timeout=600
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()[-15:]
        raise SubjectFailed("\n    ".join([f"python {' '.join(arguments)} ended with {done.returncode}", *lines]))
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=expects)


def answer(measure: Callable[[], Awaitable[Any]]) -> None:
    """Measure inside the interpreter that `run` started, and print the figures as its last line.

    Meanwhile standard output is a file, as it is for a server under measurement: the access log is written there.
    """
    import asyncio

    import uvloop

    output = os.dup(sys.stdout.fileno())
    with tempfile.TemporaryFile() as log, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        os.dup2(log.fileno(), sys.stdout.fileno())
        figures = runner.run(_awaited(measure))
    os.write(output, msgspec.json.encode(figures) + b"\n")


async def _awaited(measure: Callable[[], Awaitable[Any]]) -> Any:
    return await measure()
