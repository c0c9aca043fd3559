"""What the previous release would not survive, or its callers would feel, is found before it is applied."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from trivet.data.database import Dialect
from trivet.migrations.lint import lint
from trivet.migrations.part import Part

HEAD = """import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
"""

DANGEROUS = {
    "index": ("index-locks", 'op.create_index("ix", "notes", ["title"], schema="notes")'),
    "index dropped": ("index-locks", 'op.drop_index("ix", "notes", schema="notes")'),
    "required column": (
        "not-null",
        'op.add_column("notes", sa.Column("a", sa.Text(), nullable=False), schema="notes")',
    ),
    "column made required": ("set-not-null", 'op.alter_column("notes", "a", nullable=False, schema="notes")'),
    "type": ("type", 'op.alter_column("notes", "a", type_=sa.BigInteger(), schema="notes")'),
    "column renamed": ("rename", 'op.alter_column("notes", "a", new_column_name="b", schema="notes")'),
    "table renamed": ("rename", 'op.rename_table("notes", "papers", schema="notes")'),
    "column dropped": ("drop", 'op.drop_column("notes", "a", schema="notes")'),
    "table dropped": ("drop", 'op.drop_table("notes", schema="notes")'),
    "foreign key to another module": (
        "across-modules",
        'op.create_foreign_key("fk", "notes", "users", ["a"], ["id"], source_schema="notes", referent_schema="users", '
        "postgresql_not_valid=True)",
    ),
    "foreign key": (
        "constraint-locks",
        'op.create_foreign_key("fk", "notes", "tags", ["a"], ["id"], source_schema="notes", referent_schema="notes")',
    ),
    "check": ("constraint-locks", 'op.create_check_constraint("ck", "notes", sa.text("a > 0"), schema="notes")'),
    "unique": ("constraint-locks", 'op.create_unique_constraint("uq", "notes", ["a"], schema="notes")'),
    "every row": ("all-rows", 'op.execute("UPDATE notes.notes SET a = 1")'),
    "lock": ("locks", 'op.execute("LOCK TABLE notes.notes")'),
    "vacuum": ("locks", 'op.execute("VACUUM FULL notes.notes")'),
    "asks": ("unreadable", 'op.get_bind().execute(sa.text("SELECT 1")).scalar_one()'),
}

HARMLESS = {
    "new table with its index": 'op.create_table("tags", sa.Column("id", sa.Uuid()), schema="notes")\n'
    '    op.create_index("ix_tags", "tags", ["id"], schema="notes")',
    "index made aside": 'with op.get_context().autocommit_block():\n        op.create_index("ix", "notes", ["title"], '
    'schema="notes", postgresql_concurrently=True)',
    "optional column": 'op.add_column("notes", sa.Column("a", sa.Text(), nullable=True), schema="notes")',
    "required column with a default": 'op.add_column("notes", sa.Column("a", sa.Text(), nullable=False, '
    'server_default=""), schema="notes")',
    "constraint not validated": 'op.create_check_constraint("ck", "notes", sa.text("a > 0"), schema="notes", '
    "postgresql_not_valid=True)",
    "some rows": "op.execute(\"UPDATE notes.notes SET a = 1 WHERE id = '1'\")",
    "no longer required": 'op.alter_column("notes", "a", nullable=True, schema="notes")',
}


def part(directory: Path, body: str, *, dialect: Dialect = "postgresql", more: str = "") -> Part:
    (directory / "0001_change.py").write_text(f"{HEAD}    {body}\n{more}")
    return Part(name="notes", dialect=dialect, directory=directory, metadata=sa.MetaData(), prefix="")


@pytest.mark.parametrize("case", DANGEROUS)
def test_danger_is_found_with_its_place_and_mend(case: str, tmp_path: Path) -> None:
    rule, body = DANGEROUS[case]
    found = lint(part(tmp_path, body))
    assert f"migration-{rule}" in {fault.rule for fault in found}
    assert all(fault.place.file.endswith("0001_change.py") and fault.place.line == 8 for fault in found)
    assert all(fault.mend for fault in found)


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
def test_what_harms_nobody_is_not_found(body: str, tmp_path: Path) -> None:
    assert lint(part(tmp_path, body)) == []


def test_what_is_accepted_with_a_reason_is_not_found(tmp_path: Path) -> None:
    body = 'op.drop_column("notes", "a", schema="notes")'
    assert lint(part(tmp_path, body, more='\n\naccepted = {"drop": "no release reads it"}\n')) == []
    [fault] = lint(part(tmp_path, body, more='\n\naccepted = {"rename": "something else"}\n'))
    assert fault.rule == "migration-drop"


def test_the_ways_of_sqlite_are_judged_too(tmp_path: Path) -> None:
    body = 'with op.batch_alter_table("notes_notes") as batch:\n        batch.drop_column("a")'
    [fault] = lint(part(tmp_path, body, dialect="sqlite"))
    assert fault.rule == "migration-drop"
    assert lint(part(tmp_path, 'op.create_index("ix", "notes_notes", ["title"])', dialect="sqlite")) == []
