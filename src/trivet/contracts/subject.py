"""What naming needs to know of an operation, read from its signature."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

from trivet.contracts.result import Form, is_shape, result_of, union_members, unwrap, without_none
from trivet.core.decode import patched_shape
from trivet.core.naming import Subject, snake
from trivet.core.operation import Operation
from trivet.core.page import PageRequest

SCALARS = (
    str,
    int,
    float,
    bool,
    Decimal,
    uuid.UUID,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    enum.Enum,
)
"""What fits a URL as one word; a subclass of one does too."""


def subject_of(operation: Operation[..., Any]) -> Subject:
    """Return what naming needs to know of the operation.

    Raises:
        TypeError: Its signature can not be resolved.
    """
    signature = operation.signature
    declared = operation.declaration
    result = result_of(signature.result)
    shape = result.shape
    return Subject(
        name=operation.name,
        kind=operation.kind,
        parameters=tuple(p.name for p in signature.parameters),
        items=signature.items.name if signature.items is not None else None,
        required=frozenset(p.name for p in signature.parameters if p.required and not is_page_request(p.type)),
        in_url=frozenset(p.name for p in signature.parameters if fits_url(p.type)),
        shapes=frozenset(p.name for p in signature.parameters if is_content(p.type)),
        returns=snake(shape.__name__) if shape is not None else None,
        returns_many=result.many,
        returns_nothing=result.form is Form.NOTHING,
        http=declared.http,
        graphql=declared.graphql,
        rpc=declared.rpc,
        plural=declared.plural,
    )


def is_page_request(annotation: Any) -> bool:
    """Whether a parameter asks for a page."""
    return unwrap(annotation) is PageRequest


def is_content(annotation: Any) -> bool:
    """Whether a parameter is a shape, or a patch of one: what a request's body is made of."""
    return patched_shape(annotation) is not None or (is_shape(annotation) and not is_page_request(annotation))


def is_scalar(annotation: Any) -> bool:
    """Whether one word in a URL can say the value."""
    plain = unwrap(annotation)
    if get_origin(plain) is Literal:
        return all(isinstance(value, str | int) for value in get_args(plain))
    return isinstance(plain, type) and issubclass(plain, SCALARS)


def item_of(annotation: Any) -> Any | None:
    """Return the type of an item of a list, a set or a tuple of any length; ``None`` for any other type."""
    plain = unwrap(annotation)
    origin = get_origin(plain)
    if not isinstance(origin, type) or not issubclass(origin, Sequence | AbstractSet):
        return None
    items = get_args(plain)
    return items[0] if len(items) == 1 or items[1:] == (Ellipsis,) else None


def fits_url(annotation: Any) -> bool:
    """Whether a parameter can stand in a URL: a scalar, a list of scalars, a page request."""
    wanted = without_none(annotation)
    if is_page_request(wanted):
        return True
    item = item_of(wanted)
    if item is not None:
        return is_scalar(item)
    return not union_members(unwrap(wanted)) and is_scalar(wanted)
