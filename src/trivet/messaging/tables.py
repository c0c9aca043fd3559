"""The tables of the embedded broker.

`trivet_outbox` keeps every message, in commit order. `trivet_delivery` has one row for each subscriber that has not
handled a message yet; a row goes when its handler commits, in the handler's own transaction. `trivet_job` has the
status of each job.

A delivery may be claimed once its `due` has come. A claim writes a fresh `lease` into the row and moves `due` to the
end of that lease: whoever still holds the lease may settle, and when nobody settled in time the row is simply due
again. A row that waits for an earlier one of its queue (subscriber and aggregate) has its `due` put off.

On PostgreSQL they are in a schema of their own, `trivet`, and the outbox is in partitions, each with the messages of a
day, which are forgotten together (`trivet.data.partitioned`).

Identifiers are text and instants are microseconds since 1970 in UTC, so that every engine keeps and compares them the
same way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from trivet.core.shape import Struct
from trivet.data import keys, refreshed
from trivet.data.partitioned import Numbered
from trivet.data.sharding.tables import tables as sharding

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.database import Dialect

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

OUTBOX = Numbered(
    schema="trivet",
    name="trivet_outbox",
    key="position",
    time="create_time",
    needed="SELECT position FROM trivet.trivet_delivery WHERE position >= $1 AND position < $2",
)
"""The partitions of the outbox, where it has any."""


def micros(instant: datetime) -> int:
    """Return an instant as it is stored."""
    return (instant - EPOCH) // MICROSECOND


def instant(micros: int) -> datetime:
    """Return a stored instant."""
    return EPOCH + micros * MICROSECOND


class Tables(Struct):
    """The three tables."""

    outbox: sa.Table
    delivery: sa.Table
    job: sa.Table

    @property
    def all(self) -> tuple[sa.Table, ...]:
        """Every table, in the order in which to create them."""
        return (self.outbox, self.delivery, self.job)


def platform_tables(dialect: Dialect) -> tuple[sa.Table, ...]:
    """Return everything that the platform keeps for itself beside an app's own tables, in the order of creation."""
    return (*tables(dialect).all, keys.table(), *sharding().all, refreshed.table())


@cache
def tables(dialect: Dialect | None = None) -> Tables:
    """Return the tables of the broker, made at the first use: SQLAlchemy is not loaded before.

    Args:
        dialect: For whose engine they are to be created; statements do without. What is said to one engine alone makes
            SQLAlchemy load that engine's dialect, a tenth of a second for PostgreSQL's.
    """
    import sqlalchemy as sa

    metadata = sa.MetaData(schema="trivet")
    # a position that was pruned is never given out again
    numbered: dict[str, Any] = {"sqlite_autoincrement": True} if dialect == "sqlite" else {}
    parted: dict[str, Any] = {}
    if dialect == "postgresql":
        parted = {"postgresql_partition_by": f"RANGE ({OUTBOX.key})", "info": {"first": OUTBOX.first}}
    counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts only in INTEGER PRIMARY KEY
    outbox = sa.Table(
        "trivet_outbox",
        metadata,
        sa.Column("position", counter, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("major", sa.Integer, nullable=False),
        sa.Column("module", sa.Text, nullable=False),
        sa.Column("aggregate", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("trace", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("principal", sa.LargeBinary),
        sa.Column("payload", sa.LargeBinary, nullable=False),  # last, so that nothing else has to be read past it
        **numbered,
        **parted,
    )
    delivery = sa.Table(
        "trivet_delivery",
        metadata,
        sa.Column("id", counter, primary_key=True),
        sa.Column("subscriber", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("aggregate", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.Column("dead_time", sa.BigInteger),
        **numbered,
    )

    def where(condition: sa.ColumnElement[bool]) -> dict[str, Any]:
        return {f"{dialect}_where": condition} if dialect is not None else {}

    alive = delivery.c.dead_time.is_(None)
    held = sa.and_(alive, delivery.c.lease.is_not(None))
    sa.Index("trivet_delivery_due", delivery.c.due, delivery.c.id, **where(alive))
    sa.Index("trivet_delivery_queue", delivery.c.subscriber, delivery.c.aggregate, delivery.c.id, **where(alive))
    sa.Index("trivet_delivery_held", delivery.c.subscriber, delivery.c.aggregate, **where(held))
    job = sa.Table(
        "trivet_job",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("done", sa.BigInteger),
        sa.Column("total", sa.BigInteger),
        sa.Column("result", sa.LargeBinary),
        sa.Column("code", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("errors", sa.LargeBinary),
    )
    return Tables(outbox=outbox, delivery=delivery, job=job)
