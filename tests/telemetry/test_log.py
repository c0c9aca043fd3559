"""Structured lines."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from trivet.telemetry.log import PIPE_BUF, Logger, Sink


class Noted(msgspec.Struct):
    """A record of a test."""

    note: Any


def line_of(note: Any) -> bytes:
    """Return how it is written."""
    return msgspec.json.encode(Noted(note)) + b"\n"


def written(format: Any = "json", level: Any = "info", **line: Any) -> str:
    """Return what one info line looks like."""
    lines: list[bytes] = []
    Logger(Sink(lines.append, format=format, level=level)).bind(module="orders").info("paid", **line)
    return b"".join(lines).decode()


def test_a_line_is_one_json_object_with_its_fields() -> None:
    line = json.loads(written(amount=Decimal("1.50")))
    assert line.items() >= {"level": "info", "message": "paid", "module": "orders", "amount": "1.50"}.items()
    assert line["time"].endswith("Z")


def test_lines_below_the_level_are_not_written() -> None:
    assert written(level="warning") == ""


def test_fields_named_like_secrets_are_hidden_in_both_formats() -> None:
    for format in ("json", "text"):
        shown = written(format, password="p1", api_key="p2", page_token="p3", Authorization="p4")
        assert not any(secret in shown for secret in ("p1", "p2", "p3", "p4"))


def test_a_line_break_in_a_value_does_not_make_a_second_line() -> None:
    for format in ("json", "text"):
        assert written(format, note="a\nb").count("\n") == 1


def test_an_exception_is_written_with_its_traceback() -> None:
    lines: list[bytes] = []
    try:
        raise ValueError("wrong")
    except ValueError as error:
        Logger(Sink(lines.append)).failure("failed", error)
    line = json.loads(lines[0])
    assert line["level"] == "error"
    assert "test_an_exception_is_written" in line["traceback"]


def test_text_is_readable_and_coloured_only_when_asked() -> None:
    assert "\x1b" not in written("text", order="o1")
    assert "paid  module=orders  order=o1" in written("text", order="o1")


def test_what_commands_a_terminal_is_written_out_and_a_message_stays_one_line() -> None:
    lines: list[bytes] = []
    Logger(Sink(lines.append, format="text")).info("one\nforged", name="\x1b[2Jcleared\u2028")
    [line] = lines
    assert line.count(b"\n") == 1
    assert b"\x1b" not in line
    assert rb"one\nforged" in line


async def test_lines_of_one_turn_of_the_loop_are_written_together_and_in_order() -> None:
    written: list[bytes] = []
    sink = Sink(written.append)
    for number in range(3):
        sink.soon(Noted(number))
    assert written == []
    await asyncio.sleep(0)
    assert written == [line_of(0) + line_of(1) + line_of(2)]
    sink.soon(Noted(3))
    sink.raw(b"at once\n")
    sink.soon(Noted(4))
    await asyncio.sleep(0)
    assert written[1:] == [line_of(3), b"at once\n", line_of(4)]


async def test_a_record_that_can_not_be_encoded_costs_no_other_its_line() -> None:
    written: list[bytes] = []
    sink = Sink(written.append)
    sink.soon(Noted("before"))
    sink.soon(Noted("\ud800"))
    sink.soon(Noted("after"))
    await asyncio.sleep(0)
    before, broken, after = b"".join(written).splitlines(keepends=True)
    assert (before, after) == (line_of("before"), line_of("after"))
    assert "ud800" in json.loads(broken)["note"]


async def test_what_is_written_together_is_not_torn_on_a_pipe_that_others_write_to() -> None:
    written: list[bytes] = []
    sink = Sink(written.append)
    notes = ["x" * 1000 + str(number) for number in range(10)] + ["y" * 9000, "z"]
    for note in notes:
        sink.soon(Noted(note))
    await asyncio.sleep(0)
    assert b"".join(written) == b"".join(map(line_of, notes))
    assert all(len(piece) <= PIPE_BUF or piece.count(b"\n") == 1 for piece in written)


ENDS = {
    "returns": "",
    "raises": "raise RuntimeError",
    "exits": "raise SystemExit(3)",
    "is cancelled": "asyncio.current_task().cancel(); await asyncio.sleep(0)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_line_is_not_lost_however_the_loop_ends(end: str) -> None:
    code = f"""
import asyncio
import msgspec
from trivet.telemetry.log import Sink

class Line(msgspec.Struct):
    note: str

async def main():
    Sink().soon(Line("the last"))
    {end}

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert done.stdout == b'{"note":"the last"}\n'
