"""What msgspec says of a type, found out once: the same shapes are asked for on every floor when an app is built."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from msgspec import inspect


def info_of(type: Any) -> inspect.Type:
    """Return the description of a type.

    Raises:
        TypeError: msgspec can not describe it.
    """
    try:
        return _info(type)
    except TypeError:  # it has no hash; or msgspec refuses it, and says so again
        return inspect.type_info(type)


@cache
def _info(type: Any) -> inspect.Type:
    return inspect.type_info(type)


SCALARS: dict[type, Any] = {
    inspect.StructType: dict,
    inspect.ListType: list,
    inspect.SetType: list,
    inspect.FrozenSetType: list,
    inspect.VarTupleType: list,
    inspect.TupleType: list,
    inspect.DictType: dict,
    inspect.NoneType: None,
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.StrType: str,
    inspect.BytesType: bytes,
    inspect.DateTimeType: datetime,
    inspect.DateType: date,
    inspect.TimeType: time,
    inspect.TimeDeltaType: timedelta,
    inspect.UUIDType: UUID,
    inspect.DecimalType: Decimal,
}
"""The Python types of what has no members; containers stand for themselves, emptied of what they hold."""
