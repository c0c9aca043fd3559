"""A stream of another process, item by item; where its connection ends, it goes on after the last item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trivet.core.error import Error
from trivet.rpc.dialect import Refused
from trivet.rpc.method import RemoteMethod
from trivet.rpc.outgoing import Outgoing

if TYPE_CHECKING:
    from pyqwest import Response

    from trivet.rpc.client import Client


R = TypeVar("R")


class Incoming(AsyncIterator[R], Generic[R]):
    """The items of a stream; ``aclose`` ends it early.

    Args:
        client: Who reads it.
        method: What is streamed.
        arguments: By parameter name, typed.
        outgoing: The items that are sent meanwhile, where it takes any; such a stream is never resumed.
    """

    def __init__(
        self, client: Client, method: RemoteMethod, arguments: Mapping[str, Any], outgoing: Outgoing | None = None
    ) -> None:
        self._client = client
        self._method = method
        self._arguments = arguments
        self._outgoing = outgoing
        self._position: str | None = None
        self._seen = False
        self._attempt = 0
        self._response: Response | None = None
        self._messages: AsyncIterator[bytes] | None = None
        self._open = False

    @classmethod
    async def start(
        cls, client: Client, method: RemoteMethod, arguments: Mapping[str, Any], outgoing: Outgoing | None = None
    ) -> Incoming[R]:
        """Open a stream; whoever gets it reads it to its end or closes it.

        Raises:
            Error: It was refused.
        """
        stream = cls(client, method, arguments, outgoing)
        await client.streams.acquire()
        stream._open = True
        try:
            if outgoing is None:
                await stream._connected()
            else:
                with outgoing.failing():
                    await stream._connected()
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def __anext__(self) -> R:
        if self._outgoing is not None:
            with self._outgoing.failing():
                return await self._next()
        return await self._next()

    async def _next(self) -> R:
        while self._open:
            try:
                if self._messages is None:
                    await self._connect()
                assert self._messages is not None
                message = await anext(self._messages)
                item: R
                item, self._position = self._method.item(message)
            except StopAsyncIteration:
                await self.aclose()
            except (Refused, Error) as ended:
                await self._ended(ended)
            except BaseException:
                await self.aclose()
                raise
            else:
                self._seen, self._attempt = True, 0
                return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream; nothing more comes."""
        if self._open:
            self._open = False
            self._client.streams.release()
        response, self._response, self._messages = self._response, None, None
        if response is not None:
            await response.aclose()

    def __del__(self) -> None:
        if self._open:  # left in the middle: the response closes when it is collected
            self._open = False
            self._client.streams.release()

    async def _connected(self) -> None:
        """Connect, as often as it may help."""
        while self._messages is None:
            try:
                await self._connect()
            except (Refused, Error) as refused:
                await self._ended(refused)

    async def _connect(self) -> None:
        client, method = self._client, self._method
        self._attempt += 1
        outgoing, seconds = self._outgoing, None
        if outgoing is None:
            message = method.request(self._arguments, self._position)
            content: bytes | AsyncIterator[bytes] = client.dialect.content(message, True)
        else:
            message, content, seconds = b"", outgoing.content(), client.given()
        fields = client.dialect.headers(client.api.format, True, seconds) | client.headers(method.operation, message)
        self._response = await client.http.post(method.path, fields, content)
        await client.dialect.check(self._response)
        self._messages = client.dialect.messages(self._response, client.answer_max)

    async def _ended(self, ended: Refused | Error) -> None:
        """Wait until it may go on.

        Raises:
            Error: It does not.
        """
        client = self._client
        error = client.error(ended, self._method.operation) if isinstance(ended, Refused) else ended
        response, self._response, self._messages = self._response, None, None
        if response is not None:
            await response.aclose()
        pause = client.pause(error, self._attempt, float("inf")) if self._outgoing is None else None
        if pause is None or (self._seen and self._position is None):
            await self.aclose()
            raise error from None
        await asyncio.sleep(pause)
