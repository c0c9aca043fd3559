"""Which logical shard a value belongs to: a pure function of the value, the same in every process and for ever.

Identifiers of ours (UUIDv7) carry their shard, so that whatever was made beside something is found without a lookup;
every other value is hashed. 480 shards can be dealt out evenly to 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20 … nodes.
"""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from trivet.core.clock import shard_of

SHARDS = 480
"""How many logical shards there are. It never changes: what is stored lies where this number says."""


def logical_of(value: UUID | str | int) -> int:
    """Return the logical shard of a shard key.

    Args:
        value: A UUIDv7 belongs to the shard that it carries; what else there is, to that of its hash.
    """
    if isinstance(value, UUID):
        if value.version == 7:
            return shard_of(value) % SHARDS
        canonical = b"u" + value.bytes
    else:
        canonical = (b"t" if isinstance(value, str) else b"i") + str(value).encode()
    return int.from_bytes(hashlib.blake2b(canonical, digest_size=8).digest(), "big") % SHARDS


def any_shard() -> int:
    """Return a logical shard at random, for what belongs to nothing yet."""
    return secrets.randbelow(SHARDS)
