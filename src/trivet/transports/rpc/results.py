"""Encoders of what handlers return, generated: shapes are written from their attributes, without a plain value of each.

What a plain value would be anyway (texts, numbers, instants, and shapes and lists of them) is written as it is found;
everything else becomes a plain value first, field by field. For ``Line(sku: str, product: UUID)`` one reads::

    def result_Line(v):
        x1 = v.sku
        x2 = v.product; x2 = plain(x2)
        x1 = x1.encode()
        x2 = x2.encode()
        return b''.join((B10, V[len(x1)], x1, B18, V[len(x2)], x2))

A handler may return what its annotation does not say, such as a dictionary in place of a shape. What has no such
attributes is made plain as a whole, and written as on every other protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.contracts.proto.message import EnumType, Field, Form, Message
from trivet.contracts.proto.shapes import LISTS, bare, nulls
from trivet.transports.rpc.encoders import Encoders, nullable
from trivet.transports.rpc.plain import plain

PLAIN_ALREADY = (
    kinds.BoolType,
    kinds.IntType,
    kinds.FloatType,
    kinds.StrType,
    kinds.BytesType,
    kinds.DateTimeType,
    kinds.TimeDeltaType,
)


class Results(Encoders):
    """Makes encoders of what handlers return.

    Args:
        plains: Makes the encoders of plain values.
    """

    def __init__(self, plains: Encoders) -> None:
        super().__init__("result", plains.space)
        self.space["plain"] = plain
        self._plains = plains

    def encoder(self, message: Message) -> Callable[[Any], bytes]:
        """Return what writes as a message what a handler returned."""
        write, plains = self.function(message), self._plains

        def encode(value: Any) -> bytes:
            try:
                written: bytes = write(value)
            except (AttributeError, TypeError):  # it is not what its annotation says
                written = plains.function(message)(plain(value))
            return written

        return encode

    def source(self, message: Message) -> Iterator[str]:
        """Yield the lines of the encoder of a message."""
        yield f"def {self.name(message)}(v):"
        attributes = _attributes(message)
        if attributes is None:
            self._plains.function(message)
            yield f"    return {self._plains.name(message)}(plain(v))"
            return
        for field, attribute in zip(message.fields, attributes, strict=True):
            made_plain = "" if _is_written_as_found(field) else f"; x{field.number} = plain(x{field.number})"
            yield f"    x{field.number} = v{attribute}{made_plain}"
        yield from self.joined(message.fields, [field for field in message.fields if not nullable(field)])

    def inner(self, message: Message) -> list[Message]:
        """Return the messages whose functions that of a message calls."""
        if _attributes(message) is None:
            return []
        return [f.type for f in message.fields if isinstance(f.type, Message) and _is_written_as_found(f)]

    def content(self, field: Field) -> Iterator[str]:
        """Yield what turns the value of a field into its content."""
        if _is_written_as_found(field):
            yield from super().content(field)
            return
        if isinstance(field.type, Message):
            self._plains.function(field.type)
        yield from self._plains.content(field)

    def suffix(self, thing: Message | EnumType) -> str:
        """Return what names of a message or an enum end with: the same as among the encoders of plain values."""
        return self._plains.suffix(thing)


def _attributes(message: Message) -> list[str] | None:
    """Return where the values of the fields are in what a handler returned; ``None`` where only msgspec knows."""
    if message.form is not Form.RECORD:
        return [""] if message.form is Form.BOX else None
    shape = message.source
    if shape is None:  # a page, or an item of a stream
        return [f".{field.key}" for field in message.fields]
    if not issubclass(shape, msgspec.Struct) or shape.__struct_config__.omit_defaults:
        return None
    members = msgspec.structs.fields(shape)
    if any(member.default is msgspec.UNSET for member in members):
        return None
    names = {member.encode_name: member.name for member in members}
    return [f".{names[field.key]}" for field in message.fields]


def _is_written_as_found(field: Field) -> bool:
    """Whether nothing of a field needs to become plain before it is written."""
    if field.map_key is not None:
        return False
    if isinstance(field.type, Message):
        return True
    info = bare(field.info) if field.info is not None else None
    if isinstance(info, LISTS):
        info = bare(info.item_type)
    elif isinstance(info, kinds.UnionType) and nulls(info):
        others = [bare(member) for member in info.types if not isinstance(member, kinds.NoneType)]
        info = others[0] if len(others) == 1 else None
    return isinstance(info, PLAIN_ALREADY)
