"""Documents that the server knows by the SHA-256 of their text (GraphQL over HTTP, appendix on persisted documents).

Registered ones come from files, read at start: each ``*.graphql`` in a directory is one document. Where only registered
ones are served, nobody can ask for anything that was not written with the app. Old clients register documents as they
go ("automatic persisted queries"): that saves bytes, nothing else, and those are kept like every other document.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from trivet.core.error import InvalidArgument, NotFound, PermissionDenied
from trivet.settings.tree import GraphqlSettings
from trivet.transports.graphql.bounded import Bounded
from trivet.transports.graphql.request import Request

PREFIX = "sha256:"


class PersistedQueryNotFound(NotFound):
    """No document with this id is known."""


class DocumentNotRegistered(PermissionDenied):
    """Only registered documents are served here."""


class DocumentHashMismatch(InvalidArgument):
    """The hash is not that of the document."""


def hash_of(source: str) -> str:
    """Return the SHA-256 of a document, as clients write it."""
    return hashlib.sha256(source.encode()).hexdigest()


def registered(directory: str | None) -> dict[str, str]:
    """Return the documents in a directory by their hashes."""
    if directory is None:
        return {}
    found: dict[str, str] = {}
    for file in sorted(Path(directory).rglob("*.graphql")):
        source = file.read_text(encoding="utf-8")
        for each in (source, source.strip()):  # editors end files with a newline, clients do not send it
            found[hash_of(each)] = each
    return found


class Documents:
    """Finds the text of the document that a request means.

    Args:
        settings: Where registered documents are, and whether others are served.
    """

    def __init__(self, settings: GraphqlSettings) -> None:
        self._registered = registered(settings.documents)
        self._only = settings.registered_only
        self._automatic = settings.automatic
        self._learned: Bounded[str] = Bounded(settings.plans, settings.plans_size)

    def source_of(self, request: Request) -> str:
        """Return the document.

        Raises:
            DocumentNotRegistered: It is none of those that are served.
            PersistedQueryNotFound: Nothing is known under its id.
            DocumentHashMismatch: The client says another hash than the document has.
        """
        source = request.query
        if source and not self._only and request.document_id is None and request.extensions is None:
            return source  # as mostly
        given = hash_given(request)
        if source and given is not None and hash_of(source) != given:
            raise DocumentHashMismatch
        if given is not None and (known := self._registered.get(given)) is not None:
            return known
        if self._only:
            if not source or hash_of(source) not in self._registered:
                raise DocumentNotRegistered
            return source
        if source:
            if given is not None and self._automatic:
                self._learned.put(given, source, len(source))
            return source
        learned = self._learned.get(given) if given is not None else None
        if learned is None:
            raise PersistedQueryNotFound(detail="PersistedQueryNotFound")  # what clients look for
        return learned


def hash_given(request: Request) -> str | None:
    """Return the hash by which a request names its document.

    Raises:
        InvalidArgument: It is no hash of a kind that is known.
    """
    if request.document_id is not None:
        if not request.document_id.startswith(PREFIX):
            raise InvalidArgument(detail="documentId is sha256: and the hash of the document, in hexadecimal.")
        return request.document_id.removeprefix(PREFIX).lower()
    said: Any = (request.extensions or {}).get("persistedQuery")
    if said is None:
        return None
    hash = said.get("sha256Hash") if isinstance(said, dict) else None
    if not isinstance(hash, str) or said.get("version") != 1:
        raise InvalidArgument(detail="extensions.persistedQuery has version 1 and a sha256Hash.")
    return hash.lower()
