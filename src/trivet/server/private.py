"""A directory that only this user can enter, in memory where there is such a place, with a path that is short."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PLACES = ("/dev/shm", "/run/shm", "/tmp")  # noqa: S108 (a directory with an unguessable name and mode 0700 is made in it)


def private_directory() -> Path:
    """Make the directory; whoever asks for it removes it.

    The path of a Unix socket has at most 107 bytes, and key material should not reach a disk.
    """
    place = next((place for place in PLACES if os.access(place, os.W_OK | os.X_OK)), None)
    return Path(tempfile.mkdtemp(prefix="trivet-", dir=place))
