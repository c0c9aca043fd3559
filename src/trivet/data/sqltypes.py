"""The SQL types of columns, by dialect; `trivet.data.columns` has the whole table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from trivet.data.columns import Kind, Value
from trivet.data.database import Dialect

SqlType = sa.types.TypeEngine[Any]


def sql_type(value: Value, dialect: Dialect) -> SqlType:
    """Return the SQL type of a column."""
    if dialect == "sqlite":
        return _SQLITE[value.kind]()
    if value.digits is not None:
        return sa.Numeric(value.digits.total, value.digits.scale)
    if value.kind is Kind.JSON:
        from sqlalchemy.dialects.postgresql import JSONB  # imported only where it is used: it costs a tenth of a second

        return JSONB()
    return _POSTGRESQL[value.kind]


_SQLITE: dict[Kind, type[SqlType]] = {
    Kind.UUID: sa.Text,
    Kind.TEXT: sa.Text,
    Kind.BOOLEAN: sa.Integer,
    Kind.INTEGER: sa.Integer,
    Kind.FLOAT: sa.REAL,
    Kind.BYTES: sa.BLOB,
    Kind.DATE: sa.Text,
    Kind.TIME: sa.Text,
    Kind.INSTANT: sa.Integer,
    Kind.DURATION: sa.Integer,
    Kind.DECIMAL: sa.Integer,
    Kind.JSON: sa.Text,
}

_POSTGRESQL: dict[Kind, SqlType] = {
    Kind.UUID: sa.Uuid(as_uuid=True),
    Kind.TEXT: sa.Text(collation="C"),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.INTEGER: sa.BigInteger(),
    Kind.FLOAT: sa.Double(),
    Kind.BYTES: sa.LargeBinary(),
    Kind.DATE: sa.Date(),
    Kind.TIME: sa.Time(),
    Kind.INSTANT: sa.DateTime(timezone=True),
    Kind.DURATION: sa.BigInteger(),
}
