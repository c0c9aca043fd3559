"""Partial changes: a JSON merge patch (RFC 7396) over an input shape, so that ids, versions and times stay out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from trivet.core.error import InvalidArgument, Violation
from trivet.core.shape import Struct
from trivet.core.typeinfo import fields_of

T = TypeVar("T", bound=Struct)
S = TypeVar("S", bound=msgspec.Struct)


class Patch(Generic[T]):
    """Some fields of the shape `T`, with new values; a nested shape is patched in its turn.

    ``null`` resets a field to its default (RFC 7396: it is removed); a field without one can not be removed, and
    saying so is an `InvalidArgument`.

    Args:
        fields: New values by field name, validated; a nested shape's value is a `Patch`.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    def __repr__(self) -> str:
        return f"Patch({', '.join(f'{k}={v!r}' for k, v in self._fields.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patch) and other._fields == self._fields

    def __hash__(self) -> int:
        return hash(frozenset(self._fields))

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def to_builtins(self) -> dict[str, Any]:
        """Return the patch as the plain values that it would be decoded from."""
        return {
            name: value.to_builtins() if isinstance(value, Patch) else msgspec.to_builtins(value)
            for name, value in self._fields.items()
        }

    def get(self, name: str, default: Any = None) -> Any:
        """Return the new value of a field, or `default` where the patch does not touch it."""
        return self._fields.get(name, default)

    def apply(self, target: S, /, **more: Any) -> S:
        """Return the target with the patched fields, and those of `more`, replaced.

        Args:
            target: Any shape that has the fields of `T`: the entity itself as a rule.
            more: Further fields to replace, such as ``update_time``.
        """
        changes = {
            name: value.apply(getattr(target, name)) if isinstance(value, Patch) else value
            for name, value in self._fields.items()
        }
        return msgspec.structs.replace(target, **changes, **more)


@cache
def patch_shape(shape: type[Struct]) -> type[msgspec.Struct]:
    """Return the shape that a merge patch over `shape` is decoded into: every field optional and nullable."""
    fields: list[tuple[str, Any, Any]] = []
    for field in fields_of(shape):
        inner = nested_shape(field.type)
        accepted = patch_shape(inner) if inner else field.type
        fields.append((field.name, accepted | None | UnsetType if inner else _nullable(field.type), UNSET))
    return msgspec.defstruct(
        f"{shape.__name__}Patch",
        fields,
        module=shape.__module__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__patched__": shape},
    )


def patch_of(shape: type[Struct], decoded: msgspec.Struct, pointer: str = "#") -> Patch[Any]:
    """Turn what `patch_shape` decoded into a `Patch`.

    Raises:
        InvalidArgument: A field without a default is removed.
    """
    violations: list[Violation] = []
    patch = _patch(shape, decoded, pointer, violations)
    if violations:
        raise InvalidArgument(violations=tuple(violations))
    return patch


def _patch(shape: type[Struct], decoded: msgspec.Struct, pointer: str, violations: list[Violation]) -> Patch[Any]:
    values: dict[str, Any] = {}
    for field in fields_of(shape):
        value = getattr(decoded, field.name)
        if value is UNSET:
            continue
        inner = nested_shape(field.type)
        if value is None and not accepts_none(field.type):
            if field.default is not msgspec.NODEFAULT:
                values[field.name] = field.default
            elif field.default_factory is not msgspec.NODEFAULT:
                values[field.name] = field.default_factory()
            else:
                violations.append(Violation(detail="can not be removed", pointer=f"{pointer}/{field.name}"))
        elif inner is not None and value is not None and not accepts_none(field.type):
            values[field.name] = _patch(inner, value, f"{pointer}/{field.name}", violations)
        else:
            values[field.name] = value
    return Patch(values)


def nested_shape(annotation: Any) -> type[Struct] | None:
    """Return the shape that a required nested field holds; an optional or a tagged one is replaced as a whole."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return None if annotation.__struct_config__.tag is not None else annotation
    return None


def accepts_none(annotation: Any) -> bool:
    """Whether ``None`` is a value of the type."""
    if get_origin(annotation) is Annotated:
        return accepts_none(get_args(annotation)[0])
    return annotation is None or annotation is type(None) or any(accepts_none(a) for a in _union_members(annotation))


def _union_members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if _is_union(annotation) else ()


def _is_union(annotation: Any) -> bool:
    import types
    import typing

    return get_origin(annotation) in (typing.Union, types.UnionType)


def _nullable(annotation: Any) -> Any:
    import typing

    return typing.Union[annotation, None, UnsetType]  # noqa: UP007 - NewType has no `|` on 3.11 with Annotated
