"""Up to which position the outbox is settled: every message up to there is committed and visible, or never will be.

Whoever reads by position needs this, because a message with a lower position may be committed after one with a higher
one. On SQLite that can not happen: there is one writer, so whatever position was given out is settled.

Positions are asked of what counts them, not of the messages: those that were removed were given out as well.

On PostgreSQL a writer gets its transaction id before its position (`next_position`), so whoever has a position up to P
has a transaction id that was given out before P was read. The horizon therefore reads the last position that was given
out, P, then takes a transaction id X of its own. Once ``pg_snapshot_xmin(pg_current_snapshot())`` is X or more, every
transaction with a lower id has ended, and P is settled. Where nothing else is being written that is so at once; a long
transaction that writes holds the horizon back until it ends, and nothing is skipped meanwhile. To compare the ids of
the messages' own transactions instead would either skip messages or change their order within an aggregate: see
docs/decisions/a-horizon-of-positions.md.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any

from trivet.core.shape import Struct
from trivet.data.database import Dialect, Session

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

MARKS_MAX = 1000
"""How many positions wait to be settled; a long transaction lets no more pile up."""


class Horizon:
    """What is known about which positions are settled.

    Args:
        dialect: Of the database.

    Attributes:
        settled: Everything up to this position is; `None` while nothing is known.
        last: The last position that was given out, as far as is known.
        as_of: When no position behind `settled` was given out yet: what waits behind it is not older than that.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._exact = dialect == "sqlite"
        self.settled: int | None = None
        self.last = -1
        self.as_of = 0
        self._marks: deque[tuple[int, int, int]] = deque()

    def __repr__(self) -> str:
        return f"Horizon(settled={self.settled}, waiting={len(self._marks)})"

    def mark(self, last: int, xid: int, now: int) -> None:
        """Take note of the last position that was given out, and of a transaction id that was given out after it.

        Args:
            last: The position.
            xid: The transaction id.
            now: When it was asked for, in microseconds since 1970.
        """
        if last <= self.last:
            return  # of two looks at the same time, the one that saw more was answered first
        self.last = last
        if len(self._marks) == MARKS_MAX:
            self._marks.pop()  # what the newer mark says includes it
        self._marks.append((last, xid, now))

    def passed(self, xmin: int) -> None:
        """Take note that every transaction with a lower id than this has ended."""
        while self._marks and self._marks[0][1] <= xmin:
            self.settled, _, now = self._marks.popleft()
            self.as_of = max(self.as_of, now)

    async def look(self, session: Session, now: int) -> None:
        """Find out what is settled by now; on a reading session, outside of a transaction.

        Args:
            session: Reads.
            now: The time, in microseconds since 1970.
        """
        sql = _statements()
        if self._exact:
            [(last,)] = await session.fetch(sql.counted, ())
            self.settled = self.last = max(self.last, last)  # of two looks, the later one may be answered first
            self.as_of = max(self.as_of, now)
            return
        known = self.last
        [(last, xid, xmin)] = await session.fetch(sql.mark, (known,))
        self.passed(int(xmin))
        if xid is not None:
            self.mark(last, int(xid), now)
        elif known == self.last and not self._marks:
            self.as_of = max(self.as_of, now)  # everything that was given out is settled, and there is nothing new
        if self._marks:
            [(xmin,)] = await session.fetch(sql.xmin, ())
            self.passed(int(xmin))


class _Statements(Struct):
    counted: Statement
    mark: Statement
    xmin: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    mark = sa.text(
        "SELECT last, CASE WHEN last > :known THEN pg_current_xact_id()::text END, "
        "pg_snapshot_xmin(pg_current_snapshot())::text "
        "FROM (SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last "
        "FROM trivet.trivet_outbox_position_seq OFFSET 0) AS sequence"
    ).bindparams(sa.bindparam("known", type_=sa.BigInteger))
    counted = sa.text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'trivet_outbox'")
    return _Statements(
        counted=Statement(counted, ()),
        mark=Statement(mark, ("known",)),
        xmin=Statement(sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text"), ()),
    )


@cache
def next_position() -> sa.ColumnElement[Any]:
    """Return the position of a message that is being inserted, for the statement that inserts it.

    A CASE is evaluated in its order, so on PostgreSQL the transaction has its id before it has the position.
    """
    import sqlalchemy as sa
    from sqlalchemy.ext.compiler import compiles

    class NextPosition(sa.ColumnElement[int]):
        inherit_cache = True
        type = sa.BigInteger()

    @compiles(NextPosition, "sqlite")
    def of_sqlite(element: NextPosition, compiler: Any, **options: Any) -> str:
        return "NULL"  # the next one, in a column that counts by itself

    @compiles(NextPosition, "postgresql")
    def of_postgresql(element: NextPosition, compiler: Any, **options: Any) -> str:
        sequence = "nextval('trivet.trivet_outbox_position_seq')"
        return f"CASE WHEN pg_current_xact_id() IS NOT NULL THEN {sequence} END"

    return NextPosition()
