"""Conditions as trees: what a rule or a listing says, before it is SQL or a Python predicate.

**Conditions have two values.** SQL's third, NULL, is kept out by what each node means:

- ``==`` and ``!=`` treat ``None`` as a value like any other; ``<``, ``<=``, ``>``, ``>=``, `one_of`, `contains` and
  `starts_with` are false as soon as a side is ``None``.
- Negations are pushed down to the leaves (`negated`), and each leaf knows what its negation is. Above the leaves only
  *and* and *or* remain, where a NULL that comes out of a leaf counts as false, as in Python.

Everything here is a pure function of trees; `predicate` is the meaning, and `where` has to agree with it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from trivet.core.principal import Principal
from trivet.data.mapping import Column, value_at

Comparison = Literal["==", "!=", "<", "<=", ">", ">="]
Predicate = Callable[[Principal, Any, Sequence[Any]], bool]
Reader = Callable[[Principal, Any, Sequence[Any]], Any]


class Node(msgspec.Struct, frozen=True):
    """A part of a condition."""


# -- operands


class Field(Node, frozen=True):
    """A field of the row."""

    column: Column

    def __hash__(self) -> int:
        return hash(self.column.name)  # an annotation need not be hashable


class Argument(Node, frozen=True):
    """An argument of a listing, by its position; `optional` ones drop their condition when they are ``None``."""

    index: int
    name: str
    annotation: Any
    optional: bool

    def __hash__(self) -> int:
        return hash(self.index)


class Constant(Node, frozen=True):
    """A value that was known when the app was built."""

    value: Any


class Claim(Node, frozen=True):
    """Something about the caller.

    Attributes:
        name: What it is; claims of one name are the same.
        read: Takes it from the principal.
        nullable: Whether it may be ``None``.
    """

    name: str
    read: Callable[[Principal], Any]
    nullable: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claim) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


# -- conditions


class Always(Node, frozen=True):
    """True or false, whatever the row."""

    value: bool


class And(Node, frozen=True):
    """All of them."""

    items: tuple[Node, ...]


class Or(Node, frozen=True):
    """At least one of them."""

    items: tuple[Node, ...]


class Not(Node, frozen=True):
    """Not this leaf."""

    leaf: Node


class Truth(Node, frozen=True):
    """A boolean that is true; ``None`` is not."""

    operand: Node


class Compare(Node, frozen=True):
    """A comparison of two operands."""

    op: Comparison
    left: Node
    right: Node


class OneOf(Node, frozen=True):
    """Whether the value is one of the options; ``None`` never is."""

    value: Node
    options: Node


class Contains(Node, frozen=True):
    """Whether the text contains the part, where A to Z and a to z are the same and nothing else is."""

    text: Node
    part: Node


class StartsWith(Node, frozen=True):
    """Whether the text starts with exactly this."""

    text: Node
    prefix: Node


TRUE = Always(True)
FALSE = Always(False)


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below."""
    match node:
        case And(items) | Or(items):
            return items
        case Not(leaf):
            return (leaf,)
        case Truth(operand):
            return (operand,)
        case Compare(_, left, right) | OneOf(left, right) | Contains(left, right) | StartsWith(left, right):
            return (left, right)
        case _:
            return ()


def leaves(node: Node) -> Iterator[Node]:
    """Yield every operand in the tree."""
    below = children(node)
    if not below:
        yield node
    for child in below:
        yield from leaves(child)


# -- transformations


def all_of(*items: Node) -> Node:
    """Return the conjunction, flattened and without what is always true."""
    return _join(And, items, neutral=TRUE, absorbing=FALSE)


def any_of(*items: Node) -> Node:
    """Return the disjunction, flattened and without what is always false."""
    return _join(Or, items, neutral=FALSE, absorbing=TRUE)


def _join(kind: type[And] | type[Or], items: tuple[Node, ...], *, neutral: Node, absorbing: Node) -> Node:
    flat: list[Node] = []
    for item in items:
        for part in item.items if isinstance(item, kind) else (item,):
            if part == absorbing:
                return absorbing
            if part != neutral:
                flat.append(part)
    if not flat:
        return neutral
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def negated(node: Node) -> Node:
    """Return the negation, pushed down to the leaves."""
    match node:
        case Always(value):
            return Always(not value)
        case And(items):
            return any_of(*(negated(item) for item in items))
        case Or(items):
            return all_of(*(negated(item) for item in items))
        case Not(leaf):
            return leaf
        case Compare("==", left, right):
            return Compare("!=", left, right)
        case Compare("!=", left, right):
            return Compare("==", left, right)
        case _:
            return Not(node)


def without(node: Node, absent: Collection[int]) -> Node | None:
    """Return the condition without every leaf that uses an absent argument; ``None`` where nothing is left."""
    match node:
        case And(items) | Or(items):
            kept = [part for part in (without(item, absent) for item in items) if part is not None]
            if not kept:
                return None
            return all_of(*kept) if isinstance(node, And) else any_of(*kept)
        case _:
            used = any(isinstance(leaf, Argument) and leaf.index in absent for leaf in leaves(node))
            return None if used else node


def about_caller(node: Node) -> bool:
    """Whether the condition depends on the caller alone, so that it is known before the row is."""
    operands = list(leaves(node))
    return any(isinstance(leaf, Claim) for leaf in operands) and not any(
        isinstance(leaf, Field | Argument) for leaf in operands
    )


def caller_conditions(node: Node) -> list[Node]:
    """Return the distinct largest parts that depend on the caller alone, in the order in which they appear."""
    if about_caller(node):
        return [node]
    found: dict[Node, None] = {}
    if isinstance(node, And | Or):
        for item in node.items:
            found.update(dict.fromkeys(caller_conditions(item)))
    return list(found)


def decided(node: Node, known: Mapping[Node, bool]) -> Node:
    """Return the condition with parts whose outcome is known put in and simplified away."""
    if node in known:
        return Always(known[node])
    match node:
        case And(items):
            return all_of(*(decided(item, known) for item in items))
        case Or(items):
            return any_of(*(decided(item, known) for item in items))
        case _:
            return node


def equalities(node: Node) -> list[tuple[Column, Node]]:
    """Return the fields that the condition, whatever else it says, compares for equality, and with what."""
    found: list[tuple[Column, Node]] = []
    for item in node.items if isinstance(node, And) else (node,):
        match item:
            case Compare("==", Field(column), other) | Compare("==", other, Field(column)) if not isinstance(
                other, Field
            ):
                found.append((column, other))
    return found


# -- the meaning


def predicate(node: Node) -> Predicate:
    """Return the condition as a function of the caller, the row and the arguments."""
    match node:
        case Always(value):
            return lambda who, row, arguments: value
        case And(items):
            every = [predicate(item) for item in items]
            return lambda who, row, arguments: all(each(who, row, arguments) for each in every)
        case Or(items):
            some = [predicate(item) for item in items]
            return lambda who, row, arguments: any(each(who, row, arguments) for each in some)
        case Not(leaf):
            positive = predicate(leaf)
            return lambda who, row, arguments: not positive(who, row, arguments)
        case Truth(operand):
            read = reader(operand)
            return lambda who, row, arguments: bool(read(who, row, arguments))
    left, right = (reader(child) for child in children(node))
    meaning = _compares[node.op] if isinstance(node, Compare) else _MEANINGS[type(node)]
    return lambda who, row, arguments: meaning(left(who, row, arguments), right(who, row, arguments))


def reader(node: Node) -> Reader:
    """Return an operand as a function of the caller, the row and the arguments."""
    match node:
        case Field(column):
            path = column.path
            return lambda who, row, arguments: value_at(row, path)
        case Argument(index):
            return lambda who, row, arguments: arguments[index]
        case Claim(_, read):
            return lambda who, row, arguments: read(who)
        case Constant(value):
            return lambda who, row, arguments: value
    raise AssertionError(node)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: left is not None and right is not None and compare(left, right)


_compares: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
}


def is_one_of(value: Any, options: Collection[Any]) -> bool:
    """Whether the value is among the options; ``None`` never is."""
    return value is not None and value in options


def text_contains(text: str | None, part: str | None) -> bool:
    """Whether the text contains the part, where A to Z and a to z are the same and nothing else is."""
    return text is not None and part is not None and folded(part) in folded(text)


def text_starts_with(text: str | None, prefix: str | None) -> bool:
    """Whether the text starts with exactly this."""
    return text is not None and prefix is not None and text.startswith(prefix)


_FOLDING = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def folded(text: str) -> str:
    """Return the text with A to Z as a to z, and every other character as it is."""
    return text.lower() if text.isascii() else text.translate(_FOLDING)


_MEANINGS: dict[type[Node], Callable[[Any, Any], bool]] = {
    OneOf: is_one_of,
    Contains: text_contains,
    StartsWith: text_starts_with,
}
