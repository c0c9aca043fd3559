"""Working on an application: what a developer does at a terminal, with a real one."""

from __future__ import annotations

import os
import pty
import select
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

PATIENCE_SECONDS = 60
pytestmark = pytest.mark.usefixtures("kind")


class Terminal:
    """A command that runs in a terminal of its own."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.said = b""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.environ.update(environ)
            os.execv(sys.executable, [sys.executable, "-m", "trivet", *arguments])

    def until(self, text: bytes) -> None:
        """Return once a text was written."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while text not in self.said:
            assert time.monotonic() < limit, self.said.decode("utf-8", "replace")
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.said += os.read(self._terminal, 65536)

    def type(self, text: bytes) -> None:
        """Type a text."""
        os.write(self._terminal, text)

    def end(self) -> int:
        """Type Ctrl-C and return the exit status."""
        self.type(b"\x03")
        self.until(b"ended")
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of forkpty:DeprecationWarning")
def test_breakpoint_stops_a_worker_for_as_long_as_the_developer_looks(tmp_path: Path) -> None:
    (tmp_path / "looking.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    answer = 42\n"
        "    breakpoint()\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': str(answer).encode()})\n"
    )
    environ = {"TRIVET_SERVER__MANAGEMENT_PORT": "0", "TRIVET_SERVER__WORKER_TIMEOUT": "1", "NO_COLOR": "1"}
    terminal = Terminal("dev", "looking:app", "--app-dir", str(tmp_path), "--port", "0", **environ)
    terminal.until(b"Ctrl-C ends.")
    url = terminal.said.decode().partition("http://")[2].split()[0]
    answers: list[bytes] = []

    def ask() -> None:
        with urllib.request.urlopen(f"http://{url}", timeout=PATIENCE_SECONDS) as answer:
            answers.append(answer.read())

    asking = threading.Thread(target=ask)
    asking.start()
    terminal.until(b"(Pdb)")
    terminal.until(b"has not responded")  # for longer than a worker may hang in production
    terminal.type(b"answer = 43\nc\n")
    asking.join(PATIENCE_SECONDS)
    assert answers == [b"43"]
    assert terminal.end() == 0
