"""Messages that every RPC client knows, and that no shape stands behind."""

from __future__ import annotations

from trivet.contracts.proto.message import EnumType, Field, Message


def message(name: str, *fields: Field) -> Message:
    """Return a message by its full name."""
    package, _, short = name.rpartition(".")
    made = Message(package, short)
    made.fields.extend(fields)
    return made


def enumeration(name: str, *constants: str) -> EnumType:
    """Return an enum whose plain values are the names of its constants, numbered from zero."""
    package, _, short = name.rpartition(".")
    made = EnumType(package, short, {constant: constant for constant in constants})
    made.numbers.update({constant: number for number, constant in enumerate(constants)})
    return made
