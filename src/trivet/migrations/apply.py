"""Applying revisions: part by part, each revision in a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from trivet.migrations.connection import is_locked
from trivet.migrations.part import RECORD, Part
from trivet.migrations.revisions import Revision, revision_of, script_directory, scripts_of
from trivet.migrations.state import belongs, context_of, differences, options_of, state_of

if TYPE_CHECKING:
    import sqlalchemy as sa

Applied = Callable[[Revision, float], None]
"""Told of a revision that is durable, and how many seconds it took."""


class CannotMigrate(Exception):
    """A part is not in a state from which it can be migrated; the message says what to do."""


def upgrade(connection: sa.Connection, parts: list[Part], applied: Applied = lambda revision, seconds: None) -> int:
    """Apply what was not applied, and return how many revisions that were.

    Args:
        connection: To the database, alone.
        parts: Of the app.
        applied: Told of each.

    Raises:
        CannotMigrate: Tables exist that no revision made, or a later release has migrated this database.
        WrongRevisions: The revisions of a part do not make one line.
    """
    states = [state_of(connection, part, parts) for part in parts]
    connection.rollback()
    for state in states:
        if state.unknown:
            raise CannotMigrate(
                f"{state.part}: the database has revision {state.applied}, which this release does not know: "
                "a later one has migrated it. Run that release, or let it be: it was written so that this one goes on"
            )
        if state.unrecorded and state.pending:
            raise CannotMigrate(
                f"{state.part}: {', '.join(state.unrecorded)} {'is' if len(state.unrecorded) == 1 else 'are'} there, "
                "but no revision was applied: the tables were created at start, as in development. If they are what "
                "the shapes say, record that with `trivet db stamp`; if nobody needs them, `trivet db reset`"
            )
    count = 0
    for part, state in zip(parts, states, strict=True):
        if state.pending:
            _ensure_schema(connection, part)
            _run(connection, part, parts, applied)
            count += len(state.pending)
    return count


def stamp(connection: sa.Connection, parts: list[Part]) -> list[str]:
    """Record the newest revisions as applied, for tables that were created without them; return the parts.

    Raises:
        CannotMigrate: The tables are not what the shapes say.
    """
    wanted = [part for part in parts if state_of(connection, part, parts).unrecorded and scripts_of(part)]
    wrong = [line for part in wanted for line in differences(connection, part, parts)]
    if wrong:
        listed = "\n  ".join(wrong)
        raise CannotMigrate(f"these tables are not what the shapes say, so no revision has made them:\n  {listed}")
    connection.rollback()
    for part in wanted:
        with connection.begin():
            context_of(connection, part, parts).stamp(script_directory(part), "heads")
    return [part.name for part in wanted]


def drop(connection: sa.Connection, parts: list[Part]) -> None:
    """Drop every table of the parts, and the record of what was applied."""
    import sqlalchemy as sa

    from trivet.data.search.sqlite import dropped
    from trivet.migrations.search import existing

    dialect = connection.dialect.identifier_preparer
    with connection.begin():
        if parts[0].schema is not None:
            for part in parts:
                connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {dialect.quote(part.name)} CASCADE"))
            return
        for part in parts:
            for name in existing(connection, part, partial(belongs, part=part, parts=parts)):
                for sql in dropped(name):
                    connection.exec_driver_sql(sql)
        there = sa.inspect(connection).get_table_names()
        for part in parts:
            for name in there:
                if name == part.record or (not name.startswith(RECORD) and belongs(name, part, parts)):
                    connection.execute(sa.text(f"DROP TABLE {dialect.quote(name)}"))


def sql_of(parts: list[Part], write: Callable[[str], None]) -> None:
    """Write the SQL of all revisions of PostgreSQL parts, from nothing, for whoever may not run this command."""
    import io

    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    for part in parts:
        if not scripts_of(part):
            continue
        buffer = io.StringIO()
        scripts = script_directory(part)

        def steps(revision: Any, context: Any, scripts: Any = scripts) -> Any:
            return scripts._upgrade_revs("heads", revision)

        with EnvironmentContext(Config(), scripts, fn=steps, as_sql=True) as environment:
            options: dict[str, Any] = {**options_of(part, parts), "include_name": None}
            environment.configure(dialect_name=part.dialect, output_buffer=buffer, literal_binds=True, **options)
            with environment.begin_transaction():
                environment.run_migrations()
        schema = f"CREATE SCHEMA IF NOT EXISTS {part.schema};\n\n" if part.schema else ""
        write(f"-- {part.name}\n\n{schema}{buffer.getvalue()}")


def _ensure_schema(connection: sa.Connection, part: Part) -> None:
    import sqlalchemy as sa

    if part.schema is not None and part.schema not in sa.inspect(connection).get_schema_names():
        connection.execute(sa.schema.CreateSchema(part.schema, if_not_exists=True))
        connection.commit()
    else:
        connection.rollback()


def _run(connection: sa.Connection, part: Part, parts: list[Part], applied: Applied) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from sqlalchemy import exc

    scripts = script_directory(part)
    began = time.monotonic()

    def steps(revision: Any, context: Any) -> Any:
        return scripts._upgrade_revs("heads", revision)

    def told(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
        nonlocal began
        now = time.monotonic()
        applied(revision_of(part, scripts.get_revision(step.up_revision_id)), now - began)
        began = now

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, on_version_apply=told, **options_of(part, parts))
        try:
            with environment.begin_transaction():
                environment.run_migrations()
        except exc.DBAPIError as error:
            if is_locked(error):
                raise
            raise CannotMigrate(
                f"{part.name}: {error.orig}\n  in: {' '.join(str(error.statement).split())}\n"
                "What was reported as applied is; this revision is not. Mend it, and migrate again"
            ) from error
