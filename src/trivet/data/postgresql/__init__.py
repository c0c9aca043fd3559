"""PostgreSQL behind the seam: asyncpg's connections, in a pool of our own.

How it runs statements, and why:

- **One round trip a statement.** A command adds one for its BEGIN and one for its COMMIT; a read outside of a
  transaction adds none. Statements are prepared once per connection and kept. Nothing is sent to clean a connection
  that needs no cleaning: what runs here changes nothing that outlives its transaction, so only a connection that was
  lent to a team's own code is reset, and it is reset behind the caller's back.
- **A reading session can not write**: connections are read-only by default, and a command's BEGIN says READ WRITE.
- **Late or cancelled statements are cancelled on the server** too. The deadline is kept by this process, which costs no
  round trip. The server has guards of its own for when this process is gone: ``statement_timeout``,
  ``idle_in_transaction_session_timeout`` and ``client_connection_check_interval``, set once per connection.
- **Replicas** are another implementation of the seam, made of these (`replicated`): without them nothing of it runs.
- **A connection whose statement was cancelled** is cleaned by the pool before anybody gets it, or dropped when that
  takes too long. Whoever was cancelled waits for none of it.
"""

from trivet.data.postgresql.database import PostgresDatabase
from trivet.data.postgresql.replicated import ReplicatedDatabase

__all__ = ["PostgresDatabase", "ReplicatedDatabase"]
