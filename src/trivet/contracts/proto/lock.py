"""The lock: the numbers of fields and constants, kept for ever in a file beside the app.

On the wire a field is its number and its type, so neither may ever mean something else. The lock remembers both, also
of what is gone: such numbers stay reserved. It is TOML with one number a line, sorted, so that it merges as text, and
two branches that gave out the same number conflict where it shows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trivet.contracts.proto.message import KEPT_FOR_PROTOBUF, MAX_NUMBER, EnumType, Message, Package
from trivet.core.fault import Fault, Place
from trivet.core.shape import Struct

NAME = "rpc.lock"
"""The file, beside the one that makes the app."""

HEAD = """\
# The numbers of fields and constants in the RPC contract, kept for ever: on the wire they are all there is.
# `trivet contract proto` adds to it. Keep it in version control, and merge it as text.
"""

MEND = "Run `trivet contract proto`, and commit what it changes."


class Entry(Struct):
    """One number that was given out.

    Attributes:
        number: On the wire.
        type: As `Field.spelled`; empty for a constant.
        reserved: Whether what it was for is gone.
    """

    number: int
    type: str = ""
    reserved: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.number), self.type, "reserved" if self.reserved else "")))


Entries = Mapping[str, Mapping[str, Entry]]
"""By the full name of the message or enum, then by the name of the field or constant."""


class LockError(ValueError):
    """The lock can not be read; the message says where and why."""


def read(path: Path) -> Entries | None:
    """Return what a lock holds, ``None`` where there is no such file.

    Raises:
        LockError: It is not what `written` wrote, or gives out a number twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as malformed:
        raise LockError(f"{path}: {malformed}") from malformed
    return {owner: _entries(path, owner, entries) for owner, entries in parsed.items()}


def _entries(path: Path, owner: str, entries: Any) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    by_number: dict[int, str] = {}
    for name, value in entries.items() if isinstance(entries, dict) else ():
        words = value.split() if isinstance(value, str) else []
        if not words or not words[0].isdigit():
            raise LockError(f"{path}: {owner}.{name} is {value!r}, not a number and a type")
        reserved = words[-1] == "reserved"
        entry = Entry(number=int(words[0]), type=" ".join(words[1 : -1 if reserved else None]), reserved=reserved)
        other = by_number.setdefault(entry.number, name)
        if other != name:
            raise LockError(f"{path}: {owner} gives number {entry.number} to {other} and to {name}")
        found[name] = entry
    return found


def written(entries: Entries) -> str:
    """Return the text of a lock: sections by name, lines by number."""
    sections = [HEAD]
    for owner in sorted(entries):
        lines = sorted(entries[owner].items(), key=lambda item: item[1].number)
        sections.append("\n".join([f'["{owner}"]', *(f'{name} = "{entry}"' for name, entry in lines)]) + "\n")
    return "\n".join(sections)


def assign(packages: Iterable[Package], entries: Entries | None, place: Place) -> tuple[list[Fault], list[Fault]]:
    """Give every field and constant its number: that of the lock, else the next one that was never used.

    Args:
        packages: Their messages and enums get their numbers and what they reserve.
        entries: The lock; ``None`` where there is none, then all are numbered in the order of declaration.
        place: Where the app is made.

    Returns:
        What contradicts the lock, which keeps the app from starting; and what the lock does not know yet.
    """
    wrong: list[Fault] = []
    drifted: list[Fault] = []
    present: set[str] = set()
    for package in packages:
        for owner in package.types:
            present.add(owner.full_name)
            kept = (entries or {}).get(owner.full_name, {})
            for name, problem in _number(owner, kept):
                (wrong if problem else drifted).append(
                    Fault(
                        rule="rpc-number",
                        place=place,
                        problem=f"{owner.full_name}.{name} {problem or f'has no number in {NAME}'}",
                        mend="Give what has another type another name." if problem else MEND,
                    )
                )
            gone = [name for name in owner.reserved if not kept[name].reserved]
            drifted += [_gone(place, f"{owner.full_name}.{name}") for name in gone]
    for owner_name in sorted(set(entries or ()) - present):
        if any(not entry.reserved for entry in (entries or {})[owner_name].values()):
            drifted.append(_gone(place, owner_name))
    return wrong, drifted if entries is not None else []


def _gone(place: Place, what: str) -> Fault:
    return Fault(rule="rpc-number", place=place, problem=f"{what} is gone, and not yet reserved in {NAME}", mend=MEND)


def _number(owner: Message | EnumType, kept: Mapping[str, Entry]) -> list[tuple[str, str]]:
    """Number one message or enum, and return what the lock does not know, and what it says differently."""
    odd: list[tuple[str, str]] = []
    used = {entry.number for entry in kept.values()}
    following = max(used, default=0 if isinstance(owner, Message) else -1)
    wanted = dict(named(owner))
    for name, type_ in wanted.items():
        entry = kept.get(name)
        if entry is not None and entry.type != type_:
            odd.append((name, f"is {type_}, but was {entry.type}"))
        if entry is not None:
            number = entry.number
        else:
            odd.append((name, ""))
            following += 1
            if following in KEPT_FOR_PROTOBUF:
                following = KEPT_FOR_PROTOBUF.stop
            number = following
        _give(owner, name, number)
    owner.reserved = {name: entry.number for name, entry in kept.items() if name not in wanted}
    return odd


def named(owner: Message | EnumType) -> list[tuple[str, str]]:
    """Return the names of a message's fields with their types, or of an enum's constants, the first one zero."""
    if isinstance(owner, Message):
        return [(field.name, field.spelled) for field in owner.fields]
    return [(name, "") for name in (owner.zero, *owner.values)]


def _give(owner: Message | EnumType, name: str, number: int) -> None:
    assert number <= MAX_NUMBER  # no lock of ours gave out that many
    if isinstance(owner, EnumType):
        owner.numbers[name] = number
        return
    field = next(field for field in owner.fields if field.name == name)
    field.number = number


def merged(packages: Iterable[Package], entries: Entries | None) -> Entries:
    """Return the lock with the numbers that packages have now; what is gone stays, reserved."""
    found: dict[str, dict[str, Entry]] = {
        owner: {name: Entry(number=e.number, type=e.type, reserved=True) for name, e in kept.items()}
        for owner, kept in (entries or {}).items()
    }
    for package in packages:
        for owner in package.types:
            kept = found.setdefault(owner.full_name, {})
            for name, type_ in named(owner):
                kept[name] = Entry(number=number_of(owner, name), type=type_)
    return found


def number_of(owner: Message | EnumType, name: str) -> int:
    """Return the number of a field or a constant."""
    if isinstance(owner, EnumType):
        return owner.numbers[name]
    return next(field.number for field in owner.fields if field.name == name)
