"""The seam of the store of blobs: what an implementation must do and what it promises.

A blob is written once, as a stream, and can be read by everybody from the moment at which it is whole: nobody ever sees
a part of one. It is known by an id alone, so that no name of anybody becomes a path.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from trivet.core.error import InvalidArgument, Unavailable
from trivet.core.shape import Struct


class BlobsUnavailable(Unavailable):
    """The store of blobs can not be used."""

    @classmethod
    def because(cls, why: str) -> BlobsUnavailable:
        """Return the error whose text, which no caller of the API sees, says why and what to do."""
        error = cls()
        error.args = (why,)
        return error


class BlobTooLarge(InvalidArgument):
    """What was asked for is larger than what is kept."""


class About(Struct):
    """What is known about a blob besides its bytes.

    Attributes:
        name: Under which whoever fetches it keeps it.
        media_type: What it is.
        expire_time: From when on it is not there any more.
        tag: Tells this content from every other that was or will be under the id; letters and digits.
    """

    name: str
    media_type: str
    expire_time: datetime
    tag: str


class Writing(Protocol):
    """A blob on its way in."""

    size: int
    """How many bytes it has so far."""

    async def write(self, content: bytes) -> None:
        """Append bytes; returns when the next ones are welcome.

        Raises:
            BlobTooLarge: There are more than are kept.
            BlobsUnavailable: The store is full, or can not be reached.
        """
        ...


class Reading(Protocol):
    """A blob that is being read; what it is does not change while somebody reads it, whatever becomes of the id."""

    about: About
    size: int

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to and without `end`, in pieces."""
        ...


class Blobs(Protocol):
    """A store of blobs, open in one process and shared by all processes of an app."""

    async def open(self) -> None:
        """Verify that the store can be used.

        Raises:
            BlobsUnavailable: With what to do about it.
        """
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...

    def write(self, id: UUID, about: About) -> AbstractAsyncContextManager[Writing]:
        """Return a context in which a blob is written; it is there, durably, when the context ends in order.

        When it is left by an exception, or the process dies in it, nothing is there that was not before. It replaces
        what is under the id. Of several who write under one id the last to begin wins; the others fail at their end.
        """
        ...

    def read(self, id: UUID, now: datetime) -> AbstractAsyncContextManager[Reading | None]:
        """Return a context with the blob, ``None`` where there is none or it has expired."""
        ...

    async def delete(self, id: UUID) -> None:
        """Remove a blob; nothing happens where there is none. Whoever reads it just now reads on."""
        ...

    async def prune(self, now: datetime) -> int:
        """Remove what has expired, and what was begun and never ended, and return how many blobs had expired."""
        ...
