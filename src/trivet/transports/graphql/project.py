"""Units in Python source: projecting a batch of values is straight-line code made for one selection.

What it makes are objects of classes with exactly the members that were asked for, so that one pass of msgspec writes
them. It checks what types promise (no ``null``, integers within their range, finite numbers) and raises at the first
thing that is not so; `complete` then does the batch again, exactly and slowly, and says where and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from trivet.contracts.graphql.schema import global_id
from trivet.contracts.graphql.types import EnumType, Ref, ScalarType
from trivet.core.page import CursorPage, Page
from trivet.core.value import MAX_SAFE_INTEGER
from trivet.transports.graphql.plan import Branch, Entry, Selection, Unit


class Unfit(Exception):
    """A value is not what its type says."""


INT_MAX = 2**31 - 1
RANGES = {"Int": (-INT_MAX - 1, INT_MAX), "Long": (-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)}


def edges_of(page: Page[Any]) -> list[tuple[str | None, Any]]:
    """Return the items of a page beside their cursors; where only the page has one, its last item has it."""
    return list(zip(cursors_of(page), page.items, strict=True))


def cursors_of(page: Page[Any]) -> Sequence[str | None]:
    """Return the cursor of each item, as far as there is one."""
    if isinstance(page, CursorPage) and len(page.cursors) == len(page.items):
        return page.cursors
    cursors: list[str | None] = [None] * len(page.items)
    if cursors:
        cursors[-1] = page.next_page_token
    return cursors


def start_of(page: Page[Any]) -> str | None:
    """Return the cursor of the first item."""
    return cursors_of(page)[0] if page.items else None


def end_of(page: Page[Any]) -> str | None:
    """Return the cursor of the last item."""
    if isinstance(page, CursorPage) and page.cursors:
        return page.cursors[-1]
    return page.next_page_token


def present(value: Any) -> Any:
    """Return a value, ``None`` for one that was left out."""
    return None if value is msgspec.UNSET else value


READERS: dict[str, Any] = {
    "edges_of": edges_of,
    "start_of": start_of,
    "end_of": end_of,
    "present": present,
    "global_id": global_id,
}
"""What the expressions of fields may use."""


@cache
def getter_of(read: str) -> Callable[[Any, bool], Any]:
    """Return the expression of a field as a function of an object and of whether its page was resumed."""
    getter: Callable[[Any, bool], Any] = eval(  # noqa: S307 - written by `contracts.graphql.read`, of names of fields
        f"lambda o, resumed: {read.format(o='o')}", dict(READERS)
    )
    return getter


def output_class(keys: Sequence[str], followed: bool) -> Any:
    """Return a class whose objects are written with these members.

    Args:
        keys: The names of the members.
        followed: Whether members are filled later; objects of other classes are never changed.
    """
    return msgspec.defstruct(
        "Output",
        [(f"f{number}", Any) for number in range(len(keys))],
        rename={f"f{number}": key for number, key in enumerate(keys)},
        frozen=not followed,
        eq=False,
        gc=False,  # a tree without cycles: the collector need not look at it
    )


def is_whole(cls: Any, entries: Sequence[Entry]) -> bool:
    """Whether objects of a class are written as their outputs would be, so that they need none.

    Everything that they hold is selected, in their order and under their names, and nothing of it is changed on the
    way. That is how small shapes (an amount of money, an address) are mostly asked for.
    """
    if not isinstance(cls, type) or not issubclass(cls, msgspec.Struct):
        return False
    config = cls.__struct_config__
    if not config.frozen or config.tag is not None or config.omit_defaults or config.array_like:
        return False
    return cls.__struct_encode_fields__ == tuple(entry.key for entry in entries) and all(
        entry.field is not None and entry.field.read == f"{{o}}.{name}" and stays(entry)
        for name, entry in zip(cls.__struct_fields__, entries, strict=True)
    )


def stays(entry: Entry) -> bool:
    """Whether a member is written as it is read, or is an object that is."""
    if entry.selection is None:
        return passes(entry.type.of if entry.type.many else entry.type) or is_number(entry.type)
    return not entry.type.many and whole_of(entry.selection) is not None


def whole_of(selection: Selection | None) -> Branch | None:
    """Return the only branch of a selection if its objects are written as they are."""
    if selection is None or selection.abstract:
        return None
    return selection.branches[0] if selection.branches[0].whole else None


def write(unit: Unit) -> None:
    """Give a unit its function."""
    writer = _Writer(unit)
    unit.source = writer.source
    exec(compile(writer.source, "<plan>", "exec"), writer.namespace)  # noqa: S102 - no text of a client is in it
    unit.project = writer.namespace["project"]


class _Writer:
    """Writes the function of one unit.

    Everything that a client wrote (aliases, names of types) is in the classes or in the namespace, never in the source.
    """

    def __init__(self, unit: Unit) -> None:
        self.namespace: dict[str, Any] = {"type": type, "LISTS": LISTS}
        self._lines: list[str] = []
        self._indent = 1
        self._names = 0
        self._edges = {id(step): number for number, step in enumerate(unit.edges)}
        self._constants: dict[int, str] = {}
        for number in range(len(unit.edges)):
            self._line(f"edge{number} = edges[{number}].append")
        self._line("for (_, target), v in zip(pairs, values):")
        self._indent += 1
        self._line(f"target.{unit.attribute} = {self._value(unit.type, 'v', unit.selection)}")
        known = ", ".join(f"{name}={name}" for name in self.namespace)  # locals are found sooner than globals
        self.namespace |= {"Unfit": Unfit, **READERS}
        self.source = "\n".join([f"def project(pairs, values, resumed, edges, {known}):", *self._lines]) + "\n"

    def _line(self, text: str) -> None:
        self._lines.append("    " * self._indent + text)

    def _name(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def _constant(self, value: Any) -> str:
        name = self._constants.setdefault(id(value), f"c{len(self._constants)}")
        self.namespace[name] = value
        return name

    def _value(self, ref: Ref, value: str, selection: Selection | None) -> str:
        """Write what turns a value into its output, and return the expression of that."""
        if ref.required:
            if not notices_none(ref, selection):
                self._line(f"if {value} is None: raise Unfit")
            return self._present(ref, value, selection)
        if passes(ref):
            return value
        out = self._name()
        self._line(f"if {value} is None: {out} = None")
        self._line("else:")
        self._indent += 1
        self._line(f"{out} = {self._present(ref, value, selection)}")
        self._indent -= 1
        return out

    def _present(self, ref: Ref, value: str, selection: Selection | None) -> str:
        if ref.many:
            return self._list(ref.of, value, selection)
        if selection is None:
            return self._leaf(ref, value)
        if not selection.abstract:
            return self._object(selection.branches[0], value)
        out, kind = self._name(), self._name()
        self._line(f"{kind} = type({value})")
        for number, branch in enumerate(selection.branches):
            self._line(f"{'elif' if number else 'if'} {kind} is {self._constant(branch.cls)}:")
            self._indent += 1
            self._line(f"{out} = {self._object(branch, value)}")
            self._indent -= 1
        self._line("else: raise Unfit")
        return out

    def _list(self, item: Ref, value: str, selection: Selection | None) -> str:
        if passes(item):
            self._line(f"if type({value}) not in LISTS{f' or None in {value}' if item.required else ''}: raise Unfit")
            return value
        out, each = self._name(), self._name()
        self._line(f"if type({value}) not in LISTS: raise Unfit")
        whole = whole_of(selection)
        if whole is None or item.many:
            self._items(item, each, value, selection, out)
            return out
        self._line(f"for {each} in {value}:")
        self._indent += 1
        self._line(f"if {self._holds(item, each, selection)}: continue")
        self._items(item, each, value, selection, out)
        self._line("break")
        self._indent -= 1
        self._line(f"else: {out} = list({value})")
        return out

    def _items(self, item: Ref, each: str, value: str, selection: Selection | None, out: str) -> None:
        """Write what turns each item of a list into its output."""
        self._line(f"{out} = []")
        self._line(f"for {each} in {value}:")
        self._indent += 1
        self._line(f"{out}.append({self._value(item, each, selection)})")
        self._indent -= 1

    def _leaf(self, ref: Ref, value: str) -> str:
        kind = ref.of
        if isinstance(kind, EnumType):
            self._line(f"if type({value}) is not {self._constant(kind.cls)}: raise Unfit")
            name = f"{value}._name_"
            same = all(member == shown for member, shown in kind.values.items())
            return name if same else f"{self._constant(kind.values)}[{name}]"
        if kind.name in RANGES:
            low, high = RANGES[kind.name]
            exact = f"not {low} <= {value} <= {high}"
            # nearly all are small, and those are compared at a third of the price
            self._line(f"if not -{SMALL} <= {value} <= {SMALL} and {exact}: raise Unfit")
        elif kind.name == "Float":
            self._line(f"if {value} - {value} != 0: raise Unfit")  # of infinities and what is no number, this is none
        return value

    def _object(self, branch: Branch, value: str) -> str:
        if not branch.whole:
            return self._made(branch, value)
        out = self._name()
        self._line(f"if {self._stands(branch, value, value)}: {out} = {value}")
        self._line("else:")
        self._indent += 1
        self._line(f"{out} = {self._made(branch, value)}")
        self._indent -= 1
        return out

    def _made(self, branch: Branch, value: str) -> str:
        members: list[str] = []
        followed: list[Entry] = []
        for entry in branch.entries:
            if entry.field is None:
                members.append(self._constant(branch.name))
            elif entry.edge is not None:
                members.append("None")
                followed.append(entry)
            else:
                assert entry.field.read is not None
                name = self._name()
                self._line(f"{name} = {entry.field.read.format(o=value)}")
                members.append(self._value(entry.type, name, entry.selection))
        made = f"{self._constant(branch.output)}({', '.join(members)})"
        if not followed:
            return made
        out = self._name()
        self._line(f"{out} = {made}")
        for entry in followed:
            self._line(f"edge{self._edges[id(entry.edge)]}(({value}, {out}))")
        return out

    # -- what is written as it is

    def _stands(self, branch: Branch, first: str, value: str) -> str:
        """Return the condition under which an object of a whole branch is written as it is.

        Args:
            branch: What is selected from it.
            first: The object where it is asked about first, which may give it its name.
            value: Its name.
        """
        conditions = [f"type({first}) is {self._constant(branch.cls)}"]
        for entry in branch.entries:
            assert entry.field is not None
            assert entry.field.read is not None
            conditions.append(self._holds(entry.type, entry.field.read.format(o=value), entry.selection))
        return " and ".join(filter(None, conditions))

    def _holds(self, ref: Ref, read: str, selection: Selection | None) -> str:
        """Return the condition under which a value is as its type says and is written as it is; empty if always."""
        if selection is None and passes(ref):
            return f"{read} is not None" if ref.required else ""
        name = read if read.isidentifier() else self._name()
        named = read if name == read else f"({name} := {read})"
        first = named if ref.required else name  # or else it has its name already
        whole = whole_of(selection)
        if whole is not None:
            condition = self._stands(whole, first, name)
        elif ref.many:
            condition = f"type({first}) in LISTS" + (f" and None not in {name}" if ref.of.required else "")
        elif ref.of.name == "Float":
            condition = f"{first} - {name} == 0"
        else:
            low, high = RANGES[ref.of.name]
            condition = f"(-{SMALL} <= {first} <= {SMALL} or {low} <= {name} <= {high})"
        return condition if ref.required else f"({named} is None or {condition})"


LISTS = frozenset({list, tuple, set, frozenset})

SMALL = 2**30 - 1
"""The largest integer of one digit, as CPython counts."""


def notices_none(ref: Ref, selection: Selection | None) -> bool:
    """Whether what is written for a value that is there raises for ``None`` by itself."""
    if ref.many:
        return True
    if selection is None:
        return isinstance(ref.of, EnumType) or is_number(ref)
    if selection.abstract:
        return True
    entries = selection.branches[0].entries
    return any(entry.field is not None and (entry.field.read or "").startswith("{o}.") for entry in entries)


def is_number(ref: Ref) -> bool:
    """Whether a leaf is a number, which has bounds."""
    return not ref.many and (ref.of.name in RANGES or ref.of.name == "Float")


def passes(ref: Ref) -> bool:
    """Whether a leaf is written as it is, ``None`` included."""
    return not ref.many and isinstance(ref.of, ScalarType) and not is_number(ref)
