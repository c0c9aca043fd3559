"""Media types: what a body is, and what a caller accepts (RFC 9110 sections 8.3 and 12.5.1)."""

from __future__ import annotations

import re
from functools import lru_cache

QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


@lru_cache(maxsize=256)
def content_type(value: bytes) -> tuple[str, str | None]:
    """Return the media type in lower case, and the charset if one is said."""
    media_type, *parameters = value.decode("latin-1").split(";")
    charset = None
    for parameter in parameters:
        name, _, text = parameter.strip().partition("=")
        if name.lower() == "charset":
            charset = text.strip('"').lower()
    return media_type.strip().lower(), charset


@lru_cache(maxsize=256)
def accepts(accept: bytes, media_type: str) -> bool:
    """Whether a value of ``Accept`` allows a media type: the most specific range that names it decides.

    An empty value and one that can not be read allow everything.
    """
    kind = media_type.partition("/")[0]
    best: tuple[int, float] | None = None
    seen = False
    for piece in accept.decode("latin-1").lower().split(","):
        wanted, *parameters = piece.split(";")
        wanted = wanted.strip()
        if not wanted:
            continue
        seen = True
        rank = {"*/*": 0, f"{kind}/*": 1, media_type: 2}.get(wanted)
        if rank is not None and (best is None or rank >= best[0]):
            best = (rank, _quality(parameters))
    return not seen or (best is not None and best[1] > 0)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            return float(value) if QUALITY.fullmatch(value) else 1.0
    return 1.0


def prefers_html(accept: bytes | None) -> bool:
    """Whether a caller is a browser: it names HTML, which programs that want JSON do not."""
    return accept is not None and b"text/html" in accept.lower()
