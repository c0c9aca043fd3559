"""What msgspec says of a type, found out once: the same shapes are asked for on every floor when an app is built."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from msgspec import inspect
from msgspec.structs import FieldInfo, fields


def info_of(type: Any) -> inspect.Type:
    """Return the description of a type.

    Raises:
        TypeError: msgspec can not describe it.
    """
    try:
        known = _known.get(type)
    except TypeError:  # it has no hash
        return inspect.type_info(type)
    if known is None:
        known = _known[type] = inspect.type_info(type)
    return known


def describe_together(types: Iterable[Any]) -> None:
    """Describe types in one pass, so that a shape that is part of many is described once; `info_of` knows them then.

    Types that can not be described are left to `info_of`, which says what is wrong with each.
    """
    try:
        fresh = [type for type in dict.fromkeys(types) if type not in _known]
        _known.update(zip(fresh, inspect.multi_type_info(fresh), strict=True))
    except Exception:
        return


_known: dict[Any, inspect.Type] = {}


@cache
def fields_of(shape: Any) -> tuple[FieldInfo, ...]:
    """Return the fields of a shape; msgspec resolves their annotations anew each time it is asked."""
    return fields(shape)


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
