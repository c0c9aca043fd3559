"""Noticing that source files changed, by asking the file system: no dependency, no limit on watched files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

POLL_SECONDS = 0.25
SUFFIXES = (".py", ".toml")
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})

Stamps = Mapping[str, tuple[int, int]]


def stamps(roots: Iterable[str | Path]) -> Stamps:
    """Return modification time and size of every source file below the roots, virtual environments left out."""
    return {entry.path: (stat.st_mtime_ns, stat.st_size) for root in roots for entry, stat in _walk(str(root))}


def _walk(directory: str) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED and not entry.name.startswith("."):
                    yield from _walk(entry.path)
            elif entry.name.endswith(SUFFIXES):
                yield entry, entry.stat()
        except OSError:
            continue  # removed since it was listed


def changed(before: Stamps, after: Stamps) -> list[str]:
    """Return the files that were added, removed or written."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


class Watch:
    """Waits for changes below directories.

    Args:
        roots: Directories to begin with.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots: set[str] = set()
        self._known: dict[str, tuple[int, int]] = {}
        self.add(roots)

    def add(self, roots: Iterable[str]) -> None:
        """Watch more directories, as they are now."""
        new = outermost({*self._roots, *roots})
        self._known |= stamps(new - self._roots)
        self._roots = set(new)

    async def change(self) -> list[str]:
        """Return once files changed, with their names; an editor's several writes are one change."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = stamps(self._roots)
            files = changed(self._known, now)
            while files:
                self._known = dict(now)
                await asyncio.sleep(POLL_SECONDS / 2)
                now = stamps(self._roots)
                more = changed(self._known, now)
                if not more:
                    return files
                files = sorted({*files, *more})


def outermost(directories: Iterable[str]) -> set[str]:
    """Return the directories without those that lie in others."""
    paths = {Path(directory) for directory in directories}
    return {str(path) for path in paths if not any(other in path.parents for other in paths)}
