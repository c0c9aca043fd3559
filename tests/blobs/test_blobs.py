"""What every store of blobs promises: whole or not there, one at a time under an id, gone when expired."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.waiting import until
from trivet.blobs import About, Blobs, BlobsUnavailable, BlobTooLarge
from trivet.blobs.files import ABANDONED_SECONDS, PIECE, FileBlobs
from trivet.blobs.prune import pruned
from trivet.core.clock import SystemClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID, OTHER = UUID(int=1), UUID(int=2)
SIZE_MAX = 3 * PIECE


def about(tag: str = "a", expires: datetime = NOW + timedelta(hours=1)) -> About:
    return About(name="orders.csv", media_type="text/csv", expire_time=expires, tag=tag)


@pytest.fixture(params=["files"])
async def blobs(tmp_path: Path) -> AsyncIterator[Blobs]:
    """Every store passes this suite."""
    store = FileBlobs(tmp_path / "blobs", SIZE_MAX)
    await store.open()
    yield store
    await store.close()


async def content(blobs: Blobs, id: UUID = ID, start: int = 0, end: int | None = None) -> bytes | None:
    async with blobs.read(id, NOW) as found:
        return None if found is None else b"".join([piece async for piece in found.read(start, end)])


async def stored(blobs: Blobs, value: bytes, id: UUID = ID, what: About | None = None) -> None:
    async with blobs.write(id, what or about()) as blob:
        await blob.write(value)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 2 * PIECE + 1])
async def test_what_was_written_is_read_whole_and_in_parts(blobs: Blobs, size: int) -> None:
    value = os.urandom(size)
    async with blobs.write(ID, about()) as blob:
        for start in range(0, size, 100_000):
            await blob.write(value[start : start + 100_000])
        assert blob.size == size
    async with blobs.read(ID, NOW) as found:
        assert found is not None
        assert (found.size, found.about) == (size, about())
    assert await content(blobs) == value
    for start, end in [(0, size), (size // 3, size // 2), (size, size), (size // 2, None)]:
        assert await content(blobs, start=start, end=end) == value[start:end]


async def test_nobody_sees_a_part_and_what_failed_leaves_what_was_there(blobs: Blobs) -> None:
    with suppress(ZeroDivisionError):
        async with blobs.write(ID, about()) as blob:
            await blob.write(b"x" * PIECE)
            assert await content(blobs) is None
            raise ZeroDivisionError
    assert await content(blobs) is None
    await stored(blobs, b"first")
    with suppress(ZeroDivisionError):
        async with blobs.write(ID, about("b")) as blob:
            await blob.write(b"second")
            raise ZeroDivisionError
    assert await content(blobs) == b"first"


async def test_who_reads_goes_on_reading_what_was_replaced_or_removed(blobs: Blobs) -> None:
    await stored(blobs, b"first")
    async with blobs.read(ID, NOW) as found:
        assert found is not None
        await stored(blobs, b"second", what=about("b"))
        assert b"".join([piece async for piece in found.read()]) == b"first"
        assert found.about.tag == "a"
        await blobs.delete(ID)
        assert b"".join([piece async for piece in found.read(2)]) == b"rst"
    assert await content(blobs) is None
    await blobs.delete(ID)


async def test_of_two_who_write_one_the_last_to_begin_wins(blobs: Blobs) -> None:
    begun, second_is_done = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        async with blobs.write(ID, about("a")) as blob:
            await blob.write(b"of a process that was thought dead")
            begun.set()
            await second_is_done.wait()

    first = asyncio.create_task(late())
    await begun.wait()
    await stored(blobs, b"second", what=about("b"))
    second_is_done.set()
    with pytest.raises(BlobsUnavailable):
        await first
    assert await content(blobs) == b"second"


async def test_what_is_too_large_is_refused_as_it_grows(blobs: Blobs) -> None:
    await stored(blobs, b"x" * SIZE_MAX, OTHER)
    with pytest.raises(BlobTooLarge):
        await stored(blobs, b"x" * (SIZE_MAX + 1))
    assert await content(blobs) is None


async def test_what_expired_is_not_there_and_is_removed(blobs: Blobs) -> None:
    await stored(blobs, b"old", what=about(expires=NOW))
    await stored(blobs, b"new", OTHER)
    assert await content(blobs) is None
    assert await blobs.prune(NOW) == 1
    assert await blobs.prune(NOW) == 0
    assert await content(blobs, OTHER) == b"new"


async def test_what_a_killed_process_left_is_removed_when_its_id_is_written_again_or_in_time(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    blobs = FileBlobs(folder, SIZE_MAX)
    await blobs.open()
    assert await blobs.prune(NOW) == 0
    assert not folder.exists()
    (folder / "partial").mkdir(parents=True)
    left, recent = (folder / "partial" / f"{id.hex}.0" for id in (ID, OTHER))
    left.write_bytes(b"half")
    recent.write_bytes(b"half")
    await stored(blobs, b"whole")
    assert [path.name for path in (folder / "partial").iterdir()] == [recent.name]
    await blobs.prune(NOW)
    assert recent.exists()
    old = time.time() - ABANDONED_SECONDS - 1
    os.utime(recent, (old, old))
    await blobs.prune(NOW)
    assert not recent.exists()
    assert await content(blobs) == b"whole"


class Faulty(SystemClock):
    """A clock that fails once."""

    failed = False

    def now(self) -> datetime:
        if not self.failed:
            self.failed = True
            raise OverflowError("out of time")
        return NOW + timedelta(hours=2)


async def test_what_nobody_foresaw_is_told_and_pruning_goes_on(blobs: Blobs) -> None:
    await stored(blobs, b"old")
    told: list[Exception] = []
    pruning = asyncio.create_task(pruned(blobs, Faulty(), told.append, every=0.01))

    async def gone() -> bool:
        return await content(blobs) is None

    await until(gone)
    pruning.cancel()
    assert [str(error) for error in told] == ["out of time"]


async def test_only_the_owner_of_the_folder_can_read_it(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "blobs", SIZE_MAX)
    await blobs.open()
    await stored(blobs, b"secret")
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "blobs").rglob("*")} == {0}


async def test_a_folder_that_can_not_be_used_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BlobsUnavailable, match="TRIVET_BLOBS__FOLDER"):
        await FileBlobs(tmp_path / "file" / "blobs", SIZE_MAX).open()
