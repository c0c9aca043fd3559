"""A node that could not be reached when the process began, until it can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from trivet.core.backoff import full_jitter
from trivet.data.database import Absentable, DatabaseUnavailable
from trivet.data.observer import Observer

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0

TRY_SECONDS = 30.0
"""How long one attempt may take: a server that goes silent in the middle of one must not end all of them."""


class Absence:
    """The absence of one node: whoever wants one of its shards is refused meanwhile.

    Args:
        name: Of the node.
        node: Its database, which is not open.
        why: It can not be used.
        observer: Told, once for each reason that follows another one.
    """

    def __init__(self, name: str, node: Absentable, why: DatabaseUnavailable, observer: Observer) -> None:
        self.name = name
        self.node = node
        self._observer = observer
        self._why = ""
        self._because(why)

    def __repr__(self) -> str:
        return f"Absence({self.name!r}, {self._why!r})"

    async def end(self, make_sure: Callable[[], Awaitable[None]]) -> None:
        """Try again and again, and return once the node has passed all that the start demands, and is used.

        Args:
            make_sure: See `Absentable.admit`.
        """
        attempt = 0
        while True:
            attempt += 1
            await asyncio.sleep(full_jitter(attempt, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
            try:
                async with asyncio.timeout(TRY_SECONDS):
                    await self.node.admit(make_sure)
            except DatabaseUnavailable as still:
                self._because(still)
            except TimeoutError:
                self._because(DatabaseUnavailable.because(f"{self.node} takes longer than {TRY_SECONDS:g} s to answer"))
            except Exception as error:  # told as the reason, and tried again: nothing may end the trying
                self._because(DatabaseUnavailable.because(f"{self.node}: {type(error).__name__}: {error}"))
            else:
                self._observer.present(self.name)
                return

    def _because(self, gone: DatabaseUnavailable) -> None:
        why = str(gone.args[0])
        if why != self._why:
            self._why = why
            self.node.suspend(gone)
            self._observer.absent(self.name, why)
