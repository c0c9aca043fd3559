"""How old the data of an answer is, where it was made from a read model: the field ``Data-Age``, in seconds.

It is an upper bound: everything that was committed longer ago is in the answer. ``Age`` (RFC 9111 section 5.1) says
something else, how long a cache has had a response, and a response can have both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from trivet.core.call import Call

FIELD = b"data-age"


def tell(call: Call, seconds: float) -> None:
    """Let the answer to a call say how old its data is; of several read models the oldest counts."""
    said = b"%d" % math.ceil(seconds)
    for index, (name, known) in enumerate(call.notes or ()):
        if name == FIELD:
            assert call.notes is not None
            call.notes[index] = (FIELD, max(known, said, key=int))
            return
    call.note(FIELD, said)


def told(notes: Iterable[tuple[bytes, bytes]] | None) -> int | None:
    """Return the seconds that are said among a call's notes, ``None`` where nothing is."""
    return next((int(value) for name, value in notes or () if name == FIELD), None)
