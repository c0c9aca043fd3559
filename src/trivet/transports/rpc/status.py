"""Errors as RPC says them: a code, a message, and details of Google's own kinds (https://google.aip.dev/193).

The reason of an error and its fields are an ``ErrorInfo``, violations a ``BadRequest``, when to come again a
``RetryInfo``. The codes are gRPC's own; Connect spells them, and gives them the HTTP statuses that REST gives them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from trivet.contracts.problem import SERVER_FAULTS
from trivet.contracts.proto.message import Field, Message, Scalar
from trivet.core.call import Call
from trivet.core.error import Code, Error, InvalidArgument, QuotaExceeded, Unavailable
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.wellknown import message
from trivet.transports.rpc.wire import Wire

DEFAULT_RETRY_SECONDS = 1.0
MAX_DETAILS_BYTES = 6 * 1024
"""Details travel in header fields, which many clients limit to 8 KiB; violations that do not fit are left out."""

CONNECT_NAMES: Mapping[Code, str] = {code: code.name.lower() for code in Code} | {Code.CANCELLED: "canceled"}


ERROR_INFO = message(
    "google.rpc.ErrorInfo",
    Field("reason", Scalar.STRING, number=1),
    Field("domain", Scalar.STRING, number=2),
    Field("metadata", Scalar.STRING, map_key=Scalar.STRING, number=3),
)
FIELD_VIOLATION = message(
    "google.rpc.BadRequest.FieldViolation",
    Field("field", Scalar.STRING, number=1),
    Field("description", Scalar.STRING, number=2),
)
BAD_REQUEST = message("google.rpc.BadRequest", Field("field_violations", FIELD_VIOLATION, repeated=True, number=1))
RETRY_INFO = message("google.rpc.RetryInfo", Field("retry_delay", Scalar.DURATION, number=1))
REQUEST_INFO = message("google.rpc.RequestInfo", Field("request_id", Scalar.STRING, number=1))
ANY = message("google.protobuf.Any", Field("type_url", Scalar.STRING, number=1), Field("value", Scalar.BYTES, number=2))
STATUS = message(
    "google.rpc.Status",
    Field("code", Scalar.INT64, number=1),
    Field("message", Scalar.STRING, number=2),
    Field("details", ANY, repeated=True, number=3),
)

TOLERANT = Wire(strict=False)
JSON = ProtoJson()
STEP = re.compile(r"/([^/]*)")


class Status:
    """An error on its way to an RPC client.

    Attributes:
        code: The gRPC code.
        text: The message, safe to show.
        details: The details, plain, by the message that each is.
    """

    __slots__ = ("code", "details", "text")

    def __init__(self, code: Code, text: str, details: list[tuple[Message, dict[str, Any]]]) -> None:
        self.code = code
        self.text = text
        self.details = details

    def binary(self) -> bytes:
        """Return it as a ``google.rpc.Status``."""
        details = [
            {"type_url": f"type.googleapis.com/{kind.full_name}", "value": TOLERANT.encoder(kind)(plain)}
            for kind, plain in self.details
        ]
        return TOLERANT.encoder(STATUS)({"code": self.code.value, "message": self.text, "details": details})

    def grpc(self) -> list[tuple[bytes, bytes]]:
        """Return the trailers that say it."""
        fields = [(b"grpc-status", b"%d" % self.code.value), (b"grpc-message", percent_encoded(self.text))]
        if self.details:
            fields.append((b"grpc-status-details-bin", base64.b64encode(self.binary()).rstrip(b"=")))
        return fields

    def connect(self) -> dict[str, Any]:
        """Return the members of Connect's JSON error."""
        return {
            "code": CONNECT_NAMES[self.code],
            "message": self.text,
            "details": [
                {
                    "type": kind.full_name,
                    "value": base64.b64encode(TOLERANT.encoder(kind)(plain)).rstrip(b"=").decode(),
                    "debug": shown(kind, plain),
                }
                for kind, plain in self.details
            ],
        }


def shown(kind: Message, plain: dict[str, Any]) -> Any:
    """Return a detail as JSON, for people who look at what came."""
    return msgspec.json.decode(JSON.encoder(kind)(plain))


def status_of(error: Error, call: Call, domain: str, body: str | None = None) -> Status:
    """Return how an error is said; one on our side says nothing beyond the request id.

    Args:
        error: What the call ended with.
        call: The call.
        domain: The name of the app, in which the reason is unique.
        body: The parameter that is the whole body of REST: pointers of handlers start there.
    """
    request = (REQUEST_INFO, {"request_id": call.request_id})
    if error.code in SERVER_FAULTS:
        info = {"reason": error.reason, "domain": domain, "metadata": {}}
        return Status(error.code, error.message, [(ERROR_INFO, info), request])
    metadata = {name: _word(value) for name, value in error.metadata().items()}
    details: list[tuple[Message, dict[str, Any]]] = [
        (ERROR_INFO, {"reason": error.reason, "domain": domain, "metadata": metadata})
    ]
    if isinstance(error, InvalidArgument) and error.violations:
        violations = _fitting(
            [{"field": path_of(v.pointer, call, body), "description": v.detail} for v in error.violations]
        )
        details.append((BAD_REQUEST, {"field_violations": violations}))
    if isinstance(error, QuotaExceeded | Unavailable):
        seconds = DEFAULT_RETRY_SECONDS if error.retry_after is None else max(0.0, error.retry_after)
        details.append((RETRY_INFO, {"retry_delay": timedelta(seconds=seconds)}))
    return Status(error.code, error.detail or error.message, [*details, request])


def _fitting(violations: list[dict[str, str]]) -> list[dict[str, str]]:
    size = 0
    kept: list[dict[str, str]] = []
    for violation in violations:
        size += len(violation["field"].encode()) + len(violation["description"].encode()) + 8
        if kept and size > MAX_DETAILS_BYTES * 3 // 4:
            break
        kept.append(violation)
    return kept


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def path_of(pointer: str, call: Call, body: str | None) -> str:
    """Return a JSON pointer as the path of a field: ``#/order/lines/0/quantity`` is ``order.lines[0].quantity``."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in STEP.findall(pointer)]
    if body is not None and steps and steps[0] != body and steps[0] not in call.arguments:
        steps.insert(0, body)
    path = ""
    for step in steps:
        path += f"[{step}]" if step.isdigit() else f".{step}" if path else step
    return path


def percent_encoded(text: str) -> bytes:
    """Return a ``grpc-message``: what is not printable ASCII is percent-encoded UTF-8."""
    return quote(text, safe=PRINTABLE).encode()


PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
