"""The tables of the directory, and the statements that workers run on them.

`trivet_shard` is on the home database: where each logical shard is, and how far its move has come. `trivet_held` and
`trivet_closing` are on every node: what the node itself holds (`here`) and lets be written (`open`), and what it is
about to give away. What was given away stays as a row, so that a mover that comes too late can not bring it back: only
a greater epoch can. The second is a table
of its own because new writers have to see it while old ones still have the row of the first locked: without it a
steady stream of writers, each locking before the last one ends, would keep a move waiting for ever.

`trivet_inbox` is on every node too: which messages were handled in transactions of this node whose delivery may be on
another one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from trivet.core.shape import Struct
from trivet.data.statement import Statement

if TYPE_CHECKING:
    import sqlalchemy as sa

SHARD_COLUMN = "_shard"
"""The column of a sharded table with the logical shard of each row; a field's column never begins like this."""


class Tables(Struct):
    """The four tables."""

    shard: sa.Table
    held: sa.Table
    closing: sa.Table
    inbox: sa.Table

    @property
    def all(self) -> tuple[sa.Table, ...]:
        """Every table; a node creates all of them."""
        return (self.shard, self.held, self.closing, self.inbox)


@cache
def tables() -> Tables:
    """Return the tables, made at the first use."""
    import sqlalchemy as sa

    metadata = sa.MetaData(schema="trivet")

    def logical() -> sa.Column[int]:
        return sa.Column("logical", sa.SmallInteger, primary_key=True, autoincrement=False)

    inbox = sa.Table(
        "trivet_inbox",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("shard", sa.SmallInteger),
    )
    sa.Index("trivet_inbox_create_time", inbox.c.create_time)
    return Tables(
        shard=sa.Table(
            "trivet_shard",
            metadata,
            logical(),
            sa.Column("node", sa.Text, nullable=False),
            sa.Column("epoch", sa.BigInteger, nullable=False),
            sa.Column("step", sa.Text, nullable=False),
            sa.Column("target", sa.Text),
        ),
        held=sa.Table(
            "trivet_held",
            metadata,
            logical(),
            sa.Column("epoch", sa.BigInteger, nullable=False),
            sa.Column("open", sa.Boolean, nullable=False),
            sa.Column("here", sa.Boolean, nullable=False),
        ),
        closing=sa.Table("trivet_closing", metadata, logical()),
        inbox=inbox,
    )


class Statements(Struct):
    """What workers run.

    Attributes:
        directory: All of the directory.
        claim: The epoch of a shard that may be written here, locked until the transaction ends.
        check: How many of some shards are held here, and the sum of their epochs; epochs only grow, so an equal sum
            is the same epochs.
        held: Every shard that is held here, with its epoch.
        handle: Record that a message was handled.
        prune: Forget messages that were handled before an instant.
    """

    directory: Statement
    claim: Statement
    check: Statement
    held: Statement
    handle: Statement
    prune: Statement


@cache
def statements() -> Statements:
    """Return the statements, compiled at their first use."""
    import sqlalchemy as sa

    from trivet.data.statement import any_of

    all_of_them = tables()
    shard, held, closing, inbox = all_of_them.shard.c, all_of_them.held.c, all_of_them.closing.c, all_of_them.inbox
    closes = sa.exists().where(closing.logical == held.logical)
    return Statements(
        directory=Statement(sa.select(shard.logical, shard.node, shard.epoch), ()),
        claim=Statement(
            sa.select(held.epoch)
            .where(held.logical == sa.bindparam("logical"), held.open, ~closes)
            .with_for_update(read=True, of=all_of_them.held),
            ("logical",),
        ),
        check=Statement(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(held.epoch), 0).cast(sa.BigInteger)).where(
                held.here, any_of(held.logical, "logicals", "postgresql")
            ),
            ("logicals",),
        ),
        held=Statement(sa.select(held.logical, held.epoch).where(held.here), ()),
        handle=Statement(
            sa.insert(inbox).values(
                id=sa.bindparam("id"), create_time=sa.bindparam("create_time"), shard=sa.bindparam("shard")
            ),
            ("id", "create_time", "shard"),
        ),
        prune=Statement(sa.delete(inbox).where(inbox.c.create_time < sa.bindparam("before")), ("before",)),
    )
