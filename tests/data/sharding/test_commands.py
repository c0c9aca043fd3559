"""`trivet db` on an app with shards: all databases are migrated, shards are listed, moved and dealt out anew."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from tests.data.sharding.nodes import three
from tests.migrations.test_migrations import environment, release, trivet
from tests.postgres import run_on
from trivet.core.sharding import SHARDS, logical_of

pytestmark = pytest.mark.slow

VALID = (
    "SELECT x.indrelid::regclass::text FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid "
    "WHERE c.relname LIKE '%\\_search\\_%' AND x.indisvalid"
)

ROWS = "generate_series(1, 1200) AS n"

APP = '''
from trivet import App, Module, PUBLIC, Struct, Table

bank = Module("bank")


class Account(Struct):
    """An account."""

    owner: str
    balance: int


accounts = Table(bank, Account, key=lambda a: a.owner, shard_by=lambda a: a.owner, readable=PUBLIC, writable=PUBLIC)
app = App("bank", modules=[bank])
'''


class Terminal:
    """Runs `trivet` as an operator does."""

    def __init__(self, directory: Path, url: str, **environ: str) -> None:
        self._directory = release(directory, APP)
        self._url = url
        self._environ = environ

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command and return what it printed; what it says of errors is behind that."""
        ended = trivet(*words, "notebook.app:app", url=self._url, cwd=self._directory, **self._environ)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def watch(self, *words: str, columns: int = 80) -> str:
        """Run a command at a pseudo-terminal and return all that appeared there."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        shown: list[bytes] = []

        def read() -> None:
            while True:
                try:
                    shown.append(os.read(ours, 4096))
                except OSError:  # nobody has the other end any more
                    return

        reading = threading.Thread(target=read)
        try:
            command = [sys.executable, "-m", "trivet", *words, "notebook.app:app"]
            environ = environment(self._url, {**self._environ, "COLUMNS": ""})  # the terminal itself says it
            reading.start()
            ended = subprocess.run(
                command, cwd=self._directory, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, check=False
            )
        finally:
            os.close(theirs)
            reading.join()
            os.close(ours)
        text = b"".join(shown).decode()
        assert ended.returncode == 0, text
        return text

    def counts(self) -> dict[str, int]:
        """Return how many shards each node has."""
        nodes: dict[str, int] = json.loads(self.run("db", "shards", "list", "--json"))["nodes"]
        return nodes


def test_an_operator_migrates_all_nodes_and_moves_shards_between_them(tmp_path: Path) -> None:
    with three() as found:
        assert found.shards is not None
        terminal = Terminal(tmp_path, found.url.reveal(), TRIVET_DATABASE__SHARDS=found.shards.reveal())
        assert "trivet db migrate" in terminal.run("db", "shards", "list", code=1)
        terminal.run("db", "migrate")
        terminal.run("db", "diff")
        assert len({each["node"] for each in json.loads(terminal.run("db", "migrate", "--json"))}) == 3
        assert "home: bank" in terminal.run("db", "status")
        assert "nothing to mend" in terminal.run("db", "check")
        assert terminal.counts() == {"home": 160, "b": 160, "c": 160}

        shard = str(logical_of("ann"))
        assert f"shard {shard} is on " in terminal.run("db", "shards", "move", shard, "b")
        assert "already" in terminal.run("db", "shards", "move", shard, "b")
        assert "database.shards has home, b, c" in terminal.run("db", "shards", "move", shard, "d", code=2)
        steps = [json.loads(line) for line in terminal.run("db", "shards", "move", shard, "c", "--json").splitlines()]
        assert [each["step"] for each in steps] == ["copying", "fenced", "flipping", "dropping", "serving"]
        assert {each["shard"] for each in steps} == {int(shard)}

        planned = json.loads(terminal.run("db", "shards", "rebalance", "--dry-run", "--json"))
        assert len(planned) <= 1
        terminal.run("db", "shards", "rebalance")
        assert sum(terminal.counts().values()) == SHARDS
        assert set(terminal.counts().values()) == {160}


def test_an_operator_makes_an_index_for_a_search_on_every_node(tmp_path: Path) -> None:
    with three() as found:
        assert found.shards is not None
        terminal = Terminal(tmp_path, found.url.reveal(), TRIVET_DATABASE__SHARDS=found.shards.reveal())
        terminal.run("db", "diff")
        terminal.run("db", "migrate")
        terminal.counts()
        searched = APP.replace("shard_by=", 'search=Search("owner"), shard_by=').replace(
            "PUBLIC,", "PUBLIC, Search,", 1
        )
        release(tmp_path, searched)
        assert "what rows are searched with is not there" in terminal.run("db", "shards", "list", code=1)
        terminal.run("db", "diff")
        terminal.run("db", "migrate")
        assert "nothing to mend" in terminal.run("db", "check")
        assert sum(terminal.counts().values()) == SHARDS
        for url in found.nodes.values():
            assert run_on(url.reveal(), VALID) == [("bank.accounts",)]


def test_an_operator_is_told_which_database_is_down(tmp_path: Path) -> None:
    with three() as found:
        assert found.shards is not None
        home, shards = found.url.reveal(), found.shards.reveal()
        there = Terminal(tmp_path, home, TRIVET_DATABASE__SHARDS=shards)
        there.run("db", "diff")
        there.run("db", "migrate")
        there.counts()
        down = f"{shards} d=postgresql://postgres@/down?host=/nonexistent"
        terminal = Terminal(tmp_path, home, TRIVET_DATABASE__SHARDS=down)
        for words in (("migrate",), ("check",), ("shards", "list"), ("shards", "move", "1", "d")):
            assert "/nonexistent/down: nobody listens there" in terminal.run("db", *words, code=1)


def place(nodes: dict[str, str], few: dict[int, str], epoch: int) -> None:
    """Say in the directory and at the nodes that these shards are there, and all others at home; all empty."""
    here = " ".join(f"WHEN {shard} THEN '{node}'" for shard, node in few.items())
    run_on(nodes["home"], f"UPDATE trivet.trivet_shard SET epoch = {epoch}, node = CASE logical {here} ELSE 'home' END")
    for name, url in nodes.items():
        run_on(url, "DELETE FROM trivet.trivet_held")
        run_on(
            url,
            f"INSERT INTO trivet.trivet_held SELECT logical, {epoch}, true, true FROM generate_series(0, {SHARDS - 1}) "
            f"AS logical WHERE CASE logical {here} ELSE 'home' END = '{name}'",
        )


def test_a_terminal_shows_how_far_moves_are_and_a_node_is_emptied(tmp_path: Path) -> None:
    with three() as found:
        assert found.shards is not None
        terminal = Terminal(tmp_path, found.url.reveal(), TRIVET_DATABASE__SHARDS=found.shards.reveal())
        terminal.run("db", "diff")
        terminal.run("db", "migrate")
        terminal.counts()  # deals them out
        nodes = {name: url.reveal() for name, url in found.nodes.items()}
        half, epoch = SHARDS // 2, 2**40  # as after very many moves
        place(nodes, {shard: "c" if shard < 3 else "b" for shard in range(half + 1)}, epoch)
        run_on(nodes["c"], f"INSERT INTO bank.accounts (owner, balance, _shard) SELECT 'a' || n, n, 1 FROM {ROWS}")

        shown = terminal.watch("db", "shards", "move", "1", "b")
        frames = re.findall(r"\[([#-]+)\] (\d)/1  shard 1  (\w+)(?:  pass (\d+), (\d+) rows, (\d+) copied)?", shown)
        assert {step for _, _, step, *_ in frames} == {"copying", "fenced", "flipping", "dropping", "serving"}
        assert ("1", "500", "500") in {frame[3:] for frame in frames}  # a batch of rows is a frame
        assert ("1", "1200", "1200") in {frame[3:] for frame in frames}
        assert ("2", "1200", "0") in {frame[3:] for frame in frames}
        last = shown.rstrip().splitlines()[-1]
        assert last.endswith("\x1b[2K1 moved")  # the bar is gone
        assert terminal.counts() == {"home": 239, "b": 239, "c": 2}

        shown = terminal.watch("db", "shards", "rebalance", "--without", "c", columns=44)
        assert max(len(line) for line in shown.split("\r\x1b[2K")) < 44
        assert [tuple(map(int, each)) for each in dict.fromkeys(re.findall(r"(\d)/(\d)  shard", shown))] == [
            (0, 2),
            (1, 2),
        ]
        assert terminal.counts() == {"home": 240, "b": 240, "c": 0}
        [(most, least)] = run_on(nodes["home"], "SELECT max(epoch), min(epoch) FROM trivet.trivet_shard")
        assert (most, least) == (epoch + 1, epoch)
        assert run_on(nodes["b"], "SELECT count(*), sum(balance) FROM bank.accounts") == [(1200, 1200 * 1201 // 2)]


def test_shards_in_one_file_can_not_be_moved(tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path}/bank.db"
    assert "DATABASE_URL and database.shards" in Terminal(tmp_path, file).run("db", "shards", "list", code=1)
    elsewhere = Terminal(tmp_path, file, TRIVET_DATABASE__SHARDS="b=postgresql://localhost/b")
    assert "they are not all PostgreSQL" in elsewhere.run("db", "shards", "list", code=1)


def test_replicas_of_what_is_no_shard_are_refused(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "postgresql://x/y", TRIVET_DATABASE__SHARD_REPLICAS="b=postgresql://x/z")
    assert "'b' is not in database.shards" in terminal.run("db", "shards", "list", code=1)
