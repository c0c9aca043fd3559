"""One connection on which bytes are sent and answers are read, held to the letter of HTTP/1.1."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import NamedTuple

from tests.shop.serving import PATIENCE_SECONDS
from trivet.testing import Served


class Answer(NamedTuple):
    """What came back for one request."""

    status: int
    fields: dict[str, str]
    body: bytes


class Connection:
    """One connection on which bytes are sent and answers read, nothing else."""

    def __init__(self, served: Served) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), PATIENCE_SECONDS)
        self._received = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it, as far as the server takes it."""
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def _more(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except ConnectionError:
            return b""

    def answer(self, *, head: bool = False) -> Answer:
        """Return the next answer; `head` when it has no body."""
        while b"\r\n\r\n" not in self._received:
            more = self._more()
            assert more, f"closed after {self._received!r}"
            self._received += more
        top, _, rest = self._received.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, value in (field.split(": ", 1) for field in lines)}
        assert len(fields) == len(lines)
        length = 0 if head or "content-length" not in fields else int(fields["content-length"])
        while len(rest) < length:
            more = self._more()
            assert more, f"closed after {rest!r}"
            rest += more
        self._received = rest[length:]
        return Answer(int(first.split(" ")[1]), fields, rest[:length])

    def final(self, *, head: bool = False) -> Answer:
        """Return the next answer that is not provisional."""
        while (answer := self.answer(head=head)).status == 100:
            pass
        return answer

    def start(self) -> bytes:
        """Return the first bytes that come."""
        while len(self._received) < 16 and (more := self._more()):
            self._received += more
        return self._received

    def everything(self) -> bytes:
        """Return everything that comes until the connection is closed."""
        while more := self._more():
            self._received += more
        return self._received

    def ended(self) -> bool:
        """Whether nothing comes any more; waits for that."""
        return self._received == b"" and self._more() == b""
