"""From the bytes of a message to the arguments of an operation, and from its result to bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trivet.contracts.body import shape_of_parameters
from trivet.contracts.proto.message import Field, Message, Method
from trivet.contracts.proto.package import RESUME_AFTER
from trivet.contracts.subject import is_page_request
from trivet.core.decode import Decoder, patched_shape
from trivet.core.error import InvalidArgument, Violation
from trivet.core.page import PageRequest
from trivet.core.patch import patch_of
from trivet.core.signature import Parameter
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.wire import Wire

Arguments = dict[str, Any]

ABSENT: Any = object()
"""Stands for "the message has no item"."""


class StreamItem(msgspec.Struct, gc=False):
    """An item of a stream as it is written; the names are those of the contract."""

    value: Any
    position: str | None


class Codec:
    """One method in one format.

    Args:
        method: The method.
        format: Makes the codecs of its messages.

    Attributes:
        read: Returns the arguments that a message says, and the position after which a stream is resumed.
        write: Returns the result as a message.
        write_item: Returns an item of a stream, with its position, as a message.
        read_item: Returns an item that comes in, of any message but the first.
    """

    def __init__(self, method: Method, format: Wire | ProtoJson) -> None:
        self._decode = format.decoder(method.input)
        self._bind = _binder(method)
        self._masks = {mask: _patched(method.input, name) for mask, name in method.mask.items()}
        self._resumes = method.streams and method.item is None
        self._item = method.item
        self._convert = Decoder[Any](items.type).convert if (items := method.op.signature.items) is not None else None
        empty = b"" if isinstance(format, Wire) else b"{}"
        if method.output is None:
            self.write: Callable[[Any], bytes] = lambda _: empty
            return
        write = self.write = format.result_encoder(method.output)
        self.write_item: Callable[[Any, str | None], bytes] = lambda value, position: write(StreamItem(value, position))

    def read(self, data: bytes) -> tuple[Arguments, str | None]:
        """Return the arguments that a message says, and the position after which a stream is resumed.

        Raises:
            InvalidArgument: With everything that is wrong.
        """
        values = self._decode(data)
        resume_after = values.pop(RESUME_AFTER, None) if self._resumes else None
        for mask, field in self._masks.items():
            paths = values.pop(mask, None)
            if paths:
                values[field.key] = _masked(values.get(field.key) or {}, paths, field, mask)
        return self._bind(values), resume_after

    def read_first(self, data: bytes | None) -> tuple[Arguments, Any]:
        """Return the arguments that the first of many messages says, and the plain item in it.

        Args:
            data: The message; ``None`` where there is none.

        Raises:
            InvalidArgument: With everything that is wrong with the arguments.
        """
        assert self._item is not None  # many messages have items
        values = self._decode(data) if data is not None else {}
        item = values.pop(self._item.key, ABSENT)
        return self._bind(values), item

    def read_item(self, data: bytes) -> Any:
        """Return the item that one of many messages says.

        Raises:
            InvalidArgument: With everything that is wrong with it; pointers start at the item.
        """
        assert self._item is not None  # many messages have items
        values = self._decode(data)
        item = values.pop(self._item.key, ABSENT)
        if item is ABSENT:
            raise InvalidArgument(violations=(Violation(detail="is required"),))
        more = [name for name, value in values.items() if value not in (None, [], {})]
        if more:
            detail = f"{', '.join(more)}: only the first message says that"
            raise InvalidArgument(violations=(Violation(detail=detail),))
        return self.item(item)

    def item(self, plain: Any) -> Any:
        """Return an item of its plain value.

        Raises:
            InvalidArgument: With everything that is wrong with it; pointers start at the item.
        """
        assert self._convert is not None  # many messages have items
        return self._convert(plain)


def _patched(request: Message, name: str) -> Field:
    return next(field for field in request.fields if field.key == name)


def _binder(method: Method) -> Callable[[Any], Arguments]:
    """Return what turns plain values into arguments, checked by the same decoder as those of any other protocol."""
    parameters = method.op.signature.parameters
    shape = shape_of_parameters(method.op, parameters)
    convert = Decoder[Any](shape).convert
    parts = [_part(parameter) for parameter in parameters]
    if not any(is_page_request(parameter.type) or patched_shape(parameter.type) for parameter in parameters):
        asdict = msgspec.structs.asdict
        return lambda values: asdict(convert(values))  # as below, where every parameter is a field

    def bind(values: Any) -> Arguments:
        decoded = convert(values)
        return {name: take(decoded) for name, take in parts}

    return bind


def _part(parameter: Parameter) -> tuple[str, Callable[[Any], Any]]:
    """Return what takes a parameter out of the decoded request."""
    name = parameter.name
    if is_page_request(parameter.type):
        return name, lambda decoded: PageRequest(page_size=decoded.page_size, page_token=decoded.page_token)
    patched = patched_shape(parameter.type)
    if patched is None:
        return name, lambda decoded: getattr(decoded, name)
    default = parameter.default

    def patch(decoded: Any) -> Any:
        value = getattr(decoded, name)
        return value if value is default else patch_of(patched, value, f"#/{name}")

    return name, patch


def _masked(given: Mapping[str, Any], paths: list[str], field: Field, mask: str) -> dict[str, Any]:
    """Return the merge patch (RFC 7396) that a patch message and its mask say together.

    What the mask names is changed: to its value where it is there, else back to its default. What the mask does not
    name must not be there.

    Raises:
        InvalidArgument: The mask and the message do not fit together.
    """
    assert isinstance(field.type, Message)
    violations: list[Violation] = []
    patch: dict[str, Any] = {}
    for path in paths:
        if not _follow(patch, given, field.type, path.split(".")):
            violations.append(Violation(detail=f"there is no field {path!r}", pointer=f"#/{mask}"))
    violations += [
        Violation(detail=f"is not named by {mask}", pointer=f"#/{field.key}/{path}") for path in _beyond(given, patch)
    ]
    if violations:
        raise InvalidArgument(violations=tuple(violations))
    return patch


def _follow(patch: dict[str, Any], given: Mapping[str, Any], message: Message, steps: list[str]) -> bool:
    """Put what a path leads to into the patch, and return whether it leads anywhere."""
    field = next((field for field in message.fields if field.name == steps[0]), None)
    if field is None:
        return False
    key = field.key
    if len(steps) == 1:
        patch[key] = given.get(key, None if field.single else {} if field.map_key is not None else [])
        return True
    if not field.single or not isinstance(field.type, Message) or not is_patch(field.type):
        return False
    inner = patch.get(key)
    if not isinstance(inner, dict):
        inner = patch[key] = {}
    return _follow(inner, given.get(key) or {}, field.type, steps[1:])


def is_patch(message: Message) -> bool:
    """Whether a message says changes, so that a mask can name a field inside it."""
    return hasattr(message.source, "__patched__")


def _beyond(given: Mapping[str, Any], patch: Mapping[str, Any]) -> list[str]:
    """Return the paths of what is given, but not in the patch."""
    found: list[str] = []
    for key, value in given.items():
        if key not in patch:
            found.append(key)
        elif isinstance(value, dict) and isinstance(patch[key], dict) and patch[key] is not value:
            found += [f"{key}/{path}" for path in _beyond(value, patch[key])]
    return found
