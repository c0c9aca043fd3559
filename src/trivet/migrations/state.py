"""What was applied to a database, what was not, and whether the tables are what the shapes say."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from trivet.core.shape import Struct
from trivet.migrations.part import RECORD, Part
from trivet.migrations.revisions import Revision, revision_of, scripts_of

if TYPE_CHECKING:
    import sqlalchemy as sa
    from alembic.migration import MigrationContext

    from trivet.data.postgresql.rowsecurity import Guards


class State(Struct):
    """Where a part stands.

    Attributes:
        part: Its name.
        applied: The revision that the database has; ``None`` where it has none.
        newest: The newest revision that there is.
        pending: Revisions that were not applied, the oldest first.
        unknown: Whether the database has a revision that is not there: a later release migrated it.
        unrecorded: Tables that exist although no revision was applied: made at start, in development.
    """

    part: str
    applied: str | None
    newest: str | None
    pending: tuple[Revision, ...]
    unknown: bool = False
    unrecorded: tuple[str, ...] = ()


def context_of(connection: sa.Connection, part: Part, parts: list[Part], **more: Any) -> MigrationContext:
    """Return Alembic's context for a part, which sees the part's own tables only."""
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection, opts=options_of(part, parts) | more)


def options_of(part: Part, parts: list[Part]) -> dict[str, Any]:
    """Return how Alembic is to look at a part."""

    from trivet.data.search.index import NAMED

    def include(name: str | None, kind: str, above: Any) -> bool:
        if kind == "schema":
            return name == part.schema
        if name is not None and NAMED.search(name):  # what rows are searched with is compared as a whole
            return False
        if kind != "table" or name is None:
            return True
        return not name.startswith(RECORD) and belongs(name, part, parts) and not is_partition(name, part)

    return {
        "target_metadata": part.metadata,
        "version_table": part.record,
        "version_table_schema": part.schema,
        "include_schemas": part.schema is not None,
        "include_name": include,
        "compare_type": True,
        "compare_server_default": False,
        "transaction_per_migration": True,
    }


def belongs(table: str, part: Part, parts: list[Part]) -> bool:
    """Whether a table that exists is one of a part's, also where no shape is kept in it any more.

    Where there are no schemas the name says it; of two modules whose names begin alike, the longer one.
    """
    if part.schema is not None or table in part.metadata.tables:
        return True
    longer = [other.prefix for other in parts if len(other.prefix) > len(part.prefix)]
    return table.startswith(part.prefix) and not any(table.startswith(prefix) for prefix in longer)


def is_partition(table: str, part: Part) -> bool:
    """Whether a table that exists is a partition of one of a part's: those come and go while the app runs."""
    return any(
        table.startswith(f"{each.name}_") and table.removeprefix(f"{each.name}_").isdecimal()
        for each in part.tables
        if "first" in each.info
    )


def state_of(connection: sa.Connection, part: Part, parts: list[Part]) -> State:
    """Return where a part stands; changes nothing.

    Raises:
        WrongRevisions: Its revisions do not make one line.
    """
    import sqlalchemy as sa

    scripts = scripts_of(part)
    ids = [script.revision for script in scripts]
    applied = context_of(connection, part, parts).get_current_revision()
    unknown = applied is not None and applied not in ids
    done = ids.index(applied) + 1 if applied is not None and not unknown else len(ids) if unknown else 0
    unrecorded: list[str] = []
    if applied is None:
        there = set(sa.inspect(connection).get_table_names(schema=part.schema))
        unrecorded = sorted(table.name for table in part.tables if table.name in there)
    return State(
        part=part.name,
        applied=applied,
        newest=ids[-1] if ids else None,
        pending=tuple(revision_of(part, script) for script in scripts[done:]),
        unknown=unknown,
        unrecorded=tuple(unrecorded),
    )


def differences(connection: sa.Connection, part: Part, parts: list[Part]) -> list[str]:
    """Return in words what a part's tables are not that its shapes say."""
    from alembic.autogenerate import compare_metadata

    from trivet.migrations.search import lacking, left_over

    own = partial(belongs, part=part, parts=parts)
    found = compare_metadata(context_of(connection, part, parts), part.metadata)
    return [
        *map(_words, found),
        *(f"search of {each.table} is missing ({each.name})" for each in lacking(connection, part)),
        *(f"search {name} is not in the shapes" for name in left_over(connection, part, own)),
        *_unguarded(connection, part),
    ]


def guards_in(connection: sa.Connection, part: Part) -> Guards:
    """Return what row-level security guards in the database of a part, where its engine has any."""
    import sqlalchemy as sa

    if part.dialect != "postgresql":
        return {}
    from trivet.data.postgresql.rowsecurity import GUARDS, guards_of

    return guards_of(connection.execute(sa.text(GUARDS)))


def _unguarded(connection: sa.Connection, part: Part) -> Iterator[str]:
    """Yield in words which tables are not guarded as they should be, of those that are there."""
    import sqlalchemy as sa

    if part.dialect != "postgresql":
        return
    from trivet.data.postgresql.rowsecurity import UNGUARDED, flaw

    guards = guards_in(connection, part)
    there = set(sa.inspect(connection).get_table_names(schema=part.schema))
    for table in part.tables:
        wrong = flaw(table, guards.get((part.name, table.name), UNGUARDED), wanted=part.guarded)
        if wrong is not None and table.name in there:
            yield f"table {table.name} {wrong}"


def _words(difference: Any) -> str:
    """Say one difference as Alembic gives it: a tuple, or a list with those of one column."""
    if isinstance(difference, list):
        return "; ".join(_words(each) for each in difference)
    kind, *rest = difference
    match kind:
        case "add_table" | "remove_table":
            return f"table {rest[0].name} {'is missing' if kind == 'add_table' else 'is not in the shapes'}"
        case "add_column" | "remove_column":
            what = "is missing" if kind == "add_column" else "is not in the shapes"
            return f"column {rest[1]}.{rest[2].name} {what}"
        case "add_index" | "remove_index":
            return f"index {rest[0].name} {'is missing' if kind == 'add_index' else 'is not in the shapes'}"
        case "modify_nullable":
            return f"column {rest[1]}.{rest[2]} {'may' if rest[4] else 'may not'} be null in the database"
        case "modify_type":
            return f"column {rest[1]}.{rest[2]} is {rest[4]!r} in the database and {rest[5]!r} in the shapes"
    return f"{kind} {' '.join(str(each) for each in rest)}"
