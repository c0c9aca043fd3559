"""Encoders of what handlers return, generated: shapes are written from their attributes, without a plain value of each.

What a plain value would be anyway (texts, numbers, instants, and shapes and lists of them) is written as it is found;
the rest becomes a plain value first, field by field. For ``Line(sku: str, quantity: int, product: UUID)`` one reads::

    def result_Line(v):
        x1 = v.sku
        x2 = v.quantity
        x3 = text(v.product)
        x1 = x1.encode()
        x3 = x3.encode()
        return b''.join((B10, V[len(x1)], x1, B16, V[x2], B26, V[len(x3)], x3))

A shape of which little is written as it is found becomes plain as a whole, which costs less than each field alone. So
does what is not as its annotation says, such as a dictionary in place of a shape: it is written as on every other
protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.contracts.proto.message import EnumType, Field, Form, Message, Scalar
from trivet.contracts.proto.shapes import LISTS, bare, nulls
from trivet.transports.rpc.encoders import Encoders, nullable
from trivet.transports.rpc.plain import KEPT, plain

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
        self.space["text"] = msgspec.to_builtins
        self.space["plain"] = partial(msgspec.to_builtins, builtin_types=KEPT)  # half of what calling `plain` costs
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
            yield f"    x{field.number} = {_taken(field, f'v{attribute}')}"
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


def _taken(field: Field, value: str) -> str:
    """Return the expression for the value of a field as it is written."""
    if _is_written_as_found(field):
        return value
    if isinstance(field.type, EnumType) and field.single and not nullable(field):
        return f"{value}._value_"  # the attribute behind `value`, which is a property in Python
    if field.type is Scalar.STRING and field.single:
        return f"text({value})"
    return f"plain({value})"


def _attributes(message: Message) -> list[str] | None:
    """Return where the values of the fields are in what a handler returned; ``None`` where it becomes plain first."""
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
    if sum(map(_becomes_plain, message.fields)) > len(message.fields) / 2:
        return None
    names = {member.encode_name: member.name for member in members}
    return [f".{names[field.key]}" for field in message.fields]


def _is_written_as_found(field: Field) -> bool:
    """Whether nothing of a field needs to become plain before it is written."""
    if isinstance(field.type, Message) and field.map_key is None:
        return field.type.form is Form.BOX or _attributes(field.type) is not None
    return not _becomes_plain(field)


def _becomes_plain(field: Field) -> bool:
    """Whether a field without a message in it needs to become plain; what holds one is for the message to say."""
    if field.map_key is not None:
        return True
    if isinstance(field.type, Message):
        return False
    info = bare(field.info) if field.info is not None else None
    if isinstance(info, LISTS):
        info = bare(info.item_type)
    elif isinstance(info, kinds.UnionType) and nulls(info):
        others = [bare(member) for member in info.types if not isinstance(member, kinds.NoneType)]
        info = others[0] if len(others) == 1 else None
    return not isinstance(info, PLAIN_ALREADY)
