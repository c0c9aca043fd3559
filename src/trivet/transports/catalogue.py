"""What the pages of an app say: the index that leads to everything, and an explanation of every kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trivet.contracts.model import Api
from trivet.contracts.problem import PHRASES, slug_of, status_of
from trivet.core.error import Code, Error
from trivet.transports.pages import Html, definitions, element, joined, link, page, table

ADVICE: dict[Code, str] = {
    Code.CANCELLED: "Nothing: the caller went away before the answer.",
    Code.UNKNOWN: "Report it with the request id, which is in `instance` and in the Request-Id header.",
    Code.INVALID_ARGUMENT: "Change the request; the same one fails again. `errors` says what is wrong and where.",
    Code.DEADLINE_EXCEEDED: "Give it more time with Request-Timeout if you asked for less, or ask for less. "
    "The request may have had its effect: retry with the same Idempotency-Key.",
    Code.NOT_FOUND: "Check the id. What you may not see is answered in the same way.",
    Code.ALREADY_EXISTS: "Use what exists, or choose another name.",
    Code.PERMISSION_DENIED: "Ask for the permission that is missing; the same credentials fail again.",
    Code.RESOURCE_EXHAUSTED: "Wait as long as Retry-After says, then retry.",
    Code.FAILED_PRECONDITION: "Read the current state and decide anew; the same request fails until the state changes.",
    Code.ABORTED: "Read it again, apply your change to what it is now, and retry.",
    Code.OUT_OF_RANGE: "Ask for something within the range.",
    Code.UNIMPLEMENTED: "Check method and path against /openapi.json.",
    Code.INTERNAL: "Report it with the request id, which is in `instance` and in the Request-Id header.",
    Code.UNAVAILABLE: "Wait as long as Retry-After says, then retry.",
    Code.DATA_LOSS: "Report it with the request id, which is in `instance` and in the Request-Id header.",
    Code.UNAUTHENTICATED: "Send valid credentials: Authorization: Bearer.",
}
"""What a caller can do about an error of each code."""


def error_classes(base: type[Error] = Error) -> Iterator[type[Error]]:
    """Yield every kind of error there is in this process."""
    for kind in base.__subclasses__():
        yield kind
        yield from error_classes(kind)


class Catalogue:
    """The documents and pages about an app.

    Args:
        api: The model of the app.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._problems: dict[str, type[Error]] = {}

    def problem(self, slug: str) -> type[Error] | None:
        """Return the kind of error whose reason has this form, declared ones first."""
        if slug not in self._problems:  # classes may have been defined since
            self._problems = {slug_of(kind): kind for kind in (*error_classes(), *self._api.errors())}
        return self._problems.get(slug)

    def problems(self) -> list[type[Error]]:
        """Return every kind of error, by reason."""
        found = {kind.reason: kind for kind in (*error_classes(), *self._api.errors())}
        return [found[reason] for reason in sorted(found)]

    def raised_by(self, kind: type[Error]) -> list[str]:
        """Return the operations that declare it."""
        return [op.id for op in self._api.operations if kind in op.errors]

    # -- the index

    def index(self, root: str) -> dict[str, Any]:
        """Return the index as data; addresses are below `root`."""
        return {
            "name": self._api.name,
            "openapi": f"{root}/openapi.json",
            "problems": f"{root}/problems",
            "health": {"live": f"{root}/livez", "ready": f"{root}/readyz"},
            "operations": [
                {
                    "id": op.id,
                    "kind": op.operation.kind.value,
                    "method": op.face.method,
                    "path": f"{root}{op.path}",
                    "summary": op.summary,
                }
                for op in self._api.operations
            ],
        }

    def index_page(self, root: str) -> bytes:
        """Return the index as a page."""
        parts: list[str] = [
            element(
                "p",
                joined(
                    [
                        link(f"{root}/openapi.json", "OpenAPI"),
                        link(f"{root}/problems", "Errors"),
                        link(f"{root}/livez", "Alive?"),
                        link(f"{root}/readyz", "Ready?"),
                    ],
                    " · ",
                ),
            )
        ]
        for module in dict.fromkeys(op.module for op in self._api.operations):
            parts.append(element("h2", f"{module.name} {module.version}"))
            parts.append(
                table(
                    ("Operation", "Request", "What it does"),
                    (
                        (element("code", op.operation.name), _request(root, op.face.method, op.path), op.summary)
                        for op in self._api.operations
                        if op.module is module
                    ),
                )
            )
        return page(self._api.name, *parts)

    # -- errors

    def describe(self, kind: type[Error], root: str) -> dict[str, Any]:
        """Return what an error means, as data."""
        return {
            "type": f"{root}/problems/{slug_of(kind)}",
            "title": kind.message,
            "status": status_of(kind),
            "code": kind.code.name.lower(),
            "reason": kind.reason,
            "advice": ADVICE[kind.code],
            "raised_by": self.raised_by(kind),
        }

    def problem_page(self, kind: type[Error], root: str) -> bytes:
        """Return what an error means, as a page."""
        status = status_of(kind)
        raised_by = self.raised_by(kind)
        names = joined((element("code", name) for name in raised_by), " ")
        who = names if raised_by else "The platform, or any operation."
        return page(
            kind.reason,
            element("p", kind.message),
            definitions(
                [
                    ("Status", f"{status} {PHRASES.get(status, '')}".strip()),
                    ("Code", element("code", kind.code.name.lower())),
                    ("Raised by", who),
                    ("What to do", ADVICE[kind.code]),
                ]
            ),
            element("p", joined([link(f"{root}/problems", "All errors"), link(f"{root}/", "Index")], " · ")),
        )

    def problems_page(self, root: str) -> bytes:
        """Return all errors as a page."""
        rows = (
            (link(f"{root}/problems/{slug_of(kind)}", kind.reason), str(status_of(kind)), kind.message)
            for kind in self.problems()
        )
        return page("Errors", table(("Reason", "Status", "Meaning"), rows), element("p", link(f"{root}/", "Index")))


def _request(root: str, method: str, path: str) -> Html:
    written = element("code", f"{method} {path}")
    return link(f"{root}{path}", written) if method == "GET" and "{" not in path and ":" not in path else written
