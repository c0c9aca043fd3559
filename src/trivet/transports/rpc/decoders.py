"""Decoders of protobuf's binary format, generated: from bytes to the plain values that `msgspec.convert` takes.

They name every field; for ``Money(amount: string = 1, currency: string = 2)`` one reads::

    def decode_Money(b, p, e):
        d = {}
        t = b[p] if p < e else 0
        while p < e:
            m = p
            if t == 10:
                n = b[p + 1]
                if n < 128: p += 2
                else:
                    s = b[p + 2]
                    if s > 127: n, p = varint(b, p + 1)
                    else: n += (s - 1) << 7; p += 3
                q = p + n
                d['amount'] = b[p:q].decode()
                p = q
                if p >= e: break
                t = b[p]
            if t == 18:
                ...
            if p == m:
                if b[p] > 127: t, p = tag(b, p, e)
                else:
                    p = unknown('Money', b, p + 1, t)
                    if p >= e: break
                    t = b[p]
        if p != e: raise Malformed(END)
        return d

Fields mostly come in the order of their numbers, as every encoder writes them: then one pass through the tags reads the
whole message. Any other order takes more passes. While a tag is compared, ``p`` is its last byte.

A slice past the end is short and moves the position past the end, which the last line of a decoder finds: so nothing
is allocated beyond what arrived, whatever a length says.
"""

from __future__ import annotations

from collections.abc import Iterator

from trivet.contracts.proto.message import Absent, EnumType, Field, FieldType, Form, Message, Scalar
from trivet.transports.rpc import pieces
from trivet.transports.rpc.generated import Generated, wire_type
from trivet.transports.rpc.pieces import (
    FIXED64,
    LENGTH,
    MAX_DEPTH,
    WELL_KNOWN,
    Malformed,
    read_tag,
    read_varint,
)

END = "a field ends after its message"

ZERO = {Scalar.BOOL: "False", Scalar.INT64: "0", Scalar.DOUBLE: "0.0", Scalar.STRING: "''", Scalar.BYTES: "b''"}


def _unknown(message: str, data: bytes, at: int, tag: int) -> int:
    raise Malformed(f"{message} has no field {tag >> 3} of this type")


def _skipped(message: str, data: bytes, at: int, tag: int) -> int:
    return pieces.skip(data, at, tag)


class Decoders(Generated):
    """Makes decoders: functions of bytes, of where a message starts and ends in them, and of how deep it may nest.

    They raise `Malformed`, `UnicodeDecodeError`, `IndexError` or `struct.error` for what is no such message.

    Args:
        strict: Whether a field that is not known is refused, or else passed over.
    """

    def __init__(self, *, strict: bool) -> None:
        super().__init__(
            "decode",
            {
                "END": END,
                "Malformed": Malformed,
                "varint": read_varint,
                "tag": read_tag,
                "unknown": _unknown if strict else _skipped,
                "unpack": pieces.unpack_double,
                **{f"read_{name}": getattr(pieces, f"read_{name}") for name in WELL_KNOWN.values()},
            },
        )

    def source(self, message: Message) -> Iterator[str]:
        """Yield the lines of the decoder of a message."""
        recursive = self.recursive(message)
        yield f"def {self.name(message)}(b, p, e{', z' if recursive else ''}):"
        if recursive:
            yield "    if z <= 0: raise Malformed('nested too deeply')"
        yield f"    d = {{{f'{message.tag[0]!r}: {message.tag[1]!r}' if message.tag else ''}}}"
        if message.form is Form.UNION:
            yield "    u = None"
        for field in message.fields:
            if not field.single:
                yield f"    l{field.number} = {'[]' if field.repeated else '{}'}"
        wide = TAG if any(field.number > 15 for field in message.fields) else []
        yield "    t = b[p] if p < e else 0"
        yield from (f"    {line}" for line in wide)
        yield "    while p < e:"
        yield "        m = p"
        for field in sorted(message.fields, key=lambda field: field.number):
            for tag, lines in self._cases(field, message, recursive):
                yield f"        {'while' if field.repeated else 'if'} t == {tag}:"
                yield from (f"            {line}" for line in (*lines, "if p >= e: break", "t = b[p]", *wide))
        yield "        if p == m:"
        yield "            if b[p] > 127: t, p = tag(b, p, e)"
        yield "            else:"
        yield f"                p = unknown({message.full_name!r}, b, p + 1, t)"
        yield "                if p >= e: break"
        yield "                t = b[p]"
        yield "    if p != e: raise Malformed(END)"
        yield from self._finish(message)

    def _finish(self, message: Message) -> Iterator[str]:
        if message.form is Form.UNION:
            yield "    return u"
            return
        for field in message.fields:
            if not field.single and message.form is Form.BOX:
                yield f"    return l{field.number}"
                return
            if not field.single and field.absent is Absent.EMPTY:
                yield f"    d[{field.key!r}] = l{field.number}"
            elif not field.single:
                yield f"    if l{field.number}: d[{field.key!r}] = l{field.number}"
            elif field.absent is Absent.NONE and message.form is Form.RECORD:
                yield f"    if {field.key!r} not in d: d[{field.key!r}] = None"
        yield f"    return d.get({message.fields[0].key!r})" if message.form is Form.BOX else "    return d"

    def _cases(self, field: Field, message: Message, recursive: bool) -> Iterator[tuple[int, list[str]]]:
        """Yield the tags that a field can have, with what reads what follows; ``p`` is the last byte of the tag."""
        kind = wire_type(field.type)
        if field.map_key is not None:
            yield field.number << 3 | LENGTH, ["p += 1", *SIZE, *self._entry(field, recursive), "p = q"]
            return
        read, value = self._read(field.type, recursive, after_tag=True)
        if field.repeated:
            yield field.number << 3 | kind, [*read, f"l{field.number}.append({value})", *_move(kind)]
            if kind != LENGTH:
                read, value = self._read(field.type, recursive)
                packed = [f"    {line}" for line in (*read, f"l{field.number}.append({value})", *_move(kind))]
                whole = ["p += 1", *SIZE, "while p < q:", *packed, "if p != q: raise Malformed(END)"]
                yield field.number << 3 | LENGTH, whole
            return
        once: list[str] = []
        if message.form is Form.UNION:
            store = f"u = {value}"
        else:
            store = f"d[{field.key!r}] = {value}"
            if isinstance(field.type, Message) or field.type in WELL_KNOWN:
                once = [f"if {field.key!r} in d: raise Malformed('{field.name} is there twice')"]
        yield field.number << 3 | kind, [*once, *read, store, *_move(kind)]

    def _read(self, type_: FieldType, recursive: bool, after_tag: bool = False) -> tuple[list[str], str]:
        """Return what reads a value, and the expression for it; a sized one stands between ``p`` and ``q``.

        Args:
            type_: Of the value.
            recursive: Whether the message around it can be inside itself.
            after_tag: Whether ``p`` is the last byte of the tag before the value, instead of its first one.
        """
        number = NUMBER_AFTER if after_tag else NUMBER
        size = [*number, "q = p + n"]
        within = [*size, "if q > e: raise Malformed(END)"]
        if isinstance(type_, Message):
            depth = ""
            if self.recursive(type_):
                depth = ", z - 1" if recursive else f", {MAX_DEPTH}"
            return within, f"{self.name(type_)}(b, p, q{depth})"
        if isinstance(type_, EnumType):
            name = self.table("E", type_, {type_.numbers[constant]: value for constant, value in type_.values.items()})
            return number, f"{name}[n] if n in {name} else 'number %d' % n"
        if type_ is Scalar.BOOL:
            return number, "n != 0"
        if type_ is Scalar.INT64:
            return [f"{line}{NEGATIVE if 'varint' in line else ''}" for line in number], "n"
        if type_ is Scalar.DOUBLE:
            return [*(["p += 1"] if after_tag else []), "(n,) = unpack(b, p)"], "n"
        if type_ is Scalar.STRING:
            return size, "b[p:q].decode()"
        if type_ is Scalar.BYTES:
            return size, "bytes(b[p:q])"
        return within, f"read_{WELL_KNOWN[type_]}(b, p, q)"

    def _entry(self, field: Field, recursive: bool) -> Iterator[str]:
        """Yield what reads one entry of a map, which stands between ``p`` and ``q``, into the map."""
        assert field.map_key is not None
        yield f"k = {ZERO[field.map_key]}"
        yield f"w = {self._default(field.type, recursive)}"
        yield "if q > e: raise Malformed(END)"
        yield "f = q"
        yield "while p < f:"
        yield "    t = b[p]; p += 1"
        yield "    if t > 127: t, p = varint(b, p - 1)"
        word = "if"
        for number, name, type_ in ((1, "k", field.map_key), (2, "w", field.type)):
            read, value = self._read(type_, recursive)
            yield f"    {word} t == {number << 3 | wire_type(type_)}:"
            yield from (f"        {line}" for line in (*read, f"{name} = {value}", *_move(wire_type(type_))))
            word = "elif"
        yield "    else: p = unknown('a map', b, p, t)"
        yield "if p != f: raise Malformed(END)"
        yield "q = f"
        yield f"l{field.number}[k] = w"

    def _default(self, type_: FieldType, recursive: bool) -> str:
        if isinstance(type_, Message):
            depth = ""
            if self.recursive(type_):
                depth = ", z - 1" if recursive else f", {MAX_DEPTH}"
            return f"{self.name(type_)}(b'', 0, 0{depth})"
        if isinstance(type_, EnumType):
            return "'number 0'"
        return ZERO.get(type_) or f"read_{WELL_KNOWN[type_]}(b'', 0, 0)"


NUMBER = [
    "n = b[p]; p += 1",
    "if n > 127:",
    "    s = b[p]",
    "    if s > 127: n, p = varint(b, p - 1)",
    "    else: n += (s - 1) << 7; p += 1",
]
"""Reads a number; one of two bytes without a call."""

NUMBER_AFTER = [
    "n = b[p + 1]",
    "if n < 128: p += 2",
    "else:",
    "    s = b[p + 2]",
    "    if s > 127: n, p = varint(b, p + 1)",
    "    else: n += (s - 1) << 7; p += 3",
]
"""The same, from the byte before it."""

NEGATIVE = "; n -= n >> 63 << 64"
"""What has 64 bits may be a negative number."""

SIZE = [*NUMBER, "q = p + n"]
TAG = ["if t > 127: t, p = tag(b, p, e)"]


def _move(kind: int) -> list[str]:
    return {LENGTH: ["p = q"], FIXED64: ["p += 8"]}.get(kind, [])
