"""Content-codings: which one a caller prefers (RFC 9110 section 12.5.3), and how a body is put into it.

``gzip`` is always there; ``br`` and ``zstd`` where their libraries are (``pip install trivet[compression]``). What is
small stays as it is: it would gain less than its header fields cost. Bodies of requests are never decompressed: a few
hundred bytes can become gigabytes, and a caller that wants to send much has an upload of its own.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from trivet.settings import CompressionSettings
from trivet.transports.rest.media import QUALITY

IDENTITY = "identity"
GZIP_LEVEL, BROTLI_QUALITY, ZSTD_LEVEL = 4, 4, 3
"""Where each takes about as long as it took to make the body; the next step costs more than it saves."""

NO_CODING = "Accept-Encoding allows no coding that can be sent."

LARGE_BYTES = 64 * 1024
"""A body from this size on is compressed in a thread: it takes longer than the event loop may be kept."""

Compress = Callable[[bytes], bytes]


class Choice(NamedTuple):
    """What a caller takes.

    Attributes:
        coding: What is best for a body that is worth compressing; ``None`` sends it as it is.
        identity: Whether it may be sent as it is.
        acceptable: Every coding that it may be sent in, ``""`` standing for none, the best first.
    """

    coding: str | None
    identity: bool
    acceptable: tuple[str, ...]


AS_IT_IS = Choice(None, True, ("",))
"""What is sent to a caller that takes nothing: an error has to be said somehow."""


class Codings:
    """What this process can send.

    Args:
        settings: Whether to compress, and from what size on.
    """

    def __init__(self, settings: CompressionSettings) -> None:
        self._compress: Mapping[str, Compress] = available() if settings.enabled else {}
        self._minimum = settings.minimum
        names = tuple(self._compress)
        self.varies = bool(names)
        self.choose: Callable[[bytes | None], Choice | None] = lru_cache(maxsize=256)(
            lambda accept: choose(accept, names)
        )

    def coding_for(self, size: int, choice: Choice) -> str | None:
        """Return what a body of so many bytes is sent in."""
        return choice.coding if size >= self._minimum or not choice.identity else None

    async def encode(self, body: bytes, coding: str) -> bytes:
        """Return the body in a coding."""
        compress = self._compress[coding]
        return compress(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(compress, body)


def available() -> dict[str, Compress]:
    """Return the codings of this process, the one that is preferred among equals first."""
    found: dict[str, Compress] = {}
    zstd = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    if _installed(zstd):
        compress_zstd = import_module(zstd).compress
        found["zstd"] = lambda body: compress_zstd(body, ZSTD_LEVEL)
    if _installed("brotli"):
        compress_brotli = import_module("brotli").compress
        found["br"] = lambda body: compress_brotli(body, quality=BROTLI_QUALITY)
    found["gzip"] = gzip
    return found


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def gzip(body: bytes) -> bytes:
    """Return the body as gzip, without a time in it: the same bytes each time."""
    compressor = zlib.compressobj(GZIP_LEVEL, wbits=31)
    return compressor.compress(body) + compressor.flush()


def choose(accept: bytes | None, available: tuple[str, ...]) -> Choice | None:
    """Decide what a value of ``Accept-Encoding`` allows.

    Args:
        accept: The field; ``None`` where there is none: then everything is acceptable, and nothing is compressed for
            a caller that did not ask.
        available: What can be sent besides the plain body, the preferred first.

    Returns:
        ``None`` where nothing is acceptable.
    """
    if accept is None:
        return Choice(None, True, ("", *available))
    said = qualities(accept)
    other = said.get("*")
    weights = {name: said.get(name, other or 0.0) for name in available}
    plain = said.get(IDENTITY, 1.0 if other is None else other)
    explicit = IDENTITY in said or other is not None
    taken = sorted((name for name in available if weights[name] > 0), key=lambda name: -weights[name])
    if not taken:
        return Choice(None, True, ("",)) if plain > 0 else None
    if plain <= 0:
        return Choice(taken[0], False, tuple(taken))
    if explicit and plain > weights[taken[0]]:
        return Choice(None, True, ("", *taken))
    return Choice(taken[0], True, (*taken, ""))


def qualities(accept: bytes) -> dict[str, float]:
    """Return the weight of each coding that is named; a member that can not be read counts for nothing."""
    found: dict[str, float] = {}
    for member in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        weight = 1.0
        if parameters:
            key, _, value = parameters[0].partition("=")
            if len(parameters) > 1 or key.rstrip() != "q" or not QUALITY.fullmatch(value.strip()):
                continue
            weight = float(value)
        if name:
            found["gzip" if name == "x-gzip" else name] = weight
    return found
