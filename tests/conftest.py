"""Fixtures for tests that serve: which kind of server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", params=["uvicorn", "envoy"])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let what is served in the module be served by each kind of server in turn.

    Tests take it by name or with `usefixtures`, and module-wide servers must ask for it too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TRIVET_SERVER__KIND", request.param)
        yield request.param
