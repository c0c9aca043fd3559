"""Dead letters: deliveries that failed too often. They wait until somebody mends the cause and replays them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from trivet.core.shape import Struct
from trivet.data.database import Database, Row, Session
from trivet.messaging import jobs
from trivet.messaging.brief import briefly
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.outbox import MESSAGE_COLUMNS, message_of
from trivet.messaging.tables import instant, micros, tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

CHUNK = 100
"""How many are replayed in one transaction: writers have chances in between."""


class DeadLetter(Struct):
    """A delivery that was given up.

    Attributes:
        id: Names it for people.
        subscriber: Who could not handle it.
        position: Of the message in the outbox.
        attempts: How often it was tried.
        error: What the last attempt ended with.
        time: When it was given up.
        message: What was to be delivered.
    """

    id: int
    subscriber: str
    position: int
    attempts: int
    error: str
    time: datetime
    message: Message


class Selection(Struct):
    """Which dead letters are meant; all of them where nothing is said.

    Attributes:
        subscriber: Only those of one handler or operation.
        type: Only those of one type of message.
    """

    subscriber: str | None = None
    type: str | None = None


ALL = Selection()


async def dead_letters(
    session: Session, after: int = 0, limit: int = 100, selection: Selection = ALL
) -> Sequence[DeadLetter]:
    """Return dead letters in the order of their ids, from behind an id on."""
    sql, values = _selected(selection)
    return [_letter_of(row) for row in await session.fetch(sql.dead, (after, *values, limit))]


async def dead_letter(session: Session, id: int) -> DeadLetter | None:
    """Return a dead letter, ``None`` where there is none of that id."""
    found = await dead_letters(session, id - 1, 1)
    return found[0] if found and found[0].id == id else None


async def count_dead(session: Session, selection: Selection = ALL) -> int:
    """Return how many dead letters there are."""
    sql, values = _selected(selection)
    [(count,)] = await session.fetch(sql.count, values)
    return int(count)


async def replay(session: Session, letters: Sequence[DeadLetter], now: datetime) -> int:
    """Make dead letters due again, with all their attempts before them; return how many still were dead.

    A job waits again as well, also when its status was removed meanwhile. Later messages of a queue may have been
    delivered in the meantime. The caller commits, and wakes the dispatcher.
    """
    count = 0
    for letter in letters:
        if await session.execute(_statements().replay, (micros(now), letter.id)) == 1:
            count += 1
            if letter.message.kind is MessageKind.JOB:
                await jobs.reopen(session, letter.message)
    return count


async def replay_all(database: Database, selection: Selection, now: datetime) -> int:
    """Make every selected dead letter due again, in the order of their ids and in short transactions.

    Those that die again meanwhile are left alone. What was replayed stays so when a later transaction fails.

    Returns:
        How many there were.
    """
    count = after = 0
    while True:
        found, done = await briefly(database, partial(_replay_chunk, selection, after, now))
        count += done
        if len(found) < CHUNK:
            return count
        after = found[-1].id


async def _replay_chunk(
    selection: Selection, after: int, now: datetime, session: Session
) -> tuple[Sequence[DeadLetter], int]:
    found = await dead_letters(session, after, CHUNK, selection)
    return found, await replay(session, found, now)


def _letter_of(row: Row) -> DeadLetter:
    id, subscriber, position, attempts, error, time, *columns = row
    return DeadLetter(
        id=id,
        subscriber=subscriber,
        position=position,
        attempts=attempts,
        error=error or "",
        time=instant(time),
        message=message_of(tuple(columns)),
    )


class _Selected(Struct):
    dead: Statement
    count: Statement


class _Statements(Struct):
    replay: Statement


def _selected(selection: Selection) -> tuple[_Selected, tuple[str, ...]]:
    given = {"subscriber": selection.subscriber, "type": selection.type}
    names = tuple(name for name, value in given.items() if value is not None)
    return _selected_by(names), tuple(value for value in given.values() if value is not None)


@cache
def _selected_by(names: tuple[str, ...]) -> _Selected:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    d, bind = delivery.c, sa.bindparam
    columns = (outbox.c[name].label(f"message_{name}") for name in MESSAGE_COLUMNS)
    meant = {"subscriber": d.subscriber, "type": outbox.c.type}
    dead: list[Any] = [d.dead_time.is_not(None), *(meant[name] == bind(name) for name in names)]
    return _Selected(
        dead=Statement(
            sa.select(d.id, d.subscriber, d.position, d.attempts, d.last_error, d.dead_time, *columns)
            .join_from(delivery, outbox, outbox.c.position == d.position)
            .where(*dead, d.id > bind("after"))
            .order_by(d.id)
            .limit(bind("limit", type_=sa.Integer)),
            ("after", *names, "limit"),
        ),
        count=Statement(
            sa.select(sa.func.count())
            .select_from(sa.join(delivery, outbox, outbox.c.position == d.position))
            .where(*dead),
            names,
        ),
    )


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    delivery = tables().delivery
    d, bind = delivery.c, sa.bindparam
    return _Statements(
        replay=Statement(
            sa.update(delivery)
            .values(dead_time=None, attempts=sa.literal_column("0"), due=bind("now"))
            .where(d.id == bind("of"), d.dead_time.is_not(None)),
            ("now", "of"),
        ),
    )
