"""Health as gRPC has it (https://github.com/grpc/grpc/blob/master/doc/health-checking.md): what ``/readyz`` says.

Not observed, like every probe. A service of the app is as healthy as its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from trivet.contracts.proto.message import Field, Scalar
from trivet.core.error import NotFound
from trivet.transports.health import Health
from trivet.transports.rpc.exchange import RpcCall
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.stream import Streams
from trivet.transports.rpc.wellknown import enumeration, message
from trivet.transports.rpc.wire import Wire

NAME = "grpc.health.v1.Health"
MAX_REQUEST = 64 * 1024
LOOK_SECONDS = 0.5
"""How often a watcher's service is looked at."""

REQUEST = message("grpc.health.v1.HealthCheckRequest", Field("service", Scalar.STRING, number=1))
STATUS = enumeration(
    "grpc.health.v1.HealthCheckResponse.ServingStatus", "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"
)
RESPONSE = message("grpc.health.v1.HealthCheckResponse", Field("status", STATUS, number=1))
EVERYTHING = message("grpc.health.v1.HealthListRequest")
LIST = message("grpc.health.v1.HealthListResponse", Field("statuses", RESPONSE, map_key=Scalar.STRING, number=1))


class ServiceUnknown(NotFound):
    """There is no service of this name."""

    service: str


class RpcHealth:
    """Says whether the process serves.

    Args:
        health: What decides it.
        services: The names of the app's services.
        streams: Sends what watchers are told.
        formats: Makes codecs.
    """

    def __init__(
        self, health: Health, services: Iterable[str], streams: Streams, formats: dict[str, Wire | ProtoJson]
    ) -> None:
        self._health = health
        self._services = ("", *services, NAME)
        self._streams = streams
        self._formats = formats
        self.unary = {f"/{NAME}/Check": self.check, f"/{NAME}/List": self.list}
        self.streaming = {f"/{NAME}/Watch": self.watch}

    async def check(self, call: RpcCall, content: bytes) -> bytes:
        """Return how a service is.

        Raises:
            ServiceUnknown: There is no such service.
        """
        service = self._service(call, content)
        if service not in self._services:
            raise ServiceUnknown(service=service)
        return self._formats[call.speech.format].encoder(RESPONSE)({"status": await self._status()})

    async def list(self, call: RpcCall, content: bytes) -> bytes:
        """Return how all services are."""
        format = self._formats[call.speech.format]
        format.decoder(EVERYTHING)(content)
        status = {"status": await self._status()}
        return format.encoder(LIST)({"statuses": dict.fromkeys(self._services, status)})

    async def watch(self, call: RpcCall) -> None:
        """Tell how a service is now, and each time that it changes."""
        content = await call.speech.message(call, MAX_REQUEST)
        encode = self._formats[call.speech.format].encoder(RESPONSE)
        known = self._service(call, content) in self._services
        await self._streams.send(call, self._changes(known), lambda status, _: encode({"status": status}))

    async def _changes(self, known: bool) -> AsyncIterator[str]:
        told = ""
        while True:
            status = await self._status() if known else "SERVICE_UNKNOWN"
            if status != told:
                told = status
                yield status
            await asyncio.sleep(LOOK_SECONDS)

    def _service(self, call: RpcCall, content: bytes) -> str:
        return str(self._formats[call.speech.format].decoder(REQUEST)(content).get("service", ""))

    async def _status(self) -> str:
        return "NOT_SERVING" if await self._health.waiting_for() else "SERVING"
