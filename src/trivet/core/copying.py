"""Copies of values that can change: what one module hands to another, it no longer shares.

Shapes are frozen, but a list inside of one is not. Only types that can hold something changeable have a copier, and it
copies just the containers on the way to it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.core.typeinfo import info_of

Copier = Callable[[Any], Any]


def copier_for(type: Any) -> Copier | None:
    """Return what copies a value of the type, ``None`` where nothing in it can change."""
    try:
        info = info_of(type)
    except TypeError:
        return copy.deepcopy
    return _copier(info, {})


def _copier(info: kinds.Type, known: dict[Any, Copier | None]) -> Copier | None:
    if isinstance(info, kinds.Metadata):
        return _copier(info.type, known)
    if isinstance(info, kinds.ListType):
        inner = _copier(info.item_type, known)
        return _list_of(inner) if inner else list
    if isinstance(info, kinds.VarTupleType):
        inner = _copier(info.item_type, known)
        return _tuple_of(inner) if inner else None
    if isinstance(info, kinds.SetType):
        return set
    if isinstance(info, kinds.DictType):
        inner = _copier(info.value_type, known)
        return _dict_of(inner) if inner else dict
    if isinstance(info, kinds.StructType):
        return _struct(info, known)
    if isinstance(info, kinds.UnionType):
        return _union(info, known)
    if isinstance(info, kinds.AnyType | kinds.RawType | kinds.CustomType | kinds.TupleType | kinds.ByteArrayType):
        return copy.deepcopy
    return None


def _list_of(inner: Copier) -> Copier:
    return lambda value: [inner(item) for item in value]


def _tuple_of(inner: Copier) -> Copier:
    return lambda value: tuple(inner(item) for item in value)


def _dict_of(inner: Copier) -> Copier:
    return lambda value: {key: inner(item) for key, item in value.items()}


def _struct(info: kinds.StructType, known: dict[Any, Copier | None]) -> Copier | None:
    if info.cls in known:  # a shape inside of itself: copied as a whole
        return copy.deepcopy
    known[info.cls] = None
    copiers = [(field.name, _copier(field.type, known)) for field in info.fields]
    del known[info.cls]
    wanted = [(name, inner) for name, inner in copiers if inner is not None]
    if not wanted:
        return None

    def copied(value: Any) -> Any:
        fresh = value.__copy__()
        for name, inner in wanted:
            msgspec.structs.force_setattr(fresh, name, inner(getattr(value, name)))
        return fresh

    return copied


def _union(info: kinds.UnionType, known: dict[Any, Copier | None]) -> Copier | None:
    if not any(_copier(member, known) for member in info.types):
        return None
    if info.includes_none and len(info.types) == 2:
        other = next(member for member in info.types if not isinstance(member, kinds.NoneType))
        inner = _copier(other, known)
        if inner is not None:
            return lambda value: None if value is None else inner(value)
    return copy.deepcopy
