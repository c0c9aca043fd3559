"""Tables change in production: by revisions, while releases before and after them run."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.postgres import binaries, empty_database, run_on
from trivet import Struct
from trivet.cli import main
from trivet.testing import serve

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.slow

APPS = ("notebook", "shop")
ENGINES = ("sqlite", "postgresql")
SHOP = ("shop.app:app", "--app-dir", str(EXAMPLES))

FIRST_RELEASE = '''
from uuid import UUID
from trivet import App, Module, PUBLIC, Read, Struct, Table, Write

notes = Module("notes")


class Note(Struct):
    """A note."""

    id: UUID
    title: str


table = Table(notes, Note, key=lambda note: note.id, readable=PUBLIC, writable=PUBLIC)


@notes.command(public=True, plural="notes")
async def create_note(ctx: Write, title: str) -> Note:
    """Keep a note."""
    note = Note(id=ctx.new_id(), title=title)
    await table.insert(ctx, note)
    return note


@notes.query(public=True)
async def get_note(ctx: Read, id: UUID) -> Note:
    """Return a note."""
    return await table.get(ctx, id)


app = App("notebook", modules=[notes])
'''

SECOND_RELEASE = FIRST_RELEASE.replace("    title: str\n", "    title: str\n    colour: str | None = None\n").replace(
    "readable=PUBLIC", 'indexes=["title"], readable=PUBLIC'
)


@contextmanager
def database(engine: str, directory: Path) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{directory / 'test.db'}"
    else:
        with empty_database() as url:
            yield url


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database(request.param, tmp_path) as url:
        yield url


class Ended(Struct):
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def environment(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
    told = {"DATABASE_URL": url, "TRIVET_SECRET_KEY": "a secret that every test may know."}
    return inherited | told | dict(environ)


def trivet(*words: str, url: str, cwd: Path, **environ: str) -> Ended:
    """Run a command in this process, which spares a second for each: the app is imported anew."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    others = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in APPS}
    before, path = dict(os.environ), list(sys.path)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["trivet", *words])
        patch.setattr(sys, "dont_write_bytecode", True)  # two releases may have the same size and second
        os.environ.clear()
        os.environ.update(environment(url, environ))
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        finally:
            os.environ.clear()
            os.environ.update(before)
            sys.path[:] = path
            for name in [name for name in sys.modules if name.partition(".")[0] in APPS]:
                del sys.modules[name]
            sys.modules.update(others)
    return Ended(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def done(*words: str, url: str, cwd: Path, **environ: str) -> str:
    ended = trivet(*words, url=url, cwd=cwd, **environ)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def release(directory: Path, source: str) -> Path:
    """Write a release of the notebook where one may be already."""
    package = directory / "notebook"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    (package / "app.py").write_text(source)
    return directory


def execute(url: str, sql: str, on_sqlite: str, on_postgresql: str) -> None:
    """Run a statement about a table."""
    if url.startswith("postgresql"):
        run_on(url, sql.format(on_postgresql))
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(sql.format(on_sqlite))


def status(url: str, cwd: Path, *app: str) -> dict[str, Any]:
    ended = trivet("db", "status", *app, "--json", url=url, cwd=cwd)
    return {each["part"]: each for each in json.loads(ended.stdout)}


def test_the_shop_is_served_from_tables_that_its_revisions_made(url: str, tmp_path: Path) -> None:
    known = json.loads(done("db", "history", *SHOP, "--json", url=url, cwd=tmp_path))
    own = ["0001", "0002", "0003", "0004", *(["0005"] if url.startswith("postgresql") else [])]
    parts = [*["trivet"] * len(own), "catalog", "catalog", "customers", "orders", "orders", "payments"]
    numbers = [*own, "0001", "0002", "0001", "0001", "0002", "0001"]
    assert [(each["part"], each["id"]) for each in known] == list(zip(parts, numbers, strict=True))
    lines = done("db", "migrate", *SHOP, url=url, cwd=tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == parts
    assert "nothing to mend" in done("db", "check", *SHOP, url=url, cwd=tmp_path)
    assert done("db", "seed", *SHOP, url=url, cwd=tmp_path) == "filled\n"
    assert trivet("db", "seed", *SHOP, url=url, cwd=tmp_path).returncode == 1
    environ = {"DATABASE_URL": url, "TRIVET_DATABASE__URL": url, "TRIVET_DATABASE__CREATE": "false"}
    with serve("shop.app:app", app_dir=EXAMPLES, environ=environ) as served:
        page = httpx2.get(f"{served.url}/v1/products?page_size=3").json()
    assert len(page["items"]) == 3


def test_tables_created_at_start_are_what_the_revisions_make(url: str, tmp_path: Path) -> None:
    """What `stamp` takes only where there is no difference."""
    done("call", SHOP[0], "catalog.list_products", *SHOP[1:], url=url, cwd=tmp_path, TRIVET_DATABASE__CREATE="true")
    refused = trivet("db", "migrate", *SHOP, url=url, cwd=tmp_path)
    assert (refused.returncode, "trivet db stamp" in refused.stderr) == (1, True)
    assert done("db", "stamp", *SHOP, url=url, cwd=tmp_path).startswith("recorded: trivet, catalog")
    assert "everything is applied" in done("db", "migrate", *SHOP, url=url, cwd=tmp_path)


def test_of_several_processes_that_migrate_at_once_one_does(url: str, tmp_path: Path) -> None:
    def migrate(_: int) -> str:
        words = [sys.executable, "-m", "trivet", "db", "migrate", *SHOP, "--json"]
        return subprocess.check_output(words, cwd=tmp_path, env=environment(url, {}), text=True, timeout=100)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(migrate, range(2)))
    assert sorted(len(json.loads(each)) for each in ended) == [0, 11 if url.startswith("postgresql") else 10]


def test_a_release_goes_on_working_on_the_tables_of_the_next_one(url: str, tmp_path: Path) -> None:
    where: dict[str, Any] = {"url": url, "cwd": tmp_path, "TRIVET_DATABASE__CREATE": "false"}
    release(tmp_path, FIRST_RELEASE)
    unmigrated = trivet("call", "notebook.app:app", "notes.create_note", "--title", "a", **where)
    assert unmigrated.returncode == 1
    assert "trivet db migrate" in unmigrated.stderr
    assert "0001_create_" in done("db", "diff", "notebook.app:app", **where)
    done("db", "migrate", "notebook.app:app", **where)

    release(tmp_path, SECOND_RELEASE)
    behind = trivet("call", "notebook.app:app", "notes.create_note", "--title", "b", **where)
    assert (behind.returncode, "lacks colour" in behind.stderr) == (1, True)
    wrote = done("db", "diff", "notebook.app:app", "-m", "give notes a colour", **where)
    [line] = wrote.splitlines()  # and nothing to be careful about
    file = tmp_path / line.removeprefix("wrote ")
    assert file.name == "0002_give_notes_a_colour.py"
    assert ("postgresql_concurrently=True" in file.read_text()) == url.startswith("postgresql")
    assert trivet("db", "check", "notebook.app:app", **where).returncode == 1  # it is not applied
    done("db", "migrate", "notebook.app:app", **where)
    assert "nothing to mend" in done("db", "check", "notebook.app:app", **where)
    assert "the tables are what the shapes say" in done("db", "diff", "notebook.app:app", **where)
    new = json.loads(done("call", "notebook.app:app", "notes.create_note", "--title", "b", **where))
    assert new["colour"] is None

    release(tmp_path, FIRST_RELEASE)  # rolled back, or not yet replaced
    old = json.loads(done("call", "notebook.app:app", "notes.create_note", "--title", "c", **where))
    for note in (old, new):
        read = done("call", "notebook.app:app", "notes.get_note", "--id", note["id"], **where)
        assert json.loads(read) == {"id": note["id"], "title": note["title"]}


def test_a_column_becomes_optional_required_and_is_dropped_on_rows_that_are_there(url: str, tmp_path: Path) -> None:
    """SQLite alters no column: there the table is made anew, with everything that it has."""
    where: dict[str, Any] = {"url": url, "cwd": tmp_path, "TRIVET_DATABASE__CREATE": "false"}
    required = (
        FIRST_RELEASE.replace("    title: str\n", '    title: str\n    colour: str = "red"\n')
        .replace("readable=PUBLIC", 'unique=["title"], indexes=["colour"], search=Search("title"), readable=PUBLIC')
        .replace("import App", "import Search, App")
    )
    optional = required.replace('colour: str = "red"', "colour: str | None = None")
    dropped = required.replace('    colour: str = "red"\n', "").replace('indexes=["colour"], ', "")

    def released(source: str) -> str:
        """Release it, and return the revision that `diff` wrote."""
        release(tmp_path, source)
        line = done("db", "diff", "notebook.app:app", **where).splitlines()[0]
        done("db", "migrate", "notebook.app:app", **where)
        assert "the tables are what the shapes say" in done("db", "diff", "notebook.app:app", **where)
        return (tmp_path / line.removeprefix("wrote ")).read_text()

    def create(title: str) -> Any:
        return json.loads(done("call", "notebook.app:app", "notes.create_note", "--title", title, **where))

    released(required)
    first = create("a")
    for title, source in (("b", optional), ("c", required), ("d", dropped)):
        if source == required:
            execute(url, "UPDATE {} SET colour = 'blue' WHERE colour IS NULL", "notes_notes", "notes.notes")
        revision = released(source)
        assert ("batch_alter_table" in revision) == url.startswith("sqlite")
        assert ("    op.alter_column" in revision) == (url.startswith("postgresql") and source != dropped)
        assert create(title)["title"] == title
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            [(made,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'notes_notes'")
        assert "STRICT" in made
    read = done("call", "notebook.app:app", "notes.get_note", "--id", first["id"], **where)
    assert json.loads(read) == {"id": first["id"], "title": "a"}
    again = trivet("call", "notebook.app:app", "notes.create_note", "--title", "a", **where)
    assert again.returncode == 1
    assert "exists already" in again.stdout + again.stderr


def test_what_a_later_release_has_migrated_is_left_alone(url: str, tmp_path: Path) -> None:
    where: dict[str, Any] = {"url": url, "cwd": release(tmp_path, FIRST_RELEASE)}
    done("db", "diff", "notebook.app:app", **where)
    done("db", "migrate", "notebook.app:app", **where)
    [file] = (tmp_path / "notebook/migrations/notes").rglob("0001_*.py")
    file.rename(file.with_name("0000_before.py"))
    file.with_name("0000_before.py").write_text(
        file.with_name("0000_before.py").read_text().replace('"0001"', '"0000"')
    )
    refused = trivet("db", "migrate", "notebook.app:app", **where)
    assert (refused.returncode, "a later one has migrated it" in refused.stderr) == (1, True)
    assert status(url, tmp_path, "notebook.app:app")["notes"]["unknown"]


def test_a_revision_that_fails_leaves_nothing_of_itself_and_is_applied_when_it_is_mended(
    url: str, tmp_path: Path
) -> None:
    where: dict[str, Any] = {"url": url, "cwd": release(tmp_path, FIRST_RELEASE)}
    done("db", "diff", "notebook.app:app", **where)
    [file] = (tmp_path / "notebook/migrations/notes").rglob("0001_*.py")
    good = file.read_text()
    file.write_text(good + '    op.execute("SELECT no_such_column FROM no_such_table")\n')
    failed = trivet("db", "migrate", "notebook.app:app", **where)
    assert failed.returncode == 1
    assert "no_such_table" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert status(url, tmp_path, "notebook.app:app")["notes"]["applied"] is None
    file.write_text(good)
    done("db", "migrate", "notebook.app:app", **where)


def test_two_branches_that_met_are_told_apart(tmp_path: Path) -> None:
    where: dict[str, Any] = {"url": f"sqlite:///{tmp_path / 'test.db'}", "cwd": release(tmp_path, FIRST_RELEASE)}
    done("db", "diff", "notebook.app:app", **where)
    [file] = (tmp_path / "notebook/migrations/notes").rglob("0001_*.py")
    file.with_name("0001_other.py").write_text(file.read_text().replace('"0001"', '"0001b"'))
    refused = trivet("db", "status", "notebook.app:app", **where)
    assert refused.returncode == 1
    assert "0001_other.py" in refused.stderr


def test_tables_are_dropped_in_development_only(url: str, tmp_path: Path) -> None:
    where: dict[str, Any] = {"url": url, "cwd": release(tmp_path, FIRST_RELEASE)}
    done("db", "diff", "notebook.app:app", **where)
    done("db", "migrate", "notebook.app:app", **where)
    note = json.loads(done("call", "notebook.app:app", "notes.create_note", "--title", "a", **where))
    refused = trivet("db", "reset", "notebook.app:app", "--yes", **where)
    assert (refused.returncode, "nothing was dropped" in refused.stderr) == (1, True)
    asked = ("--id", note["id"])
    done("call", "notebook.app:app", "notes.get_note", *asked, **where)
    done("db", "reset", "notebook.app:app", "--yes", TRIVET_ENVIRONMENT="development", **where)
    assert trivet("call", "notebook.app:app", "notes.get_note", *asked, **where).returncode == 1
    assert not status(url, tmp_path, "notebook.app:app")["notes"]["pending"]


def test_a_look_changes_nothing_and_is_in_nobodys_way(tmp_path: Path) -> None:
    release(tmp_path, FIRST_RELEASE)
    file = tmp_path / "test.db"
    where: dict[str, Any] = {"url": f"sqlite:///{file}", "cwd": tmp_path}
    assert status(where["url"], tmp_path, "notebook.app:app")["trivet"]["applied"] is None
    assert trivet("db", "check", "notebook.app:app", **where).returncode == 1
    assert not file.exists()
    done("db", "diff", "notebook.app:app", **where)
    done("db", "migrate", "notebook.app:app", **where)
    writer = sqlite3.connect(file, isolation_level=None)
    with closing(writer):
        writer.execute("BEGIN IMMEDIATE")
        assert status(where["url"], tmp_path, "notebook.app:app")["notes"]["applied"] == "0001"
        writer.execute("ROLLBACK")


def test_the_shell_of_the_engine_is_opened_and_its_command_line_has_no_password(tmp_path: Path) -> None:
    release(tmp_path, FIRST_RELEASE)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("psql", "sqlite3"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@"\necho "$PGPASSWORD|$PGOPTIONS"\n')
        (programs / name).chmod(0o755)

    def opened(url: str) -> list[str]:
        words = [sys.executable, "-m", "trivet", "db", "shell", "notebook.app:app"]
        environ = environment(url, {"PATH": f"{programs}:{os.environ['PATH']}"})
        return subprocess.check_output(words, cwd=tmp_path, env=environ, text=True, timeout=100).splitlines()

    assert opened("sqlite:////var/lib/a b.db") == ["sqlite3 /var/lib/a b.db", "|"]
    command, variables = opened("postgresql://me:p%40ss@[::1]:5433/shop?sslmode=require&statement_timeout=10s")
    assert command == "psql postgresql://me@[::1]:5433/shop?sslmode=require"
    assert variables == "p@ss|-c statement_timeout=10s"
    private = trivet("db", "shell", "notebook.app:app", url="sqlite://", cwd=tmp_path)
    assert (private.returncode, "name a file" in private.stderr) == (1, True)


def test_psql_reaches_the_database_that_the_app_uses(tmp_path: Path) -> None:
    release(tmp_path, FIRST_RELEASE)
    with empty_database() as url:
        words = [sys.executable, "-m", "trivet", "db", "shell", "notebook.app:app"]
        environ = environment(f"{url}&statement_timeout=7s", {"PATH": f"{binaries(17)}:{os.environ['PATH']}"})
        said = subprocess.run(
            words, cwd=tmp_path, env=environ, input="SELECT current_database(); SHOW statement_timeout;",
            capture_output=True, text=True, timeout=100, check=True,
        )  # fmt: skip
        assert f"test_{url.partition('/test_')[2].partition('?')[0]}" in said.stdout
        assert "7s" in said.stdout


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(tmp_path, FIRST_RELEASE)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "alembic" else found(name))
    refused = trivet("db", "status", "notebook.app:app", url="sqlite:///x.db", cwd=tmp_path)
    assert (refused.returncode, "trivet[migrate]" in refused.stderr) == (1, True)


def run_script(url: str, statements: str) -> None:
    """Run statements as psql does."""

    async def run() -> None:
        driver = await asyncpg.connect(url)
        try:
            await driver.execute(statements)
        finally:
            await driver.close()

    asyncio.run(run())


def test_the_printed_statements_make_the_tables_too(tmp_path: Path) -> None:
    with empty_database() as url:
        run_script(url, done("db", "migrate", *SHOP, "--sql", url=url, cwd=tmp_path))
        assert "nothing to mend" in done("db", "check", *SHOP, url=url, cwd=tmp_path)


def test_a_migration_waits_for_no_lock_for_long_but_tries_again(tmp_path: Path) -> None:
    """Whoever waited in front of it would make all others wait behind it."""
    with empty_database() as url:
        where: dict[str, Any] = {"url": url, "cwd": release(tmp_path, FIRST_RELEASE)}
        done("db", "diff", "notebook.app:app", **where)
        done("db", "migrate", "notebook.app:app", **where)
        release(tmp_path, SECOND_RELEASE.replace('indexes=["title"], ', ""))
        done("db", "diff", "notebook.app:app", **where)

        async def run() -> tuple[int, str]:
            reader = await asyncpg.connect(url)
            await reader.execute("BEGIN; SELECT * FROM notes.notes")
            words = [sys.executable, "-m", "trivet", "db", "migrate", "notebook.app:app"]
            environ = environment(url, {})
            migrating = await asyncio.create_subprocess_exec(
                *words, cwd=tmp_path, env=environ, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
            )
            assert migrating.stderr is not None
            said = await migrating.stderr.readline()
            other = await asyncpg.connect(url)  # nobody queues behind it now
            await other.fetch("SELECT * FROM notes.notes", timeout=30)
            await reader.execute("COMMIT")
            _, rest = await migrating.communicate()
            await asyncio.gather(reader.close(), other.close())
            assert migrating.returncode is not None
            return migrating.returncode, (said + rest).decode()

        code, said = asyncio.run(run())
        assert (code, "a lock was not to be had" in said) == (0, True), said


TENANTS_RELEASE = FIRST_RELEASE.replace("    title: str\n", "    title: str\n    org: str\n", 1).replace(
    "Note(id=ctx.new_id(), title=title)", 'Note(id=ctx.new_id(), title=title, org=ctx.tenant or "")'
).replace("readable=PUBLIC", "tenant=lambda note: note.org, readable=PUBLIC")  # fmt: skip
SAFE = "\naccepted = {'row-security': 'every release says whom it works for'}\n"


def test_row_security_comes_and_goes_by_revisions_and_a_breach_by_hand_is_found(tmp_path: Path) -> None:
    release(tmp_path, TENANTS_RELEASE)
    with empty_database(owner="keeper") as url:
        where: dict[str, Any] = {"url": url, "cwd": tmp_path, "TRIVET_DATABASE__CREATE": "false"}
        prepared = where | {"TRIVET_DATABASE__ROW_SECURITY": "prepare"}
        guarded = where | {"TRIVET_DATABASE__ROW_SECURITY": "on"}
        done("db", "diff", "notebook.app:app", **where)
        done("db", "migrate", "notebook.app:app", **where)
        rows = ", ".join(f"(gen_random_uuid(), 'x', '{org}')" for org in ("red", "blue"))
        run_on(url, f"INSERT INTO notes.notes (id, title, org) VALUES {rows}")

        refused = trivet("call", "notebook.app:app", "notes.create_note", "--title", "a", **guarded)
        assert "lacks the policy trivet_tenant" in refused.stderr
        behind = trivet("db", "check", "notebook.app:app", **prepared)
        assert "notes: table notes lacks the policy trivet_tenant" in behind.stdout
        wrote = done("db", "diff", "notebook.app:app", **prepared)
        assert "shows no rows to releases that do not say whom they work for" in wrote
        file = tmp_path / wrote.splitlines()[0].removeprefix("wrote ")
        assert file.name == "0002_guard_notes.py"
        assert max(map(len, file.read_text().splitlines())) <= 120
        done("db", "migrate", "notebook.app:app", **prepared)
        judged = trivet("db", "check", "notebook.app:app", **guarded)
        assert (judged.returncode, "[migration-row-security]" in judged.stdout) == (1, True)
        file.write_text(file.read_text().replace("\n\n\ndef", f"\n{SAFE}\n\ndef"))
        assert "nothing to mend" in done("db", "check", "notebook.app:app", **guarded)
        assert run_on(url, "SELECT count(*) FROM notes.notes") == [(0,)], "its owner is held, too"

        changes = file.read_text().partition("def upgrade")[0].replace("0002", "0003").replace('"0001"', '"0002"')
        body = "UPDATE notes.notes SET title = 'y' WHERE title = 'x'"
        file.with_name("0003_rename.py").write_text(f'{changes}def upgrade() -> None:\n    op.execute("{body}")\n')
        done("db", "migrate", "notebook.app:app", **guarded)
        assert run_on(f"{url}&trivet.all_tenants=on", "SELECT count(*) FROM notes.notes WHERE title = 'y'") == [(2,)]

        run_on(url, "DROP POLICY trivet_tenant ON notes.notes")
        breached = trivet("db", "check", "notebook.app:app", **guarded)
        assert (breached.returncode, "lacks the policy trivet_tenant" in breached.stdout) == (1, True)
        done("db", "diff", "notebook.app:app", **guarded)
        done("db", "migrate", "notebook.app:app", **guarded)
        assert "nothing to mend" in done("db", "check", "notebook.app:app", **guarded)

        assert "has the policy trivet_tenant" in trivet("db", "check", "notebook.app:app", **where).stdout
        done("db", "diff", "notebook.app:app", **where)
        done("db", "migrate", "notebook.app:app", **where)
        assert "nothing to mend" in done("db", "check", "notebook.app:app", **where)
        assert run_on(url, "SELECT count(*) FROM notes.notes WHERE title = 'y'") == [(2,)]


def test_tables_that_are_new_come_with_their_policies(tmp_path: Path) -> None:
    release(tmp_path, TENANTS_RELEASE)
    with empty_database(owner="keeper") as url, empty_database(owner="keeper") as printed:
        where: dict[str, Any] = {"cwd": tmp_path, "TRIVET_DATABASE__ROW_SECURITY": "on"}
        wrote = done("db", "diff", "notebook.app:app", url=url, **where)
        assert wrote.splitlines()[1:] == [], "nothing to be careful about"
        done("db", "migrate", "notebook.app:app", url=url, **where)
        assert "nothing to mend" in done("db", "check", "notebook.app:app", url=url, **where)
        run_script(printed, done("db", "migrate", "notebook.app:app", "--sql", url=printed, **where))
        assert "nothing to mend" in done("db", "check", "notebook.app:app", url=printed, **where)
