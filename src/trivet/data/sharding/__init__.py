"""Sharding: rows of a table on several servers, by the logical shard of their shard key.

The theory. A sharded table's row belongs to one of 480 logical shards. The *directory*, a table on the home database,
says on which node each is; workers cache it, and it may be wrong. What is never wrong is what a node says about itself:
`trivet_held` has a row for each logical shard that the node holds, and at most one node holds a shard at a time.

- A transaction that writes begins by locking that row (`FOR SHARE`). No row, or a closed one: nothing is written there.
- A read is followed by a look at that row. It is still there, of the same epoch: what was read was the truth.
- A move closes the row (which waits for every transaction that has it locked), lets the copy become equal, removes the
  row, and only then adds one on the new node. In between nobody holds the shard, and whoever wants it waits.

So a worker with an old directory is refused by the old node, looks again, and goes to the new one.
"""
