"""Envoy with Python inside, behind the seam of the server.

::

    supervisor     envoy/launcher.py   writes the configuration, starts Envoy, hands its sockets from old to new
    └── worker     envoy (C++)         speaks HTTP, holds the limits of connections and streams
        └── pyvoy  envoy/embedded.py   is loaded into it, runs the same `Worker` as uvicorn's processes do
                   envoy/server.py     tells Envoy through its administration socket to wind down and to stop

One worker is one process: Envoy with one thread for connections, and one event loop that runs the application.
"""
