"""Shapes: frozen, keyword-only records that say what crosses a boundary.

A shape refuses unknown fields. That is what the edge of an API wants; what other processes wrote (events, cache
entries, answers) is read with :func:`trivet.core.tolerant.tolerant`, which prunes what it does not know and converts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, dataclass_transform

import msgspec
from msgspec import UNSET, Meta, StructMeta, UnsetType, field

__all__ = ["UNSET", "Meta", "Struct", "UnsetType", "constructor", "field"]

S = TypeVar("S", bound=msgspec.Struct)


class ShapeMeta(StructMeta):
    """Makes every subclass frozen, keyword-only and strict; msgspec alone does not inherit ``kw_only``."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        config.setdefault("frozen", True)
        config.setdefault("kw_only", True)
        config.setdefault("forbid_unknown_fields", True)
        return super().__new__(mcls, name, bases, namespace, **config)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Struct(msgspec.Struct, metaclass=ShapeMeta, frozen=True, kw_only=True):
    """A frozen, keyword-only record; the base of everything that a module says to the outside.

    Fields are annotated attributes; bounds are given with ``Annotated[..., Meta(...)]``. A constructor trusts its
    caller, as msgspec's does; what arrives from outside is validated where it is decoded.
    """


def constructor(shape: type[S]) -> Callable[..., S]:
    """Return what makes instances of a shape at the lowest price; it must be given every field, by its name.

    Before Python 3.12 a class whose metaclass is written in Python, as `ShapeMeta` is, gets its arguments in a dict.
    That takes three times as long as a copy of an instance in which every field is replaced.
    """
    if sys.version_info >= (3, 12) or hasattr(shape, "__post_init__"):
        return shape
    empty = shape(**dict.fromkeys(shape.__struct_fields__))
    return partial(msgspec.structs.replace, empty)
