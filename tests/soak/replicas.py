"""Ten thousand times somebody writes and reads at once what it wrote, while a replica is up to two seconds late.

    python -m tests.soak.replicas --pairs 10000

Half of them send the token that they were given, the others are remembered. None may read anything else, and of the
reads that the replica could serve at that moment it must have served 70 %.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from tests.data.postgresql.ledger import Tally, reads, serving, write_and_read
from tests.postgres import SURVIVES, Server

SHARE = 0.7


async def soak(primary: Server, replica: Server, pairs: int, seed: int) -> list[Tally]:
    """Run both halves and return what came of them."""
    tallies = []
    async with serving(primary, replica, session_record="memory") as client:
        for tokens in (True, False):
            tally = await write_and_read(
                client, replica, pairs=pairs // 2, tokens=tokens, seed=seed + tokens, callers=8
            )
            print("with a token:" if tokens else "remembered:", tally, file=sys.stderr)
            tallies.append(tally)
        print(dict(reads(client)), file=sys.stderr)
    return tallies


def main() -> int:
    """Run the soak; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.replicas")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    primary = Server(17, SURVIVES)
    try:
        replica = primary.standby()
        try:
            tallies = asyncio.run(soak(primary, replica, options.pairs, options.seed))
        finally:
            replica.remove()
    finally:
        primary.remove()
    wrong = [tally for tally in tallies if tally.stale or tally.failed or tally.did < SHARE * tally.could]
    for tally in wrong:
        print(f"not as it must be: {tally}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
