"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 60


def eventually(true: Callable[[], Any]) -> Any:
    """Return what a function returns as soon as that is true."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if result := true():
            return result
        time.sleep(0.02)
    raise AssertionError("it never became true")
