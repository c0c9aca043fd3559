"""What both peers share: the ORM model, the engine, the keyset page.

A session for each request comes from an `async_sessionmaker`, as in
https://docs.sqlalchemy.org/en/21/orm/extensions/asyncio.html; the type for instants is SQLAlchemy's own recipe.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
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
    create_engine,
    insert,
    select,
    tuple_,
)
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
    tags: Mapped[list[str]] = mapped_column(JSON)
    version: Mapped[int]
    create_time: Mapped[datetime] = mapped_column(Instant)
    update_time: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (Index("products_newest", "create_time", "id"),)

    @property
    def price(self) -> Price:
        return Price(self.amount, self.currency)


# The default keeps five connections and opens and closes the others all the time; as many as the driver has are kept.
engine = create_async_engine(
    f"sqlite+aiosqlite:///{os.environ.get(VARIABLE, 'products.db')}", pool_size=20, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def product_page(
    session: AsyncSession, page_size: int, token: str | None
) -> tuple[Sequence[ProductRow], str | None]:
    limit = min(page_size or 20, 100)
    statement: Select[Any] = select(ProductRow).order_by(ProductRow.create_time.desc(), ProductRow.id.desc())
    if token is not None:
        create_time, id = urlsafe_b64decode(token).decode().split("|")
        after = (datetime.fromisoformat(create_time), UUID(id))
        statement = statement.where(tuple_(ProductRow.create_time, ProductRow.id) < after)
    rows = (await session.scalars(statement.limit(limit + 1))).all()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], urlsafe_b64encode(f"{last.create_time.isoformat()}|{last.id}".encode()).decode()


def seed(path: Path, rows: list[Row]) -> Mapping[str, str]:
    """Create the database and return how an application finds it."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    writer = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(writer)
    with writer.begin() as transaction:
        transaction.execute(
            insert(ProductRow), [{field: getattr(row, field) for field in row.__struct_fields__} for row in rows]
        )
    writer.dispose()
    return {VARIABLE: str(path)}
