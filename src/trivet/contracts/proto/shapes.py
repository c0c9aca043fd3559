"""Shapes as messages: how every type that crosses a boundary is said in proto3.

::

    bool, int, float, str, bytes      bool, int64, double, string, bytes
    Decimal, UUID, date, time         string, as in JSON
    datetime, timedelta               google.protobuf.Timestamp, google.protobuf.Duration
    Enum                              enum, its first constant says nothing
    Literal                           string or int64
    Struct                            message
    list, set, tuple[T, ...]          repeated
    dict                              map
    a union                           a message with a oneof
    Patch[Shape]                      message whose fields are all optional, with a FieldMask beside it
    Any                               google.protobuf.Value

Every single field has presence, so that what is missing can be told from what is empty. An item of a list that may be
``None`` or is a list itself stands in a message of its own, and so does a list that may be ``None``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.contracts.proto.message import Absent, EnumType, Field, FieldType, Form, Message, Scalar, constant_prefix
from trivet.contracts.schema import component_name
from trivet.core.naming import pascal, snake
from trivet.core.patch import nested_shape, patch_shape
from trivet.core.typeinfo import fields_of, info_of

SCALARS: Mapping[type[kinds.Type], Scalar] = {
    kinds.BoolType: Scalar.BOOL,
    kinds.IntType: Scalar.INT64,
    kinds.FloatType: Scalar.DOUBLE,
    kinds.StrType: Scalar.STRING,
    kinds.BytesType: Scalar.BYTES,
    kinds.ByteArrayType: Scalar.BYTES,
    kinds.MemoryViewType: Scalar.BYTES,
    kinds.DecimalType: Scalar.STRING,
    kinds.UUIDType: Scalar.STRING,
    kinds.DateType: Scalar.STRING,
    kinds.TimeType: Scalar.STRING,
    kinds.DateTimeType: Scalar.TIMESTAMP,
    kinds.TimeDeltaType: Scalar.DURATION,
    kinds.AnyType: Scalar.VALUE,
}

LISTS = (kinds.ListType, kinds.SetType, kinds.FrozenSetType, kinds.VarTupleType)

KEYS = (Scalar.BOOL, Scalar.INT64, Scalar.STRING)
"""What the key of a map can be."""

FIELD_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
INT64 = range(-(2**63), 2**63)


class Unfit(Exception):
    """A type does not fit protobuf; `mend` says what to write instead."""

    def __init__(self, problem: str, mend: str) -> None:
        self.mend = mend
        super().__init__(problem)


class Shapes:
    """Makes the messages of one package.

    Args:
        package: Its name.

    Attributes:
        messages: All of them, in the order of use.
        enums: All of them, in the order of use.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._known: dict[Any, Message | EnumType] = {}
        self._names: dict[str, Any] = {}
        self.messages: list[Message] = []
        self.enums: list[EnumType] = []

    def message(self, name: str, form: Form = Form.RECORD, *, doc: str = "") -> Message:
        """Add a message that no shape stands behind.

        Raises:
            Unfit: The name is taken.
        """
        return self._add(Message(self._package, name, form, doc=doc), name)

    def field(self, name: str, annotation: Any, *, required: bool = True, empty: bool = True) -> Field:
        """Return a field of any type.

        Args:
            name: Of the field, and of its plain value.
            annotation: Its type.
            required: Whether there is no default: then a list that is not there is empty, a nullable ``None``.
            empty: Whether a list that has a default is empty by default.

        Raises:
            Unfit: The type does not fit.
        """
        return self._field(name, info_of(annotation), name, required, empty)

    def patch(self, name: str, shape: Any) -> Field:
        """Return a field that holds the patch of a shape.

        Raises:
            Unfit: The shape does not fit.
        """
        return Field(name, self._patch(shape))

    def single(self, annotation: Any) -> FieldType:
        """Return a type that can stand alone in a field: a list or a map gets a message of its own.

        Raises:
            Unfit: The type does not fit.
        """
        return self._single(info_of(annotation))

    # -- fields

    def _field(self, name: str, info: kinds.Type, key: str, required: bool, empty: bool = True) -> Field:
        """Return a field; a list or a map stands in it as it is where its absence can only mean that it is empty."""
        if not FIELD_NAME.fullmatch(name):
            raise Unfit(f"{name!r} is no name of a field", "Write it in lower_snake_case, beginning with a letter.")
        plain = bare(info)
        if (required or empty) and isinstance(plain, kinds.DictType):
            absent = Absent.EMPTY if required else Absent.MISSING
            map_key, value = self._key(plain.key_type), self._single(plain.value_type)
            return Field(name, value, key=key, map_key=map_key, absent=absent, info=info)
        if (required or empty) and isinstance(plain, LISTS):
            absent = Absent.EMPTY if required else Absent.MISSING
            return Field(name, self._single(plain.item_type), key=key, repeated=True, absent=absent, info=info)
        nullable = nulls(plain) or isinstance(plain, kinds.AnyType)
        absent = Absent.NONE if required and nullable else Absent.MISSING
        return Field(name, self._single(plain, nullable=True), key=key, absent=absent, info=info)

    def _single(self, info: kinds.Type, nullable: bool = False) -> FieldType:
        """Return the type of one value.

        Args:
            info: The type.
            nullable: Whether the absence of the field says ``None`` already.
        """
        plain = bare(info)
        if isinstance(plain, kinds.UnionType):
            members = [bare(member) for member in plain.types]
            rest = [m for m in members if not isinstance(m, kinds.NoneType)]
            if len(rest) < len(members) and not nullable:
                return self._optional(rest)
            return self._single(rest[0]) if len(rest) == 1 else self._union(rest)
        if isinstance(plain, (kinds.DictType, *LISTS)):
            return self._box(plain)
        if isinstance(plain, kinds.EnumType):
            return self._enum(plain.cls)
        if isinstance(plain, kinds.LiteralType):
            return self._literal(plain)
        if isinstance(plain, kinds.StructType | kinds.DataclassType | kinds.TypedDictType):
            return self._record(plain)
        if isinstance(plain, kinds.IntType):
            bounds = (plain.ge, plain.le, plain.gt, plain.lt)
            if any(bound is not None and int(bound) not in INT64 for bound in bounds):
                raise Unfit("an integer beyond 64 bits", "Bound it to 64 bits with Meta(ge=..., le=...).")
        found = SCALARS.get(type(plain))
        if found is None:
            what = type(plain).__name__.removesuffix("Type").lower()
            raise Unfit(f"a {what} does not fit protobuf", "Use a Struct with named fields.")
        return found

    def _key(self, info: kinds.Type) -> Scalar:
        plain = bare(info)
        if isinstance(plain, kinds.EnumType):
            texts = all(isinstance(member.value, str) for member in plain.cls)
            return Scalar.STRING if texts else Scalar.INT64
        found = self._literal(plain) if isinstance(plain, kinds.LiteralType) else SCALARS.get(type(plain))
        if found not in KEYS:
            raise Unfit("the key of a map is no text, integer or boolean", "Use a list of a Struct with both.")
        return found

    # -- messages

    def _record(self, info: Any) -> Message:
        known = self._known.get(info.cls)
        if isinstance(known, Message):
            return known
        if getattr(info, "array_like", False):
            raise Unfit(f"{info.cls.__name__} is written as an array", "Leave out array_like=True.")
        message = Message(self._package, component_name(info.cls), source=info.cls)
        self._known[info.cls] = self._add(message, info.cls)
        if getattr(info, "tag_field", None) is not None:
            message.tag = (info.tag_field, info.tag)
        for field in info.fields:
            message.fields.append(self._member(message, field))
        self._distinct(message)
        return message

    def _member(self, message: Message, field: Any) -> Field:
        default = getattr(field, "default", msgspec.NODEFAULT)
        factory = getattr(field, "default_factory", msgspec.NODEFAULT)
        empty = default in ((), frozenset(), msgspec.UNSET) or factory in (list, dict, set, tuple, frozenset)
        name = field.name if FIELD_NAME.fullmatch(field.name) else snake(field.name)
        try:
            return self._field(name, field.type, field.encode_name, field.required, field.required or empty)
        except Unfit as unfit:
            raise Unfit(f"{message.name}.{name}: {unfit}", unfit.mend) from None

    def _patch(self, shape: Any) -> Message:
        wire = patch_shape(shape)
        known = self._known.get(wire)
        if isinstance(known, Message):
            return known
        message = Message(self._package, f"{component_name(shape)}Patch", source=wire)
        message.doc = f"Changes of {_article(component_name(shape))}: what is not there stays as it is."
        self._known[wire] = self._add(message, wire)
        for field in fields_of(shape):
            inner = nested_shape(field.type)
            if inner is not None:
                message.fields.append(Field(field.name, self._patch(inner), key=field.name, info=info_of(field.type)))
            else:
                try:
                    message.fields.append(self._field(field.name, info_of(field.type), field.name, False))
                except Unfit as unfit:
                    raise Unfit(f"{message.name}.{field.name}: {unfit}", unfit.mend) from None
        self._distinct(message)
        return message

    def _box(self, plain: Any) -> Message:
        if isinstance(plain, kinds.DictType):
            map_key, value = self._key(plain.key_type), self._single(plain.value_type)
            name = f"{pascal(map_key.value)}{type_name(value)}Map"
            field = Field("entries", value, map_key=map_key, absent=Absent.EMPTY, doc="What it holds.")
            return self._wrapper(name, "A map that may be absent.", field)
        item = self._single(plain.item_type)
        field = Field("items", item, repeated=True, absent=Absent.EMPTY, doc="What it holds, in order.")
        return self._wrapper(f"{type_name(item)}List", "A list that may be absent, or inside a list.", field)

    def _optional(self, rest: list[kinds.Type]) -> Message:
        inner = self._single(rest[0]) if len(rest) == 1 else self._union(rest)
        field = Field("value", inner, absent=Absent.NONE, doc="Absent where there is none.")
        return self._wrapper(f"Optional{type_name(inner)}", "An item of a list or a map that may be absent.", field)

    def _wrapper(self, name: str, doc: str, field: Field) -> Message:
        known = self._known.get(name)
        if isinstance(known, Message):
            return known
        message = self._add(Message(self._package, name, Form.BOX, doc=doc), name)
        self._known[name] = message
        message.fields.append(field)
        return message

    def _union(self, rest: list[kinds.Type]) -> Message:
        types = [(self._single(member), member) for member in rest]
        name = "Or".join(_word(type_, info) for type_, info in types)
        known = self._known.get(name)
        if isinstance(known, Message):
            return known
        message = self._add(Message(self._package, name, Form.UNION, doc="One of several."), name)
        self._known[name] = message
        for type_, info in types:
            word = snake(_word(type_, info))
            field_name = word if isinstance(type_, Message) else f"{word}_value"
            message.fields.append(Field(field_name, type_, info=info))
        self._distinct(message)
        return message

    def _enum(self, cls: type[enum.Enum]) -> EnumType:
        known = self._known.get(cls)
        if isinstance(known, EnumType):
            return known
        prefix = constant_prefix(cls.__name__)
        values = {f"{prefix}{re.sub('[^A-Z0-9]+', '_', m.name.upper()).strip('_')}": m.value for m in cls}
        found = EnumType(self._package, cls.__name__, values, cls)
        if len(values) < len(cls) or found.zero in values:
            raise Unfit(f"{cls.__name__} has members that are one constant in protobuf", "Name them apart.")
        self._claim(found.name, cls)
        self._known[cls] = found
        self.enums.append(found)
        return found

    def _literal(self, info: kinds.LiteralType) -> Scalar:
        if all(isinstance(value, str) for value in info.values):
            return Scalar.STRING
        if all(isinstance(value, int) and not isinstance(value, bool) for value in info.values):
            return Scalar.INT64
        raise Unfit("a Literal of several types does not fit protobuf", "Use an Enum.")

    # -- names

    def _add(self, message: Message, owner: Any) -> Message:
        self._claim(message.name, owner)
        self.messages.append(message)
        return message

    def _claim(self, name: str, owner: Any) -> None:
        other = self._names.setdefault(name, owner)
        if other is not owner:
            raise Unfit(
                f"two messages of {self._package} are called {name}: {_said(other)} and {_said(owner)}",
                "Rename one of them.",
            )

    def _distinct(self, message: Message) -> None:
        names: dict[str, Field] = {}
        for field in message.fields:
            spelled = field.name.replace("_", "")
            if names.setdefault(spelled, field) is not field:
                raise Unfit(
                    f"{message.name} has two fields that are one in JSON: {names[spelled].name} and {field.name}",
                    "Rename one of them.",
                )


def bare(info: kinds.Type) -> kinds.Type:
    """Return the type without what ``Meta`` says besides."""
    while isinstance(info, kinds.Metadata):
        info = info.type
    return info


def nulls(info: kinds.Type) -> bool:
    """Whether ``None`` is a value of the type."""
    return isinstance(info, kinds.UnionType) and info.includes_none


def type_name(type_: FieldType) -> str:
    """Return the name of a type as other names are made of it."""
    return pascal(type_.value.rpartition(".")[2]) if isinstance(type_, Scalar) else type_.name


def _word(type_: FieldType, info: kinds.Type) -> str:
    """Return what a member of a union is called: by its own type, as several of them are texts."""
    if isinstance(type_, Message | EnumType):
        return type_.name
    return type(info).__name__.removesuffix("Type").removesuffix("Metadata") or type_name(type_)


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "AEIOU" else f"a {noun}"


def _said(owner: Any) -> Any:
    return f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else "one that the platform makes"
