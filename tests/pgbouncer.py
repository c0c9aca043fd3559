"""A PgBouncer for the tests, in transaction mode in front of a server of theirs.

The program is the one that ``PGBOUNCER`` names, an installed one, or the one of Debian's or Ubuntu's package, which is
downloaded once and unpacked into ``.cache``: that takes no root. It refuses to run as root, which starts it as nobody.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

from tests.postgres import PATIENCE_SECONDS, Server, as_nobody

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "pgbouncer"
USERS = ("postgres", "keeper")
"""Who may come through it."""

LIBRARIES = ("libc-ares", "libevent")
"""How the packages begin that PgBouncer needs and that not every machine has."""


@cache
def program() -> Path:
    """Return where the program is.

    Raises:
        RuntimeError: There is none, and none can be had.
    """
    named = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if named:
        return Path(named)
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise RuntimeError("No PgBouncer: install it, or say where one is: PGBOUNCER=/path/to/pgbouncer.")
    CACHE.mkdir(parents=True, exist_ok=True)
    unpacked = CACHE / platform.machine()
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes that test, one downloads
        if not unpacked.exists():
            _unpack(unpacked)
    return unpacked / "usr" / "sbin" / "pgbouncer"


def _unpack(into: Path) -> None:
    """Download the packages and unpack them, with nothing of the system changed."""
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        lists, root = Path(scratch) / "lists", Path(scratch) / "root"
        (lists / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={scratch}"]
        failed = _download([], scratch)
        if failed:  # the lists of the machine may be missing or too old
            _run(["apt-get", *own, "update", "-qq"], scratch)
            failed = _download(own, scratch)
        if failed:
            raise RuntimeError(f"No PgBouncer can be downloaded ({failed}): apt install pgbouncer.")
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True)
        root.rename(into)


def _download(options: Sequence[str], where: str) -> str:
    """Download the packages with some options of apt's; return what went wrong, empty where nothing did."""
    needs = _run(["apt-cache", *options, "depends", "pgbouncer"], where).stdout.split()
    names = ["pgbouncer", *(name for name in needs if name.startswith(LIBRARIES))]
    ended = _run(["apt-get", *options, "-o", "APT::Sandbox::User=", "download", "-qq", *names], where)
    return f"apt-get: {ended.stderr.strip()}" if ended.returncode else ""


def _run(words: Sequence[str], where: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=where, capture_output=True, text=True, timeout=100, check=False)


class Bouncer:
    """A running PgBouncer.

    Args:
        server: What it stands before.
        size: Connections that it has to the server, for each database and user.
    """

    def __init__(self, server: Server, size: int) -> None:
        self.server = server
        self.directory = Path(tempfile.mkdtemp(prefix="trivet-pgb-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        path = program()
        own = self.directory / "programs"
        own.mkdir()
        for each in [path, *path.parents[2].glob("usr/lib/*/lib*.so*")] if path.is_relative_to(CACHE) else [path]:
            shutil.copy(each, own, follow_symlinks=True)  # an environment of root's alone is out of its reach
        (self.directory / "users").write_text("".join(f'"{user}" ""\n' for user in USERS))
        (self.directory / "ini").write_text(
            "[databases]\n"
            f"* = host={server.directory}\n"
            "[pgbouncer]\n"
            "pool_mode = transaction\n"
            "listen_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\n"
            "unix_socket_dir =\n"
            "auth_type = trust\n"
            f"auth_file = {self.directory}/users\n"
            f"default_pool_size = {size}\n"
            "max_client_conn = 500\n"
            "admin_users = postgres\n"
        )
        if os.getuid() == 0:
            shutil.chown(self.directory, "nobody")
        self.directory.chmod(0o755)
        self.start()

    def start(self) -> None:
        """Start it, and return once it answers."""
        words = [str(self.directory / "programs" / "pgbouncer"), str(self.directory / "ini")]
        if os.getuid() == 0:
            words = as_nobody(*words, die_with_us=True)
        environ = os.environ | {"LD_LIBRARY_PATH": str(self.directory / "programs")}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(words, env=environ, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.admin("SHOW VERSION")
                return
            except (OSError, asyncpg.PostgresError):
                if self.process.poll() is not None or time.monotonic() > until:
                    said = (self.directory / "log").read_text(errors="replace")
                    raise RuntimeError(f"PgBouncer does not start:\n{said}") from None
                time.sleep(0.02)

    def admin(self, command: str) -> str:
        """Run a command of its console, which speaks the simple protocol only, and return its command tag."""

        async def run() -> str:
            console: Any = await asyncpg.connect(
                self.url("pgbouncer"), timeout=PATIENCE_SECONDS, statement_cache_size=0, server_settings={}
            )
            try:
                return str(await console.execute(command))
            finally:
                console.terminate()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()

    def url(self, database: str, user: str = "postgres") -> str:
        """Return the address of a database behind it."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it at once."""
        self.process.send_signal(how)
        self.process.wait(PATIENCE_SECONDS)

    def remove(self) -> None:
        """End it and remove everything."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def bouncer(server: Server, size: int = 3) -> Iterator[Bouncer]:
    """Give a PgBouncer in front of a server."""
    started = Bouncer(server, size)
    try:
        yield started
    finally:
        started.remove()
