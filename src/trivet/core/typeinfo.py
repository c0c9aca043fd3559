"""What msgspec says of a type, found out once: the same shapes are asked for on every floor when an app is built."""

from __future__ import annotations

from functools import cache
from typing import Any

from msgspec import inspect


def info_of(type: Any) -> inspect.Type:
    """Return the description of a type.

    Raises:
        TypeError: msgspec can not describe it.
    """
    try:
        return _info(type)
    except TypeError:  # it has no hash; or msgspec refuses it, and says so again
        return inspect.type_info(type)


@cache
def _info(type: Any) -> inspect.Type:
    return inspect.type_info(type)
