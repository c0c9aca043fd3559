"""What the pages of an app say: the index that leads to everything, and an explanation of every kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.problem import PHRASES, slug_of, status_of
from trivet.core.error import RENDERED_APART, Code, Error, InvalidArgument
from trivet.transports.pages import (
    Html,
    badge,
    code,
    definitions,
    element,
    heading,
    joined,
    link,
    navigation,
    page,
    prose,
    table,
)

COLOURS = {"GET": "blue", "POST": "green", "PATCH": "amber", "PUT": "amber", "DELETE": "red"}
"""Of methods; the method is written too, so nothing depends on seeing them."""

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
        metrics: Where the metrics of all workers are, if the pages may say so.
    """

    def __init__(self, api: Api, metrics: str | None = None) -> None:
        self._api = api
        self._metrics = metrics
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
        modules = list(dict.fromkeys(op.module for op in self._api.operations))
        number = len(self._api.operations)
        contract = link(f"{root}/openapi.json", "OpenAPI")
        said = [
            f"{number} operation{'s' * (number != 1)}, described by ",
            contract,
            ". Programs get this page as JSON.",
        ]
        parts: list[str] = [element("p", joined(said))]
        if len(modules) > 1:
            parts.append(navigation("Modules", ((f"#{module.name}", module.name) for module in modules)))
        for module in modules:
            parts.append(heading(joined([module.name, " ", element("small", module.version)]), module.name))
            rows = ((op.id, self._operation(root, op)) for op in self._api.operations if op.module is module)
            parts.append(table(("Request", "What it does"), rows))
        return page(self._api.name, self._api.name, self._top(root, f"{root}/"), *parts)

    def _operation(self, root: str, op: ApiOperation) -> tuple[Html, Html]:
        request = joined([badge(op.face.method, COLOURS.get(op.face.method, "")), _path(root, op.face.method, op.path)])
        said = [code(op.operation.name), op.operation.kind.value, _callers(op)]
        raises = [link(f"{root}/problems/{slug_of(kind)}", kind.reason) for kind in op.operation.declaration.raises]
        if raises:
            said.append(joined(["raises ", joined(raises, ", ")]))
        return request, joined([prose(op.summary), element("small", joined(said, " · "))])

    def _top(self, root: str, here: str | None = None) -> Html:
        links = [
            (f"{root}/", "Operations"),
            (f"{root}/problems", "Errors"),
            (f"{root}/openapi.json", "OpenAPI"),
            (f"{root}/livez", "Live"),
            (f"{root}/readyz", "Ready"),
        ]
        if self._metrics is not None:
            links.append((self._metrics, "Metrics"))
        return navigation("This API", links, here)

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
        names = joined((link(f"{root}/#{name}", code(name)) for name in raised_by), ", ")
        example: dict[str, Any] = {
            "type": f"{root}/problems/{slug_of(kind)}",
            "title": kind.message,
            "status": status,
            "instance": "urn:request:…",
            "code": kind.code.name.lower(),
            "reason": kind.reason,
        } | dict.fromkeys(_fields(kind), "…")
        if kind is InvalidArgument:
            example["errors"] = [{"detail": "…", "pointer": "#/…"}]
        return page(
            kind.message,
            self._api.name,
            self._top(root),
            definitions(
                [
                    ("Reason", element("code", kind.reason)),
                    ("Status", f"{status} {PHRASES.get(status, '')}".strip()),
                    ("Code", element("code", kind.code.name.lower())),
                    ("What to do", prose(ADVICE[kind.code])),
                    ("Raised by", names if raised_by else "The platform, or any operation."),
                ]
            ),
            heading("What is sent", "sent"),
            element("pre", element("code", _shown(example))),
        )

    def problems_page(self, root: str) -> bytes:
        """Return all errors as a page: first those of the app, then those that every app has."""
        problems = self.problems()
        ours = [kind for kind in problems if kind.__module__.startswith("trivet.")]
        parts: list[str] = []
        for title, anchor, kinds in (
            (f"Of {self._api.name}", "app", [kind for kind in problems if kind not in ours]),
            ("Of the platform", "platform", ours),
        ):
            if kinds:
                rows = ((None, self._problem_row(root, kind)) for kind in kinds)
                parts += [heading(title, anchor), table(("Reason", "Meaning"), rows)]
        return page("Errors", self._api.name, self._top(root, f"{root}/problems"), *parts)

    def _problem_row(self, root: str, kind: type[Error]) -> tuple[Html, Html]:
        status = status_of(kind)
        marked = badge(str(status), "red" if status >= 500 else "amber")
        return joined([marked, link(f"{root}/problems/{slug_of(kind)}", code(kind.reason))]), prose(kind.message)


def _fields(kind: type[Error]) -> list[str]:
    """Return the names of the fields that only errors of this kind have."""
    return [name for name in kind.shape.__struct_fields__ if name not in RENDERED_APART]


def _shown(example: Any) -> str:
    """Return JSON with a bare ellipsis for what differs from one time to the next."""
    return msgspec.json.format(msgspec.json.encode(example), indent=2).decode().replace('"…"', "…")


def _callers(op: ApiOperation) -> Html:
    access = op.operation.declaration.access
    return joined(["scope ", joined(map(code, access.scopes), " ")]) if access.scopes else Html("public")


def _path(root: str, method: str, path: str) -> Html:
    written = code(path)
    return link(f"{root}{path}", written) if method == "GET" and "{" not in path and ":" not in path else written
