"""The seam of the relational store: what an engine must do and what it promises.

An engine opens once per process. A `Session` is the store as one unit of work sees it: it begins at the first
statement, holds at most one connection, never waits for a second one, and runs its statements one at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from trivet.core.clock import Deadline
from trivet.core.consistency import Marks
from trivet.core.error import Unavailable

if TYPE_CHECKING:
    from typing import Self

    import sqlalchemy as sa

    from trivet.data.pooled import PoolsObserver
    from trivet.data.statement import Insert, Statement

Dialect = Literal["sqlite", "postgresql"]
Reads = Literal["replica", "session", "primary"]
Row = tuple[Any, ...]


class AllTenants(Enum):
    """The type of `ALL_TENANTS`, which is no name that a tenant could have."""

    ALL_TENANTS = "all tenants"


ALL_TENANTS: Final = AllTenants.ALL_TENANTS
"""What the platform itself works for where it has to see the rows of all tenants."""

Tenancy = str | AllTenants | None
"""Whose rows there are beside those that are kept for nobody in particular; with ``None`` there are no others."""


class Contention(Unavailable):
    """Other writers kept this transaction from finishing; retry it."""


class DatabaseUnavailable(Unavailable):
    """The database can not be reached or has no free connection."""

    @classmethod
    def because(cls, why: str, retry_after: float | None = None) -> Self:
        """Return the error whose text (logs, tracebacks, the command line) says why and what to do.

        A caller of the API never sees it: transports render `detail` and `message`.

        Args:
            why: The text; free of secrets.
            retry_after: Seconds after which the caller of the API may try again.
        """
        error = cls(retry_after=retry_after)
        error.args = (why,)
        return error


class UniqueViolated(Exception):
    """A row with these values exists already; the table turns this into the module's own error.

    Args:
        columns: The columns of the unique constraint that was violated.
        row: Which of several rows violated it, counted from 0, where that is known.
    """

    def __init__(self, columns: tuple[str, ...], row: int | None = None) -> None:
        self.columns = columns
        self.row = row
        super().__init__(f"not unique: {', '.join(columns)}")


class TransactionFailed(RuntimeError):
    """A statement of this transaction failed, somebody caught that, and went on: nothing of it can be kept.

    Every engine behaves so, because PostgreSQL does. What may fail and be survived runs in a `Session.savepoint`.
    """

    def __init__(self) -> None:
        super().__init__("a statement of this transaction failed before: let its error end the operation")


class Session(Protocol):
    """The store as one unit of work sees it.

    A reading session borrows a connection per statement (for the whole of its life with `snapshot`). A writing session
    begins a transaction at its first statement and ends it with `commit` or `rollback`; both may be called without
    anything having begun. After a statement failed or was cancelled, a writing session is fit for `rollback` only.
    `commit` is not interrupted by cancellation: it finishes, then the cancellation is raised. `rollback` and `close`
    may be called more than once; after a rollback the next statement begins anew, after `close` a writing session
    refuses every statement: a task that outlived its handler must not hold the store.
    """

    writes: bool
    """Whether this session may change rows."""

    @property
    def tenant(self) -> Tenancy:
        """Whom it works for, nobody at first; in a transaction others may follow.

        Where ``database.row_security`` is on, the server holds every statement to that tenant's rows, whatever it says;
        elsewhere nobody looks at this.
        """
        ...

    @tenant.setter
    def tenant(self, tenant: Tenancy) -> None: ...

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them.

        Args:
            statement: Compiled for the dialect of this database.
            values: In the order of `Statement.parameters`, as the driver takes them.

        Raises:
            UniqueViolated: A unique constraint was violated.
            Contention: Another transaction is in the way; the whole unit of work may be retried.
            DatabaseUnavailable: The store can not be reached.
            DeadlineExceeded: The session's deadline passed.
            TransactionFailed: An earlier statement of this transaction failed.
        """
        ...

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Run a statement and return how many rows it changed; raises what `fetch` raises."""
        ...

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each sequence of values; raises what `fetch` raises."""
        ...

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Add rows by the fastest means that the engine has; raises what `fetch` raises."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which a failure undoes only what happened inside of it; they may be nested.

        The transaction can go on after the failure, also after one that a statement caused.
        """
        ...

    async def commit(self) -> None:
        """Make everything durable, or keep nothing.

        Raises:
            Contention: Another transaction is in the way; nothing was kept.
            TransactionFailed: A statement failed before; nothing was kept.
        """
        ...

    async def rollback(self) -> None:
        """Undo everything since the transaction began."""
        ...

    async def seen(self) -> Marks:
        """Return marks from which on a reader sees at least what this session has seen and committed.

        Called before `close`: after `commit`, or after the last read. Empty where there are no replicas; never fails.
        """
        ...

    async def close(self) -> None:
        """Return what is borrowed; an open transaction is rolled back."""
        ...

    async def driver_connection(self) -> Any:
        """Return the driver's connection with this unit's transaction open on it, for what a team brings itself."""
        ...


class Snapshot(Protocol):
    """Everything as of one instant, for work that reads more than fits into memory and takes as long as it takes.

    It holds a connection from its first statement until it is closed.
    """

    @property
    def tenant(self) -> Tenancy:
        """Whom it works for; see `Session.tenant`. It stays the same from the first statement on."""
        ...

    @tenant.setter
    def tenant(self, tenant: Tenancy) -> None: ...

    def scan(self, statement: Statement, values: Sequence[Any], size: int) -> AsyncGenerator[list[Row], None]:
        """Yield the rows of a statement in groups, each fetched when it is wanted; one scan at a time.

        A scan that is left before its end goes on holding what it holds until the snapshot is closed.

        Args:
            statement: Only reads.
            values: In the order of `Statement.parameters`, as the driver takes them.
            size: Rows of a group.

        Raises:
            Contention: The node can not keep the instant, or the tables changed: begin again.
            DatabaseUnavailable: The store can not be reached, or nothing was asked for too long.
            DeadlineExceeded: One group took longer than the server lets a statement take.
        """
        ...

    async def close(self) -> None:
        """Return what is borrowed; may be called more than once."""
        ...


class Database(Protocol):
    """A relational store."""

    dialect: Dialect
    """Which compiled form of a statement it runs."""

    @property
    def snapshots(self) -> int:
        """How many of `snapshot` may be held at a time, so that everything else still finds connections; may be 0."""
        ...

    async def open(self) -> None:
        """Connect and verify that the store can be used.

        Raises:
            DatabaseUnavailable: With what to do about it.
        """
        ...

    async def close(self) -> None:
        """Finish what runs and disconnect."""
        ...

    async def create(self, tables: Sequence[sa.Table]) -> None:
        """Create the tables and indexes that do not exist; safe to run in several processes at once.

        Raises:
            DatabaseUnavailable: A table exists with other columns; the message names them.
        """
        ...

    async def check(self, tables: Sequence[sa.Table]) -> None:
        """Return when every table exists with every column that is used; further columns do not matter.

        Raises:
            DatabaseUnavailable: Something is missing; the message names it.
        """
        ...

    async def ping(self) -> None:
        """Return when a trivial statement was answered; raises `DatabaseUnavailable` otherwise."""
        ...

    def watch(self, observer: PoolsObserver, node: str = "primary") -> None:
        """From now on tell what the pools of connections do; an engine without one has nothing to tell.

        Args:
            observer: Is told.
            node: What the node that is written is called there.
        """
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """From now on call `wake` when another process of the same app said `tell`, as far as the engine can.

        Nobody may rely on it: it can be missed, and it can be heard without a cause.
        """
        ...

    def tell(self) -> None:
        """Let other processes know that something was committed that they may wait for; cheap, and never fails."""
        ...

    def session(
        self,
        *,
        write: bool,
        deadline: Deadline | None = None,
        reads: Reads = "session",
        snapshot: bool = False,
        after: Marks | None = None,
    ) -> Session:
        """Return a session; nothing is borrowed or begun yet. All of its reads go to one node, as far as it lives.

        Args:
            write: Whether it may change rows: then it runs on the primary in one transaction.
            deadline: Bounds every statement.
            reads: Which node a reading session may use: any replica, one that has come as far as `after`, or only the
                primary, which also stands in for replicas that can not be used.
            snapshot: Whether a reading session sees everything as of one instant.
            after: What the caller has seen; ``None`` where that is not known: its session reads are on the primary.
        """
        ...

    def snapshot(self) -> Snapshot:
        """Return a snapshot of the primary; nothing is borrowed or begun yet. Whoever takes it counts them."""
        ...


class Absentable(Database, Protocol):
    """A database that a process can begin without: one of several, on a server of its own."""

    def passes(self, gone: DatabaseUnavailable) -> bool:
        """Whether what `open`, `check` or `create` raised may pass by itself, as nothing there has to be mended."""
        ...

    def suspend(self, why: DatabaseUnavailable) -> None:
        """Be open without a server: until `admit`, every session is refused with `why`, and nobody is asked.

        Called again, it changes why.
        """
        ...

    async def admit(self, make_sure: Callable[[], Awaitable[None]]) -> None:
        """Connect, verify that the store can be used, make sure of what is in it, and give sessions what they want.

        Args:
            make_sure: Runs `check` or `create`, which work before sessions do.

        Raises:
            DatabaseUnavailable: With what to do about it; it stays suspended.
        """
        ...


class Accounting(Protocol):
    """What a database has beside, where it keeps account of what callers have seen."""

    async def position(self, everything: bool) -> Marks:
        """Return the marks of whoever has seen the primary until now, or the primaries; never fails.

        Args:
            everything: Whether something may have been committed that is not safe on disk yet.
        """
        ...

    def known(self, marks: Marks) -> Marks | None:
        """Return the marks under the names that this process has for their databases.

        ``None`` where one is of a database that it does not know: what that means, nobody can say here.
        """
        ...


class Lagging(Protocol):
    """What a reading session has beside, where there are replicas."""

    @property
    def behind(self) -> float:
        """Seconds: what is not sharded was there to be read if it was committed longer ago; 0 at the primary."""
        ...
