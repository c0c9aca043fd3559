"""From a request to the arguments of an operation, strictly, with everything that is wrong said at once.

What can be decided about an operation's inputs is decided once, when the app is built; the common shapes (an id in the
path, a JSON body) run through a handful of statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trivet.contracts.body import Body, body_of
from trivet.contracts.model import ApiOperation
from trivet.contracts.result import without_none
from trivet.contracts.subject import is_page_request, item_of
from trivet.core.checks import MAX_VIOLATIONS
from trivet.core.decode import Decoder, patched_shape
from trivet.core.error import InvalidArgument, Violation
from trivet.core.page import PageRequest
from trivet.core.patch import patch_of
from trivet.core.signature import Parameter
from trivet.transports.rest.exchange import RestCall
from trivet.transports.rest.query import words_of
from trivet.transports.rest.words import Read, Unreadable, reader_of

Arguments = dict[str, Any]
Bind = Callable[[RestCall], Arguments]

PAGE_FIELDS = {field.encode_name: reader_of(field.type) for field in msgspec.structs.fields(PageRequest)}


class Slot:
    """A query parameter as it is read.

    Args:
        name: The parameter.
        read: Reads one word.
        required: Whether it must be there.
        collect: Makes the value of the words read, where it may be repeated.
    """

    __slots__ = ("collect", "name", "read", "required")

    def __init__(
        self, name: str, read: Read, required: bool = False, collect: Callable[[list[Any]], Any] | None = None
    ) -> None:
        self.name = name
        self.read = read
        self.required = required
        self.collect = collect


class Head:
    """Binds what the head of a request says: its path and its query.

    Args:
        op: The operation.
        extra: Further query parameters that the transport takes itself.
    """

    def __init__(self, op: ApiOperation, extra: Sequence[Slot] = ()) -> None:
        self._path = [(p.name, reader_of(p.type)) for p in op.parameters(op.face.path_parameters)]
        self._slots: dict[str, Slot] = {}
        self._page: Parameter | None = None
        for parameter in op.parameters(op.face.query_parameters):
            if is_page_request(parameter.type):
                self._page = parameter
                self._slots.update({name: Slot(name, read) for name, read in PAGE_FIELDS.items()})
            else:
                self._slots[parameter.name] = slot_of(parameter)
        self._extra = frozenset(slot.name for slot in extra)
        self._slots.update({slot.name: slot for slot in extra})
        self._required = [slot.name for slot in self._slots.values() if slot.required]

    def fast(self) -> Bind | None:
        """Return a shorter way for operations with nothing but one parameter in the path, `None` for others."""
        if len(self._path) != 1 or self._required or self._page is not None:
            return None
        name, read = self._path[0]
        slowly = self.bind

        def bind(call: RestCall) -> Arguments:
            if call.query:
                return slowly(call)
            try:
                return {name: read(call.values[0])}
            except Unreadable as unreadable:
                raise InvalidArgument(violations=(_violation(name, unreadable),)) from unreadable

        return bind

    def bind(self, call: RestCall) -> Arguments:
        """Return the arguments.

        Raises:
            InvalidArgument: With everything that is wrong.
        """
        violations: list[Violation] = []
        arguments = self.collect(call, violations)
        if violations:
            raise InvalidArgument(violations=tuple(violations))
        return arguments

    def collect(self, call: RestCall, violations: list[Violation]) -> Arguments:
        """Return the arguments that can be read, and add what is wrong with the others."""
        arguments: Arguments = {}
        for (name, read), word in zip(self._path, call.values, strict=True):
            try:
                arguments[name] = read(word)
            except Unreadable as unreadable:
                violations.append(_violation(name, unreadable))
        if call.query:
            self._query(words_of(call.query), arguments, violations)
        elif self._required:
            violations.extend(_missing(name) for name in self._required)
        if self._page is not None:
            asked = {name: arguments.pop(name) for name in PAGE_FIELDS if name in arguments}
            if asked or self._page.required:
                arguments[self._page.name] = PageRequest(**asked)
        return arguments

    def _query(self, words: Mapping[str, list[str]], arguments: Arguments, violations: list[Violation]) -> None:
        for name, given in words.items():
            if len(violations) >= MAX_VIOLATIONS:
                return
            slot = self._slots.get(name)
            if slot is None:
                known = ", ".join(self._slots) or "none"
                violations.append(Violation(detail=f"unknown parameter; known: {known}", pointer=f"#/{name}"))
                continue
            if slot.collect is None and len(given) > 1:
                violations.append(Violation(detail="is said more than once", pointer=f"#/{name}"))
                continue
            try:
                read = [slot.read(word) for word in given]
                arguments[name] = slot.collect(read) if slot.collect is not None else read[0]
            except Unreadable as unreadable:
                violations.append(_violation(name, unreadable))
            except InvalidArgument as refused:
                violations.extend(refused.violations)
        violations.extend(_missing(name) for name in self._required if name not in words)


def slot_of(parameter: Parameter) -> Slot:
    """Return how a parameter is read from the query: one word, or a list from repeated ones."""
    wanted = without_none(parameter.type)
    item = item_of(wanted)
    if item is None:
        return Slot(parameter.name, reader_of(wanted), parameter.required)
    decoder = Decoder[Any](wanted)
    pointer = f"#/{parameter.name}"

    def collect(values: list[Any]) -> Any:
        return decoder.convert(values, pointer=pointer)

    return Slot(parameter.name, reader_of(item), parameter.required, collect)


class Content:
    """Binds the body of a request.

    Args:
        body: What it is.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._json = Decoder[Any](body.type).json
        self._parts = [_part(parameter) for parameter in body.parameters]

    def collect(self, content: bytes, arguments: Arguments) -> None:
        """Add the arguments that the body says.

        Raises:
            InvalidArgument: With everything that is wrong with it.
        """
        body = self._body
        if not content:
            if body.required:
                raise InvalidArgument(
                    detail="The body is missing.", violations=(Violation(detail="a JSON body is required"),)
                )
            if body.parameter is not None:
                return
            content = b"{}"
        value = self._json(content)
        if body.parameter is not None:
            arguments[body.parameter] = value
            return
        for part in self._parts:
            part(value, arguments)


def _part(parameter: Parameter) -> Callable[[Any, Arguments], None]:
    """Return what takes a parameter out of the decoded body."""
    name = parameter.name
    patched = patched_shape(parameter.type)

    def page(value: Any, arguments: Arguments) -> None:
        arguments[name] = PageRequest(**{field: getattr(value, field) for field in PAGE_FIELDS})

    def patch(value: Any, arguments: Arguments) -> None:
        arguments[name] = patch_of(patched, getattr(value, name), f"#/{name}")

    def plain(value: Any, arguments: Arguments) -> None:
        arguments[name] = getattr(value, name)

    if is_page_request(parameter.type):
        return page
    return plain if patched is None else patch


class Binder:
    """Binds all inputs of one operation.

    Attributes:
        body: What the body is; ``None`` where the operation takes none.
        head: Returns the arguments of an operation that takes no body.
    """

    def __init__(self, op: ApiOperation, extra: Sequence[Slot] = ()) -> None:
        head = Head(op, extra)
        self.body = body_of(op)
        self.head: Bind = head.fast() or head.bind
        self._collect = head.collect
        self._content = Content(self.body) if self.body is not None else None

    def bind(self, call: RestCall, content: bytes) -> Arguments:
        """Return the arguments of an operation that takes a body.

        Raises:
            InvalidArgument: With everything that is wrong with path, query and body.
        """
        assert self._content is not None
        violations: list[Violation] = []
        arguments = self._collect(call, violations)
        try:
            self._content.collect(content, arguments)
        except InvalidArgument as refused:
            if not violations:
                raise
            violations.extend(refused.violations)
        if violations:
            raise InvalidArgument(violations=tuple(violations))
        return arguments


def _violation(name: str, unreadable: Unreadable) -> Violation:
    return Violation(detail=str(unreadable), pointer=f"#/{name}")


def _missing(name: str) -> Violation:
    return Violation(detail="is required", pointer=f"#/{name}")
