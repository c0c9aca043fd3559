"""Encoders of protobuf's binary format, generated: from the plain values that `msgspec.to_builtins` makes to bytes.

They name every field; for ``Money(amount: string = 1, currency: string = 2)`` one reads::

    def encode_Money(v):
        try: x1, x2 = A(v)
        except KeyError: return sparse_Money(v)
        x1 = x1.encode()
        x2 = x2.encode()
        return b''.join((B10, V[len(x1)], x1, B18, V[len(x2)], x2))

What is written has its fields mostly all there: then nothing is asked of those that are never ``None``. What leaves
some out is written by a second function, ``sparse_Money``, which asks each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from msgspec import inspect as kinds

from trivet.contracts.proto.message import EnumType, Field, FieldType, Form, Message, Scalar
from trivet.contracts.proto.shapes import bare, nulls
from trivet.transports.rpc import pieces
from trivet.transports.rpc.generated import Generated, sized, wire_type
from trivet.transports.rpc.pieces import LENGTH, WELL_KNOWN, tag_of

CLASSES = {
    Scalar.BOOL: "bool",
    Scalar.INT64: "int",
    Scalar.DOUBLE: "float",
    Scalar.STRING: "str",
    Scalar.BYTES: "bytes",
    Scalar.TIMESTAMP: "datetime",
    Scalar.DURATION: "timedelta",
}


class Encoders(Generated):
    """Makes encoders: functions of a plain value.

    Args:
        verb: What their names begin with.
        space: Of encoders that they call; one of their own by default.
    """

    def __init__(self, verb: str = "encode", space: dict[str, Any] | None = None) -> None:
        super().__init__(verb, _space() if space is None else space)

    def source(self, message: Message) -> Iterator[str]:
        """Yield the lines of the encoder of a message."""
        yield f"def {self.name(message)}(v):"
        names = [f"x{field.number}" for field in message.fields]
        if message.form is Form.UNION:
            yield from self._choice(message)
        elif message.form is Form.BOX:
            yield f"    {names[0]} = v"
            yield from self.joined(message.fields)
        elif len(names) < 2:
            yield from self._sparse(message)
        else:
            taken = f"A_{self.suffix(message)}"
            self.space[taken] = itemgetter(*(field.key for field in message.fields))
            yield f"    try: {', '.join(names)} = {taken}(v)"
            yield f"    except KeyError: return sparse_{self.suffix(message)}(v)"
            yield from self.joined(message.fields, [field for field in message.fields if not nullable(field)])
            yield f"def sparse_{self.suffix(message)}(v):"
            yield from self._sparse(message)

    def _sparse(self, message: Message) -> Iterator[str]:
        """Yield what writes a record of which any field may be left out."""
        yield from (f"    x{field.number} = v.get({field.key!r})" for field in message.fields)
        yield from self.joined(message.fields)

    def joined(self, fields: Sequence[Field], there: Sequence[Field] = ()) -> Iterator[str]:
        """Yield what writes the values ``x`` of fields one after the other.

        Args:
            fields: All of them.
            there: Those of them that are never ``None``.
        """
        pieces_: list[str] = []
        for field in fields:
            number = field.number
            if field in there:
                yield from (f"    {line}" for line in self.content(field))
                pieces_ += self.pieces_of(field)
                continue
            yield f"    if x{number} is None:"
            yield f"        h{number} = {f'x{number} = ' if sized(field) else ''}b''"
            yield "    else:"
            yield from (f"        {line}" for line in self._write(field))
            pieces_ += [f"h{number}", f"x{number}"] if sized(field) else [f"h{number}"]
        comma = "," if len(pieces_) == 1 else ""
        yield f"    return b''.join(({', '.join(pieces_)}{comma}))" if pieces_ else "    return b''"

    def _choice(self, message: Message) -> Iterator[str]:
        tags = {f.type.tag[0] for f in message.fields if isinstance(f.type, Message) and f.type.tag}
        if tags:
            yield f"    g = v.get({min(tags)!r}) if type(v) is dict else None"
        for field in message.fields:
            yield f"    if {self._matches(field.type)}:"
            yield f"        x{field.number} = v"
            yield from (f"        {line}" for line in self._write(field))
            yield f"        return h{field.number}{f' + x{field.number}' if sized(field) else ''}"
        yield f"    raise TypeError({message.name!r})"

    def _matches(self, type_: FieldType) -> str:
        if isinstance(type_, EnumType):
            return f"type(v) is {type(next(iter(type_.values.values()))).__name__}"
        if isinstance(type_, Scalar):
            return f"type(v) is {CLASSES[type_]}"
        if type_.form is Form.BOX:
            return f"type(v) is {'list' if type_.fields[0].repeated else 'dict'}"
        return f"g == {type_.tag[1]!r}" if type_.tag else "type(v) is dict"

    def _write(self, field: Field) -> Iterator[str]:
        """Yield what turns ``x`` of the field's number into its content, and ``h`` into what stands before it.

        A single number needs no ``x``: all of it is in ``h``.
        """
        yield from self.content(field)
        before = [piece for piece in self.pieces_of(field) if piece != f"x{field.number}"]
        yield f"h{field.number} = {' + '.join(before) or repr(b'')}"

    def content(self, field: Field) -> Iterator[str]:
        """Yield what turns ``x`` of the field's number into its content, unless it is a single number."""
        x, tag = f"x{field.number}", self._tag(field.number, LENGTH)
        if field.map_key is not None:
            yield "o = []"
            yield f"for k, w in {x}.items():"
            yield f"    i = {self._entry_piece(field.map_key, 'k', 1)} + {self._entry_piece(field.type, 'w', 2)}"
            yield f"    o += {tag}, V[len(i)], i"
            yield f"{x} = b''.join(o)"
        elif field.repeated and wire_type(field.type) != LENGTH:
            yield f"{x} = b''.join([{self._bare(field.type, 'i')} for i in {x}])"
        elif field.repeated:
            yield "o = []"
            yield f"for i in {x}:"
            yield f"    i = {self._bare(field.type, 'i')}"
            yield f"    o += {tag}, V[len(i)], i"
            yield f"{x} = b''.join(o)"
        elif wire_type(field.type) == LENGTH:
            yield f"{x} = {self._bare(field.type, x)}"

    def pieces_of(self, field: Field) -> list[str]:
        """Return the expressions that a field is made of, once its content is."""
        x = f"x{field.number}"
        kind = wire_type(field.type)
        if field.map_key is not None or (field.repeated and kind == LENGTH):
            return [x]
        tag = self._tag(field.number, LENGTH if field.repeated else kind)
        if field.repeated:
            return [f"({tag} + V[len({x})] if {x} else b'')", x]
        return [tag, f"V[len({x})]", x] if kind == LENGTH else [tag, self._bare(field.type, x)]

    def _entry_piece(self, type_: FieldType, value: str, number: int) -> str:
        """Return the expression for a field of an entry of a map."""
        kind = wire_type(type_)
        tag = self._tag(number, kind)
        bare = self._bare(type_, value)
        return f"{tag} + V[len(c := {bare})] + c" if kind == LENGTH else f"{tag} + {bare}"

    def _bare(self, type_: FieldType, value: str) -> str:
        """Return the expression for a value without its tag and its length."""
        if isinstance(type_, Message):
            return f"{self.name(type_)}({value})"
        if isinstance(type_, EnumType):
            numbers = {plain: pieces.write_signed(type_.numbers[c]) for c, plain in type_.values.items()}
            return f"{self.table('N', type_, numbers)}[{value}]"
        if type_ is Scalar.BOOL:
            return f"(b'\\x01' if {value} else b'\\x00')"
        if type_ is Scalar.INT64:
            return f"V[{value}]"
        if type_ is Scalar.DOUBLE:
            return f"pack({value})"
        if type_ is Scalar.STRING:
            return f"{value}.encode()"
        if type_ is Scalar.BYTES:
            return value
        return f"write_{WELL_KNOWN[type_]}({value})"

    def _tag(self, number: int, wire_type: int) -> str:
        """Return the name of a tag, as bytes."""
        name = f"B{number << 3 | wire_type}"
        self.space.setdefault(name, tag_of(number, wire_type))
        return name


def _space() -> dict[str, Any]:
    return {
        "V": Varints(),
        "pack": pieces.pack_double,
        "datetime": datetime,
        "timedelta": timedelta,
        **{f"write_{name}": getattr(pieces, f"write_{name}") for name in WELL_KNOWN.values()},
    }


class Varints(dict[int, bytes]):
    """Numbers as they are written; those of two bytes and less are kept."""

    def __missing__(self, value: int) -> bytes:
        written = pieces.write_signed(value)
        if len(written) <= 2:
            self[value] = written
        return written


def nullable(field: Field) -> bool:
    """Whether the value of a field may be ``None``, or nothing is known of it."""
    if field.info is None:
        return True
    plain = bare(field.info)
    return nulls(plain) or isinstance(plain, kinds.AnyType)
