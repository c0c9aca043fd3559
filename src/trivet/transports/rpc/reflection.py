"""Reflection (https://grpc.io/docs/guides/reflection/), v1 and v1alpha: the contract for clients that have no files.

It tells what the ``.proto`` files tell, and is served where the documentation is. Each message of the request is
answered by one, in order, as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from trivet.contracts.problem import BodyTooLarge
from trivet.contracts.proto.message import Field, Package, Scalar
from trivet.core.error import Cancelled, Code
from trivet.transports.rpc import envelope
from trivet.transports.rpc.exchange import RpcCall
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.wellknown import message
from trivet.transports.rpc.wire import Wire

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
METHOD = "ServerReflectionInfo"
MAX_REQUEST = 64 * 1024

HOST, FILE_BY_NAME, FILE_BY_SYMBOL, LIST_SERVICES = (
    "host",
    "file_by_filename",
    "file_containing_symbol",
    "list_services",
)
EXTENSION, EXTENSION_NUMBERS = "file_containing_extension", "all_extension_numbers_of_type"

P = "grpc.reflection.v1."
EXTENSION_REQUEST = message(
    f"{P}ExtensionRequest",
    Field("containing_type", Scalar.STRING, number=1),
    Field("extension_number", Scalar.INT64, number=2),
)
REQUEST = message(
    f"{P}ServerReflectionRequest",
    Field(HOST, Scalar.STRING, number=1),
    Field(FILE_BY_NAME, Scalar.STRING, number=3),
    Field(FILE_BY_SYMBOL, Scalar.STRING, number=4),
    Field(EXTENSION, EXTENSION_REQUEST, number=5),
    Field(EXTENSION_NUMBERS, Scalar.STRING, number=6),
    Field(LIST_SERVICES, Scalar.STRING, number=7),
)
FILES = message(f"{P}FileDescriptorResponse", Field("file_descriptor_proto", Scalar.BYTES, repeated=True, number=1))
SERVICE = message(f"{P}ServiceResponse", Field("name", Scalar.STRING, number=1))
SERVICES = message(f"{P}ListServiceResponse", Field("service", SERVICE, repeated=True, number=1))
ERROR = message(
    f"{P}ErrorResponse", Field("error_code", Scalar.INT64, number=1), Field("error_message", Scalar.STRING, number=2)
)
RESPONSE = message(
    f"{P}ServerReflectionResponse",
    Field("valid_host", Scalar.STRING, number=1),
    Field("original_request", REQUEST, number=2),
    Field("file_descriptor_response", FILES, number=4),
    Field("list_services_response", SERVICES, number=6),
    Field("error_response", ERROR, number=7),
)


class Reflection:
    """Answers what clients ask about the contract.

    Args:
        packages: The contract.
        services: The names of the services beside it.
        formats: Makes codecs.
    """

    def __init__(
        self, packages: Sequence[Package], services: Sequence[str], formats: dict[str, Wire | ProtoJson]
    ) -> None:
        self._packages = packages
        self._services = (*(f"{package.name}.{package.service}" for package in packages), *services, *NAMES)
        self._formats = formats
        self.streaming = {f"/{name}/{METHOD}": self.answer for name in NAMES}

    async def answer(self, call: RpcCall) -> None:
        """Answer the messages of a request one by one.

        Raises:
            Error: One of them can not be read.
        """
        format = self._formats[call.speech.format]
        decode, encode = format.decoder(REQUEST), format.encoder(RESPONSE)
        await call.speech.begin(call)
        waiting = b""
        while True:
            event = await call.receive()
            if event["type"] == "http.disconnect":
                call.gone = True
                raise Cancelled
            waiting += event.get("body", b"")
            while len(waiting) >= envelope.HEAD_BYTES:
                flags, size = envelope.read_head(waiting)
                if size > MAX_REQUEST:
                    raise BodyTooLarge(limit=MAX_REQUEST)
                end = envelope.HEAD_BYTES + size
                if len(waiting) < end:
                    break
                content, waiting = waiting[envelope.HEAD_BYTES : end], waiting[end:]
                if flags & envelope.COMPRESSED:
                    content = envelope.inflated(content, MAX_REQUEST)
                await call.speech.piece(call.speech.item(encode(self._answer(decode(content)))))
            if not event.get("more_body", False):
                if waiting:
                    raise envelope.broken("the last message is cut")
                await call.speech.end(call, None)
                return

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        said = {"valid_host": request.get(HOST, ""), "original_request": request}
        if LIST_SERVICES in request:
            return {**said, "list_services_response": {"service": [{"name": name} for name in self._services]}}
        files = self._files
        wanted = (
            request.get(FILE_BY_NAME) if FILE_BY_NAME in request else self._symbols.get(request.get(FILE_BY_SYMBOL, ""))
        )
        if wanted is None or wanted not in files:
            error = {"error_code": Code.NOT_FOUND.value, "error_message": "There is no such file, symbol or extension."}
            return {**said, "error_response": error}
        return {**said, "file_descriptor_response": {"file_descriptor_proto": self._with_imports(wanted)}}

    def _with_imports(self, wanted: str) -> list[bytes]:
        """Return a file and all files that it imports, each once."""
        found: dict[str, bytes] = {}
        waiting = [wanted]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name], imports = self._files[name]
                waiting.extend(imports)
        return list(found.values())

    @cached_property
    def _files(self) -> dict[str, tuple[bytes, list[str]]]:
        """All files with what they import, by name; made when somebody asks."""
        from trivet.contracts.proto.descriptor import descriptors

        return {file.name: (file.SerializeToString(), list(file.dependency)) for file in descriptors(self._packages)}

    @cached_property
    def _symbols(self) -> dict[str, str]:
        """The file of each symbol."""
        found: dict[str, str] = {}
        for package in self._packages:
            service = f"{package.name}.{package.service}"
            names = [service, *(f"{service}.{method.name}" for method in package.methods)]
            for name in (*names, *(type_.full_name for type_ in package.types)):
                found[name] = package.file
        return found
