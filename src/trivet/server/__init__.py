"""Serving an application: a supervisor that holds the sockets, and workers that answer on them.

::

    supervisor   binds the sockets, starts workers, replaces those that crash, answers /metrics for all of them
    └── worker   imports the app, opens it, serves it; as many as `server.workers` says

The supervisor never imports the application, so it stays small and whatever the application does can not end it.
The listening sockets are its own and are passed to each worker: connections wait in one queue, whichever worker takes
them, so replacing a worker loses none.
"""

from trivet.server.listen import CannotListen
from trivet.server.loading import CannotLoad, Target, load_app
from trivet.server.serve import serve

__all__ = ["CannotListen", "CannotLoad", "Target", "load_app", "serve"]
