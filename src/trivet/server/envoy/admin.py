"""A client for Envoy's administration, over connections that are opened early and kept.

When a worker is replaced by hot restart, its Envoy stops to listen for administration at once, long before it ends.
What was connected before stays connected, so the commands of the end still arrive.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

ANSWER_SECONDS = 5.0
QUIT_SECONDS = 1.0


class AdminGone(Exception):
    """Envoy does not answer on any of the connections."""


class Admin:
    """Sends commands to the Envoy of this process.

    Args:
        path: Its socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def connect(self, connections: int) -> None:
        """Open connections for later; each serves for one command at least.

        Raises:
            AdminGone: Nobody listens.
        """
        try:
            for _ in range(connections):
                self._kept.append(await asyncio.open_unix_connection(self._path))
        except OSError as refused:
            raise AdminGone(f"Envoy's administration does not accept connections: {refused}") from refused

    async def post(self, path: str) -> str:
        """Carry out a command and return the answer; raises what `ask` raises."""
        return await self.ask(path, method="POST")

    async def ask(self, path: str, method: str = "GET") -> str:
        """Return the body of an answer.

        Raises:
            AdminGone: It came on none of the connections.
        """
        while self._kept:
            reader, writer = self._kept.pop()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    writer.write(f"{method} {path} HTTP/1.1\r\nhost: admin\r\n\r\n".encode())
                    fields, body = await _read(reader)
            except (OSError, EOFError, ValueError, TimeoutError):
                writer.close()
                continue
            if fields.get("connection") == "close":
                writer.close()
            else:
                self._kept.append((reader, writer))
            return body.decode("utf-8", "replace")
        raise AdminGone("Envoy does not answer any more")

    async def quit(self) -> None:
        """Let Envoy close the connections of its clients, and return when it has: it closes its administration next."""
        while self._kept:
            reader, writer = self._kept.pop()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(QUIT_SECONDS):
                    writer.write(b"POST /quitquitquit HTTP/1.1\r\nhost: admin\r\n\r\n")
                    if await reader.read():
                        return

    async def close(self) -> None:
        """Close the connections."""
        for _, writer in self._kept:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self._kept.clear()


async def _read(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Read one answer of Envoy's administration: its fields, names in lower case, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if fields.get("transfer-encoding") != "chunked":
        return fields, await reader.readexactly(int(fields.get("content-length", "0")))
    body = b""
    while (length := int(await reader.readuntil(b"\r\n"), 16)) > 0:
        body += (await reader.readexactly(length + 2))[:-2]
    await reader.readexactly(2)
    return fields, body
