"""Events: facts that are stored with the change that caused them and delivered after it."""

from __future__ import annotations

from typing import ClassVar, dataclass_transform

from trivet.core.shape import ShapeMeta, Struct, field


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Event(Struct, metaclass=ShapeMeta):
    """A fact in the past tense, with the identifier of what it is about as its first field.

    Events about the same thing (type and first field) are delivered in the order in which they were committed.
    """

    __event__: ClassVar[bool] = True


def aggregate_of(event: Event) -> str:
    """Return what orders the event among others: the text of its first field, empty when it has none."""
    fields = event.__struct_fields__
    return str(getattr(event, fields[0])) if fields else ""
