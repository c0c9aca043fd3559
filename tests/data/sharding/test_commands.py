"""`trivet db` on an app with shards: all databases are migrated, shards are listed, moved and dealt out anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.sharding.nodes import three
from tests.migrations.test_migrations import release, trivet
from trivet.core.sharding import SHARDS, logical_of

pytestmark = pytest.mark.slow

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


def test_shards_in_one_file_can_not_be_moved(tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path}/bank.db"
    assert "DATABASE_URL and database.shards" in Terminal(tmp_path, file).run("db", "shards", "list", code=1)
    elsewhere = Terminal(tmp_path, file, TRIVET_DATABASE__SHARDS="b=postgresql://localhost/b")
    assert "they are not all PostgreSQL" in elsewhere.run("db", "shards", "list", code=1)


def test_shards_have_no_replicas(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "postgresql://x/y", TRIVET_DATABASE__REPLICAS="postgresql://x/z")
    assert "database.replicas is set" in terminal.run("db", "shards", "list", code=1)
