"""Errors as GraphQL answers them (specification, section 7.1.2): the same codes and reasons as on every protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trivet.contracts.problem import SERVER_FAULTS
from trivet.core.error import Error, InvalidArgument, Violation
from trivet.core.naming import camel
from trivet.transports.graphql.refusals import DocumentInvalid

MAX_MESSAGE = 500
"""How long a message is at most that may repeat what the client wrote."""


class Failure:
    """An error of one field.

    Attributes:
        error: What it is.
        path: Where in the answer.
        location: Where in the document.
        problem: What the log says of it, where it is on our side.
    """

    __slots__ = ("error", "location", "path", "problem")

    def __init__(self, error: Error, path: Sequence[str | int], location: tuple[int, int], problem: str | None) -> None:
        self.error = error
        self.path = path
        self.location = location
        self.problem = problem

    def document(self, request_id: str) -> dict[str, Any]:
        """Return it as the answer shows it."""
        line, column = self.location
        return {
            "message": message_of(self.error),
            "locations": [{"line": line, "column": column}],
            "path": self.path,
            "extensions": extensions_of(self.error, request_id),
        }


def refusals(error: Error, request_id: str) -> list[dict[str, Any]]:
    """Return an error of the whole request as the answer shows it."""
    if isinstance(error, DocumentInvalid):
        return [_invalid(problem, error, request_id) for problem in error.problems]
    return [{"message": message_of(error), "extensions": extensions_of(error, request_id)}]


def _invalid(problem: Any, error: DocumentInvalid, request_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"message": problem.message[:MAX_MESSAGE]}
    if problem.locations:
        shown["locations"] = [{"line": place.line, "column": place.column} for place in problem.locations]
    shown["extensions"] = extensions_of(error, request_id)
    return shown


def message_of(error: Error) -> str:
    """Return what is safe to show of an error."""
    if error.code in SERVER_FAULTS:
        return error.message
    if isinstance(error, InvalidArgument) and error.violations and not error.detail:
        first = error.violations[0]
        return f"{error.message} {first.pointer}: {first.detail}"
    return error.detail or error.message


def extensions_of(error: Error, request_id: str) -> dict[str, Any]:
    """Return the code, the reason and the metadata of an error; one on our side says nothing beyond the request id."""
    extensions: dict[str, Any] = {"code": error.code.name, "reason": error.reason}
    if error.code in SERVER_FAULTS:
        return {**extensions, "requestId": request_id}
    if isinstance(error, InvalidArgument) and error.violations:
        extensions["errors"] = [spelled(violation) for violation in error.violations]
    wait = getattr(error, "retry_after", None)
    if wait is not None:
        extensions["retryAfter"] = max(0, math.ceil(wait))
    for name, value in error.metadata().items():
        extensions.setdefault(camel(name), value)
    return extensions


PAGING = {"page_token": "after", "page_size": "first"}


def spelled(violation: Violation, prefix: str = "#") -> Violation:
    """Return a violation with its pointer as GraphQL spells names."""
    steps = violation.pointer.split("/")[1:]
    shown = [PAGING.get(step) or (camel(step) if step.isidentifier() else step) for step in steps]
    return Violation(detail=violation.detail, pointer="/".join([prefix, *shown]))
