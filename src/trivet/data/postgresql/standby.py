"""A database on a standby: it is read, as long as its server is what it was seen to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncpg.exceptions import TargetServerAttributeNotMatched

from trivet.data.database import DatabaseUnavailable
from trivet.data.postgresql.database import PostgresDatabase
from trivet.data.postgresql.errors import BROKEN, reraise
from trivet.data.postgresql.replica import SETTINGS
from trivet.data.postgresql.watch import Sight, look

if TYPE_CHECKING:
    from trivet.settings import DatabaseSettings


class StandbyDatabase(PostgresDatabase):
    """A database on one streaming replica.

    Attributes:
        expected: What its server was last seen to be; connections that lead to another one are refused, since nobody
            knows how far that one has come.
    """

    def __init__(self, url: str, settings: DatabaseSettings, name: str) -> None:
        super().__init__(url, settings, name)
        self.expected: Sight | None = None

    @property
    def shown(self) -> str:
        """Where it is, as metrics name it."""
        return self._address.where

    def passes(self, gone: DatabaseUnavailable) -> bool:
        """Whether what keeps us from the server may pass by itself: it may also be a primary for a while."""
        return isinstance(gone.__cause__, TargetServerAttributeNotMatched) or super().passes(gone)

    async def sight(self) -> Sight:
        """Return what the server is and how far it has come.

        Raises:
            DatabaseUnavailable: It does not answer.
        """
        driver = await self.connect()
        try:
            return await look(driver)
        except BROKEN as error:
            reraise(error, self, self.uniques)
        finally:
            driver.terminate()

    async def _admit(self, driver: Any) -> None:
        try:
            sight = await look(driver)
        except BROKEN as error:
            reraise(error, self, self.uniques)
        expected = self.expected
        if expected is None or (sight.system, sight.started) != (expected.system, expected.started):
            raise DatabaseUnavailable.because(
                f"{self}: the address leads to several servers, or to another one than before: "
                f"name each replica by an address of its own in {SETTINGS}",
                retry_after=1,
            )
