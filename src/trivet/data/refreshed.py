"""When the views that are made anew every so often were made last: the instant of which their rows are."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from trivet.core.shape import Struct
from trivet.data.database import Session
from trivet.data.keys import EPOCH, MICROSECOND, micros

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.statement import Statement


async def refreshed(session: Session) -> dict[str, datetime]:
    """Return the instant of the rows of each view that was made at all, by its name."""
    return {view: EPOCH + micros * MICROSECOND for view, micros in await session.fetch(_statements().find, ())}


async def note(session: Session, view: str, instant: datetime) -> None:
    """Say in the transaction that makes a view anew of which instant its rows are."""
    if not await session.execute(_statements().again, (micros(instant), view)):
        await session.execute(_statements().first, (view, micros(instant)))


@cache
def table() -> sa.Table:
    """Return the table, made at the first use: SQLAlchemy is not loaded before."""
    import sqlalchemy as sa

    return sa.Table(
        "trivet_view",
        sa.MetaData(schema="trivet"),
        sa.Column("view", sa.Text, primary_key=True),
        sa.Column("refresh_time", sa.BigInteger, nullable=False),
    )


class _Statements(Struct):
    find: Statement
    again: Statement
    first: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    views, bind = table(), sa.bindparam
    return _Statements(
        find=Statement(sa.select(views.c.view, views.c.refresh_time), ()),
        again=Statement(
            sa.update(views).values(refresh_time=bind("instant")).where(views.c.view == bind("of")), ("instant", "of")
        ),
        first=Statement(
            sa.insert(views).values(view=bind("view"), refresh_time=bind("refresh_time")), ("view", "refresh_time")
        ),
    )
