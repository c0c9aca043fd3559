"""Trivet beside its peers: all servers driven in one run, in interleaved rounds; see ``python -m benchmarks --help``.

::

    __main__.py     the command
    suite.py        what is measured: add a case here
    comparison.py   servers side by side over HTTP: start, verify that they answer the same, drive, compare
    driver.py       the load, a process of its own
    server.py       a server process and what it consumed
    serve.py        what runs inside that process: uvicorn, the same for everybody
    data.py         the data layer beside the driver it stands on, and events from command to handler
    protocols.py    servers and versions of HTTP, over connections that are kept and new ones
    growth.py       cost per request as operations are added
    startup.py      what an import and an app of 500 operations cost
    figures.py      medians, percentiles, ratios
    report.py       sections, targets, JSON and Markdown
    plot.py         the same as a picture
    apps/           the applications, Trivet's and the peers'
"""
