"""What caches may do with an answer (RFC 9111): decided for each operation at start.

Whoever is known gets answers of their own, so the default is ``private, no-cache``: a browser keeps the answer and asks
each time whether it still holds, which an entity tag answers cheaply. Only a query that is public and declares
``cache=`` may be kept by strangers, and only what it answers to callers without credentials.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from trivet.contracts.model import ApiOperation
from trivet.core.declaration import Cache
from trivet.core.principal import Principal

Fields = list[tuple[bytes, bytes]]

PRIVATE: Fields = [(b"cache-control", b"private, no-cache")]
NOT_KEPT = (b"cache-control", b"no-store")
PLAIN = re.compile(r"[A-Za-z0-9._~-]*")


class Caching:
    """What the answers of one query say about being kept.

    Args:
        op: The query.
        nobody: Who callers without credentials are.
    """

    def __init__(self, op: ApiOperation, nobody: Principal) -> None:
        declared = op.operation.declaration
        self._cache: Cache | None = declared.cache if declared.access.public else None
        self._nobody = nobody
        self._shared = [(b"cache-control", directives(self._cache))] if self._cache is not None else PRIVATE
        self._tags = [tag_writer(template) for template in self._cache.tags] if self._cache is not None else []
        self.varies = (b"authorization",) if self._cache is not None else ()

    def shared(self, principal: Principal) -> bool:
        """Whether what this caller is answered may be kept for others."""
        return self._cache is not None and (principal.anonymous or principal is self._nobody)

    def fields(self, principal: Principal) -> Fields:
        """Return ``Cache-Control`` of an answer to this caller."""
        return self._shared if self.shared(principal) else PRIVATE

    def tags(self, principal: Principal, arguments: Mapping[str, Any]) -> Fields:
        """Return by which tags a content delivery network can drop the answer."""
        if not self._tags or not self.shared(principal):
            return []
        tags = [write(arguments) for write in self._tags]
        return [(b"surrogate-key", " ".join(tags).encode()), (b"cache-tag", ",".join(tags).encode())]


def directives(cache: Cache) -> bytes:
    """Return ``Cache-Control`` of an answer that anybody may keep (RFC 9111 section 5.2.2, RFC 5861)."""
    said = f"public, max-age={int(cache.ttl)}, s-maxage={int(cache.ttl)}"
    if cache.stale:
        said += f", stale-while-revalidate={int(cache.stale)}, stale-if-error={int(cache.stale)}"
    return said.encode()


def tag_writer(template: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what fills a tag such as ``product:{id}`` with a call's arguments, whatever they contain."""
    parts = [(quote(text, safe=":/"), name) for text, name, _, _ in string.Formatter().parse(template)]

    def write(arguments: Mapping[str, Any]) -> str:
        tag = ""
        for text, name in parts:
            tag += text if name is None else text + word_of(str(arguments.get(name, "")))
        return tag

    return write


def word_of(value: str) -> str:
    """Return a value as it stands in a tag: what would begin another one, or another field, is percent-encoded."""
    return value if PLAIN.fullmatch(value) else quote(value, safe="")
