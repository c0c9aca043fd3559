"""SQLite behind the seam: the standard library's driver, without an engine and mostly without threads.

How it runs statements, and why:

- **Reads run in the event loop.** A point read takes 5 µs; handing it to a thread and back takes 60. What could take
  long is found out while it runs: SQLite reports its progress every `TICK` virtual machine steps, and a statement over
  `BUDGET` ticks is interrupted and run again in a thread, on a connection of its own. That statement goes to a thread
  from then on. In a thread the same report enforces deadline and cancellation.
- **One writer per process**, behind a first-come lock, so that writers of one process queue without polling. Writers
  of other processes are met at ``BEGIN IMMEDIATE``, which is tried again after jittered pauses until the deadline.
  A transaction that began can not fail for another's sake. Statements run in the loop; the commit, which waits for
  the disk, in a thread of its own, where no slow read is before it in the queue.
- **Readers never block the writer, nor it them**: write-ahead log. ``synchronous=FULL``: what was answered survives a
  power cut.
"""

from trivet.data.sqlite.database import SqliteDatabase

__all__ = ["SqliteDatabase"]
