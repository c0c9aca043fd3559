"""What keeps a document from being executed, before anything runs.

::

    InvalidArgument
    ├── DocumentInvalid     it can not be parsed, is not valid, or its variables are not what it declares
    ├── DocumentRefused     it asks for too much, by counting
    ├── TooExpensive        its cost, by weights and sizes of pages, is too high
    └── OperationUnknown    it has no operation of that name
    Unavailable
    └── PlannerBusy         too many new documents wait
    QuotaExceeded
    └── TooManyNewDocuments too many of them are the caller's own
    PermissionDenied
    └── CrossSiteRequest    it came from another site, in a way about which no browser asks
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivet.core.error import Error, InvalidArgument, PermissionDenied, QuotaExceeded, Unavailable


class DocumentInvalid(InvalidArgument):
    """The document is not valid."""

    def __init__(self, problems: Sequence[Any] = ()) -> None:
        super().__init__()
        self.problems = tuple(problems)


class DocumentRefused(InvalidArgument):
    """The document asks for too much."""

    limit: int
    counted: int


class TooExpensive(InvalidArgument):
    """The document could cost too much."""

    limit: int
    counted: int


class OperationUnknown(InvalidArgument):
    """The document has no such operation."""


class PlannerBusy(Unavailable):
    """Too many new documents are waiting to be planned."""


class TooManyNewDocuments(QuotaExceeded):
    """Too many new documents of yours are waiting to be planned: send the next when one is answered."""


class CrossSiteRequest(PermissionDenied):
    """A page of another site may only ask in a way that browsers ask about first."""


UNDERSTOOD: tuple[type[Error], ...] = (DocumentInvalid, DocumentRefused, TooExpensive, OperationUnknown)
"""Refusals of a request that is well-formed itself: clients of ``application/json`` get status 200 with them."""
