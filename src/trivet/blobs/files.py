"""Blobs as files in a folder: ``ab/<id>`` has what is known about one, then its bytes; ``partial/`` what comes in.

Each is whole or not there: it is written under another name, flushed to the disk, and renamed. Everything that touches
the disk runs in threads. Several machines need a folder that they share.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

import msgspec

from trivet.blobs.store import About, BlobsUnavailable, BlobTooLarge, Reading, Writing

PIECE = 256 * 1024
"""Bytes that are read or written at a time."""

ABANDONED_SECONDS = 86_400.0
"""After so long without a byte more, what was begun will not be ended."""

ABOUT_MAX = 64 * 1024


class FileBlobs:
    """Blobs in a folder.

    Args:
        folder: Made for the first blob, where the one above exists; only its owner reads it. ``None`` is a temporary
            one that `close` removes.
        size_max: Bytes of a blob at most.
    """

    def __init__(self, folder: Path | None, size_max: int) -> None:
        self._folder = folder
        self._size_max = size_max
        self._root = Path()
        self._temporary = False

    def __repr__(self) -> str:
        return f"FileBlobs({str(self._folder) if self._folder else 'temporary'})"

    async def open(self) -> None:
        """See whether the folder can be written, or made; raises `BlobsUnavailable`."""
        if self._folder is None:
            self._root, self._temporary = Path(tempfile.mkdtemp(prefix="trivet-blobs-")), True
            return
        self._root = self._folder.absolute()
        there = self._root if self._root.exists() else self._root.parent
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise BlobsUnavailable.because(
                f"{self}: {there} is no folder that this process may write: name another one with TRIVET_BLOBS__FOLDER"
            )

    async def close(self) -> None:
        """Remove the folder where it is temporary."""
        if self._temporary:
            await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)

    @property
    def _partial(self) -> Path:
        return self._root / "partial"

    def _place(self, id: UUID) -> Path:
        return self._root / id.hex[-2:] / id.hex

    # -- in

    @asynccontextmanager
    async def write(self, id: UUID, about: About) -> AsyncIterator[Writing]:
        """Return a context in which a blob is written; see `Blobs.write`."""
        try:
            writing = await asyncio.to_thread(self._begin, id, about)
            try:
                yield writing
                await asyncio.to_thread(writing.finish, self._place(id))
            finally:
                await asyncio.to_thread(writing.discard)
        except OSError as error:
            raise BlobsUnavailable.because(f"{self}: a blob could not be written ({error})") from error

    def _begin(self, id: UUID, about: About) -> FileWriting:
        self._root.mkdir(mode=0o700, exist_ok=True)
        self._partial.mkdir(mode=0o700, exist_ok=True)
        for earlier in self._partial.glob(f"{id.hex}.*"):
            earlier.unlink(missing_ok=True)  # whoever writes it can not end any more
        path = self._partial / f"{id.hex}.{uuid4().hex}"
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        head = msgspec.json.encode(about)
        file.write(len(head).to_bytes(4, "big") + head)
        return FileWriting(path, file, self._size_max)

    # -- out

    @asynccontextmanager
    async def read(self, id: UUID, now: datetime) -> AsyncIterator[Reading | None]:
        """Return a context with the blob; see `Blobs.read`."""
        try:
            reading = await asyncio.to_thread(_opened, self._place(id))
        except (OSError, msgspec.MsgspecError) as error:
            raise BlobsUnavailable.because(f"{self}: a blob can not be read ({error})") from error
        try:
            yield reading if reading is not None and reading.about.expire_time > now else None
        finally:
            if reading is not None:
                reading.close()

    # -- away

    async def delete(self, id: UUID) -> None:
        """Remove a blob; see `Blobs.delete`."""
        await asyncio.to_thread(self._place(id).unlink, missing_ok=True)

    async def prune(self, now: datetime) -> int:
        """Remove what has expired or was abandoned; see `Blobs.prune`."""
        return await asyncio.to_thread(self._prune, now)

    def _prune(self, now: datetime) -> int:
        abandoned = time.time() - ABANDONED_SECONDS
        for path in self._partial.glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < abandoned:
                    path.unlink()
        expired = 0
        for path in self._whole():
            with suppress(OSError, msgspec.MsgspecError):  # a damaged one must not keep the others
                reading = _opened(path)
                if reading is None:
                    continue
                reading.close()
                if reading.about.expire_time <= now:
                    path.unlink(missing_ok=True)
                    expired += 1
        return expired

    def _whole(self) -> Iterator[Path]:
        for folder in self._root.glob("[0-9a-f][0-9a-f]"):
            yield from folder.iterdir()


class FileWriting:
    """A blob on its way into a file.

    Args:
        path: The file, for now.
        file: It, open, with what is known about the blob in it.
        size_max: Bytes at most.
    """

    def __init__(self, path: Path, file: BinaryIO, size_max: int) -> None:
        self.size = 0
        self._path = path
        self._file = file
        self._size_max = size_max
        self._unwritten = bytearray()
        self._turn = threading.Lock()  # whoever is cancelled leaves its thread behind, which must not outlive the file

    async def write(self, content: bytes) -> None:
        """Append bytes; see `Writing.write`."""
        self.size += len(content)
        if self.size > self._size_max:
            raise BlobTooLarge(detail=f"It is larger than {self._size_max} bytes.")
        self._unwritten += content
        if len(self._unwritten) >= PIECE:
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        with self._turn:
            unwritten, self._unwritten = self._unwritten, bytearray()
            rest = memoryview(unwritten)
            while rest:
                rest = rest[self._file.write(rest) :]

    def finish(self, place: Path) -> None:
        """Make it durable, then visible."""
        self._flush()
        with self._turn:
            os.fsync(self._file.fileno())
        place.parent.mkdir(mode=0o700, exist_ok=True)
        self._path.replace(place)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Close it, and remove what did not become visible."""
        with self._turn:
            self._file.close()
        self._path.unlink(missing_ok=True)


class FileReading:
    """A blob in an open file.

    Args:
        file: It, open.
        about: What was in front.
        offset: Where the bytes begin.
    """

    def __init__(self, file: BinaryIO, about: About, offset: int) -> None:
        self.about = about
        self.size = os.fstat(file.fileno()).st_size - offset
        self._file = file
        self._offset = offset

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield bytes; see `Reading.read`."""
        left = (self.size if end is None else end) - start
        place = self._offset + start
        while left > 0:
            try:
                piece = await asyncio.to_thread(os.pread, self._file.fileno(), min(PIECE, left), place)
            except OSError as error:
                raise BlobsUnavailable.because(f"{self._file.name} can not be read ({error})") from error
            if not piece:
                raise BlobsUnavailable.because(f"{self._file.name} ends too early: its disk lost some of it")
            yield piece
            place += len(piece)
            left -= len(piece)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _opened(path: Path) -> FileReading | None:
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return None
    try:
        length = int.from_bytes(file.read(4), "big")
        about = msgspec.json.decode(file.read(min(length, ABOUT_MAX)), type=About)
        return FileReading(file, about, 4 + length)
    except BaseException:
        file.close()
        raise
