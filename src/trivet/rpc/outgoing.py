"""Items on their way to another process: each is asked for when the connection has room for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trivet.rpc.method import RemoteMethod
from trivet.transports.rpc.envelope import enveloped


class Outgoing:
    """The body of a request whose items come from an iterator.

    Args:
        method: What is asked.
        arguments: Everything but the items, by parameter name, typed.
        items: The items; closed at the end, where it can be.
    """

    def __init__(self, method: RemoteMethod, arguments: Mapping[str, Any], items: AsyncIterator[Any]) -> None:
        self._method = method
        self._arguments = arguments
        self._items = items
        self._failed: BaseException | None = None

    async def content(self) -> AsyncIterator[bytes]:
        """Yield the messages: first the arguments, where there are any to say, so that the other side can begin."""
        method, items = self._method, self._items
        try:
            if method.speaks:
                yield enveloped(method.request(self._arguments))
            async for item in items:
                yield enveloped(method.request_item(item))
        except GeneratorExit:
            raise
        except BaseException as failed:
            self._failed = failed
            raise
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Raise what the iterator raised in place of what became of the request then."""
        try:
            yield
        except Exception as ended:
            if self._failed is not None and ended is not self._failed:
                raise self._failed from ended
            raise
