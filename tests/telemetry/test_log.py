"""Structured lines."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from trivet.telemetry.log import Logger, Sink


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
