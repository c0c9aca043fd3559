"""The commands, as people and programs call them: exit status, standard output, standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from trivet.cli.new import source_of
from trivet.cli.output import too_wide

COMMANDS = ("dev", "run", "new", "ops", "call", "check", "contract", "db", "config")


def trivet(*arguments: str, cwd: Path, stdin: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trivet", *arguments],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")} | environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def printed(*arguments: str, cwd: Path, **environ: str) -> Any:
    ended = trivet(*arguments, cwd=cwd, **environ)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `trivet new` makes it."""
    root = tmp_path_factory.mktemp("new") / "order-desk"
    ended = trivet("new", "order-desk", cwd=root.parent)
    assert ended.returncode == 0, ended.stderr
    return root


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), ("config", "explain"), ("config", "schema")])
def test_help_has_examples(command: tuple[str, ...], tmp_path: Path) -> None:
    ended = trivet(*command, "--help", cwd=tmp_path)
    assert ended.returncode == 0
    assert "Example" in ended.stdout
    assert "\x1b" not in ended.stdout


def test_the_version_is_told(tmp_path: Path) -> None:
    assert trivet("--version", cwd=tmp_path).stdout.startswith("trivet ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("ops",),
        ("run",),
        ("call", "a:b"),
        ("new", "Not A Name"),
        ("new", "class"),
        ("config", "explain", "x.y"),
    ],
)
def test_a_wrong_call_ends_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ended = trivet(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(("chekc",), "'check'"), (("ops", "--jsn"), "'--json'"), (("config", "explain", "server.prot"), "server.port")],
    ids=["command", "option", "setting"],
)
def test_a_typo_is_answered_with_what_was_meant(arguments: tuple[str, ...], meant: str, tmp_path: Path) -> None:
    assert f"id you mean {meant}?" in trivet(*arguments, cwd=tmp_path).stderr


# -- new


def test_a_new_project_passes_its_own_tests(project: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_a_new_project_passes_its_own_checks(project: Path) -> None:
    ended = trivet("check", "--strict", cwd=project)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "nothing to mend" in ended.stdout


def test_a_new_project_is_typed(project: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=project, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("noted", "source"),
    [
        (None, "trivet"),
        ('{"url": "https://example.com/trivet.whl", "archive_info": {}}', "trivet"),
        ('{"url": "file:///home/ada/trivet", "dir_info": {"editable": true}}', "--editable /home/ada/trivet"),
        ('{"url": "file:///home/ada/my%20work", "dir_info": {"editable": true}}', "--editable '/home/ada/my work'"),
    ],
    ids=["release", "wheel", "clone", "clone-with-a-space"],
)
def test_a_new_project_takes_trivet_from_where_it_came_from(noted: str | None, source: str) -> None:
    assert source_of(noted) == source


def test_nothing_is_overwritten(project: Path) -> None:
    ended = trivet("new", "order-desk", cwd=project.parent)
    assert ended.returncode == 1
    assert "not empty" in ended.stderr


# -- ops


def test_ops_shows_every_face(project: Path) -> None:
    [row] = [row for row in printed("ops", "--json", cwd=project) if row["operation"] == "notes.create_note"]
    assert row["kind"] == "command"
    assert row["access"] == "notes.write"
    assert row["rest"] == "POST /v1/notes"
    assert row["graphql"] == "createNote"
    assert row["rpc"].endswith("NotesService/CreateNote")
    table = trivet("ops", "order_desk.app:app", cwd=project).stdout
    assert "GET /v1/notes/{id}" in table


def test_ops_of_one_module_knows_which_there_are(project: Path) -> None:
    ended = trivet("ops", "--module", "note", cwd=project)
    assert (ended.returncode, "it has notes" in ended.stderr) == (2, True)


WIDTHS = {"OPERATION": 20, "KIND": 7, "RPC": 40}


@pytest.mark.parametrize(("room", "left_out"), [(71, []), (70, ["RPC"]), (29, ["RPC"]), (28, ["RPC", "KIND"])])
def test_a_narrow_terminal_does_without_some_columns(room: int, left_out: list[str]) -> None:
    assert too_wide(WIDTHS, ("RPC", "KIND"), room) == left_out


# -- call


def test_an_operation_is_called_through_its_policies(project: Path, tmp_path: Path) -> None:
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/call.db"}
    note = printed("call", "--dev", "create_note", "--note", '{"text": "milk"}', cwd=project, **database)
    assert note["owner"] == "developer"
    assert printed("call", "notes.get_note", "--id", note["id"], cwd=project, **database) == note
    listed = printed("call", "order_desk.app:app", "list_notes", "--done=false", cwd=project, **database)
    assert listed["items"] == [note]
    ended = trivet(
        "call", "create_note", "--json-args", "-", cwd=project, stdin='{"note": {"text": "tea"}}', **database
    )
    assert json.loads(ended.stdout)["text"] == "tea"
    assert printed("call", "list_notes", "--page", '{"page_size": 1}', cwd=project, **database)["next_page_token"]


def test_an_operation_is_called_through_every_protocol(project: Path, tmp_path: Path) -> None:
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/call.db"}
    note = printed(
        "call", "--dev", "create_note", "--note", '{"text": "milk"}', "--via", "grpc", cwd=project, **database
    )
    assert note["owner"] == "developer"
    for via in ("rest", "graphql", "connect", "grpc", "grpc-web"):
        assert printed("call", "get_note", "--id", note["id"], "--via", via, cwd=project, **database) == note
    ended = trivet("call", "get_note", "--id", str(uuid4()), "--via", "graphql", cwd=project, **database)
    assert (ended.returncode, json.loads(ended.stdout)["code"]) == (1, "not_found")


def test_items_are_read_from_standard_input(tmp_path: Path) -> None:
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/call.db", "TRIVET_DATABASE__CREATE": "true"}
    root = Path(__file__).resolve().parents[2]
    given = "".join(f'{{"label": "p{number}"}}\n\n' for number in range(4))
    call = ("call", "tests.rpc.belt:app", "receive_parcels", "--shelf", "a")
    for shelf, via in enumerate(([], ["--via", "rest"], ["--via", "connect"], ["--via", "grpc"])):
        ended = trivet(*call, *via, cwd=root, stdin=given.replace("p", f"{shelf}-"), **database)
        assert (json.loads(ended.stdout)["count"], ended.returncode) == (4, 0), ended.stderr
        wrong = trivet(*call, *via, cwd=root, stdin='{"label": "x"}\n{"label": 7}\n', **database)
        assert (json.loads(wrong.stdout)["code"], wrong.returncode) == ("invalid_argument", 1)
        assert "#/parcels/1/label" in wrong.stdout
    refused = trivet(*call, "--via", "grpc-web", cwd=root, stdin=given, **database)
    assert "rest, connect or grpc" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "pointers"),
    [
        (("get_note",), ["#/id"]),
        (("get_note", "--id", "nonsense"), ["#/id"]),
        (("create_note", "--note", '{"text": "", "more": 1}'), ["#/note/more", "#/note/text"]),
        (("list_notes", "--done", "perhaps"), ["#/done"]),
        (("create_note", "--json-args", '{"note": 3, "x": 1}'), ["#/note", "#/x"]),
    ],
)
def test_arguments_that_do_not_fit_are_all_named(
    arguments: tuple[str, ...], pointers: list[str], project: Path, tmp_path: Path
) -> None:
    ended = trivet("call", "--dev", *arguments, cwd=project, DATABASE_URL=f"sqlite:///{tmp_path}/call.db")
    assert ended.returncode == 1
    assert sorted(error["pointer"] for error in json.loads(ended.stdout)["errors"]) == pointers
    assert "error:" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list_note",), "notes.list_notes"),
        (("get_note", "--nothing", "1"), "it takes id"),
        (("get_note", "--id"), "needs a value"),
        (("get_note", "17"), "--name value"),
        (("get_note", "--json-args", "["), "not a JSON object"),
    ],
)
def test_what_was_meant_is_said(arguments: tuple[str, ...], said: str, project: Path) -> None:
    ended = trivet("call", *arguments, cwd=project)
    assert ended.returncode == 2
    assert said in ended.stderr


# -- check


FAULTY = """
from trivet import App, Module, Query, Read, Struct

things = Module("things")

class Thing(Struct):
    name: str

@things.query(public=True)
async def get_thing(ctx: Read, id) -> Thing:
    raise NotImplementedError

@things.query()
async def list_things(ctx: Read) -> list[Thing]:
    raise NotImplementedError

app = App("faulty", modules=[things])
"""


def test_everything_that_is_wrong_is_said_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    ended = trivet("check", "faulty:app", cwd=tmp_path)
    assert ended.returncode == 1
    assert "faulty.py:9: error" in ended.stdout.replace(":10:", ":9:")
    assert "[access]" in ended.stdout
    assert "[signature]" in ended.stdout


def test_serving_a_faulty_app_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    ended = trivet("run", "faulty:app", cwd=tmp_path, PORT="0", TRIVET_SERVER__MANAGEMENT_PORT="off")
    assert ended.returncode == 1
    assert "[access]" in ended.stderr
    assert "[signature]" in ended.stderr
    assert "Traceback" not in ended.stderr


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MARKET = {
    "market/__init__.py": "",
    "market/stock/__init__.py": "from market.stock.module import stock\nfrom market.stock.operations import reserve\n",
    "market/stock/module.py": "from trivet import Module\nstock = Module('stock')\n",
    "market/stock/model.py": "from trivet import Table\nfrom market.stock import tables\n",
    "market/stock/tables.py": "",
    "market/stock/operations.py": (
        "from trivet import Write\nfrom market.stock.module import stock\n\n\n"
        "@stock.command(internal=True)\nasync def reserve(ctx: Write, id: int) -> None:\n    '''Reserve.'''\n"
    ),
    "market/sales/__init__.py": "",
    "market/sales/module.py": (
        "from trivet import Module\nfrom market.stock import stock\nsales = Module('sales', uses=[stock])\n"
    ),
    "market/sales/operations.py": (
        "from trivet import Write\nfrom ..stock.operations import reserve\nfrom market.stock import tables\n"
        "from market.sales.module import sales\n\n\n"
        "@sales.command(scope='sales')\nasync def sell_item(ctx: Write, id: int) -> None:\n    '''Sell.'''\n"
        "    await ctx.call(reserve, id)\n"
    ),
    "market/app.py": (
        "from trivet import App\nfrom market.sales.module import sales\nimport market.sales.operations\n"
        "from market.stock import stock\napp = App('market', modules=[stock, sales])\n"
    ),
}


def test_imports_past_a_package_and_impure_models_are_errors(tmp_path: Path) -> None:
    write(tmp_path, MARKET)
    ended = trivet("check", "market.app:app", "--json", cwd=tmp_path)
    assert ended.returncode == 1
    found = [
        (Path(error["place"]["file"]).relative_to(tmp_path).as_posix(), error["place"]["line"], error["rule"])
        for error in json.loads(ended.stdout)["errors"]
    ]
    assert sorted(found) == [
        ("market/sales/operations.py", 2, "module-boundary"),
        ("market/sales/operations.py", 3, "module-boundary"),
        ("market/stock/model.py", 1, "pure-model"),
        ("market/stock/model.py", 2, "pure-model"),
    ]


def test_commands_that_join_another_modules_transaction_are_listed(tmp_path: Path) -> None:
    write(tmp_path, MARKET)
    ended = trivet("check", "market.app:app", "--split", "--json", cwd=tmp_path)
    [pair] = json.loads(ended.stdout)["split"]
    assert (pair["caller"], pair["command"]) == ("sales.sell_item", "stock.reserve")
    assert pair["place"].endswith("market/sales/operations.py:10")


# -- config


def test_each_setting_is_explained_with_its_source(project: Path) -> None:
    rows = {row["path"]: row for row in printed("config", "explain", "--json", cwd=project, PORT="81")}
    assert rows["server.port"]["value"] == "81"
    assert rows["server.port"]["source"] == "environment PORT"
    assert rows["app"]["source"] == "file trivet.toml"
    assert rows["log.format"]["value"] == "json"
    assert all(row["description"] for row in rows.values())
    rows = {row["path"]: row for row in printed("config", "explain", "--dev", "--json", cwd=project)}
    assert rows["log.format"]["value"] == "text"


def test_secrets_are_not_explained(tmp_path: Path) -> None:
    key = "this-key-is-long-enough-to-be-one-and-secret"
    url = "postgresql://u:hunter2@h/d"
    for form in ((), ("--json",)):
        ended = trivet("config", "explain", *form, cwd=tmp_path, TRIVET_SECRET_KEY=key, DATABASE_URL=url)
        assert ended.returncode == 0
        assert key not in ended.stdout
        assert "hunter2" not in ended.stdout


def test_the_schema_is_printed(tmp_path: Path) -> None:
    assert printed("config", "schema", cwd=tmp_path)["title"] == "trivet.toml"


def test_wrong_settings_are_explained_too(tmp_path: Path) -> None:
    ended = trivet("config", "explain", cwd=tmp_path, TRIVET_SERVER__PROT="1")
    assert ended.returncode == 1
    assert "TRIVET_SERVER__PORT" in ended.stderr
