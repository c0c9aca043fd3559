"""Speaking RPC to an app in this process, as its clients do, byte by byte."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from trivet.testing import Client, Response


def envelope(message: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(message)) + message


def envelopes(content: bytes) -> list[tuple[int, bytes]]:
    found = []
    while content:
        flags, size = struct.unpack_from(">BI", content)
        found.append((flags, content[5 : 5 + size]))
        content = content[5 + size :]
    return found


def web(response: Response) -> tuple[list[bytes], dict[str, str]]:
    """Return the messages of a gRPC-Web answer and its trailers, which stand in the head where it is an error alone."""
    content = response.body
    if response.headers["content-type"].startswith("application/grpc-web-text"):
        content = base64.b64decode(content)
    messages = [message for flags, message in envelopes(content) if flags < 128]
    said = b"".join(message for flags, message in envelopes(content) if flags >= 128).decode()
    trailers = dict(line.split(": ", 1) for line in said.split("\r\n") if line)
    return messages, trailers or response.headers


async def connect(client: Client, path: str, message: Any, **options: Any) -> tuple[int, Any]:
    """Make a unary call in Connect's JSON."""
    answer = await client.post(path, json=message, **options)
    return answer.status, json.loads(answer.body)


def reason(error: Any) -> str:
    """Return the reason of a Connect error."""
    [info] = [d["debug"] for d in error["details"] if d["type"] == "google.rpc.ErrorInfo"]
    return str(info["reason"])


def violations(error: Any) -> dict[str, str]:
    """Return what is wrong by field, of a Connect error."""
    [bad] = [d["debug"] for d in error["details"] if d["type"] == "google.rpc.BadRequest"]
    return {each["field"]: each["description"] for each in bad["fieldViolations"]}
