"""How each protocol is asked, in this process, and what its answer means."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, MutableMapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from msgspec import structs

from trivet.app import App, Service
from trivet.contracts.body import LINES, body_of
from trivet.contracts.model import ApiOperation
from trivet.contracts.problem import PROBLEM_MEMBERS
from trivet.contracts.proto.message import Method
from trivet.contracts.proto.package import VALUE
from trivet.contracts.result import Form
from trivet.core.declaration import Kind
from trivet.core.error import Code
from trivet.core.job import JobStatus
from trivet.core.page import PageRequest
from trivet.core.principal import ANONYMOUS, Principal
from trivet.core.shape import Struct, field
from trivet.testing.asgi import scope_of
from trivet.transports.rest.exchange import PRINCIPAL
from trivet.transports.rpc import envelope
from trivet.transports.rpc.plain import KEPT
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.status import CONNECT_NAMES, ERROR_INFO, STATUS
from trivet.transports.rpc.wire import Wire

PAGE_FIELDS = frozenset(f.encode_name for f in msgspec.structs.fields(PageRequest))
CODES = {name: code.name for code, name in CONNECT_NAMES.items()}


class Asked(Struct):
    """What is sent.

    Attributes:
        arguments: Plain values by parameter, with a page request laid out; items that are sent are a list.
        principal: Who asks.
        headers: Further header fields.
        late: Whether the time is up before it begins.
        content: The body in place of the arguments.
        cut: Whether the client goes away in the middle of the body.
        until: When the reader of a stream goes away.
    """

    arguments: Any
    principal: Principal = ANONYMOUS
    headers: Mapping[str, str] = field(default_factory=dict)
    late: bool = False
    content: bytes | None = None
    cut: bool = False
    until: asyncio.Event | None = None


class Outcome(Struct):
    """What came of it, whatever the protocol.

    Attributes:
        code: The code of an error; ``None`` for a value.
        reason: Its reason.
        metadata: Its fields, as texts.
        value: The value as plain values; for a stream, a list of its items.
        notices: What the head of the answer says besides, as far as the protocol says it there.
    """

    code: str | None = None
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    value: Any = None
    notices: Mapping[str, str] = field(default_factory=dict)


CANCELLED = Outcome(code=Code.CANCELLED.name)
"""What comes of a request whose client went away: no answer."""

NOTICES = frozenset(
    {
        "consistency-token",
        "deprecation",
        "idempotent-replayed",
        "link",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "sunset",
    }
)
"""Header fields by which an answer tells of limits, tokens, replays and deprecations."""


class Asker:
    """Asks an app over one protocol.

    Args:
        app: The app, running.
        service: What runs.

    Attributes:
        pieces: How much came of streams so far.
    """

    late: ClassVar[tuple[str, str]]
    """The header field that says that the time is up."""

    conditional: ClassVar[bool] = True
    """Whether a change can be made from a certain version (``If-Match``)."""

    instead: ClassVar[type[Asker] | None] = None
    """Who sends items one by one where the protocol can not: another one that draws ids as it does."""

    tells: ClassVar[frozenset[str]] = NOTICES
    """Which notices stand in the head of its answers; others have a place of their own in the protocol."""

    def __init__(self, app: App, service: Service) -> None:
        self._app = app
        self.pieces = 0
        self._methods: dict[str, tuple[str, Method]] = {
            method.op.id: (package.path(method), method)
            for package in service.contract.packages
            for method in package.methods
        }

    async def ask(self, op: ApiOperation, asked: Asked) -> Outcome:
        """Return what comes of it."""
        raise NotImplementedError

    def notices(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return what the head of an answer says besides."""
        return {name: fields[name] for name in sorted(self.tells & fields.keys())}

    async def exchange(
        self, verb: str, path: str, headers: Mapping[str, str], content: bytes, asked: Asked
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request, and return status, fields (trailers among them) and body of the answer."""
        fields = {**headers, **asked.headers, **dict([self.late] if asked.late else [])}
        scope = scope_of(verb, path, None, fields, content, False)
        scope["http_version"], scope["extensions"] = "2", {"http.response.trailers": {}}
        if asked.principal is not ANONYMOUS:
            scope[PRINCIPAL] = asked.principal
        if asked.cut:
            content = content[: len(content) // 2]
        events = [{"type": "http.request", "body": content, "more_body": asked.cut}]
        done = asyncio.Event()
        said: dict[str, str] = {}
        pieces: list[bytes] = []
        status = 0

        async def receive() -> MutableMapping[str, Any]:
            if events:
                return events.pop()
            if not asked.cut:
                await (asked.until or done).wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            if asked.until is not None and message.get("body"):
                self.pieces += 1
            said.update({n.decode("latin-1"): v.decode("latin-1") for n, v in message.get("headers", ())})
            pieces.append(message.get("body", b""))

        try:
            await self._app(scope, receive, send)
        finally:
            done.set()
        return status, said, b"".join(pieces)


class Rest(Asker):
    """Asks as HTTP clients do."""

    late = ("request-timeout", "0.000000001")

    async def ask(self, op: ApiOperation, asked: Asked) -> Outcome:
        """Return what comes of it."""
        arguments = dict(asked.arguments)
        path = op.path.format_map({n: quote(_word(arguments.pop(n)), safe="") for n in op.face.path_parameters})
        in_query = {n for n in arguments if n in op.face.query_parameters}
        if any(n in PAGE_FIELDS for n in arguments) and body_of(op) is None:
            in_query |= PAGE_FIELDS & arguments.keys()
        words = [
            f"{quote(name)}={quote(_word(each), safe='')}"
            for name in sorted(in_query)
            for each in (arguments[name] if isinstance(arguments[name], list) else [arguments[name]])
        ]
        headers: dict[str, str] = {}
        content = b""
        items = op.signature.items
        if items is not None:
            headers["content-type"] = LINES[0]
            content = b"\n".join(msgspec.json.encode(item) for item in arguments.get(items.name, ()))
        elif body_of(op) is not None:
            headers["content-type"] = "application/json"
            rest = {n: v for n, v in arguments.items() if n not in in_query}
            single = op.face.body if op.face.body != "*" else None
            content = msgspec.json.encode(rest) if single is None else b""
            if single is not None and single in rest:
                content = msgspec.json.encode(rest[single])
        if asked.content is not None:
            content = asked.content
        target = f"{path}?{'&'.join(words)}" if words else path
        status, fields, body = await self.exchange(op.face.method, target, headers, content, asked)
        if not status:
            return CANCELLED
        notices = self.notices(fields)
        failed = failure_of(body) if op.operation.kind is Kind.STREAM else None
        if status >= 400 or failed is not None:
            problem = msgspec.json.decode(failed or body)
            metadata = {n: said(v) for n, v in problem.items() if n not in PROBLEM_MEMBERS and n != "instance"}
            return Outcome(code=problem["code"].upper(), reason=problem["reason"], metadata=metadata, notices=notices)
        if op.operation.kind is Kind.STREAM:
            return Outcome(value=[plain(op, msgspec.json.decode(data)) for data in events_of(body)], notices=notices)
        return Outcome(value=plain(op, self._value(op, body)), notices=notices)

    def _value(self, op: ApiOperation, body: bytes) -> Any:
        if not body:
            return None
        document = msgspec.json.decode(body)
        if op.operation.kind is Kind.JOB:
            return document
        return (
            document[{Form.LIST: "items", Form.VALUE: "value"}[op.result.form]]
            if op.result.form in WRAPPED
            else document
        )


WRAPPED = (Form.LIST, Form.VALUE)


def events_of(body: bytes) -> list[bytes]:
    """Return the data of the items among server-sent events."""
    blocks = [block.split(b"\n") for block in body.split(b"\n\n")]
    return [line.removeprefix(b"data: ") for lines in blocks for line in lines if line.startswith(b"data: {")]


def failure_of(body: bytes) -> bytes | None:
    """Return the problem with which a stream of server-sent events ended, ``None`` where there was none."""
    blocks = [block.split(b"\n") for block in body.split(b"\n\n")]
    failed = [lines[1].removeprefix(b"data: ") for lines in blocks if lines[0] == b"event: error"]
    return failed[-1] if failed else None


class Rpc(Asker):
    """Asks as RPC clients do."""

    content_type: ClassVar[str]
    format: ClassVar[Wire | ProtoJson]
    tells = NOTICES - {"retry-after"}  # which is a detail of the error
    streams_as: ClassVar[str]

    async def ask(self, op: ApiOperation, asked: Asked) -> Outcome:
        """Return what comes of it."""
        path, method = self._methods[op.id]
        content = asked.content
        if content is None:
            encode = self.format.encoder(method.input)
            content = b"".join(self.enclosed(encode(message), method) for message in messages_of(method, asked))
        streamed = method.streams or method.item is not None
        headers = {"content-type": self.streams_as if streamed else self.content_type}
        status, fields, body = await self.exchange("POST", path, headers, content, asked)
        if not status or (asked.cut and not body and "grpc-status" not in fields):
            return CANCELLED
        found = self.outcome(op, method, status, fields, body)
        return structs.replace(found, notices=self.notices(fields))

    def enclosed(self, message: bytes, method: Method) -> bytes:
        """Return a message as it is sent."""
        raise NotImplementedError

    def outcome(self, op: ApiOperation, method: Method, status: int, fields: Mapping[str, str], body: bytes) -> Outcome:
        """Return what an answer means."""
        raise NotImplementedError

    def value(self, op: ApiOperation, method: Method, message: bytes) -> Outcome:
        """Return the value that a message says."""
        if method.output is None:
            return Outcome()
        return Outcome(value=plain(op, self.format.decoder(method.output)(message)))

    def items(self, op: ApiOperation, method: Method, messages: list[bytes]) -> Outcome:
        """Return the items of a stream."""
        assert method.output is not None
        decode = self.format.decoder(method.output)
        return Outcome(value=[plain(op, decode(message).get(VALUE)) for message in messages])


class Connect(Rpc):
    """Asks as Connect clients do, in JSON."""

    late = ("connect-timeout-ms", "0")
    content_type = "application/json"
    streams_as = "application/connect+json"
    format: ClassVar[Wire | ProtoJson] = ProtoJson(strict=False)

    def enclosed(self, message: bytes, method: Method) -> bytes:
        """Return a message as it is sent."""
        return envelope.enveloped(message) if method.streams or method.item is not None else message

    def outcome(self, op: ApiOperation, method: Method, status: int, fields: Mapping[str, str], body: bytes) -> Outcome:
        """Return what an answer means."""
        streamed = method.streams or method.item is not None
        if status == 200 and not streamed:
            return self.value(op, method, body)
        if streamed and status == 200:
            found = envelopes(body)
            last = msgspec.json.decode(found[-1][1]) if found and found[-1][0] & envelope.CONNECT_END else {}
            if "error" not in last and not method.streams:
                return self.value(op, method, found[0][1])
            if "error" not in last:
                return self.items(op, method, [message for flags, message in found if not flags])
            error = last["error"]
        else:
            error = msgspec.json.decode(body)
        info = next(detail["debug"] for detail in error["details"] if detail["type"] == ERROR_INFO.full_name)
        return Outcome(code=CODES[error["code"]], reason=info["reason"], metadata=info.get("metadata", {}))


class ConnectBinary(Connect):
    """Asks as Connect clients do, in binary."""

    content_type = "application/proto"
    streams_as = "application/connect+proto"
    format = Wire(strict=False)


class Grpc(Rpc):
    """Asks as gRPC clients do."""

    late = ("grpc-timeout", "1n")
    content_type = streams_as = "application/grpc"
    format: ClassVar[Wire | ProtoJson] = Wire(strict=False)

    def enclosed(self, message: bytes, method: Method) -> bytes:
        """Return a message as it is sent."""
        return envelope.enveloped(message)

    def outcome(self, op: ApiOperation, method: Method, status: int, fields: Mapping[str, str], body: bytes) -> Outcome:
        """Return what an answer means."""
        code = int(fields.get("grpc-status", "0"))  # a reader that went away sees none
        if method.streams and code == 0:
            return self.items(op, method, [message for flags, message in envelopes(body) if flags == 0])
        if code == 0:
            return self.value(op, method, body[envelope.HEAD_BYTES :])
        details = fields["grpc-status-details-bin"]
        told = self.format.decoder(STATUS)(base64.b64decode(details + "=" * (-len(details) % 4)))
        [info] = [
            self.format.decoder(ERROR_INFO)(detail["value"])
            for detail in told["details"]
            if detail["type_url"].endswith(ERROR_INFO.full_name)
        ]
        return Outcome(code=Code(code).name, reason=info["reason"], metadata=info.get("metadata", {}))


class GrpcWeb(Grpc):
    """Asks as gRPC-Web clients do."""

    instead = Connect
    content_type = streams_as = "application/grpc-web+proto"

    def outcome(self, op: ApiOperation, method: Method, status: int, fields: Mapping[str, str], body: bytes) -> Outcome:
        """Return what an answer means."""
        if "grpc-status" in fields:
            return super().outcome(op, method, status, fields, body)
        found = envelopes(body)
        lines = b"".join(content for flags, content in found if flags & envelope.WEB_TRAILERS).decode("latin-1")
        trailers = dict(line.split(": ", 1) for line in lines.split("\r\n") if line)
        messages = b"".join(envelope.enveloped(content) for flags, content in found if flags == 0)
        return super().outcome(op, method, status, {**fields, **trailers}, messages)


def messages_of(method: Method, asked: Asked) -> list[Any]:
    """Return what is sent: one message, or where items are, the arguments and then each of them."""
    item = method.item
    if item is None:
        return [asked.arguments]
    arguments = {name: value for name, value in asked.arguments.items() if name != item.key}
    items = [{item.key: value} for value in asked.arguments.get(item.key, ())]
    return [arguments, *items] if method.op.signature.parameters else items


def envelopes(body: bytes) -> list[tuple[int, bytes]]:
    """Return flags and content of every envelope."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(body):
        flags, size = envelope.read_head(body, at)
        at += envelope.HEAD_BYTES + size
        found.append((flags, body[at - size : at]))
    return found


def plain(op: ApiOperation, value: Any) -> Any:
    """Return a value of an operation's result type as plain values, whatever they were spelled like."""
    annotation = JobStatus if op.operation.kind is Kind.JOB else op.signature.result
    return msgspec.to_builtins(msgspec.convert(value, annotation), builtin_types=KEPT)


def said(value: Any) -> str:
    """Return a field of an error as the text that RPC carries."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(msgspec.to_builtins(value))
