"""Values that must not show up in logs, tracebacks and dumps."""

from __future__ import annotations

import hmac
import re
import secrets

HIDDEN = "********"
PASSWORD = re.compile(r"(?<=://)(?P<user>[^/@:]*):.*(?=@)", re.DOTALL)
"""Up to the last ``@``: a password may hold what should have been escaped, and too much hidden is better."""
PARAMETER = re.compile(r"(?P<name>[?&][^=&#]*(?:password|passwd|secret|token|key)[^=&#]*)=[^&#]*", re.IGNORECASE)


class Secret:
    """A value that only `reveal` shows: hidden in ``repr``, ``str``, format strings, JSON and pickles refuse it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def generate(cls) -> Secret:
        """Return a new random secret of 256 bits."""
        return cls(secrets.token_urlsafe(32))

    def reveal(self) -> str:
        """Return the value itself; call this at the last moment, where it is used."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled; pass it through the environment or a file")


class Url(Secret):
    """The address of a store: everything but its password is shown."""

    __slots__ = ()

    @property
    def shown(self) -> str:
        """The address without its password."""
        return PARAMETER.sub(rf"\g<name>={HIDDEN}", PASSWORD.sub(rf"\g<user>:{HIDDEN}", self._value))

    def __repr__(self) -> str:
        return f"Url({self.shown!r})"

    def __str__(self) -> str:
        return self.shown
