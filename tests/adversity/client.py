"""A client that is cheap to make: one request on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

PATIENCE_SECONDS = 60


async def ask(
    port: int, method: str, path: str, body: bytes = b"", fields: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Send a request, and return status and body of the answer.

    Raises:
        ConnectionError: No whole answer came.
    """
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            head, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            answered = {
                name.lower(): value for name, _, value in (line.partition(b": ") for line in rest.split(b"\r\n"))
            }
            length = 0 if method == "HEAD" else int(answered.get(b"content-length", b"-1"))
            content = await reader.readexactly(length) if length >= 0 else await reader.read()
        except asyncio.IncompleteReadError as cut:
            raise ConnectionError("the answer is not whole") from cut
        finally:
            writer.close()
    return int(head.split()[1]), content
