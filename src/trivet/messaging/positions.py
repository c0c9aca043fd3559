"""Positions in several databases as one text: where a reader stands in each, signed, because a reader brings it back.

A database is called by a hash of its name in the settings, so that the text has a bound however long names are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2s

import msgspec

from trivet.core.shape import Struct
from trivet.data.signed import NotOurs, seal, unseal
from trivet.messaging.position import POSITION, Position, PositionExpired, PositionUnknown, position_of

PURPOSE = b"positions of a stream"

NODES_MAX = 64
"""In so many databases a reader can stand at most: that bounds the text."""


class _Place(Struct, array_like=True):
    node: bytes
    at: int
    time: int
    items: int | None = None


_decode = msgspec.msgpack.Decoder(tuple[_Place, ...]).decode


def write_positions(positions: Mapping[str, Position], key: bytes) -> str:
    """Return the positions in the databases of these names as a text.

    Args:
        positions: By name.
        key: Signs it.
    """
    places = [_Place(node=_called(name), at=p.at, time=p.time, items=p.items) for name, p in positions.items()]
    return seal(msgspec.msgpack.encode(places), PURPOSE, key)


def read_positions(text: str, names: Iterable[str], home: str, key: bytes) -> dict[str, Position]:
    """Return the positions in a text, by the names of the databases.

    Args:
        text: As of `write_positions`; or that of one position, from when there was one database.
        names: Of the databases that there are.
        home: Of the one that there always was.
        key: Signed it.

    Raises:
        PositionUnknown: It is none.
        PositionExpired: There is no such database any more, or not yet in this process.
    """
    if POSITION.fullmatch(text):
        return {home: position_of(text)}
    try:
        places = _decode(unseal(text, PURPOSE, key))
    except (NotOurs, msgspec.DecodeError):
        raise PositionUnknown from None
    known = {_called(name): name for name in names}
    if not {place.node for place in places} <= known.keys():
        raise PositionExpired
    return {known[place.node]: Position(at=place.at, time=place.time, items=place.items) for place in places}


def _called(name: str) -> bytes:
    return blake2s(name.encode(), digest_size=6).digest()
