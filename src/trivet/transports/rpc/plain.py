"""The plain values between shapes and codecs: what JSON has, and what the contract has types of its own for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

KEPT = (datetime, timedelta, bytes)
"""What plain values hold besides what JSON has."""


def plain(value: Any) -> Any:
    """Return the plain value of whatever a handler returned."""
    return msgspec.to_builtins(value, builtin_types=KEPT)
