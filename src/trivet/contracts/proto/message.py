"""What a proto3 contract is made of: packages of services, messages and enums.

A message knows besides which plain values it stands for, as `msgspec.to_builtins` makes them: that is all that codecs
need. Most messages are records; the others exist because protobuf has no nullable items, no lists of lists and no
unions, and hold what they wrap in a field of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import inspect as kinds

from trivet.core.naming import snake

MAX_NUMBER = 2**29 - 1
"""The largest field number that there is."""

KEPT_FOR_PROTOBUF = range(19_000, 20_000)
"""Field numbers that no message may use."""


class Scalar(enum.Enum):
    """A type without members, by its name in proto3; the last four are well-known messages."""

    BOOL = "bool"
    INT64 = "int64"
    DOUBLE = "double"
    STRING = "string"
    BYTES = "bytes"
    TIMESTAMP = "google.protobuf.Timestamp"
    DURATION = "google.protobuf.Duration"
    VALUE = "google.protobuf.Value"
    MASK = "google.protobuf.FieldMask"

    @property
    def well_known(self) -> bool:
        """Whether it is a message of protobuf's own."""
        return "." in self.value


class Form(enum.Enum):
    """What a message stands for: a record of named values, the one value it holds, or one of several values."""

    RECORD = "record"
    BOX = "box"
    UNION = "union"


class Absent(enum.Enum):
    """What a field that is not there says: nothing, ``None``, or a list or map without items."""

    MISSING = "missing"
    NONE = "none"
    EMPTY = "empty"


class EnumType:
    """An enum with its numbers.

    Attributes:
        name: Below the package.
        full_name: With the package.
        values: The plain value by the name of the constant, without the one that says nothing.
        numbers: The number by the name of the constant, `zero` included.
        reserved: Numbers of constants that are gone, by name.
        source: The enum itself; ``None`` where the platform made it.
    """

    def __init__(self, package: str, name: str, values: Mapping[str, Any], source: Any = None) -> None:
        self.name = name
        self.full_name = f"{package}.{name}"
        self.values = dict(values)
        self.numbers: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        self.source = source

    @property
    def zero(self) -> str:
        """The constant that says nothing, which proto3 wants first."""
        return f"{constant_prefix(self.name)}UNSPECIFIED"


class Field:
    """One field of a message.

    Attributes:
        name: In the contract.
        key: Of its value among the plain values.
        type: A scalar, an enum or a message.
        repeated: Whether it is a list.
        map_key: The type of the keys where it is a map.
        absent: What it says when it is not there.
        info: What msgspec says of its type; ``None`` where the platform made the field.
        doc: What it is, where neither its type nor its shape says it.
        number: Given by the lock; 0 before.
    """

    __slots__ = ("absent", "doc", "info", "key", "map_key", "name", "number", "repeated", "type")

    def __init__(
        self,
        name: str,
        type: FieldType,
        *,
        key: str | None = None,
        repeated: bool = False,
        map_key: Scalar | None = None,
        absent: Absent = Absent.MISSING,
        info: kinds.Type | None = None,
        doc: str = "",
        number: int = 0,
    ) -> None:
        self.name = name
        self.key = name if key is None else key
        self.type = type
        self.repeated = repeated
        self.map_key = map_key
        self.absent = absent
        self.info = info
        self.doc = doc
        self.number = number

    def __repr__(self) -> str:
        return f"<Field {self.name} = {self.number}: {self.spelled}>"

    @property
    def single(self) -> bool:
        """Whether it holds at most one value."""
        return not self.repeated and self.map_key is None

    @property
    def spelled(self) -> str:
        """The type with the full names of what it refers to, as the lock keeps it."""
        name = self.type.value if isinstance(self.type, Scalar) else self.type.full_name
        if self.map_key is not None:
            return f"map<{self.map_key.value}, {name}>"
        return f"repeated {name}" if self.repeated else name


class Message:
    """A message and what it stands for.

    Attributes:
        name: Below the package.
        full_name: With the package.
        doc: What it is, where no shape says it.
        form: What it stands for.
        fields: In the order of declaration.
        tag: The plain key and value that tell the record from others of its union; ``None`` for a record of its own.
        reserved: Numbers of fields that are gone, by name.
        source: The shape; ``None`` where the platform made the message.
    """

    def __init__(self, package: str, name: str, form: Form = Form.RECORD, *, doc: str = "", source: Any = None) -> None:
        self.name = name
        self.full_name = f"{package}.{name}"
        self.doc = doc
        self.form = form
        self.fields: list[Field] = []
        self.tag: tuple[str, Any] | None = None
        self.reserved: dict[str, int] = {}
        self.source = source

    def __repr__(self) -> str:
        return f"<Message {self.full_name}>"


FieldType = Scalar | EnumType | Message


class Method:
    """One operation as a method.

    Attributes:
        op: The operation and its faces (an ``ApiOperation``).
        name: In its service.
        input: What it takes.
        output: What it returns, item by item for a stream; ``None`` is ``google.protobuf.Empty``.
        mask: The parameters that are patches, by the field of the request that holds their mask.
        streams: Whether it returns many.
        item: The field of the request that holds an item, where many of them come in.
    """

    def __init__(
        self,
        op: Any,
        name: str,
        input: Message,
        output: Message | None,
        mask: Mapping[str, str],
        streams: bool,
        item: Field | None = None,
    ) -> None:
        self.op = op
        self.name = name
        self.input = input
        self.output = output
        self.mask = mask
        self.streams = streams
        self.item = item


class Package:
    """The contract of one module.

    Attributes:
        name: Such as ``shop.catalog.v1``.
        module: Whose it is.
        service: The name of its service.
        methods: In the order of declaration.
        messages: All of them, in the order of use.
        enums: All of them, in the order of use.
    """

    def __init__(self, name: str, module: Any, service: str) -> None:
        self.name = name
        self.module = module
        self.service = service
        self.methods: list[Method] = []
        self.messages: list[Message] = []
        self.enums: list[EnumType] = []

    def __repr__(self) -> str:
        return f"<Package {self.name}>"

    @property
    def types(self) -> Iterator[Message | EnumType]:
        """Everything that has numbers."""
        yield from self.messages
        yield from self.enums

    @property
    def file(self) -> str:
        """The path of its file below the root of the contract."""
        return f"{self.name.replace('.', '/')}/{self.name.rsplit('.', 2)[-2]}.proto"

    def path(self, method: Method) -> str:
        """Return the path that the method is called under."""
        return f"/{self.name}.{self.service}/{method.name}"


def constant_prefix(enum_name: str) -> str:
    """Return what the constants of an enum start with: their names are not scoped by the enum."""
    return f"{snake(enum_name).upper()}_"
