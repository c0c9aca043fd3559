"""Idempotency records: which keys were used, and what came of it.

A record is inserted in the transaction of its command and completed there, so that the effect and the outcome are
durable together: a crash frees the key. On PostgreSQL an advisory lock tells whether another transaction has the key
just now; nobody waits. On SQLite there is one writer, so whoever comes second waits for the first one's transaction as
every writer does.

A command without a transaction of its own takes the key with a lease instead, whose token only the present holder has.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from trivet.core.idempotency import IdempotencyKeyInUse
from trivet.core.shape import Struct
from trivet.data.database import Contention, Session, UniqueViolated

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

RETENTION = timedelta(hours=24)
"""How long an outcome is kept, and so how late a retry may come."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Use(Struct):
    """One use of a key.

    Attributes:
        id: Hash of who used which key for what.
        operation: What was asked for.
        fingerprint: Hash of the whole request.
    """

    id: str
    operation: str
    fingerprint: str

    @property
    def lock(self) -> int:
        """The id as the 64 bits of an advisory lock."""
        return int.from_bytes(bytes.fromhex(self.id[:16]), "big", signed=True)


class Kept(Struct):
    """What a key was used for before.

    Attributes:
        fingerprint: Of that request.
        outcome: What came of it.
    """

    fingerprint: str
    outcome: bytes


def use_of(scope: tuple[str, ...], operation: str, request: bytes) -> Use:
    """Return the use of a key.

    Args:
        scope: Tenant, caller and key.
        operation: What is asked for, with its major version.
        request: The canonical input.
    """
    id = hashlib.sha256("\0".join((*scope, operation)).encode()).hexdigest()
    return Use(id=id, operation=operation, fingerprint=hashlib.sha256(operation.encode() + b"\0" + request).hexdigest())


async def take(session: Session, use: Use, now: datetime, shard: int | None = None) -> Kept | None:
    """Take the key in the session's transaction, or return what came of its use before.

    Args:
        session: Whose transaction has the effect.
        use: What for.
        now: The present instant.
        shard: The logical shard that the transaction is on; the record moves with it.

    Raises:
        IdempotencyKeyInUse: Another transaction has it just now.
        Contention: It was freed or kept at this moment; look again.
    """
    values = (use.id, use.operation, use.fingerprint, micros(now), shard, use.lock)
    try:
        if await session.fetch(_statements().take, values):
            return None
    except UniqueViolated as kept_just_now:
        raise Contention() from kept_just_now
    return await _found(session, use)


async def _found(session: Session, use: Use) -> Kept:
    rows = await session.fetch(_statements().find, (use.id,))
    if not rows or rows[0][1] is None:
        raise IdempotencyKeyInUse
    return Kept(fingerprint=rows[0][0], outcome=rows[0][1])


async def keep(session: Session, use: Use, outcome: bytes) -> None:
    """Complete the record in the transaction that took the key."""
    await session.execute(_statements().keep, (outcome, use.id))


async def lease(session: Session, use: Use, now: datetime, token: str, until: datetime) -> Kept | None:
    """Take the key until an instant, or return what came of its use before; the caller commits.

    Raises:
        IdempotencyKeyInUse: Somebody else has it, and their lease has not ended.
        Contention: It was freed or kept at this moment; look again.
    """
    again = (use.operation, use.fingerprint, micros(now), token, micros(until), use.id, micros(now))
    if await session.execute(_statements().lease_again, again):
        return None
    kept = await take(session, use, now)
    if kept is None:
        await session.execute(_statements().lease, (token, micros(until), use.id))
    return kept


async def keep_leased(session: Session, use: Use, token: str, outcome: bytes) -> None:
    """Complete the record of a lease; where it ended and somebody else has the key, theirs counts."""
    await session.execute(_statements().keep_leased, (outcome, use.id, token))


async def free(session: Session, use: Use, token: str) -> None:
    """End a lease without an outcome: a retry executes again."""
    await session.execute(_statements().free, (use.id, token))


async def prune(session: Session, now: datetime) -> int:
    """Remove what was kept long enough and return how much that was."""
    return await session.execute(_statements().prune, (micros(now - RETENTION),))


def micros(instant: datetime) -> int:
    """Return an instant as it is stored."""
    return (instant - EPOCH) // MICROSECOND


@cache
def table() -> sa.Table:
    """Return the table of the records, made at the first use: SQLAlchemy is not loaded before."""
    import sqlalchemy as sa

    keys = sa.Table(
        "trivet_key",
        sa.MetaData(schema="trivet"),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.Text),
        sa.Column("due", sa.BigInteger),
        sa.Column("outcome", sa.LargeBinary),
        sa.Column("shard", sa.SmallInteger),
    )
    sa.Index("trivet_key_create_time", keys.c.create_time)
    return keys


class _Statements(Struct):
    take: Statement
    find: Statement
    keep: Statement
    lease: Statement
    lease_again: Statement
    keep_leased: Statement
    free: Statement
    prune: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    keys = table()
    k, bind, text = keys.c, sa.bindparam, sa.Text()
    this = k.id == bind("of")
    held = sa.and_(this, k.lease == bind("held"), k.outcome.is_(None))
    names = ("id", "operation", "fingerprint", "create_time", "shard")
    new = sa.select(
        bind("id", type_=text),
        bind("operation", type_=text),
        bind("fingerprint", type_=text),
        bind("create_time", type_=sa.BigInteger()),
        bind("shard", type_=sa.SmallInteger()),
    ).where(_alone(bind("lock", type_=sa.BigInteger())), ~sa.exists().where(k.id == bind("id", type_=text)))
    return _Statements(
        take=Statement(sa.insert(keys).from_select(names, new).returning(k.id), (*names, "lock")),
        find=Statement(sa.select(k.fingerprint, k.outcome).where(this), ("of",)),
        keep=Statement(sa.update(keys).values(outcome=bind("value")).where(this), ("value", "of")),
        lease=Statement(
            sa.update(keys).values(lease=bind("token"), due=bind("until")).where(this), ("token", "until", "of")
        ),
        lease_again=Statement(
            sa.update(keys)
            .values(
                operation=bind("what"),
                fingerprint=bind("request"),
                create_time=bind("now"),
                lease=bind("token"),
                due=bind("until"),
            )
            .where(this, k.outcome.is_(None), k.due < bind("present")),
            ("what", "request", "now", "token", "until", "of", "present"),
        ),
        keep_leased=Statement(sa.update(keys).values(outcome=bind("value")).where(held), ("value", "of", "held")),
        free=Statement(sa.delete(keys).where(held), ("of", "held")),
        prune=Statement(sa.delete(keys).where(k.create_time < bind("before")), ("before",)),
    )


def _alone(lock: Any) -> Any:
    """Return the condition that no other transaction has the lock, which is taken where that is so."""
    import sqlalchemy as sa
    from sqlalchemy.ext.compiler import compiles
    from sqlalchemy.sql.functions import GenericFunction

    class Alone(GenericFunction[bool]):
        name = "pg_try_advisory_xact_lock"
        inherit_cache = True
        type = sa.Boolean()

    @compiles(Alone, "sqlite")
    def of_sqlite(element: Any, compiler: Any, **options: Any) -> str:
        return f"{compiler.process(element.clauses, **options)} IS NOT NULL"  # there is one writer

    return Alone(lock)
