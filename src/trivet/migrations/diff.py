"""Writing a revision: what the tables lack that the shapes say, as a file that a person reads before it is applied."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivet.migrations.part import Part
from trivet.migrations.revisions import next_id, scripts_of, slug_of
from trivet.migrations.state import belongs, context_of, guards_in

if TYPE_CHECKING:
    import sqlalchemy as sa
    from alembic.operations import ops

HEAD = '''"""{title}."""

from __future__ import annotations

{imports}

revision = "{id}"
down_revision = {down}


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
{body}
'''


STRICT = 'table_kwargs={"sqlite_strict": True}'
"""What a batch says to make a table as the shapes have it: SQLite does not tell it."""


def written(
    connection: sa.Connection, part: Part, parts: list[Part], title: str | None = None
) -> tuple[Path, str] | None:
    """Return the next revision of a part, and where it belongs; ``None`` where the tables are what they should be.

    Args:
        connection: To a database with everything applied.
        part: Whose revision.
        parts: Of the app.
        title: What it does; made of the changes where it is not given.
    """
    from alembic.autogenerate import produce_migrations

    context = context_of(connection, part, parts)
    found = produce_migrations(context, part.metadata).upgrade_ops
    assert found is not None
    found.ops = with_searches(connection, part, parts, found.ops)
    guarding = _guarding(connection, part)
    if found.is_empty() and not guarding:
        return None
    scripts = scripts_of(part)
    id = next_id(scripts)
    said = title or title_of(found, guarding)
    imports, body = _rendered(found, guarding, part, context)
    content = HEAD.format(
        title=said[:1].upper() + said[1:].rstrip("."),
        imports="\n".join(imports),
        id=id,
        down=f'"{scripts[-1].revision}"' if scripts else "None",
        body=body,
    )
    return part.directory / f"{id}_{slug_of(said)}.py", content


def with_searches(connection: sa.Connection, part: Part, parts: list[Part], changes: list[Any]) -> list[Any]:
    """Return changes with those among them that make rows searchable as their tables declare, and not otherwise.

    What is made needs the columns as they will be. What goes is first on SQLite, whose triggers would hold columns, and
    last on PostgreSQL, where it goes outside of a transaction. A table that is made anew loses its triggers, and with
    them what it is searched with.
    """
    from alembic.operations.ops import CreateTableOp

    from trivet.migrations.search import CreateSearch, DropSearch, lacking, left_over

    created = {op.table_name for op in changes if isinstance(op, CreateTableOp)}
    online = part.dialect == "postgresql"
    own = partial(belongs, part=part, parts=parts)
    gone = [DropSearch(name, schema=part.schema) for name in left_over(connection, part, own)]
    lost = set() if online else made_anew(changes)
    wanted = lacking(connection, part) + [each.searched for each in part.searches if each.searched.table in lost]
    made = [CreateSearch.of(each, aside=online and each.table not in created) for each in dict.fromkeys(wanted)]
    return [*changes, *made, *gone] if online else [*gone, *changes, *made]


def made_anew(changes: list[Any]) -> set[str]:
    """Return the tables that SQLite makes anew for changes: it adds columns and indexes, and alters nothing else."""
    from alembic.operations import ops

    kept = ops.AddColumnOp | ops.CreateIndexOp | ops.DropIndexOp
    modified = [op for op in changes if isinstance(op, ops.ModifyTableOps)]
    return {op.table_name for op in modified if not all(isinstance(inner, kept) for inner in op.ops)}


def _guarding(connection: sa.Connection, part: Part) -> dict[str, list[str]]:
    """Return the statements after which row-level security guards the tables that it should, by table."""
    if part.dialect != "postgresql":
        return {}
    from trivet.data.postgresql.rowsecurity import UNGUARDED, changes

    guards = guards_in(connection, part)
    found = {
        table.name: changes(table, guards.get((part.name, table.name), UNGUARDED), wanted=part.guarded)
        for table in part.tables
    }
    return {name: statements for name, statements in found.items() if statements}


def title_of(found: ops.UpgradeOps, guarding: Mapping[str, Sequence[str]]) -> str:
    """Return what changes do, in a line.

    Args:
        found: Of the tables.
        guarding: Of what guards their rows, by table.
    """
    from alembic.operations.ops import CreateIndexOp, CreateTableOp

    from trivet.migrations.search import CreateSearch

    changes = _flat(found.ops)
    if changes and all(isinstance(op, CreateTableOp | CreateIndexOp | CreateSearch) for op in changes):
        tables = [op.table_name for op in changes if isinstance(op, CreateTableOp)]
        if len(tables) > 2:
            return f"create {len(tables)} tables"
    words: list[str] = []
    for op in changes:
        kind = type(op).__name__.removesuffix("Op")
        table = getattr(op, "table_name", "")
        match kind:
            case "CreateTable":
                words.append(f"create {table}")
            case "DropTable":
                words.append(f"drop {table}")
            case "AddColumn":
                words.append(f"add {table} {op.column.name}")
            case "DropColumn":
                words.append(f"drop {table} {op.column_name}")
            case "AlterColumn":
                words.append(f"change {table} {op.column_name}")
            case "CreateSearch":
                words.append(f"search {table}")
            case "DropSearch":
                words.append(f"search {table} no more")
            case "CreateIndex" if not any(f"create {table}" == word for word in words):
                words.append(f"index {table}")
    words += [f"guard {table}" for table in guarding if f"create {table}" not in words]
    words = list(dict.fromkeys(words))
    return ", ".join(words[:3]) + (" and more" if len(words) > 3 else "") or "change tables"


def _flat(operations: Any) -> list[Any]:
    return [inner for op in operations for inner in (_flat(op.ops) if hasattr(op, "ops") else [op])]


def _rendered(
    found: ops.UpgradeOps, guarding: Mapping[str, Sequence[str]], part: Part, context: Any
) -> tuple[list[str], str]:
    """Return the imports and the body.

    On SQLite a table that is made anew is changed in one batch. On PostgreSQL an index of a table that exists is made
    or dropped without locking out who writes, which is possible only outside of a transaction: those come last, in a
    block of their own.
    """
    from alembic.autogenerate import render_python_code
    from alembic.operations import ops

    from trivet.migrations.search import CreateSearch, DropSearch

    def render(op: Any, indent: int = 4) -> str:
        batch = part.dialect == "sqlite" and bool(made_anew([op]))
        code = render_python_code(ops.UpgradeOps([op]), render_as_batch=batch, migration_context=context)
        return _clean(code.replace("schema=None) as", f"{STRICT}) as") if batch else code, indent)

    for op in _flat(found.ops):
        if isinstance(op, ops.AlterColumnOp):
            op.kw.pop("autoincrement", None)  # which means nothing to these engines, and Alembic warns of it

    created = {op.table_name for op in found.ops if isinstance(op, ops.CreateTableOp)}
    later: list[Any] = []
    if part.dialect == "postgresql":
        for holder in [found, *(op for op in found.ops if isinstance(op, ops.ModifyTableOps))]:
            moved = [
                op
                for op in holder.ops
                if isinstance(op, ops.CreateIndexOp | ops.DropIndexOp) and op.table_name not in created
            ]
            holder.ops = [op for op in holder.ops if op not in moved]
            for op in moved:
                op.kw["postgresql_concurrently"] = True
                if isinstance(op, ops.CreateIndexOp):
                    op.if_not_exists = True  # what was applied in part can be applied again
                else:
                    op.if_exists = True  # it goes with a column of it
            later += moved
        outside = [op for op in found.ops if isinstance(op, DropSearch) or (isinstance(op, CreateSearch) and op.aside)]
        found.ops = [op for op in found.ops if op not in outside]
        later += outside
        found.ops = [op for op in found.ops if not (isinstance(op, ops.ModifyTableOps) and op.is_empty())]
    pieces = [render(op) for op in found.ops]
    pieces += [_executed(sql) for statements in guarding.values() for sql in statements]
    if later:
        block = "\n".join(render(op, 8) for op in later)
        pieces.append(f"    with op.get_context().autocommit_block():\n{block}")
    body = "\n".join(pieces)
    own = f"{part.dialect}."
    ours = [name for name in ("CreateSearch", "DropSearch") if f"op.invoke({name}(" in body]
    return [
        *(["import sqlalchemy as sa"] if "sa." in body else []),
        "from alembic import op",
        *([f"from sqlalchemy.dialects import {part.dialect}"] if own in body else []),
        *([f"\nfrom trivet.migrations.search import {', '.join(ours)}"] if ours else []),
    ], body


def _executed(sql: str) -> str:
    """Return the call that runs a statement, in lines that can be read."""
    lines = textwrap.wrap(sql, 100, break_long_words=False, break_on_hyphens=False)
    quoted = [json.dumps(f"{line} ") for line in lines[:-1]] + [json.dumps(lines[-1])]  # as Python has it
    if len(quoted) == 1:
        return f"    op.execute({quoted[0]})"
    return "\n".join(["    op.execute(", *(f"        {each}" for each in quoted), "    )"])


def _clean(code: str, indent: int) -> str:
    lines = [line.rstrip() for line in code.splitlines()]
    kept = [line for line in lines if not line.strip().startswith("# ###")]
    least = min((len(line) - len(line.lstrip()) for line in kept if line), default=0)
    return "\n".join((" " * indent + line[least:]) if line else line for line in kept).strip("\n")
