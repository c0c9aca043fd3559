"""Functions whose source is written by the program: one for each message, compiled when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trivet.contracts.proto.message import EnumType, Field, FieldType, Message, Scalar
from trivet.transports.rpc.pieces import FIXED64, LENGTH, VARINT


class Generated:
    """Makes one kind of function for messages; those of messages inside of each other call each other.

    Args:
        verb: What the functions do, which their names begin with.
        space: What their source can name besides; the functions are added to it.
    """

    def __init__(self, verb: str, space: dict[str, Any]) -> None:
        self.verb = verb
        self.space = space
        self._names: dict[int, str] = {}
        self._cyclic: dict[int, bool] = {}
        self._kept: list[Any] = []

    def function(self, message: Message) -> Any:
        """Return the function for a message."""
        name = self.name(message)
        if name not in self.space:
            source: list[str] = []
            for found in within(message, self.inner):
                if self.name(found) not in self.space:
                    source.extend(self.source(found))
            exec(compile("\n".join(source), f"<{name}>", "exec"), self.space)  # noqa: S102 - our own source, from identifiers and numbers
        return self.space[name]

    def source(self, message: Message) -> Iterable[str]:
        """Return the lines of the function for a message."""
        raise NotImplementedError

    def inner(self, message: Message) -> list[Message]:
        """Return the messages whose functions that of a message calls."""
        return inner(message)

    def name(self, message: Message) -> str:
        """Return the name of the function for a message."""
        return f"{self.verb}_{self.suffix(message)}"

    def suffix(self, thing: Message | EnumType) -> str:
        """Return what names of a message or an enum end with: it is that of no other."""
        name = self._names.get(id(thing))
        if name is None:
            name = self._names[id(thing)] = f"{thing.name}_{len(self._names)}"
            self._kept.append(thing)  # its id stays its own
        return name

    def table(self, prefix: str, enum: EnumType, content: Mapping[Any, Any]) -> str:
        """Return the name of a table about an enum."""
        name = f"{prefix}_{self.suffix(enum)}"
        self.space.setdefault(name, content)
        return name

    def recursive(self, message: Message) -> bool:
        """Whether a message can be inside itself."""
        known = self._cyclic.get(id(message))
        if known is None:
            known = any(message is found for each in inner(message) for found in within(each, inner))
            self._cyclic[id(message)] = known
            self._kept.append(message)
        return known


def inner(message: Message) -> list[Message]:
    """Return the messages that stand in the fields of a message."""
    return [field.type for field in message.fields if isinstance(field.type, Message)]


def within(message: Message, inner: Callable[[Message], list[Message]]) -> list[Message]:
    """Return a message and all that are reached from it, each once."""
    found: dict[int, Message] = {}
    waiting = [message]
    while waiting:
        current = waiting.pop()
        if id(current) not in found:
            found[id(current)] = current
            waiting.extend(inner(current))
    return list(found.values())


def wire_type(type_: FieldType) -> int:
    """Return how a value of a type is written."""
    if isinstance(type_, EnumType) or type_ in (Scalar.BOOL, Scalar.INT64):
        return VARINT
    return FIXED64 if type_ is Scalar.DOUBLE else LENGTH


def sized(field: Field) -> bool:
    """Whether all of a field stands behind its length, or each of its items does."""
    return not field.single or wire_type(field.type) == LENGTH
