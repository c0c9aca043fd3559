"""Envoy's own lines as structured lines of ours."""

from __future__ import annotations

import asyncio
import os
from typing import Literal

import msgspec

from trivet.telemetry.log import Level, Logger

FORMAT = '{"level":"%l","logger":"%n","message":"%j"}'
"""What Envoy is told to write: one JSON object a line."""

LEVELS: dict[str, Level] = {
    "trace": "debug",
    "debug": "debug",
    "info": "debug",
    "warning": "warning",
    "error": "error",
    "critical": "error",
}
"""What Envoy's levels are among ours; what is information to those who run a proxy is none to those who run an app."""

ENVOY_LEVEL: dict[Level, Literal["info", "warning", "error"]] = {
    "debug": "info",
    "info": "warning",
    "warning": "warning",
    "error": "error",
}
"""What Envoy is to write at each of our levels."""

LINE_BYTES_MAX = 64 * 1024


class Line(msgspec.Struct):
    """A line as Envoy writes it."""

    level: str
    logger: str
    message: str


class EnvoyLog:
    """Reads what one Envoy writes, until it ends.

    Args:
        descriptor: The reading end of a pipe; closed at the end.
        log: Where the lines go.
    """

    def __init__(self, descriptor: int, log: Logger) -> None:
        self._descriptor = descriptor
        self._log = log
        self._rest = b""
        os.set_blocking(descriptor, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._rest) > LINE_BYTES_MAX:
            self._say(self._rest)
            self._rest = b""

    def _say(self, text: bytes) -> None:
        level, message, logger = read(text)
        if message:
            write = {"debug": self._log.debug, "warning": self._log.warning, "error": self._log.error}
            write.get(level, self._log.info)(message, logger=f"envoy.{logger}")


def read(text: bytes) -> tuple[Level, str, str]:
    """Return level, message and logger of a line; one of another form is an error as it stands."""
    try:
        line = msgspec.json.decode(text, type=Line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "error", text.decode("utf-8", "backslashreplace").strip(), "main"
    return LEVELS.get(line.level, "warning"), line.message.strip(), line.logger
