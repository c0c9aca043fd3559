"""Types at the boundary: which of them every protocol can carry, and as what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.core.decode import patched_shape
from trivet.core.patch import patch_shape
from trivet.core.typeinfo import info_of


def type_problem(annotation: Any) -> str | None:
    """Say why a type can not cross a boundary, ``None`` when it can."""
    try:
        wire = wire_of(annotation)
        info = info_of(wire)
        msgspec.json.Decoder(wire)
    except (TypeError, NotImplementedError, ValueError, RecursionError) as unknown:
        return str(unknown).split("\n", 1)[0]
    foreign = next(foreign_types(info, set()), None)
    return f"{foreign!r} is no shape, scalar, list or map" if foreign is not None else None


def wire_of(annotation: Any) -> Any:
    """Return the type as which a type crosses a boundary: a patch has a shape of its own."""
    patched = patched_shape(annotation)
    return annotation if patched is None else patch_shape(patched)


def foreign_types(info: kinds.Type, seen: set[Any]) -> Iterator[Any]:
    """Yield the classes inside a type that msgspec knows nothing about."""
    if isinstance(info, kinds.CustomType):
        yield info.cls
    elif isinstance(info, kinds.Metadata):
        yield from foreign_types(info.type, seen)
    elif isinstance(info, kinds.StructType | kinds.DataclassType | kinds.TypedDictType | kinds.NamedTupleType):
        if info.cls not in seen:
            seen.add(info.cls)
            for field in info.fields:
                yield from foreign_types(field.type, seen)
    elif isinstance(info, kinds.UnionType):
        for member in info.types:
            yield from foreign_types(member, seen)
    elif isinstance(info, kinds.TupleType):
        for member in info.item_types:
            yield from foreign_types(member, seen)
    elif isinstance(info, kinds.DictType):
        yield from foreign_types(info.key_type, seen)
        yield from foreign_types(info.value_type, seen)
    elif isinstance(info, kinds.CollectionType):
        yield from foreign_types(info.item_type, seen)
