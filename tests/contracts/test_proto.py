"""The contract as Protocol Buffers: accepted by buf and protoc, numbered for ever, and every misfit a fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from shop.app import app as shop
from tests.rpc.everything import app as everything
from trivet import App, Deprecated, Module, Patch, Read, Struct, Write
from trivet.contracts.describe import describe
from trivet.contracts.proto import lock, text
from trivet.contracts.proto.descriptor import descriptors
from trivet.contracts.proto.package import ProtoContract, contract_of
from trivet.core.fault import Fault, Place

BUF = Path(sys.executable).with_name("buf")


def contract(app: App) -> ProtoContract:
    found, faults = app.contract()
    assert not faults
    return found


def write(found: ProtoContract, root: Path) -> Path:
    for name, content in text.files(found.packages).items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def buf(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("app", [shop, everything], ids=["shop", "everything"])
def test_buf_has_nothing_to_say_about_what_is_written(app: App, tmp_path: Path) -> None:
    linted = buf("lint", cwd=write(contract(app), tmp_path))
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("app", [shop, everything], ids=["shop", "everything"])
def test_what_is_written_compiles_to_what_reflection_tells(app: App, tmp_path: Path) -> None:
    found = contract(app)
    root = write(found, tmp_path)
    files = sorted(package.file for package in found.packages)
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", "--include_imports", "-o", "set.bin", *files]
    subprocess.run(command, cwd=root, check=True, timeout=60)
    compiled = descriptor_pb2.FileDescriptorSet.FromString((root / "set.bin").read_bytes())
    ours = {file.name: file for file in descriptors(found.packages)}
    for file in compiled.file:
        if file.package.startswith(("shop", "test")):
            assert file == ours[file.name]


def test_the_lock_of_the_shop_is_up_to_date(tmp_path: Path) -> None:
    found = contract(shop)
    assert found.locked
    assert not found.drift
    entries = lock.read(Path(found.lock))
    assert lock.written(lock.merged(found.packages, entries)) == Path(found.lock).read_text()


# -- numbers


class Note(Struct):
    """What somebody wrote."""

    body: str
    colour: str = ""


def notes(shape: Any) -> Module:
    module = Module("notes")

    async def create_note(ctx: Write, note: Any) -> None:
        """Write something down."""

    create_note.__annotations__["note"] = shape
    module.command(public=True)(create_note)
    return module


def numbered(module: Module, root: Path) -> tuple[ProtoContract, list[Fault]]:
    api, faults = describe("pad", [module])
    assert not faults
    return contract_of(api, Place(file=str(root / "app.py"), line=1))


def keep(module: Module, root: Path) -> ProtoContract:
    found, faults = numbered(module, root)
    assert not faults
    path = Path(found.lock)
    path.write_text(lock.written(lock.merged(found.packages, lock.read(path))))
    again, faults = numbered(module, root)
    assert not faults + list(again.drift)
    return again


def numbers(found: ProtoContract, name: str = "Note") -> dict[str, int]:
    [message] = [m for p in found.packages for m in p.messages if m.name == name]
    return {field.name: field.number for field in message.fields}


def shaped(**fields: Any) -> Any:
    """A shape of another version of the program, under the same name."""
    return type("Note", (Struct,), {"__annotations__": fields, "__module__": __name__})


def test_without_a_lock_fields_are_numbered_as_they_are_declared(tmp_path: Path) -> None:
    found, faults = numbered(notes(Note), tmp_path)
    assert (numbers(found), faults, found.drift, found.locked) == ({"body": 1, "colour": 2}, [], (), False)


def test_numbers_are_kept_whatever_is_moved_added_or_taken_away(tmp_path: Path) -> None:
    assert numbers(keep(notes(shaped(body=str, colour=str)), tmp_path)) == {"body": 1, "colour": 2}
    assert numbers(keep(notes(shaped(size=int, colour=str)), tmp_path)) == {"size": 3, "colour": 2}
    last = keep(notes(shaped(colour=str, place=str, size=int)), tmp_path)
    assert numbers(last) == {"colour": 2, "place": 4, "size": 3}
    written = text.files(last.packages)["pad/notes/v1/notes.proto"]
    assert "  reserved 1;\n" in written
    assert '  reserved "body";\n' in written
    assert numbers(keep(notes(shaped(colour=str, body=str)), tmp_path)) == {"colour": 2, "body": 1}


def test_what_the_lock_does_not_know_is_a_drift_and_gets_the_next_number(tmp_path: Path) -> None:
    keep(notes(shaped(body=str)), tmp_path)
    found, faults = numbered(notes(shaped(size=int)), tmp_path)
    assert not faults
    assert numbers(found) == {"size": 2}
    assert [fault.problem for fault in found.drift] == [
        "pad.notes.v1.Note.size has no number in rpc.lock",
        "pad.notes.v1.Note.body is gone, and not yet reserved in rpc.lock",
    ]


def test_a_field_that_gets_another_type_is_a_fault(tmp_path: Path) -> None:
    keep(notes(shaped(body=str)), tmp_path)
    _, [fault] = numbered(notes(shaped(body=int)), tmp_path)
    assert fault.problem == "pad.notes.v1.Note.body is int64, but was string"
    assert "another name" in fault.mend


@pytest.mark.parametrize(
    "content",
    ["what", '["a"]\nb = 1', '["a"]\nb = "1 string"\nc = "1 string"', '["a"]\nb = "x string"', '["a"]\nb="1"\nb="2"'],
)
def test_a_lock_that_can_not_be_read_is_a_fault(content: str, tmp_path: Path) -> None:
    (tmp_path / "rpc.lock").write_text(content)
    _, faults = numbered(notes(Note), tmp_path)
    assert {fault.rule for fault in faults} == {"rpc-lock"}


def test_buf_finds_no_break_in_what_was_added_and_reserved_but_in_what_was_changed(tmp_path: Path) -> None:
    before = write(keep(notes(shaped(body=str, colour=str)), tmp_path), tmp_path / "before")
    after = write(keep(notes(shaped(size=int, body=str, colour=str)), tmp_path), tmp_path / "after")
    assert buf("breaking", "--against", str(before), cwd=after).returncode == 0
    (tmp_path / "rpc.lock").unlink()
    renumbered = write(keep(notes(shaped(size=int, body=str, colour=str)), tmp_path), tmp_path / "renumbered")
    assert "changed" in buf("breaking", "--against", str(before), cwd=renumbered).stdout


# -- what does not fit


def query(result: Any, **parameters: Any) -> Callable[[Module], None]:
    def declare(module: Module) -> None:
        async def handler(ctx: Read, **_: Any) -> Any:
            """Do something."""

        source = f"async def get_it(ctx, {', '.join(parameters)}):\n    'Do something.'"
        space: dict[str, Any] = {}
        exec(source, space)
        space["get_it"].__annotations__ = {"ctx": Read, "return": result, **parameters}
        module.query(public=True)(space["get_it"])

    return declare


class Inner(Struct):
    """Inside."""

    a: int


def another() -> type[Struct]:
    class Inner(Struct):
        """Also inside."""

        b: int

    return Inner


class Camel(Struct):
    """Two fields that are one in JSON."""

    a_b: int
    ab: int


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (query(int, value=tuple[int, str]), "a tuple does not fit"),
        (query(int, value=dict[float, int]), "the key of a map"),
        (query(int, update_mask=int, changes=Patch[Inner]), "update_mask is said by the platform"),
        (query(Inner, value=another()), "two messages of pad.things.v1 are called Inner"),
        (query(Camel), "one in JSON"),
        (query(int, Value=int), "no name of a field"),
    ],
)
def test_what_does_not_fit_protobuf_is_a_fault(declare: Callable[[Module], None], problem: str) -> None:
    module = Module("things")
    declare(module)
    api, _ = describe("pad", [module])
    _, faults = contract_of(api, Place(file="app.py", line=1))
    assert any(problem in fault.problem for fault in faults), faults
    assert all(fault.mend for fault in faults)


def test_an_app_that_begins_with_no_letter_has_no_package() -> None:
    api, _ = describe("1st", [notes(Note)])
    _, faults = contract_of(api, Place(file="app.py", line=1))
    assert [fault.rule for fault in faults] == ["rpc-package"]


def test_reads_have_no_side_effects_and_deprecations_are_told() -> None:
    from datetime import date

    module = Module("things")

    @module.query(public=True, deprecated=Deprecated(since=date(2026, 1, 1)))
    async def get_it(ctx: Read) -> int:
        """Return it."""
        return 1

    @module.command(public=True, idempotent=True)
    async def set_it(ctx: Write, value: int) -> None:
        """Set it."""

    api, _ = describe("pad", [module])
    found, _ = contract_of(api, Place(file="app.py", line=1))
    written = text.files(found.packages)["pad/things/v1/things.proto"]
    assert "option idempotency_level = NO_SIDE_EFFECTS;\n    option deprecated = true;" in written
    assert "option idempotency_level = IDEMPOTENT;" in written
    assert "returns (google.protobuf.Empty)" in written


# -- the command


@pytest.fixture
def pad(tmp_path: Path) -> Path:
    (tmp_path / "pad.py").write_text(
        "from trivet import App, Module, Read, Struct\n"
        "notes = Module('notes')\n"
        "class Note(Struct):\n"
        "    body: str\n"
        "@notes.query(public=True)\n"
        "async def get_note(ctx: Read) -> Note:\n"
        "    'Return it.'\n"
        "    return Note(body='x')\n"
        "app = App('pad', modules=[notes])\n"
    )
    return tmp_path


def trivet(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trivet", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_writes_the_contract_and_check_names_a_drift(pad: Path) -> None:
    assert trivet("contract", "proto", "pad:app", "--check", cwd=pad).returncode == 1
    wrote = trivet("contract", "proto", "pad:app", cwd=pad)
    assert wrote.returncode == 0, wrote.stderr
    assert wrote.stdout.split() == [
        "wrote",
        "rpc.lock",
        "wrote",
        "proto/buf.yaml",
        "wrote",
        "proto/pad/notes/v1/notes.proto",
    ]
    assert trivet("contract", "proto", "pad:app", "--check", cwd=pad).returncode == 0
    source = (pad / "pad.py").read_text()
    (pad / "pad.py").write_text(source.replace("body: str\n", "body: str\n    size: int = 0\n"))
    checked = trivet("check", "pad:app", cwd=pad)
    assert checked.returncode == 1
    assert "pad.notes.v1.Note.size has no number in rpc.lock" in checked.stdout
    assert "trivet contract proto" in checked.stdout
