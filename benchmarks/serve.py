"""What runs inside a server process: one application on uvicorn, with the same settings for every contender.

``python -m benchmarks.serve MODULE:ATTRIBUTE FD`` serves the application on the listening socket that it inherited.
"""

from __future__ import annotations

import importlib
import socket
import sys

import uvicorn


def main() -> None:
    """Serve until SIGTERM."""
    module, _, attribute = sys.argv[1].partition(":")
    app = getattr(importlib.import_module(module), attribute)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="on", access_log=False, log_level="warning"
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])


if __name__ == "__main__":
    main()
