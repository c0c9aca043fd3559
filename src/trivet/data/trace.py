"""Tracing: a rule or a listing is a plain function, run once, when the app is built, with stand-ins that record it.

``lambda who, p: (p.owner == who.subject) | who.has("staff")`` becomes a tree (`trivet.data.expression`), which is
compiled to SQL and to a Python predicate. What a function may use:

- comparisons ``== != < <= > >=`` between a field and a value; nested fields such as ``p.price.amount``;
- ``&``, ``|``, `not_`, `one_of`, `contains`, `starts_with`;
- of the caller ``subject``, ``tenant``, ``client_id``, ``anonymous``, ``has(role)``, ``may(scope)``, ``roles``,
  ``scopes``, ``attributes.get(name)`` and ``attributes[name]`` (``None`` where it is missing);
- constants and variables from around it, as they are when the app is built.

``and``, ``or``, ``not``, ``in``, ``a < b < c`` and f-strings ask a value whether it is true or what it looks like. A
stand-in can not know, and refuses; nothing is ever silently false.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, TypeVar

from trivet.core.principal import Principal
from trivet.data.columns import ORDERED, Kind
from trivet.data.expression import (
    Always,
    Argument,
    Claim,
    Compare,
    Comparison,
    Constant,
    Contains,
    Field,
    Node,
    OneOf,
    StartsWith,
    Truth,
    all_of,
    any_of,
    is_one_of,
    negated,
    text_contains,
    text_starts_with,
)
from trivet.data.mapping import Column, Path

V = TypeVar("V")


class TraceError(Exception):
    """A rule or a listing uses what can not be traced; `mend` says what to write instead."""

    def __init__(self, problem: str, mend: str) -> None:
        self.mend = mend
        super().__init__(problem)


# -- what rules are written with


def PUBLIC(principal: Principal, row: Any, /) -> bool:
    """Everybody may, whatever the row: ``readable=PUBLIC``."""
    return True


def not_(condition: bool, /) -> bool:
    """Return the negation of a condition: ``not`` for rules and listings."""
    if isinstance(condition, Traced):
        return _stand_in(negated(condition_of(condition)))
    return not condition


def one_of(value: V, options: Collection[V], /) -> bool:
    """Whether the value is one of the options: ``in`` for rules and listings; ``None`` never is."""
    if isinstance(value, Traced) or isinstance(options, Traced):
        traced: bool = _stand_in(_one_of(operand_of(value), operand_of(options)))
        return traced
    return is_one_of(value, options)


def contains(text: str | None, part: str | None, /) -> bool:
    """Whether the text contains the part, where A to Z and a to z are the same, and every other character is itself.

    Every text contains the empty one; ``None`` contains nothing and is contained nowhere.
    """
    if isinstance(text, Traced) or isinstance(part, Traced):
        return _stand_in(_text(Contains, "contains", text, part))
    return text_contains(text, part)


def starts_with(text: str | None, prefix: str | None, /) -> bool:
    """Whether the text starts with exactly this; ``None`` starts with nothing."""
    if isinstance(text, Traced) or isinstance(prefix, Traced):
        return _stand_in(_text(StartsWith, "starts_with", text, prefix))
    return text_starts_with(text, prefix)


# -- stand-ins


def _stand_in(node: Node) -> Any:
    """Return what stands for a bool while a function is traced."""
    return Condition(node)


class Traced:
    """Stands for a value that only a request will know."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # `in` a set or a dict would ask for it and find nothing

    def __and__(self, other: object) -> Condition:
        return Condition(all_of(condition_of(self), condition_of(other)))

    def __or__(self, other: object) -> Condition:
        return Condition(any_of(condition_of(self), condition_of(other)))

    __rand__ = __and__
    __ror__ = __or__

    def __bool__(self) -> NoReturn:
        raise TraceError(
            "`and`, `or`, `not`, `in`, `if` and chained comparisons ask for a truth that only a request knows",
            "Write (a) & (b), (a) | (b), not_(a), one_of(value, options), (low <= x) & (x < high).",
        )

    def __invert__(self) -> NoReturn:
        raise TraceError("`~` is wrong on Python's booleans: ~True is -2", "Write not_(condition).")

    def __contains__(self, item: object) -> NoReturn:
        raise TraceError("`in` can not be traced", "Write contains(text, part) or one_of(value, options).")

    def _text(self, *_: object) -> NoReturn:
        raise TraceError("a traced value has no text: only a request knows it", "Compare it instead of formatting it.")

    def _arithmetic(self, *_: object) -> NoReturn:
        raise TraceError(
            "arithmetic can not be traced", "Compute the value before it is passed, or keep it as a field."
        )

    def _sequence(self, *_: object) -> NoReturn:
        raise TraceError("a traced value has no items", "Use one_of(value, options) or contains(text, part).")

    __str__ = __format__ = _text
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __mod__ = __neg__ = _arithmetic
    __iter__ = __len__ = __getitem__ = _sequence


class Condition(Traced):
    """Stands for a condition."""

    __slots__ = ()

    def _compared(self, other: object) -> NoReturn:
        raise TraceError("a condition is compared with something", "Use it as it is, or write not_(condition).")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _compared


class Operand(Traced):
    """Stands for a value that can be compared."""

    __slots__ = ()

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # records instead of answering
        return self._compare("==", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # records instead of answering
        return self._compare("!=", other)

    def __lt__(self, other: object) -> Condition:
        return self._compare("<", other)

    def __le__(self, other: object) -> Condition:
        return self._compare("<=", other)

    def __gt__(self, other: object) -> Condition:
        return self._compare(">", other)

    def __ge__(self, other: object) -> Condition:
        return self._compare(">=", other)

    __hash__ = None

    def _compare(self, op: Comparison, other: object) -> Condition:
        return Condition(_comparison(op, self._node, operand_of(other)))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise TraceError(
            f"{_title(self._node)}.{name}: a value's own methods and attributes can not be traced",
            "Use contains(text, part), starts_with(text, prefix) or a comparison.",
        )


class Record(Traced):
    """Stands for the row, or for a nested shape in it.

    Args:
        name: What messages call it.
        columns: All columns of the shape.
        path: Where in the row it stands.
    """

    __slots__ = ("_columns", "_name", "_path")

    def __init__(self, name: str, columns: Sequence[Column], path: Path = ()) -> None:
        super().__init__(Constant(None))
        self._name = name
        self._columns = columns
        self._path = path

    def __getattr__(self, name: str) -> Any:
        path = (*self._path, name)
        for column in self._columns:
            if column.path == path:
                return Operand(Field(column))
        if any(column.path[: len(path)] == path for column in self._columns):
            return Record(f"{self._name}.{name}", self._columns, path)
        if name.startswith("__"):
            raise AttributeError(name)
        known = sorted({c.path[len(path) - 1] for c in self._columns if c.path[: len(path) - 1] == self._path})
        raise TraceError(f"{self._name} has no stored field {name!r}", f"It has {', '.join(known)}.")

    def _whole(self, other: object) -> NoReturn:
        raise TraceError(f"{self._name} is compared as a whole", "Compare its fields.")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _whole


class Attributes:
    """Stands for the further claims about the caller."""

    def get(self, name: str, default: None = None) -> Operand:
        """Return the claim; ``None`` where it is missing."""
        if default is not None:
            raise TraceError("attributes.get with a default can not be traced", "Compare with None instead.")
        return Operand(Claim(f"attributes.{name}", lambda who: who.attributes.get(name), nullable=True))

    def __getitem__(self, name: str) -> Operand:
        return self.get(name)


class Caller:
    """Stands for the principal."""

    attributes = Attributes()
    subject = Operand(Claim("subject", lambda who: who.subject))
    tenant = Operand(Claim("tenant", lambda who: who.tenant, nullable=True))
    client_id = Operand(Claim("client_id", lambda who: who.client_id, nullable=True))
    roles = Operand(Claim("roles", lambda who: sorted(who.roles)))
    scopes = Operand(Claim("scopes", lambda who: sorted(who.scopes)))
    anonymous = Condition(Truth(Claim("anonymous", lambda who: who.anonymous)))

    def has(self, role: str) -> Condition:
        """Whether the caller has the role."""
        return Condition(Truth(Claim(f"has {role}", lambda who: who.has(role))))

    def may(self, scope: str) -> Condition:
        """Whether the caller's credential carries the scope."""
        return Condition(Truth(Claim(f"may {scope}", lambda who: who.may(scope))))

    def __getattr__(self, name: str) -> NoReturn:
        raise TraceError(f"the caller has no {name!r} that a rule can use", "See trivet.data.trace for what it has.")


# -- from stand-ins to trees


def condition_of(value: object) -> Node:
    """Return what a function returned, or combined with ``&`` and ``|``, as a condition.

    Raises:
        TraceError: It is none.
    """
    if isinstance(value, Condition):
        return value._node
    if isinstance(value, bool):
        return Always(value)
    if isinstance(value, Operand):
        node = value._node
        if isinstance(node, Field) and node.column.value.kind is Kind.BOOLEAN:
            return Truth(node)
        raise TraceError(f"{_title(node)} is not a condition", "Compare it with something.")
    raise TraceError(f"{value!r} is not a condition", "Put comparisons in parentheses: (a == b) & (c < d).")


def operand_of(value: object) -> Node:
    """Return a stand-in or a plain value as an operand.

    Raises:
        TraceError: It is a condition or a whole shape.
    """
    if isinstance(value, Operand):
        return value._node
    if isinstance(value, Condition):
        raise TraceError("a condition is used as a value", "Put comparisons in parentheses: (a == b) & (c < d).")
    if isinstance(value, Record):
        raise TraceError(f"{value._name} is compared as a whole", "Compare its fields.")
    return Constant(value)


def _title(node: Node) -> str:
    match node:
        case Field(column):
            return ".".join(column.path)
        case Argument(_, name) | Claim(name):
            return name
        case _:
            return "the value"


def _comparison(op: Comparison, left: Node, right: Node) -> Node:
    fields = [side.column.value for side in (left, right) if isinstance(side, Field)]
    for side, other in ((left, right), (right, left)):
        if isinstance(side, Argument) and not isinstance(other, Field):
            raise TraceError(f"argument {side.name} is compared with something that is no field", "Compare a field.")
    for value in fields:
        if value.kind is Kind.JSON and not (op in ("==", "!=") and Constant(None) in (left, right)):
            raise TraceError(
                f"{_title(left)} is kept as JSON", "Compare it with None, or keep what you need as a field."
            )
        if op not in ("==", "!=") and value.members is not None:
            raise TraceError(f"{_title(left)} {op} …: members of an enumeration have no order", "Use one_of(…).")
        if op not in ("==", "!=") and value.kind is Kind.BOOLEAN:
            raise TraceError(f"{_title(left)} {op} …: booleans have no order", "Use ==.")
    if len(fields) == 2 and (fields[0].kind, fields[0].digits) != (fields[1].kind, fields[1].digits):
        raise TraceError(f"{_title(left)} and {_title(right)} are of different types", "Compare like with like.")
    return Compare(op, left, right)


def _one_of(value: Node, options: Node) -> Node:
    if isinstance(options, Constant):
        if isinstance(options.value, str) or not isinstance(options.value, Collection):
            raise TraceError("the options of one_of are no collection", "Pass a list, a tuple or a set.")
        if any(isinstance(each, Traced) for each in options.value):
            raise TraceError("the options of one_of hold a traced value", "Compare that with ==, joined by |.")
        options = Constant(tuple(each for each in options.value if each is not None))
    elif isinstance(options, Field) or not isinstance(value, Field | Claim):
        raise TraceError("one_of takes a field and options that are known", "Write one_of(p.status, statuses).")
    if isinstance(value, Field) and value.column.value.kind not in ORDERED:
        raise TraceError(f"one_of({_title(value)}, …): {value.column.value.kind.value} does not work here", "Use ==.")
    return OneOf(value, options)


def _text(node: type[Contains] | type[StartsWith], name: str, text: object, part: object) -> Node:
    left, right = operand_of(text), operand_of(part)
    if not isinstance(left, Field) or left.column.value.kind is not Kind.TEXT or left.column.value.members is not None:
        raise TraceError(f"{name} looks into a field that holds text", f"Write {name}(p.name, part).")
    if isinstance(right, Field) or (isinstance(right, Constant) and not isinstance(right.value, str)):
        raise TraceError(f"{name} looks for a value, not for a field", f"Write {name}(p.name, part).")
    return node(left, right)


def trace_rule(rule: Callable[..., bool], name: str, columns: Sequence[Column]) -> Node:
    """Return what a rule over (principal, row) says.

    Raises:
        TraceError: It can not be traced.
    """
    return _traced(rule, Caller(), Record(name, columns))


def trace_listing(
    listing: Callable[..., bool], name: str, columns: Sequence[Column], arguments: Sequence[Argument]
) -> Node:
    """Return what a listing over (row, *arguments) says.

    Raises:
        TraceError: It can not be traced.
    """
    return _traced(listing, Record(name, columns), **{each.name: Operand(each) for each in arguments})


def _traced(function: Callable[..., bool], *positional: Any, **named: Any) -> Node:
    try:
        return condition_of(function(*positional, **named))
    except TraceError:
        raise
    except Exception as error:
        raise TraceError(
            f"running it with stand-ins failed: {type(error).__name__}: {error}",
            "Use comparisons, &, |, not_, one_of, contains and starts_with; see trivet.data.trace.",
        ) from error


def trace_paths(function: Callable[[Any], Any], name: str, columns: Sequence[Column]) -> list[Column]:
    """Return the fields that a function such as ``lambda p: p.id`` names.

    Raises:
        TraceError: It returns something else.
    """
    try:
        result = function(Record(name, columns))
    except TraceError:
        raise
    except Exception as error:
        raise TraceError(
            f"running it with a stand-in failed: {error}", "Return a field or a tuple of fields."
        ) from error
    found: list[Column] = []
    for each in result if isinstance(result, tuple) else (result,):
        node = each._node if isinstance(each, Operand) else None
        if not isinstance(node, Field):
            raise TraceError("it does not return fields", "Return a field, or a tuple of fields.")
        found.append(node.column)
    return found
