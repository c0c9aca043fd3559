"""Codecs between plain values and protobuf's binary format, generated once for each message.

The plain values are those of `msgspec.to_builtins` and `msgspec.convert`: msgspec turns shapes into them and checks
what comes in, so that every protocol has one validation. The generated functions name every field; for
``Money(amount: string = 1, currency: string = 2)`` they read::

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

    def encode_Money(v):
        try: x1, x2 = A(v)
        except KeyError: return sparse_Money(v)
        x1 = x1.encode()
        x2 = x2.encode()
        return b''.join((B10, V[len(x1)], x1, B18, V[len(x2)], x2))

Fields mostly come in the order of their numbers, as every encoder writes them: then one pass through the tags reads the
whole message. Any other order takes more passes. While a tag is compared, ``p`` is its last byte.

What is written has its fields mostly all there: then nothing is asked of those that are never ``None``. What leaves
some out is written by a second function, ``sparse_Money``, which asks each of them.

A slice past the end is short and moves the position past the end, which the last line of a decoder finds: so nothing
is allocated beyond what arrived, whatever a length says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from msgspec import inspect as kinds

from trivet.contracts.proto.message import Absent, EnumType, Field, FieldType, Form, Message, Scalar
from trivet.contracts.proto.shapes import bare, nulls
from trivet.core.error import InvalidArgument, Violation
from trivet.transports.rpc import pieces
from trivet.transports.rpc.pieces import FIXED64, LENGTH, MAX_DEPTH, VARINT, Malformed, read_tag, read_varint, tag_of

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]

END = "a field ends after its message"

PLAIN = {
    Scalar.TIMESTAMP: "timestamp",
    Scalar.DURATION: "duration",
    Scalar.VALUE: "value",
    Scalar.MASK: "mask",
}

ZERO = {Scalar.BOOL: "False", Scalar.INT64: "0", Scalar.DOUBLE: "0.0", Scalar.STRING: "''", Scalar.BYTES: "b''"}

CLASSES = {
    Scalar.BOOL: "bool",
    Scalar.INT64: "int",
    Scalar.DOUBLE: "float",
    Scalar.STRING: "str",
    Scalar.BYTES: "bytes",
    Scalar.TIMESTAMP: "datetime",
    Scalar.DURATION: "timedelta",
}


def _unknown(message: str, data: bytes, at: int, tag: int) -> int:
    raise Malformed(f"{message} has no field {tag >> 3} of this type")


def _skipped(message: str, data: bytes, at: int, tag: int) -> int:
    return pieces.skip(data, at, tag)


class Wire:
    """Makes codecs, each at its first use.

    Args:
        strict: Whether a field that is not known is refused, or else passed over.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self._names: dict[int, str] = {}
        self._cyclic: dict[int, bool] = {}
        self._kept: list[Any] = []
        self._space: dict[str, Any] = {
            "END": END,
            "Malformed": Malformed,
            "varint": read_varint,
            "tag": read_tag,
            "unknown": _unknown if strict else _skipped,
            "V": Varints(),
            "unpack": pieces.unpack_double,
            "pack": pieces.pack_double,
            "datetime": datetime,
            "timedelta": timedelta,
            **{f"read_{name}": getattr(pieces, f"read_{name}") for name in PLAIN.values()},
            **{f"write_{name}": getattr(pieces, f"write_{name}") for name in PLAIN.values()},
        }

    def decoder(self, message: Message) -> Decode:
        """Return what reads a message into plain values.

        The decoder raises `InvalidArgument` for whatever is no such message.
        """
        function = self._function("decode", message)
        more = (MAX_DEPTH,) if self._recursive(message) else ()

        def decode(data: bytes) -> Any:
            try:
                return function(data, 0, len(data), *more)
            except Malformed as malformed:
                raise malformed_message(str(malformed)) from malformed
            except UnicodeDecodeError as malformed:
                raise malformed_message("a text is not UTF-8") from malformed
            except (IndexError, struct.error) as malformed:
                raise malformed_message("it ends in the middle of a field") from malformed

        return decode

    def encoder(self, message: Message) -> Encode:
        """Return what writes plain values as a message."""
        encode: Encode = self._function("encode", message)
        return encode

    def _function(self, verb: str, message: Message) -> Any:
        name = f"{verb}_{self._name(message)}"
        if name not in self._space:
            source: list[str] = []
            for found in _within(message):
                if f"{verb}_{self._name(found)}" not in self._space:
                    source.extend(self._decoder(found) if verb == "decode" else self._encoder(found))
            exec(compile("\n".join(source), f"<{verb} {message.full_name}>", "exec"), self._space)  # noqa: S102 - our own source, from identifiers and numbers
        return self._space[name]

    def _name(self, thing: Message | EnumType) -> str:
        name = self._names.get(id(thing))
        if name is None:
            name = self._names[id(thing)] = f"{thing.name}_{len(self._names)}"
            self._kept.append(thing)  # its id stays its own
        return name

    def _recursive(self, message: Message) -> bool:
        known = self._cyclic.get(id(message))
        if known is None:
            inside = [f.type for f in message.fields if isinstance(f.type, Message)]
            known = self._cyclic[id(message)] = any(message is found for each in inside for found in _within(each))
            self._kept.append(message)
        return known

    # -- decoding

    def _decoder(self, message: Message) -> Iterator[str]:
        recursive = self._recursive(message)
        yield f"def decode_{self._name(message)}(b, p, e{', z' if recursive else ''}):"
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
        wire_type = _wire_type(field.type)
        if field.map_key is not None:
            yield field.number << 3 | LENGTH, ["p += 1", *SIZE, *self._entry(field, recursive), "p = q"]
            return
        read, value = self._read(field.type, recursive, after_tag=True)
        if field.repeated:
            yield field.number << 3 | wire_type, [*read, f"l{field.number}.append({value})", *_move(wire_type)]
            if wire_type != LENGTH:
                read, value = self._read(field.type, recursive)
                packed = [f"    {line}" for line in (*read, f"l{field.number}.append({value})", *_move(wire_type))]
                whole = ["p += 1", *SIZE, "while p < q:", *packed, "if p != q: raise Malformed(END)"]
                yield field.number << 3 | LENGTH, whole
            return
        once: list[str] = []
        if message.form is Form.UNION:
            store = f"u = {value}"
        else:
            store = f"d[{field.key!r}] = {value}"
            if isinstance(field.type, Message) or field.type in PLAIN:
                once = [f"if {field.key!r} in d: raise Malformed('{field.name} is there twice')"]
        yield field.number << 3 | wire_type, [*once, *read, store, *_move(wire_type)]

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
            if self._recursive(type_):
                depth = ", z - 1" if recursive else f", {MAX_DEPTH}"
            return within, f"decode_{self._name(type_)}(b, p, q{depth})"
        if isinstance(type_, EnumType):
            name = f"E_{self._name(type_)}"
            if name not in self._space:
                self._space[name] = {type_.numbers[constant]: value for constant, value in type_.values.items()}
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
        return within, f"read_{PLAIN[type_]}(b, p, q)"

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
            yield f"    {word} t == {number << 3 | _wire_type(type_)}:"
            yield from (f"        {line}" for line in (*read, f"{name} = {value}", *_move(_wire_type(type_))))
            word = "elif"
        yield "    else: p = unknown('a map', b, p, t)"
        yield "if p != f: raise Malformed(END)"
        yield "q = f"
        yield f"l{field.number}[k] = w"

    def _default(self, type_: FieldType, recursive: bool) -> str:
        if isinstance(type_, Message):
            depth = ""
            if self._recursive(type_):
                depth = ", z - 1" if recursive else f", {MAX_DEPTH}"
            return f"decode_{self._name(type_)}(b'', 0, 0{depth})"
        if isinstance(type_, EnumType):
            return "'number 0'"
        return ZERO.get(type_) or f"read_{PLAIN[type_]}(b'', 0, 0)"

    # -- encoding

    def _encoder(self, message: Message) -> Iterator[str]:
        yield f"def encode_{self._name(message)}(v):"
        names = [f"x{field.number}" for field in message.fields]
        if message.form is Form.UNION:
            yield from self._choice(message)
        elif message.form is Form.BOX:
            yield f"    {names[0]} = v"
            yield from self._joined(message.fields)
        elif len(names) < 2:
            yield from self._sparse(message)
        else:
            taken = f"A_{self._name(message)}"
            self._space[taken] = itemgetter(*(field.key for field in message.fields))
            yield f"    try: {', '.join(names)} = {taken}(v)"
            yield f"    except KeyError: return sparse_{self._name(message)}(v)"
            yield from self._joined(message.fields, [field for field in message.fields if not _nullable(field)])
            yield f"def sparse_{self._name(message)}(v):"
            yield from self._sparse(message)

    def _sparse(self, message: Message) -> Iterator[str]:
        """Yield what writes a record of which any field may be left out."""
        yield from (f"    x{field.number} = v.get({field.key!r})" for field in message.fields)
        yield from self._joined(message.fields)

    def _joined(self, fields: Sequence[Field], there: Sequence[Field] = ()) -> Iterator[str]:
        """Yield what writes the values ``x`` of fields one after the other.

        Args:
            fields: All of them.
            there: Those of them that are never ``None``.
        """
        pieces_: list[str] = []
        for field in fields:
            number = field.number
            if field in there:
                yield from (f"    {line}" for line in self._content(field))
                pieces_ += self._pieces(field)
                continue
            yield f"    if x{number} is None:"
            yield f"        h{number} = {f'x{number} = ' if _in_two(field) else ''}b''"
            yield "    else:"
            yield from (f"        {line}" for line in self._write(field))
            pieces_ += [f"h{number}", f"x{number}"] if _in_two(field) else [f"h{number}"]
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
            yield f"        return h{field.number}{f' + x{field.number}' if _in_two(field) else ''}"
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
        yield from self._content(field)
        before = [piece for piece in self._pieces(field) if piece != f"x{field.number}"]
        yield f"h{field.number} = {' + '.join(before) or repr(b'')}"

    def _content(self, field: Field) -> Iterator[str]:
        """Yield what turns ``x`` of the field's number into its content, unless it is a single number."""
        x, tag = f"x{field.number}", self._tag(field.number, LENGTH)
        if field.map_key is not None:
            yield "o = []"
            yield f"for k, w in {x}.items():"
            yield f"    i = {self._entry_piece(field.map_key, 'k', 1)} + {self._entry_piece(field.type, 'w', 2)}"
            yield f"    o += {tag}, V[len(i)], i"
            yield f"{x} = b''.join(o)"
        elif field.repeated and _wire_type(field.type) != LENGTH:
            yield f"{x} = b''.join([{self._bare(field.type, 'i')} for i in {x}])"
        elif field.repeated:
            yield "o = []"
            yield f"for i in {x}:"
            yield f"    i = {self._bare(field.type, 'i')}"
            yield f"    o += {tag}, V[len(i)], i"
            yield f"{x} = b''.join(o)"
        elif _wire_type(field.type) == LENGTH:
            yield f"{x} = {self._bare(field.type, x)}"

    def _pieces(self, field: Field) -> list[str]:
        """Return the expressions that a field is made of, once its content is."""
        x = f"x{field.number}"
        wire_type = _wire_type(field.type)
        if field.map_key is not None or (field.repeated and wire_type == LENGTH):
            return [x]
        tag = self._tag(field.number, LENGTH if field.repeated else wire_type)
        if field.repeated:
            return [f"({tag} + V[len({x})] if {x} else b'')", x]
        return [tag, f"V[len({x})]", x] if wire_type == LENGTH else [tag, self._bare(field.type, x)]

    def _entry_piece(self, type_: FieldType, value: str, number: int) -> str:
        """Return the expression for a field of an entry of a map."""
        wire_type = _wire_type(type_)
        tag = self._tag(number, wire_type)
        bare = self._bare(type_, value)
        return f"{tag} + V[len(c := {bare})] + c" if wire_type == LENGTH else f"{tag} + {bare}"

    def _bare(self, type_: FieldType, value: str) -> str:
        """Return the expression for a value without its tag and its length."""
        if isinstance(type_, Message):
            return f"encode_{self._name(type_)}({value})"
        if isinstance(type_, EnumType):
            name = f"N_{self._name(type_)}"
            if name not in self._space:
                numbers = {plain: pieces.write_signed(type_.numbers[c]) for c, plain in type_.values.items()}
                self._space[name] = numbers
            return f"{name}[{value}]"
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
        return f"write_{PLAIN[type_]}({value})"

    def _tag(self, number: int, wire_type: int) -> str:
        """Return the name of a tag, as bytes."""
        name = f"B{number << 3 | wire_type}"
        self._space.setdefault(name, tag_of(number, wire_type))
        return name


class Varints(dict[int, bytes]):
    """Numbers as they are written; those of two bytes and less are kept."""

    def __missing__(self, value: int) -> bytes:
        written = pieces.write_signed(value)
        if len(written) <= 2:
            self[value] = written
        return written


def malformed_message(problem: str) -> InvalidArgument:
    """Return the refusal of bytes that are not the message they should be."""
    return InvalidArgument(detail="The message is not valid protobuf.", violations=(Violation(detail=problem),))


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


def _move(wire_type: int) -> list[str]:
    return {LENGTH: ["p = q"], FIXED64: ["p += 8"]}.get(wire_type, [])


def _in_two(field: Field) -> bool:
    """Whether what stands before a field's content is kept apart from it."""
    return not field.single or _wire_type(field.type) == LENGTH


def _wire_type(type_: FieldType) -> int:
    if isinstance(type_, EnumType) or type_ in (Scalar.BOOL, Scalar.INT64):
        return VARINT
    return FIXED64 if type_ is Scalar.DOUBLE else LENGTH


def _nullable(field: Field) -> bool:
    """Whether the value of a field may be ``None``, or nothing is known of it."""
    if field.info is None:
        return True
    plain = bare(field.info)
    return nulls(plain) or isinstance(plain, kinds.AnyType)


def _within(message: Message) -> list[Message]:
    """Return a message and all messages inside it, each once."""
    found: dict[int, Message] = {}
    waiting = [message]
    while waiting:
        current = waiting.pop()
        if id(current) not in found:
            found[id(current)] = current
            waiting.extend(field.type for field in current.fields if isinstance(field.type, Message))
    return list(found.values())
