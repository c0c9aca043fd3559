"""What happened a year ago: events of then, without waiting for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.messaging.contract.world import Shifted
from trivet.testing import Client

YEAR = timedelta(days=365)


@contextmanager
def a_year_ago(client: Client) -> Iterator[None]:
    """Let what begins in here begin a year ago, in the eyes of a client's app."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.service.runtime, "clock", Shifted(-YEAR))
        yield
