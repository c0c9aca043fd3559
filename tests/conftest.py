"""For all tests: which kind of server serves, that a slow machine is no failure, and that Ctrl-C reaches programs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import SURVIVES, Server

settings.register_profile("unhurried", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("unhurried")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell begins what runs beside it, and programs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", params=["uvicorn", "envoy"])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let what is served in the module be served by each kind of server in turn.

    Tests take it by name or with `usefixtures`, and module-wide servers must ask for it too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TRIVET_SERVER__KIND", request.param)
        yield request.param


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    """A primary of the module's own that nothing happens to."""
    server = Server(17, SURVIVES)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def replica(primary: Server) -> Iterator[Server]:
    """Its replica, that nothing happens to but being late."""
    server = primary.standby()
    yield server
    server.remove()
