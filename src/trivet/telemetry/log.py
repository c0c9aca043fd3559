"""Structured lines: one JSON object a line, or readable text in development.

The access path gives its lines as records, which are encoded many at a time. Everything else goes through `Logger`,
which carries bound fields. Values named like secrets are never written. Whatever the values are, writing a line never
raises: a line about a failure must not become one.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]
LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
SECRET = re.compile(r"password|passwd|secret|token|authorization|api_?key|cookie|credential", re.IGNORECASE)
COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What would end a line or command a terminal."""


def text_of(value: object) -> str:
    """Return a value as text, also one whose own ``str`` fails."""
    try:
        return str(value)
    except Exception as failed:
        return f"<{type(value).__name__}: str() failed with {type(failed).__name__}>"


def repr_of(value: object) -> str:
    """Return the ``repr`` of a value, also of one whose own fails."""
    try:
        return repr(value)
    except Exception as failed:
        return f"<{type(value).__name__}: repr() failed with {type(failed).__name__}>"


ENCODER = msgspec.json.Encoder(enc_hook=text_of)


PIPE_BUF = 4096
"""Up to so many bytes are written to a pipe in one piece, whatever other processes write to it (POSIX, on Linux)."""


class Sink:
    """Where lines go: a stream, written whole lines at a time.

    Args:
        write: Takes whole lines with their line ends; standard output by default.
        format: ``json``, or ``text`` for people.
        level: The lowest level that is written.
        colour: Whether text lines are coloured.
    """

    def __init__(
        self,
        write: Callable[[bytes], Any] | None = None,
        *,
        format: Literal["json", "text"] = "json",
        level: Level = "info",
        colour: bool = False,
    ) -> None:
        self._write = write or _stdout
        self.format = format
        self.threshold = LEVELS[level]
        self.colour = colour
        self._lock = threading.Lock()
        self._waiting: deque[msgspec.Struct] = deque()

    def enabled(self, level: Level) -> bool:
        """Whether lines of this level are written."""
        return LEVELS[level] >= self.threshold

    def line(self, level: Level, message: str, fields: Mapping[str, Any]) -> None:
        """Write one line, fields that are named like secrets hidden."""
        shown = {name: "***" if SECRET.search(name) else value for name, value in fields.items()}
        if self.format == "json":
            record = {"time": datetime.now(UTC), "level": level, "message": message} | shown
            self.raw(_encoded(record) + b"\n")
        else:
            self.raw(self._text(level, message, shown).encode("utf-8", "backslashreplace"))

    def raw(self, line: bytes) -> None:
        """Write a line that is encoded already, its line end included."""
        with self._lock:
            self._write_waiting()
            self._write(line)

    def soon(self, record: msgspec.Struct) -> None:
        """Write a line for this record at the end of this turn of the event loop, together with the others.

        What `raw` writes meanwhile comes after it.
        """
        if not self._waiting:  # without the lock: what others wrote meanwhile, they wrote whole
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(record)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._write_waiting()

    def _write_waiting(self) -> None:
        if self._waiting:
            records = [self._waiting.popleft() for _ in range(len(self._waiting))]
            for lines in pieces(encoded_lines(records)):
                self._write(lines)

    def _text(self, level: str, message: str, fields: Mapping[str, Any]) -> str:
        colour, off = (COLOURS[level], "\x1b[0m") if self.colour else ("", "")
        shown = "  ".join(f"{name}={_one_line(value)}" for name, value in fields.items() if name != "traceback")
        trace = fields.get("traceback")
        time = datetime.now().astimezone().strftime("%H:%M:%S")
        return f"{time} {colour}{level:<7}{off} {_one_line(message)}{'  ' + shown if shown else ''}\n" + _lines(trace)


def encoded_lines(records: Sequence[msgspec.Struct]) -> bytes:
    """Return a line of JSON for each record: in one go for all, at half of what each alone costs."""
    try:
        return ENCODER.encode_lines(records)
    except Exception:  # one of them can not be written as it is
        return b"".join(_encoded(msgspec.structs.asdict(record)) + b"\n" for record in records)


def pieces(lines: bytes) -> Iterator[bytes]:
    """Cut lines into what a pipe that others write to takes in one piece; a longer line is a piece of its own."""
    start = 0
    while len(lines) - start > PIPE_BUF:
        end = lines.rfind(b"\n", start, start + PIPE_BUF) + 1 or lines.index(b"\n", start) + 1
        yield lines[start:end]
        start = end
    if start < len(lines):
        yield lines[start:]


def _encoded(record: Mapping[str, Any]) -> bytes:
    try:
        return ENCODER.encode(record)
    except Exception:  # keys that are no text, text that is not Unicode, values inside of themselves
        plain = {name: repr_of(value).encode("utf-8", "backslashreplace").decode() for name, value in record.items()}
        return ENCODER.encode(plain | {name: record[name] for name in ("time", "level") if name in record})


def _lines(trace: str | None) -> str:
    return "\n".join(map(_one_line, trace.split("\n"))) if trace else ""


def _one_line(value: Any) -> str:
    return CONTROL.sub(_escaped, text_of(value))


def _escaped(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _stdout(lines: bytes) -> None:
    stream = sys.stdout.buffer
    stream.write(lines)
    stream.flush()


class Logger:
    """Writes lines that carry the fields it is bound to."""

    __slots__ = ("_fields", "_sink")

    def __init__(self, sink: Sink, fields: Mapping[str, Any] | None = None) -> None:
        self._sink = sink
        self._fields = dict(fields or {})

    def bind(self, **fields: Any) -> Logger:
        """Return a logger that adds these fields to each line."""
        return Logger(self._sink, self._fields | fields)

    def debug(self, message: str, **fields: Any) -> None:
        """Write a line for whoever looks closely."""
        self._line("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """Write a line about what happened."""
        self._line("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """Write a line about what may need care."""
        self._line("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """Write a line about what failed."""
        self._line("error", message, fields)

    def failure(self, message: str, error: BaseException, **fields: Any) -> None:
        """Write a line about an exception, with its traceback."""
        trace = "".join(traceback.format_exception(error))
        self._line("error", message, fields | {"error": repr_of(error), "traceback": trace})

    def _line(self, level: Level, message: str, fields: Mapping[str, Any]) -> None:
        if self._sink.enabled(level):
            self._sink.line(level, message, self._fields | dict(fields))
