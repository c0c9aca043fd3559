"""What the dispatcher tells whoever counts and logs."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Is told what became of deliveries; must return quickly and never raise."""

    def delivered(self, subscriber: str, seconds: float) -> None:
        """A handler took effect, so many seconds after it began."""

    def committed(self, subscriber: str, count: int) -> None:
        """So many deliveries took effect in one transaction."""

    def parted(self, subscriber: str, error: BaseException | None) -> None:
        """Deliveries that shared a transaction could not be committed together, and are handled one by one."""

    def retried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """A handler failed and will be tried again."""

    def buried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """A handler failed for the last time; its delivery is a dead letter."""

    def cancelled(self, subscriber: str) -> None:
        """A job was cancelled while it ran, and is over."""

    def lost(self, subscriber: str) -> None:
        """A lease ended before its handler; whatever the handler did was rolled back."""

    def lag(self, seconds: float) -> None:
        """The delivery that waits longest has been due for so many seconds; 0 when none is due."""

    def troubled(self, error: BaseException) -> None:
        """The store could not be asked; the dispatcher goes on trying."""


class Silent:
    """Counts and logs nothing."""

    def delivered(self, subscriber: str, seconds: float) -> None:
        """Ignore it."""

    def committed(self, subscriber: str, count: int) -> None:
        """Ignore it."""

    def parted(self, subscriber: str, error: BaseException | None) -> None:
        """Ignore it."""

    def retried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """Ignore it."""

    def buried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """Ignore it."""

    def cancelled(self, subscriber: str) -> None:
        """Ignore it."""

    def lost(self, subscriber: str) -> None:
        """Ignore it."""

    def lag(self, seconds: float) -> None:
        """Ignore it."""

    def troubled(self, error: BaseException) -> None:
        """Ignore it."""
