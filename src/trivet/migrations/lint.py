"""Expand and contract: which revisions the release that runs now would not survive, or its callers would feel.

A new release meets the old one twice: while workers are replaced both run on the new tables, and after a rollback the
old one does for longer. So a revision adds first (expand); what nobody reads any more goes in a later release
(contract). And no statement may hold a lock that readers or writers wait behind for longer than a moment.

Each revision is run against a recorder instead of a database, and what it asks for is judged. Where a finding is known
to do no harm, the revision says so with the reason::

    accepted = {"drop": "no release since 2.3 reads it"}
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from trivet.core.fault import Fault, Place
from trivet.migrations.part import Part
from trivet.migrations.revisions import scripts_of

if TYPE_CHECKING:
    from alembic.script import Script

REWRITES = re.compile(r"\s*(update|delete)\b(?!.*\bwhere\b)", re.IGNORECASE | re.DOTALL)
GUARDS = re.compile(r"alter\s+table\s+(?:\S+\.)?(\S+)\s+.*enable\s+row\s+level\s+security", re.IGNORECASE | re.DOTALL)
LOCKS = re.compile(r"\b(lock\s+table|vacuum\s+full|cluster\b|reindex\s+(?!.*concurrently))", re.IGNORECASE)

MENDS = {
    "index-locks": "Write op.create_index(..., postgresql_concurrently=True) inside of "
    "`with op.get_context().autocommit_block():`, as `trivet db diff` does.",
    "search-locks": "Write op.invoke(CreateSearch(..., aside=True)) inside of "
    "`with op.get_context().autocommit_block():`, as `trivet db diff` does.",
    "not-null": "Give it a server_default, so that rows that exist and the previous release have a value.",
    "set-not-null": "First add CHECK (column IS NOT NULL) NOT VALID and validate it in a later revision; require it "
    "when no release writes null any more.",
    "type": "Add a column with the new type, write both, fill it in batches, and drop the old one in a later release.",
    "rename": "Add the new name, write both, and drop the old one in a later release.",
    "drop": 'Drop it one release after the last that uses it, and say so: accepted = {"drop": "why"}.',
    "constraint-locks": "Add it NOT VALID (postgresql_not_valid=True) and validate it in a later revision; make a "
    "unique one of an index that was made concurrently.",
    "across-modules": "Modules refer to each other by id only; a foreign key would tie their releases together.",
    "all-rows": "Change rows in batches outside of the migration: one statement over a table holds its locks until it "
    "has seen every row.",
    "row-security": "Let every release that runs say whom it works for first, with database.row_security=prepare, and "
    'say so: accepted = {"row-security": "why"}.',
    "locks": "Find a way that locks less.",
    "unreadable": "Ask the database nothing in upgrade(): a revision that depends on what it finds can not be judged.",
}


def lint(part: Part) -> list[Fault]:
    """Return what is dangerous in the revisions of a part.

    Raises:
        WrongRevisions: They do not make one line.
    """
    return [fault for script in scripts_of(part) for fault in judged(part, script)]


def judged(part: Part, script: Script) -> Iterator[Fault]:
    """Yield what is dangerous in one revision and not accepted there."""
    accepted = getattr(script.module, "accepted", {})
    line = _line_of(script)
    for rule, problem in findings(part, script):
        if rule not in accepted:
            place = Place(file=script.path, line=line)
            yield Fault(rule=f"migration-{rule}", place=place, problem=problem, mend=MENDS[rule])


def findings(part: Part, script: Script) -> Iterator[tuple[str, str]]:
    """Yield the rules that a revision breaks, each with what does."""
    recorded, unreadable = recorded_by(part, script)
    created: set[str] = set()
    for op in recorded:
        kind = type(op).__name__.removesuffix("Op")
        table = getattr(op, "table_name", None) or getattr(op, "source_table", None) or ""
        if kind == "CreateTable":
            created.add(table)
        elif kind == "ExecuteSQL" and (guarded := GUARDS.match(str(op.sqltext))) is not None:
            if guarded[1].strip('"') not in created:
                yield "row-security", f"{guarded[1]} shows no rows to releases that do not say whom they work for"
        elif table not in created:
            yield from _of(kind, op, table, part)
    if unreadable is not None:
        yield "unreadable", f"upgrade() stops with {unreadable}"


def recorded_by(part: Part, script: Script) -> tuple[list[Any], str | None]:
    """Run a revision's ``upgrade`` and return what it asked for, and why it could not be run to its end, if so."""
    import io

    from alembic.migration import MigrationContext
    from alembic.operations import BatchOperations, Operations

    asked: list[Any] = []
    context = MigrationContext.configure(
        dialect_name=part.dialect, opts={"as_sql": True, "output_buffer": io.StringIO()}
    )

    @contextmanager
    def batch(table_name: str, schema: str | None = None, **_: Any) -> Iterator[BatchOperations]:
        place: Any = SimpleNamespace(table_name=table_name, schema=schema)
        inner: Any = BatchOperations(context, impl=place)
        inner.invoke = asked.append
        yield inner

    with Operations.context(context) as operations:
        recorder: Any = operations
        recorder.invoke = asked.append
        recorder.batch_alter_table = batch
        try:
            script.module.upgrade()
        except Exception as failed:
            return asked, f"{type(failed).__name__}: {failed}"
    return asked, None


def _of(kind: str, op: Any, table: str, part: Part) -> Iterator[tuple[str, str]]:
    locking = part.dialect == "postgresql"  # on SQLite there is one writer anyway
    match kind:
        case "CreateIndex" | "DropIndex" if locking and not op.kw.get("postgresql_concurrently"):
            yield "index-locks", f"{op.index_name}: nobody can write {table} while the index is made or dropped"
        case "CreateSearch" if locking and not op.aside:
            yield "search-locks", f"{op.searched.name}: nobody can write {table} while its index is made"
        case "DropSearch":
            yield "drop", f"what {table} is searched with goes: the previous release searches with it"
        case "AddColumn":
            column = op.column
            if not column.nullable and column.server_default is None and column.computed is None:
                yield "not-null", f"{table}.{column.name} is required: rows that exist, and old releases, have no value"
        case "AlterColumn":
            where = f"{table}.{op.column_name}"
            if op.modify_name is not None:
                yield "rename", f"{where} becomes {op.modify_name}: the previous release asks for the old name"
            if op.modify_type is not None:
                yield "type", f"{where} becomes {op.modify_type!r}: every row is rewritten, and nobody reads meanwhile"
            if op.modify_nullable is False:
                yield "set-not-null", f"{where} becomes required: every row is looked at, and old releases write null"
        case "RenameTable":
            yield "rename", f"{table} becomes {op.new_table_name}: the previous release asks for the old name"
        case "DropColumn":
            yield "drop", f"{table}.{op.column_name} goes: the previous release reads it"
        case "DropTable":
            yield "drop", f"{table} goes: the previous release reads it"
        case "CreateForeignKey":
            if op.kw.get("referent_schema", part.schema) != part.schema:
                yield "across-modules", f"{table} refers to {op.kw['referent_schema']}.{op.referent_table}"
            if locking and not op.kw.get("postgresql_not_valid"):
                yield "constraint-locks", f"{op.constraint_name}: both tables are locked while every row is looked at"
        case "CreateCheckConstraint" if locking and not op.kw.get("postgresql_not_valid"):
            yield "constraint-locks", f"{op.constraint_name}: {table} is locked while every row is looked at"
        case "CreateUniqueConstraint" if locking:
            yield "constraint-locks", f"{op.constraint_name}: {table} is locked while its index is made"
        case "ExecuteSQL":
            sql = str(op.sqltext)
            if REWRITES.match(sql):
                yield "all-rows", f"{_short(sql)}: changes every row in one transaction"
            if LOCKS.search(sql):
                yield "locks", f"{_short(sql)}: everybody waits"


def _short(sql: str) -> str:
    words = " ".join(sql.split())
    return words if len(words) <= 60 else words[:59] + "…"


def _line_of(script: Script) -> int:
    try:
        return inspect.getsourcelines(script.module.upgrade)[1]
    except (OSError, TypeError, AttributeError):
        return 1
