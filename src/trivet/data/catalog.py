"""All tables of an app: bound to a dialect before the first request, with everything that is wrong found at once."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from msgspec.structs import replace

from trivet.core.fault import Fault
from trivet.core.module import Module
from trivet.data.database import ALL_TENANTS, Database, Dialect, Session
from trivet.data.fill import ViewPlan
from trivet.data.observer import UNOBSERVED, Observer
from trivet.data.plan import Plans, TablePlan
from trivet.data.resolve import ResolvedTable, resolve
from trivet.data.schema import table_of
from trivet.data.search.plan import searches_of
from trivet.data.selection import bind_selection, bind_source
from trivet.data.statement import TENANT, Statement
from trivet.data.view import View
from trivet.data.where import UnfitConstant
from trivet.settings import DatabaseSettings, Url

if TYPE_CHECKING:
    from trivet.data.sharding.database import ShardedDatabase

FILLING = 0x7472_6976_6575
"""The advisory lock that whoever fills an empty database holds: what comes after "trivet" in ASCII."""


def bind(modules: Iterable[Module], dialect: Dialect, signing_key: bytes) -> tuple[Plans, list[Fault]]:
    """Compile everything that the modules' tables will run.

    Args:
        modules: All modules of the app.
        dialect: Of the database that will run it.
        signing_key: Signs page tokens.

    Returns:
        The plans by table, which a unit of work needs for their verbs, and what is wrong with the tables.
    """
    found, faults = _resolved(modules)
    metadata = sa.MetaData()
    plans: Plans = {}
    for resolved in found:
        table = resolved.declared
        try:
            kind = ViewPlan if isinstance(table, View) else TablePlan
            plan: TablePlan[Any] = kind(resolved, table_of(resolved, dialect, metadata), dialect, signing_key)
        except UnfitConstant as unfit:
            what = f"table {table.module.name}.{table.shape.__name__}: a rule or a listing compares with {unfit}"
            faults.append(
                Fault(rule="table-rule", place=table.place, problem=what, mend="Use a value that fits the field.")
            )
        else:
            plan.searches = searches_of(plan)
            plans[table] = plan
    routed = any(plan.placement is not None for plan in plans.values())
    for table in plans:
        plans[table].routed = routed
        for selection in table.selections:
            faults += bind_selection(selection, plans)
        if isinstance(table, View):
            faults += [*table.faults(), *bind_source(table, plans)]
    return plans, faults


def schema(modules: Iterable[Module], dialect: Dialect) -> list[sa.Table]:
    """Return the tables of the modules as SQL has them, for `Database.create`; faulty ones are left out."""
    metadata = sa.MetaData()
    return [table_of(resolved, dialect, metadata) for resolved in _resolved(modules)[0]]


async def any_rows(session: Session, modules: Iterable[Module], dialect: Dialect) -> bool:
    """Return whether any table of the modules has a row.

    In a writing session whoever else asks waits until it ends: of several processes that fill what is empty, one does.
    """
    if session.writes and dialect == "postgresql":  # where there is one writer, it waits anyway
        await session.fetch(Statement(sa.text(f"SELECT pg_advisory_xact_lock({FILLING})")), ())
    tenant, session.tenant = session.tenant, ALL_TENANTS
    try:
        for table in schema(modules, dialect):
            one: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(table).limit(1)
            if await session.fetch(Statement(one, tenanted=TENANT in table.info), ()):
                return True
        return False
    finally:
        session.tenant = tenant


def _resolved(modules: Iterable[Module]) -> tuple[list[ResolvedTable], list[Fault]]:
    found: dict[tuple[str, str], ResolvedTable] = {}
    faults: list[Fault] = []
    for module in modules:
        for table in module.tables:
            resolved, wrong = resolve(table)
            faults += wrong
            if resolved is None:
                continue
            names = f"module {module.name} has two tables {resolved.name!r}"
            other = found.setdefault((module.name, resolved.name), resolved)
            if other is not resolved:
                faults.append(
                    Fault(
                        rule="table-name",
                        place=table.place,
                        problem=f"{names}; the other: {other.declared.place}",
                        mend='Give one of them another name: Table(..., name="...").',
                    )
                )
    return list(found.values()), faults


def dialect_of(url: str) -> Dialect:
    """Return the dialect of the database that a URL names; no engine is loaded.

    Raises:
        ValueError: The URL names nothing that Trivet knows.
    """
    scheme = url.partition(":")[0] if ":" in url else ""
    if scheme == "sqlite":
        return "sqlite"
    if scheme in ("postgresql", "postgres"):
        return "postgresql"
    meant = "; the driver is not named: write postgresql://" if scheme.startswith("postgres") else ""
    raise ValueError(
        f"database URL {Url(url).shown!r}: unknown scheme {scheme!r}{meant}; "
        "sqlite:///FILE and postgresql://USER:PASSWORD@HOST/DATABASE are supported"
    )


def open_sharded(
    settings: DatabaseSettings, name: str = "trivet", observer: Observer = UNOBSERVED, *, whole: bool = True
) -> ShardedDatabase:
    """Return the databases of an app with sharded tables; they are not opened yet.

    Where one of them has replicas, all keep account of what callers have seen: who has no mark of a database has seen
    nothing there.

    Args:
        settings: Where the databases are, and how they are used.
        name: Under which servers show this process.
        observer: Told where reads go, where there are replicas, and which databases are absent.
        whole: Whether all of them have to be there to begin with; see `ShardedDatabase`.

    Raises:
        ValueError: A URL names nothing that Trivet knows.
    """
    from trivet.data.sharding.database import ShardedDatabase

    replicas = settings.node_replicas
    if not any(replicas.values()):
        return ShardedDatabase(
            {node: open_database(url.reveal(), settings, name) for node, url in settings.nodes.items()},
            whole=whole,
            observer=observer,
        )
    from trivet.data.postgresql import ReplicatedDatabase

    return ShardedDatabase(
        {
            node: ReplicatedDatabase(url.reveal(), replace(settings, replicas=replicas[node]), name, observer, node)
            for node, url in settings.nodes.items()
        },
        replicated=True,
        whole=whole,
        observer=observer,
    )


def open_database(
    url: str, settings: DatabaseSettings | None = None, name: str = "trivet", observer: Observer = UNOBSERVED
) -> Database:
    """Return the database that a URL names; it is not opened yet.

    ``sqlite:///shop.db`` is a file beside the process, ``sqlite:////var/lib/shop.db`` one at an absolute path,
    ``sqlite://`` a private temporary file, and ``postgresql://...`` a database on a PostgreSQL server.

    Args:
        url: The address.
        settings: How it is used; the defaults when absent.
        name: Under which a server shows this process.
        observer: Told where reads go, where there are replicas.

    Raises:
        ValueError: The URL names nothing that Trivet knows, or what is needed for it is not installed.
    """
    if dialect_of(url) == "postgresql":
        if find_spec("asyncpg") is None:
            raise ValueError("PostgreSQL needs asyncpg, which is not installed: pip install 'trivet[postgres]'")
        from trivet.data.postgresql import PostgresDatabase, ReplicatedDatabase

        if settings is not None and settings.replicas:
            return ReplicatedDatabase(url, settings, name, observer)
        return PostgresDatabase(url, settings, name)
    from trivet.data.sqlite import SqliteDatabase

    return SqliteDatabase(sqlite_file(url))


def sqlite_file(url: str) -> Path | None:
    """Return the file that a URL names; ``None`` for a private temporary one.

    Raises:
        ValueError: The URL names no file.
    """
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"database URL {url!r}: write sqlite:///FILE, or sqlite:////FILE for an absolute path")
    return None if parts.path in ("", "/", "/:memory:") else Path(parts.path[1:])
