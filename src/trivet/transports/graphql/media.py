"""What a GraphQL answer is written as: the media types of GraphQL over HTTP, chosen by ``Accept`` (RFC 9110 12.5.1)."""

from __future__ import annotations

from functools import lru_cache

from trivet.transports.rest.media import accepts

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"

OFFERED = (JSON, RESPONSE, EVENT_STREAM)
"""In the order in which one is taken where the caller does not care: what old clients understand first."""


@lru_cache(maxsize=256)
def chosen(accept: bytes | None) -> str | None:
    """Return the media type of the answer, ``None`` where the caller wants another one."""
    if accept is None:
        return JSON
    best: tuple[float, int] | None = None
    for index, offered in enumerate(OFFERED):
        quality = quality_of(accept, offered)
        if quality > 0 and (best is None or quality > best[0]):
            best = (quality, index)
    if best is not None:
        return OFFERED[best[1]]
    return JSON if accepts(accept, JSON) else None


def quality_of(accept: bytes, media_type: str) -> float:
    """Return how much a value of ``Accept`` wants a media type, from 0 to 1; a stream must be named."""
    kind = media_type.partition("/")[0]
    found: tuple[int, float] = (-1, 0.0)
    for piece in accept.decode("latin-1").lower().split(","):
        wanted, *parameters = (part.strip() for part in piece.split(";"))
        rank = {"*/*": 0, f"{kind}/*": 1, media_type: 2}.get(wanted, -1)
        if rank < 0 or (rank < 2 and media_type == EVENT_STREAM):
            continue
        said = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            quality = float(said)
        except ValueError:
            quality = 1.0
        if rank >= found[0]:
            found = (rank, quality)
    return found[1]
