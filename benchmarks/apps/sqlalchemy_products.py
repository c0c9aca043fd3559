"""What the peers share: the ORM model, the engine, the keyset page; on SQLite and on PostgreSQL.

A session for each request comes from an `async_sessionmaker`, as in
https://docs.sqlalchemy.org/en/21/orm/extensions/asyncio.html; the type for instants is SQLAlchemy's own recipe.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    DateTime,
    Index,
    Numeric,
    Select,
    String,
    TypeDecorator,
    Uuid,
    insert,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.products import Row

VARIABLE = "BENCHMARK_DATABASE"

# SQLite has no decimals, which SQLAlchemy says once; four digits survive the way through a float.
warnings.filterwarnings("ignore", ".*does \\*not\\* support Decimal objects natively", SAWarning)


class Instant(TypeDecorator[datetime]):
    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None else None


INSTANT = DateTime(timezone=True).with_variant(Instant(), "sqlite")
TAGS = JSON().with_variant(JSONB(), "postgresql")


@dataclass(slots=True)
class Price:
    amount: Decimal
    currency: str


class Base(DeclarativeBase):
    pass


class ProductRow(Base):
    __tablename__ = "products"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    sku: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(2000))
    brand: Mapped[str] = mapped_column(String(40))
    amount: Mapped[Decimal] = mapped_column(Numeric(18, 4))
    currency: Mapped[str] = mapped_column(String(3))
    stock: Mapped[int]
    tags: Mapped[list[str]] = mapped_column(TAGS)
    version: Mapped[int]
    create_time: Mapped[datetime] = mapped_column(INSTANT)
    update_time: Mapped[datetime] = mapped_column(INSTANT)

    __table_args__ = (Index("products_newest", "create_time", "id"),)

    @property
    def price(self) -> Price:
        return Price(self.amount, self.currency)


URL = os.environ.get(VARIABLE, "sqlite+aiosqlite:///products.db")
# The default keeps five connections and opens and closes the others all the time. All are kept here: on PostgreSQL as
# many as Trivet has, on SQLite as many as the driver has.
engine = create_async_engine(URL, pool_size=10 if URL.startswith("postgresql") else 20, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def product_page(
    session: AsyncSession, page_size: int, token: str | None
) -> tuple[Sequence[ProductRow], str | None]:
    limit, statement = page_of(select(ProductRow), page_size, token)
    rows = (await session.scalars(statement)).all()
    return rows[:limit], following(rows, limit)


def page_of(statement: Select[Any], page_size: int, token: str | None) -> tuple[int, Select[Any]]:
    """Return how many rows a page has at most, and the statement for them and one more."""
    limit = min(page_size or 20, 100)
    statement = statement.order_by(ProductRow.create_time.desc(), ProductRow.id.desc()).limit(limit + 1)
    if token is not None:
        create_time, id = urlsafe_b64decode(token).decode().split("|")
        after = (datetime.fromisoformat(create_time), UUID(id))
        statement = statement.where(tuple_(ProductRow.create_time, ProductRow.id) < after)
    return limit, statement


def following(rows: Sequence[Any], limit: int) -> str | None:
    """Return the token of the page after these rows."""
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return urlsafe_b64encode(f"{last.create_time.isoformat()}|{last.id}".encode()).decode()


def seed(url: str, rows: list[Row]) -> Mapping[str, str]:
    """Fill an empty database and return how an application finds it."""
    scheme, colon, place = url.partition(":")
    if scheme == "sqlite":
        with sqlite3.connect(place.removeprefix("///")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    there = ("sqlite+aiosqlite" if scheme == "sqlite" else "postgresql+asyncpg") + colon + place
    asyncio.run(_fill(there, rows))
    return {VARIABLE: there}


async def _fill(url: str, rows: list[Row]) -> None:
    writer = create_async_engine(url)
    async with writer.begin() as transaction:
        await transaction.run_sync(Base.metadata.create_all)
        values = [{field: getattr(row, field) for field in row.__struct_fields__} for row in rows]
        await transaction.execute(insert(ProductRow), values)
    await writer.dispose()
