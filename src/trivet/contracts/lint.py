"""Advice about a contract: nothing here keeps an app from starting, all of it is cheaper to mend before a release."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import inspect as kinds

from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.wiretypes import type_problem
from trivet.core.decode import patched_shape
from trivet.core.fault import Fault
from trivet.core.patch import patch_shape
from trivet.core.typeinfo import info_of


def lint(api: Api) -> list[Fault]:
    """Return what could be better: inputs without a bound, operations without a docstring."""
    found: list[Fault] = []
    for op in api.operations:
        if not op.operation.doc:
            found.append(
                Fault(
                    rule="no-docstring",
                    place=op.operation.place,
                    problem=f"{op.id} has no docstring",
                    mend="Say in one sentence what it promises; it becomes the summary on every protocol.",
                )
            )
        found.extend(
            Fault(
                rule="unbounded",
                place=op.operation.place,
                problem=f"{op.id}: {where} is a {what} without a bound",
                mend=f"Write Annotated[{what}, Meta(max_length=...)].",
            )
            for where, what in unbounded(op)
        )
    return found


def unbounded(op: ApiOperation) -> Iterator[tuple[str, str]]:
    """Yield where an operation's input has a string, a list or a map without a bound, and which of them it is."""
    items = op.signature.items
    for parameter in (*op.signature.parameters, *((items,) if items is not None else ())):
        if type_problem(parameter.type) is None:
            patched = patched_shape(parameter.type)
            info = info_of(patch_shape(patched) if patched is not None else parameter.type)
            yield from _unbounded(info, parameter.name, set())


def _unbounded(info: kinds.Type, where: str, seen: set[Any]) -> Iterator[tuple[str, str]]:
    if isinstance(info, kinds.Metadata):
        yield from _unbounded(info.type, where, seen)
    elif isinstance(info, kinds.StrType | kinds.BytesType):
        if info.max_length is None:
            yield where, "str" if isinstance(info, kinds.StrType) else "bytes"
    elif isinstance(info, kinds.StructType):
        if info.cls not in seen:
            for field in info.fields:
                yield from _unbounded(field.type, f"{where}.{field.encode_name}", seen | {info.cls})
    elif isinstance(info, kinds.UnionType):
        for member in info.types:
            yield from _unbounded(member, where, seen)
    elif isinstance(info, kinds.DictType):
        if info.max_length is None:
            yield where, "dict"
        yield from _unbounded(info.key_type, f"{where}.(key)", seen)
        yield from _unbounded(info.value_type, f"{where}.*", seen)
    elif isinstance(info, kinds.CollectionType):
        if info.max_length is None:
            yield where, "list"
        yield from _unbounded(info.item_type, f"{where}[]", seen)
