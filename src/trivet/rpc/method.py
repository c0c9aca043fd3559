"""One operation as its callers see it: arguments become a message, and a message a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trivet.app import App
from trivet.contracts.describe import describe
from trivet.contracts.proto.message import Message, Method
from trivet.contracts.proto.package import POSITION, RESUME_AFTER, VALUE, contract_of
from trivet.contracts.subject import is_page_request
from trivet.core.declaration import Kind
from trivet.core.fault import FaultyApp
from trivet.core.job import JobStatus
from trivet.core.operation import Operation
from trivet.core.patch import Patch
from trivet.rpc.errors import AnswerUnreadable
from trivet.transports.rpc.codec import is_patch
from trivet.transports.rpc.exchange import Format
from trivet.transports.rpc.plain import plain
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.wire import Wire


class RemoteMethod:
    """One method of another process.

    Args:
        path: Of its requests.
        method: The method.
        format: Makes its codecs; passes over what it does not know, since the other process may be newer.

    Attributes:
        operation: What it runs.
        speaks: Whether there is something to say besides items.
    """

    def __init__(self, path: str, method: Method, format: Wire | ProtoJson) -> None:
        self.path = path
        self.operation: Operation[..., Any] = method.op.operation
        self._method = method
        self.speaks = bool(method.op.signature.parameters)
        self._paged = {p.name for p in method.op.signature.parameters if is_page_request(p.type)}
        self._masks = {parameter: mask for mask, parameter in method.mask.items()}
        self._encode = format.encoder(method.input)
        self._decode = format.decoder(method.output) if method.output is not None else None
        self._result: Any = JobStatus if self.operation.kind is Kind.JOB else method.op.signature.result

    def request(self, arguments: Mapping[str, Any], resume_after: str | None = None) -> bytes:
        """Return the message that asks for this.

        Args:
            arguments: By parameter name, typed.
            resume_after: The position after which a stream is resumed.
        """
        values: dict[str, Any] = {}
        for name, value in arguments.items():
            if name in self._paged:
                values |= msgspec.to_builtins(value)
            elif isinstance(value, Patch):
                patch = plain_patch(value)
                field = next(f for f in self._method.input.fields if f.key == name)
                assert isinstance(field.type, Message)
                values[name], values[self._masks[name]] = patch, list(paths_of(patch, field.type))
            else:
                values[name] = plain(value)
        if resume_after is not None:
            values[RESUME_AFTER] = resume_after
        return self._encode(values)

    def request_item(self, item: Any) -> bytes:
        """Return the message that says an item, where many of them are sent.

        Args:
            item: Typed.
        """
        field = self._method.item
        assert field is not None  # many are sent
        return self._encode({field.key: plain(item)})

    def result(self, message: bytes) -> Any:
        """Return the result that a message says.

        Raises:
            AnswerUnreadable: It says none.
        """
        if self._decode is None:
            return None
        return self._typed(self._plain(message))

    def item(self, message: bytes) -> tuple[Any, str | None]:
        """Return an item of a stream and its position.

        Raises:
            AnswerUnreadable: The message says none.
        """
        values = self._plain(message)
        return self._typed(values.get(VALUE)), values.get(POSITION)

    def _plain(self, message: bytes) -> Any:
        assert self._decode is not None
        try:
            return self._decode(message)
        except Exception as malformed:
            raise AnswerUnreadable(detail=f"The answer of {self.path} can not be read.") from malformed

    def _typed(self, plain: Any) -> Any:
        try:
            return msgspec.convert(plain, self._result)
        except (msgspec.ValidationError, OverflowError) as unfit:
            raise AnswerUnreadable(detail=f"The answer of {self.path} is not what is declared.") from unfit


class RemoteApi:
    """Everything that another app can be asked.

    Field numbers are those of the ``rpc.lock`` beside the file that makes the app. Without one they may be others over
    there, and names are what is sent.

    Args:
        app: The app, as this process knows it. It is only read.

    Raises:
        FaultyApp: It could not start.
    """

    def __init__(self, app: App) -> None:
        api, faults = describe(app.name, app.modules)
        contract, unfit = contract_of(api, app.place)
        if faults or unfit:
            raise FaultyApp(app.name, faults + unfit)
        self.name = app.name
        self.format: Format = "proto" if contract.locked else "json"
        format = Wire(strict=False) if contract.locked else ProtoJson(strict=False)
        self._format = format
        self._methods: dict[Operation[..., Any], tuple[str, Method]] = {
            method.op.operation: (package.path(method), method)
            for package in contract.packages
            for method in package.methods
        }
        self._bound: dict[Operation[..., Any], RemoteMethod] = {}

    def method(self, operation: Operation[..., Any]) -> RemoteMethod:
        """Return an operation as a method, whose codecs are made at its first use.

        Raises:
            TypeError: The app does not serve it.
        """
        bound = self._bound.get(operation)
        if bound is None:
            found = self._methods.get(operation)
            if found is None:
                why = "it is internal" if operation.declaration.access.internal else "its module is not in that app"
                raise TypeError(f"{self.name} does not serve {operation.id}: {why}")
            bound = self._bound[operation] = RemoteMethod(*found, self._format)
        return bound


def plain_patch(patch: Patch[Any]) -> dict[str, Any]:
    """Return a patch as plain values."""
    return {name: plain_patch(value) if isinstance(value := patch.get(name), Patch) else plain(value) for name in patch}


def paths_of(patch: Mapping[str, Any], message: Message) -> list[str]:
    """Return the mask that names exactly what a merge patch (RFC 7396) changes."""
    paths: list[str] = []
    for field in message.fields:
        if field.key not in patch:
            continue
        value = patch[field.key]
        if isinstance(value, Mapping) and field.single and isinstance(field.type, Message) and is_patch(field.type):
            paths += [f"{field.name}.{path}" for path in paths_of(value, field.type)]
        else:
            paths.append(field.name)
    return paths
