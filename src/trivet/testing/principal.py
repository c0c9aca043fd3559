"""Callers for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trivet.core.principal import Principal


def principal(
    subject: str = "tester",
    *,
    scopes: str | Iterable[str] = (),
    roles: str | Iterable[str] = (),
    tenant: str | None = None,
    **attributes: str,
) -> Principal:
    """Return a caller.

    Args:
        subject: Who it is.
        scopes: What the credential allows; a text holds several, separated by spaces.
        roles: What the caller is, written in the same way.
        tenant: Where the caller belongs.
        **attributes: Further claims.
    """
    claims: Mapping[str, str] = attributes
    return Principal(subject=subject, scopes=_words(scopes), roles=_words(roles), tenant=tenant, attributes=claims)


def _words(words: str | Iterable[str]) -> frozenset[str]:
    return frozenset(words.split() if isinstance(words, str) else words)
