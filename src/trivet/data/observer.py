"""Who is told what a database with several nodes does."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Counts, and says in the log what somebody has to know."""

    def read(self, node: str, why: str) -> None:
        """Count a unit of work that reads.

        Args:
            node: At which it began: ``primary``, or the address of a replica.
            why: It is there.
        """
        ...

    def moved(self, node: str) -> None:
        """Count a unit of work that a replica let down, and that went on at the primary."""
        ...

    def up(self, node: str) -> None:
        """Say that a replica can be used from now on."""
        ...

    def down(self, node: str, why: str) -> None:
        """Say that a replica can not be used from now on.

        Args:
            node: Its address.
            why: With what to do, where somebody has to do something.
        """
        ...

    def lag(self, node: str, seconds: float, size: int) -> None:
        """Say how far a replica is behind.

        Args:
            node: Its address.
            seconds: Since the primary was there.
            size: Bytes of the log.
        """
        ...

    def absent(self, node: str, why: str) -> None:
        """Say that a database of shards can not be used yet, since this process began.

        Args:
            node: Its name.
            why: With what to do about it.
        """
        ...

    def present(self, node: str) -> None:
        """Say that a database of shards is used from now on."""
        ...


class Unobserved:
    """Nobody is told."""

    def read(self, node: str, why: str) -> None:
        """Tell nobody."""

    def moved(self, node: str) -> None:
        """Tell nobody."""

    def up(self, node: str) -> None:
        """Tell nobody."""

    def down(self, node: str, why: str) -> None:
        """Tell nobody."""

    def lag(self, node: str, seconds: float, size: int) -> None:
        """Tell nobody."""

    def absent(self, node: str, why: str) -> None:
        """Tell nobody."""

    def present(self, node: str) -> None:
        """Tell nobody."""


UNOBSERVED = Unobserved()
