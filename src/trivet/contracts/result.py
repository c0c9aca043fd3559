"""What an operation returns, as transports need to know it: nothing, one thing, a page, a list, a bare value."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, NewType, Union, get_args, get_origin

from trivet.core.page import Page
from trivet.core.shape import Struct


class Form(enum.Enum):
    """How a result is laid out."""

    NOTHING = "nothing"
    OBJECT = "object"
    PAGE = "page"
    LIST = "list"
    VALUE = "value"


class Result(Struct):
    """A result type, taken apart.

    Attributes:
        type: The annotation as written.
        form: How it is laid out; a map counts as an object.
        item: What it holds: the type of an item of a page or a list, else the type without ``| None``.
        optional: Whether ``None`` may stand in its place.
    """

    type: Any
    form: Form
    item: Any
    optional: bool = False

    @property
    def shape(self) -> type[Struct] | None:
        """The shape it is or holds, where it is a plain one."""
        return shape_of(without_none(self.item))

    @property
    def many(self) -> bool:
        """Whether it holds several things of one kind."""
        return self.form in (Form.PAGE, Form.LIST)


def result_of(annotation: Any) -> Result:
    """Take a result type apart."""
    plain = unwrap(annotation)
    if plain is None or plain is type(None):
        return Result(type=annotation, form=Form.NOTHING, item=None)
    members = union_members(plain)
    if members:
        rest = tuple(m for m in members if m is not type(None))
        optional = len(rest) < len(members)
        if len(rest) == 1:
            inner = result_of(rest[0])
            return Result(type=annotation, form=inner.form, item=inner.item, optional=optional)
        objects = all(is_shape(m) for m in rest)
        return Result(
            type=annotation,
            form=Form.OBJECT if objects else Form.VALUE,
            item=Union[rest],  # noqa: UP007 - built from values
            optional=optional,
        )
    origin = get_origin(plain)
    if origin is Page:
        return Result(type=annotation, form=Form.PAGE, item=get_args(plain)[0])
    if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
        return Result(type=annotation, form=Form.LIST, item=get_args(plain)[0])
    if is_shape(plain) or (isinstance(origin or plain, type) and issubclass(origin or plain, Mapping)):
        return Result(type=annotation, form=Form.OBJECT, item=plain)
    return Result(type=annotation, form=Form.VALUE, item=plain)


def unwrap(annotation: Any) -> Any:
    """Return the annotation without ``Annotated`` and ``NewType`` around it."""
    while True:
        if isinstance(annotation, type):
            return annotation
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def union_members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, nothing for any other type."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()


def without_none(annotation: Any) -> Any:
    """Return ``T`` for ``T | None``, and any other type as it is."""
    rest = tuple(m for m in union_members(unwrap(annotation)) if m is not type(None))
    return rest[0] if len(rest) == 1 else annotation


def is_shape(annotation: Any) -> bool:
    """Whether the type is a shape, plain or generic."""
    plain = unwrap(annotation)
    return isinstance(get_origin(plain) or plain, type) and issubclass(get_origin(plain) or plain, Struct)


def shape_of(annotation: Any) -> type[Struct] | None:
    """Return the class of a shape, ``None`` for any other type."""
    plain = unwrap(annotation)
    found = get_origin(plain) or plain
    return found if isinstance(found, type) and issubclass(found, Struct) else None
